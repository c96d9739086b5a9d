"""Whose number of replicas a Deployment's is: read from autoscalers, or from the field's manager."""

from __future__ import annotations

from typing import Any

import pytest

from argosy.api.schema.ownership import FieldManager
from argosy.keys import DeploymentKey, NamespacedName
from argosy.snapshot.cluster import DeploymentState
from argosy.snapshot.scaling.autoscalers import AutoscalerState, autoscaler_state, count_owners

NAME = "llama-8b-bcd2456"
KEY = DeploymentKey(f"default/{NAME}")
TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME}
KEDA = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "chat", "controller": True}


def an_hpa(target: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "hpa", "namespace": "default"},
        "spec": {"scaleTargetRef": TARGET if target is None else target, "maxReplicas": 5, **spec},
    }


def a_deployment(*managers: FieldManager, deleted_s: float | None = None) -> dict[Any, DeploymentState]:
    return {KEY: DeploymentState(KEY, 2, managers=managers, deleted_s=deleted_s)}


def a_manager(name: str, subresource: str = "scale") -> FieldManager:
    return FieldManager(name, subresource, fields={"f:spec": {"f:replicas": {}}})


def test_an_autoscaler_is_read_with_its_bounds_and_the_default_of_the_lower_one() -> None:
    state = autoscaler_state(an_hpa())
    assert state == AutoscalerState(NamespacedName("default/hpa"), KEY, 1, 5)
    state = autoscaler_state(an_hpa(minReplicas=0))
    assert state is not None
    assert state.least == 0


@pytest.mark.parametrize(
    "target",
    [
        pytest.param({**TARGET, "kind": "StatefulSet"}, id="another kind"),
        pytest.param({**TARGET, "apiVersion": "example.com/v1"}, id="another group's Deployment"),
        pytest.param({}, id="no target"),
    ],
)
def test_what_names_no_deployment_is_left_out(target: dict[str, Any]) -> None:
    assert autoscaler_state(an_hpa(target)) is None


def test_one_of_a_users_deployment_is_kept_in_case_that_is_adopted() -> None:
    state = autoscaler_state(an_hpa({**TARGET, "name": "shop"}))
    assert state is not None
    assert (state.deployment, state.is_of_argosy) == (DeploymentKey("default/shop"), False)
    assert autoscaler_state(an_hpa()).is_of_argosy  # type: ignore[union-attr]


def test_an_object_without_a_spec_is_left_out() -> None:
    assert autoscaler_state({"metadata": {"name": "hpa"}}) is None


def owners(*hpas: dict[str, Any], managers: tuple[FieldManager, ...] = (), are_seen: bool = True) -> Any:
    states = [state for hpa in hpas if (state := autoscaler_state(hpa)) is not None]
    return count_owners(a_deployment(*managers), states, are_seen=are_seen)


def test_an_autoscaler_owns_the_number_before_it_has_set_any() -> None:
    found = owners(an_hpa(minReplicas=2), managers=(a_manager("argosy"),))[KEY]
    assert found.title == "HorizontalPodAutoscaler default/hpa"
    assert found.remedy == "delete HorizontalPodAutoscaler default/hpa"
    assert found.bounds == "2 to 5 replicas"


def test_of_one_that_keda_made_the_scaled_object_is_named_as_it_makes_another() -> None:
    hpa = an_hpa()
    hpa["metadata"]["ownerReferences"] = [KEDA]
    found = owners(hpa)[KEY]
    assert (found.title, found.remedy) == (
        "KEDA ScaledObject default/chat",
        "delete ScaledObject default/chat",
    )


def test_a_deployment_that_is_going_or_absent_has_no_owner() -> None:
    state = autoscaler_state(an_hpa())
    assert state is not None
    assert count_owners(a_deployment(deleted_s=1.0), [state], are_seen=True) == {}
    assert count_owners({}, [state], are_seen=True) == {}


def test_the_fields_manager_tells_only_where_autoscalers_may_not_be_listed() -> None:
    by_hpa = (a_manager("kube-controller-manager"),)
    assert owners(managers=by_hpa) == {}, "it was deleted: the number is Argosy's again"
    found = owners(managers=by_hpa, are_seen=False)[KEY]
    assert "field manager kube-controller-manager" in found.title
    assert found.remedy == f"delete the HorizontalPodAutoscaler of Deployment {KEY}"


@pytest.mark.parametrize(
    "managers",
    [
        pytest.param((a_manager("kubectl"),), id="a count set by hand is set back"),
        pytest.param((a_manager("kube-controller-manager", ""),), id="another controller"),
        pytest.param((a_manager("kube-controller-manager"), a_manager("argosy")), id="Argosy owns it too"),
        pytest.param((), id="no manager"),
    ],
)
def test_no_other_manager_of_the_field_is_an_autoscaler(managers: tuple[FieldManager, ...]) -> None:
    assert owners(managers=managers, are_seen=False) == {}
