"""Copies of requests: which cluster gets them, how many, and why a mirror is not followed."""

from __future__ import annotations

from typing import Any

import pytest

from argosy.api import InvalidObject, RouterPolicy, ServedModel, WorkloadClass
from argosy.api.conditions import Reason
from argosy.keys import ClassKey, DeploymentKey, ModelKey
from argosy.route.mirrors import mirror_problems, mirrored
from argosy.route.table import Backend, MirrorRoute, RequestMatch, RouteEntry


def read(kind: Any, name: str, spec: dict[str, Any], namespace: str = "n") -> Any:
    found = kind.from_object({"metadata": {"name": name, "namespace": namespace}, "spec": spec})
    assert not isinstance(found, InvalidObject), found.message
    return found


def workload(name: str, model: str, *names: str, namespace: str = "n") -> WorkloadClass:
    match: dict[str, Any] = {"headers": [{"name": "x-class", "value": name}]}
    spec = {
        "match": match | ({"models": list(names)} if names else {}),
        "models": [{"name": model}],
        "traffic": {"requestsPerSecond": 1, "lengths": {"archetype": "azure-conversation"}},
        "slo": {"ttft": {"p95Milliseconds": 2000}},
    }
    found: WorkloadClass = read(WorkloadClass, name, spec, namespace)
    return found


def model(name: str, *served: str) -> ServedModel:
    spec = {"modelId": "meta-llama/Llama-3.1-8B", "servedNames": list(served)}
    found: ServedModel = read(ServedModel, name, spec)
    return found


def policy(*mirrors: dict[str, Any], targets: tuple[str, ...] = ("chat",)) -> RouterPolicy:
    spec = {"targetRefs": [{"name": each} for each in targets], "mirrors": list(mirrors)}
    found: RouterPolicy = read(RouterPolicy, "p", spec)
    return found


def entry(name: str, **shares: float) -> RouteEntry:
    key = f"n/{name}"
    backends = tuple(Backend(DeploymentKey(f"n/{each}"), share) for each, share in shares.items())
    return RouteEntry(key, ClassKey(key), key, RequestMatch(), backends, 2)


CHAT, CANARY = workload("chat", "stable"), workload("canary", "next")
MODELS = (model("stable", "llama"), model("next", "llama", "llama-next"))


def mirrors_of(
    routes: list[RouteEntry],
    found: RouterPolicy,
    classes: tuple[WorkloadClass, ...] = (CHAT, CANARY),
    models: tuple[ServedModel, ...] = MODELS,
) -> dict[str, tuple[MirrorRoute, ...]]:
    clusters = {backend.cluster for each in routes for backend in each.backends}
    answer = mirrored(routes, {ClassKey("n/chat"): found}, classes, models, clusters)
    assert [(each.cell, each.backends) for each in answer] == [(r.cell, r.backends) for r in routes]
    return {each.class_key: each.mirrors for each in answer}


@pytest.mark.parametrize(
    ("how_many", "share"),
    [
        pytest.param({}, 1.0, id="all"),
        pytest.param({"percent": 20}, 0.2, id="percent"),
        pytest.param({"percent": 0.125}, 0.00125, id="a part of a percent"),
    ],
)
def test_the_copies_of_a_class_go_to_the_other_one_s_cluster(how_many: dict[str, Any], share: float) -> None:
    found = mirrors_of([entry("chat", a=1.0), entry("canary", b=1.0)], policy({"name": "canary", **how_many}))
    assert found == {"n/chat": (MirrorRoute(DeploymentKey("n/b"), share),), "n/canary": ()}


def test_a_share_of_nothing_is_no_mirror() -> None:
    routes = [entry("chat", a=1.0), entry("canary", b=1.0)]
    assert mirrors_of(routes, policy({"name": "canary", "percent": 0}))["n/chat"] == ()


def test_a_request_has_one_copy_per_mirror_at_the_cluster_with_the_largest_share() -> None:
    routes = [
        entry("chat", a=1.0),
        entry("canary", c=0.6, b=0.4),
        entry("canary", b=0.9, c=0.1),
        entry("audit", e=0.5, d=0.5),
    ]
    audit = workload("audit", "next")
    found = mirrors_of(routes, policy({"name": "canary"}, {"name": "audit"}), (CHAT, CANARY, audit))
    assert [each.cluster for each in found["n/chat"]] == ["n/b", "n/d"]


def test_copies_go_to_a_cluster_with_a_ready_replica_only() -> None:
    routes = [entry("chat", a=1.0), entry("canary", b=0.9, c=0.1)]
    policies = {ClassKey("n/chat"): policy({"name": "canary"})}
    clusters = [
        [m.cluster for m in mirrored(routes, policies, (CHAT, CANARY), MODELS, ready)[0].mirrors]
        for ready in ({"n/a", "n/b", "n/c"}, {"n/a", "n/c"}, {"n/a"})
    ]
    assert clusters == [["n/b"], ["n/c"], []]


@pytest.mark.parametrize(
    "routes",
    [
        pytest.param([entry("chat", a=1.0), entry("canary")], id="the other class has no replica"),
        pytest.param([entry("chat", a=1.0)], id="it is not there"),
        pytest.param([entry("chat"), entry("canary", b=1.0)], id="the class itself has none"),
    ],
)
def test_without_replicas_nothing_is_copied(routes: list[RouteEntry]) -> None:
    assert mirrors_of(routes, policy({"name": "canary"}))["n/chat"] == ()


@pytest.mark.parametrize(
    ("chat", "models", "missing"),
    [
        pytest.param(CHAT, (model("stable", "llama"), model("next", "other")), "llama", id="another name"),
        pytest.param(CHAT, (model("stable"), model("next", "llama")), "stable", id="its own name"),
        pytest.param(
            workload("chat", "stable", "llama", "gpt"),
            (model("stable", "llama", "gpt"), MODELS[1]),
            "gpt",
            id="one of the names that the class takes",
        ),
    ],
)
def test_a_model_that_does_not_serve_the_name_gets_no_copies_and_is_named(
    chat: WorkloadClass, models: tuple[ServedModel, ...], missing: str
) -> None:
    found = policy({"name": "canary"})
    routes = [entry("chat", a=1.0), entry("canary", b=1.0)]
    assert mirrors_of(routes, found, (chat, CANARY), models)["n/chat"] == ()
    ((reason, sentence),) = mirror_problems(found, (chat, CANARY), models)
    assert reason is Reason.MIRROR_UNSERVED
    assert "spec.mirrors[0]: a model of WorkloadClass n/canary does not serve " + missing in sentence
    assert f"add {missing} to spec.servedNames" in sentence


def test_a_class_that_is_not_there_is_named_and_other_mirrors_are_followed() -> None:
    found = policy({"name": "absent"}, {"name": "canary"})
    ((reason, sentence),) = mirror_problems(found, (CHAT, CANARY), MODELS)
    assert (reason, sentence[: len("spec.mirrors[0]")]) == (Reason.TARGET_NOT_FOUND, "spec.mirrors[0]")
    assert "absent" in sentence
    mirrors = mirrors_of([entry("chat", a=1.0), entry("canary", b=1.0)], found)
    assert [each.cluster for each in mirrors["n/chat"]] == ["n/b"]


def test_a_class_of_another_namespace_gets_no_copies() -> None:
    other = workload("canary", "next", namespace="m")
    ((reason, _),) = mirror_problems(policy({"name": "canary"}), (CHAT, other), MODELS)
    assert reason is Reason.TARGET_NOT_FOUND


def test_names_of_adapters_hinder_no_mirror() -> None:
    """Their requests are not copied."""
    spec = {
        "modelId": "meta-llama/Llama-3.1-8B",
        "servedNames": ["llama"],
        "engine": {"maxLoras": 2},
        "adapters": [{"name": "sql", "source": "/a", "rank": 8}],
    }
    stable: ServedModel = read(ServedModel, "stable", spec)
    chat = workload("chat", "stable", "llama", "sql")
    assert mirror_problems(policy({"name": "canary"}), (chat, CANARY), (stable, MODELS[1])) == ()


def test_models_are_looked_up_by_their_keys() -> None:
    assert CANARY.model_keys == {ModelKey.of("n", "next")}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        pytest.param(
            {"mirrors": [{"name": "chat"}]},
            "spec.mirrors: name must not be one of spec.targetRefs",
            id="itself",
        ),
        pytest.param({"mirrors": [{"name": "c", "percent": 101}]}, "percent", id="above a hundred"),
        pytest.param({"mirrors": [{"name": "c"}, {"name": "c"}]}, "mirrors", id="twice"),
    ],
)
def test_what_no_mirror_can_be_is_refused(spec: dict[str, Any], message: str) -> None:
    found = RouterPolicy.from_object(
        {"metadata": {"name": "p", "namespace": "n"}, "spec": {"targetRefs": [{"name": "chat"}], **spec}}
    )
    assert isinstance(found, InvalidObject)
    assert message in found.message
