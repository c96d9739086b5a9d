"""An apply that changes no count, whoever owns it."""

from __future__ import annotations

from typing import Any

from argosy.manifests.shared_count import without_count

MANIFEST = {"kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 0, "paused": False}}


def live(manager: str, subresource: str = "") -> dict[str, Any]:
    fields = {"f:spec": {"f:replicas": {}}}
    entry = {"manager": manager, "operation": "Apply", "fieldsV1": fields, "subresource": subresource}
    return {
        "metadata": {"name": "d", "resourceVersion": "7", "managedFields": [entry]},
        "spec": {"replicas": 3},
    }


def test_a_number_that_an_autoscaler_owns_is_left_out() -> None:
    for owner in (live("kube-controller-manager", "scale"), live("argosy", "scale")):
        found = without_count(MANIFEST, owner)
        assert found["spec"] == {"paused": False}
        assert found["metadata"] == {"name": "d"}


def test_a_number_of_argosys_own_apply_stays_as_it_is_as_it_would_fall_to_one() -> None:
    found = without_count(MANIFEST, live("argosy"))
    assert found["spec"] == {"replicas": 3, "paused": False}
    assert found["metadata"] == {"name": "d", "resourceVersion": "7"}, "refused where it has changed since"
    assert MANIFEST["spec"]["replicas"] == 0  # type: ignore[index]
