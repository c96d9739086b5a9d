"""The registry of kinds: one entry says all that the code needs to know of a kind."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from argosy.api import API_VERSION, KINDS
from argosy.api.crd.resource import Resource, Scope
from argosy.api.kinds import REGISTRY, ROUTED, USER_SPECS, WATCHED, Kind, TriggerRule, kind_named, kind_of
from argosy.control.triggers import trigger_of
from argosy.errors import InvariantError
from argosy.kube.api import KindPath, path_of

ROOT = Path(__file__).parents[3]


def custom_kinds(base: type[Resource] = Resource) -> set[type[Resource]]:
    found = {kind for kind in base.__subclasses__() if kind.__module__.startswith("argosy.")}
    return found.union(*(custom_kinds(kind) for kind in found)) if found else found


def test_every_model_of_a_custom_resource_is_registered() -> None:
    assert {kind.model for kind in REGISTRY if kind.model is not None} == custom_kinds()


def test_plurals_and_names_are_unique() -> None:
    assert len({kind.plural for kind in REGISTRY}) == len({kind.name for kind in REGISTRY}) == len(REGISTRY)


@pytest.mark.parametrize("model", KINDS, ids=lambda kind: kind.KIND)
def test_a_custom_kinds_entry_agrees_with_its_model(model: type[Resource]) -> None:
    kind = kind_of(model.PLURAL)
    assert (kind.name, kind.api_version, kind.scope) == (model.KIND, API_VERSION, model.SCOPE)
    assert kind.watched
    assert kind_named(model.KIND) is kind


def test_an_unknown_plural_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(InvariantError, match=r"the kind gadgets is not in the registry .* fleets, gpupools"):
        kind_of("gadgets")
    with pytest.raises(InvariantError, match="Gadget"):
        kind_named("Gadget")
    with pytest.raises(InvariantError, match="gadgets"):
        trigger_of("gadgets", None, {"metadata": {"name": "g"}})


def test_the_specs_of_users_call_for_decisions() -> None:
    assert USER_SPECS == ("fleets", "gpupools", "servedmodels", "workloadclasses", "routerpolicies")


def test_routes_follow_what_routes_are_compiled_from() -> None:
    assert {
        "fleets", "servedmodels", "workloadclasses", "routerpolicies", "fleetplans", "pods"
    } == ROUTED  # fmt: skip


@pytest.mark.parametrize("plural", sorted({*USER_SPECS, *ROUTED}))
def test_what_decisions_and_routes_are_made_of_is_watched(plural: str) -> None:
    assert plural in WATCHED


@pytest.mark.parametrize(
    ("plural", "key", "path"),
    [
        ("fleets", None, "/apis/argosy.dev/v1alpha1/fleets"),
        ("fleets", "default", "/apis/argosy.dev/v1alpha1/fleets/default"),
        ("servedmodels", "a/b", "/apis/argosy.dev/v1alpha1/namespaces/a/servedmodels/b"),
        ("pods", "a/b", "/api/v1/namespaces/a/pods/b"),
        ("nodes", "n", "/api/v1/nodes/n"),
        ("leases", "a/b", "/apis/coordination.k8s.io/v1/namespaces/a/leases/b"),
    ],
)
def test_an_entry_gives_the_path_of_its_objects(plural: str, key: str | None, path: str) -> None:
    assert path_of(plural).path(key) == path


def test_a_new_kind_is_one_entry() -> None:
    tenant = Kind("Tenant", "tenants", API_VERSION, Scope.CLUSTER, trigger=TriggerRule.SPEC)
    assert KindPath(tenant).path("a", "status") == "/apis/argosy.dev/v1alpha1/tenants/a/status"
    assert tenant.group_version == ("argosy.dev", "v1alpha1")


def test_no_other_module_lists_kinds_by_their_plurals() -> None:
    plurals = {kind.plural for kind in REGISTRY}
    lists = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in (ROOT / "operator").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Tuple | ast.List | ast.Set | ast.Dict)
        for items in [node.keys if isinstance(node, ast.Dict) else node.elts]
        if sum(isinstance(i, ast.Constant) and i.value in plurals for i in items) > 1
    ]
    assert lists == []
