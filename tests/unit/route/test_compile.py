from __future__ import annotations

from typing import Any

import pytest
from route_plans import plan

from argosy.api import FleetPlan, InvalidObject, RouterPolicy, ServedModel, WorkloadClass
from argosy.keys import DeploymentKey, GroupName, ModelKey
from argosy.route.compile import RouteInputs, compile_routes
from argosy.route.table import Backend, Endpoint, EndpointState, Gateway, OutlierSettings

GATEWAY = Gateway("0.0.0.0", 8080)
L40S, H100 = "default/chat-l40s", "default/chat-h100"


def read(kind: Any, obj: dict[str, Any]) -> Any:
    found = kind.from_object(obj)
    assert not isinstance(found, InvalidObject), found.message
    return found


def workload(name: str = "chat", slo: dict[str, Any] | None = None, **match: Any) -> WorkloadClass:
    spec = {
        "match": match or {"headers": [{"name": "x-class", "value": name}]},
        "models": [{"name": "m"}],
        "traffic": {"requestsPerSecond": 1, "lengths": {"archetype": "azure-conversation"}},
        "slo": slo or {"ttft": {"p95Milliseconds": 2000}},
    }
    metadata = {"name": name, "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z"}
    found: WorkloadClass = read(WorkloadClass, {"metadata": metadata, "spec": spec})
    return found


def policy(**spec: Any) -> RouterPolicy:
    targets = {"targetRefs": [{"name": "chat"}]}
    found: RouterPolicy = read(
        RouterPolicy, {"metadata": {"name": "p", "namespace": "default"}, "spec": targets | spec}
    )
    return found


def ready(*addresses: str) -> tuple[Endpoint, ...]:
    return tuple(Endpoint(address, 8000, f"default/{address}") for address in addresses)


def draining(address: str) -> tuple[Endpoint, ...]:
    return (Endpoint(address, 8000, f"default/{address}", EndpointState.DRAINING),)


def out_of_rotation(address: str, state: EndpointState = EndpointState.NOT_READY) -> tuple[Endpoint, ...]:
    return (Endpoint(address, 8000, f"default/{address}", state),)


def shares_of(inputs: RouteInputs) -> dict[str, float]:
    (entry,) = compile_routes(inputs).routes
    return {backend.cluster: round(backend.share, 6) for backend in entry.backends}


@pytest.mark.parametrize(
    ("endpoints", "weights", "expected"),
    [
        pytest.param(
            {L40S: ready("10.0.0.1"), H100: ready("10.0.0.2")},
            {},
            {H100: 0.25, L40S: 0.75},
            id="as the plan says",
        ),
        pytest.param(
            {L40S: ready("10.0.0.1"), H100: ready("10.0.0.2")},
            {L40S: 0.5, H100: 0.5},
            {H100: 0.5, L40S: 0.5},
            id="published weights take the place of the plan's",
        ),
        pytest.param(
            {L40S: ready("10.0.0.1")},
            {},
            {L40S: 1.0},
            id="a share without a ready endpoint goes to the other cluster",
        ),
        pytest.param(
            {L40S: ready("10.0.0.1"), H100: draining("10.0.0.2")},
            {L40S: 0.1, H100: 0.9},
            {L40S: 1.0},
            id="a draining endpoint is not ready, whatever the weights say",
        ),
        pytest.param(
            {L40S: ready("10.0.0.1"), H100: out_of_rotation("10.0.0.2")},
            {},
            {L40S: 1.0},
            id="an engine that is not ready gets nothing while another is",
        ),
        pytest.param(
            {L40S: out_of_rotation("10.0.0.1"), H100: out_of_rotation("10.0.0.2")},
            {},
            {H100: 0.25, L40S: 0.75},
            id="where none is, requests wait for those that may be ready again",
        ),
        pytest.param(
            {
                L40S: out_of_rotation("10.0.0.1"),
                H100: out_of_rotation("10.0.0.2", EndpointState.TERMINATING),
            },
            {},
            {L40S: 1.0},
            id="not for one that ends",
        ),
        pytest.param(
            {L40S: ready("10.0.0.1"), H100: ready("10.0.0.2")},
            {L40S: 0.0, H100: 0.0},
            {H100: 0.25, L40S: 0.75},
            id="weights that leave nothing are not followed",
        ),
        pytest.param(
            {L40S: ready("10.0.0.1"), H100: ready("10.0.0.2")},
            {"default/of-an-older-plan": 1.0},
            {H100: 0.25, L40S: 0.75},
            id="weights for clusters that the plan does not name are not followed",
        ),
    ],
)
def test_shares_follow_weights_plan_and_readiness(
    endpoints: dict[str, tuple[Endpoint, ...]], weights: dict[str, float], expected: dict[str, float]
) -> None:
    published = {"default/chat": weights} if weights else {}
    inputs = RouteInputs(
        GATEWAY, plan({L40S: 0.75, H100: 0.25}), (workload(),), endpoints=endpoints, weights=published
    )
    assert shares_of(inputs) == expected


def test_the_old_plans_replicas_serve_while_the_new_plans_load() -> None:
    inputs = RouteInputs(
        GATEWAY,
        plan({H100: 1.0}),
        (workload(),),
        endpoints={L40S: ready("10.0.0.1", "10.0.0.2"), "default/other": ready("10.0.0.3")},
        groups={L40S: "default/chat", "default/other": "default/batch"},
    )
    assert shares_of(inputs) == {L40S: 1.0}


def test_weights_may_send_a_part_to_the_old_plans_replicas_while_the_new_plan_is_half_loaded() -> None:
    inputs = RouteInputs(
        GATEWAY,
        plan({H100: 1.0}),
        (workload(),),
        endpoints={L40S: ready("10.0.0.1"), H100: ready("10.0.0.2")},
        groups={L40S: "default/chat"},
        weights={"default/chat": {H100: 0.5, L40S: 0.5}},
    )
    assert shares_of(inputs) == {H100: 0.5, L40S: 0.5}


def test_a_cluster_keeps_its_draining_endpoints_after_its_last_share() -> None:
    endpoints = {L40S: ready("10.0.0.1"), H100: draining("10.0.0.2")}
    table = compile_routes(RouteInputs(GATEWAY, plan({L40S: 1.0}), (workload(),), endpoints=endpoints))
    assert {cluster.name: cluster.endpoints for cluster in table.clusters} == endpoints


def test_a_cluster_without_endpoints_and_shares_is_left_out() -> None:
    inputs = RouteInputs(
        GATEWAY, plan({L40S: 0.5, H100: 0.5}), (workload(),), endpoints={L40S: ready("10.0.0.1"), H100: ()}
    )
    assert [cluster.name for cluster in compile_routes(inputs).clusters] == [L40S]


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        pytest.param(None, "No plan is applied yet", id="before the first plan"),
        pytest.param(
            plan({L40S: 1.0}), "No replica that serves default/chat is ready", id="while replicas load"
        ),
        pytest.param(plan({}), "Plan 7 has no replicas for default/chat", id="where the plan has none"),
        pytest.param(
            plan({L40S: 1.0}, cell="default/batch"),
            "Plan 7 has no replicas for default/chat",
            id="a newer class",
        ),
    ],
)
def test_a_class_that_no_replica_can_serve_is_refused_with_the_reason(
    given: FleetPlan | None, refusal: str
) -> None:
    (entry,) = compile_routes(RouteInputs(GATEWAY, given, (workload(),))).routes
    assert entry.backends == ()
    assert refusal in entry.refusal


def test_a_plans_request_limit_is_its_clusters_and_others_have_none() -> None:
    given = plan({L40S: 1.0})
    limited = given.spec.deployments[0].model_copy(update={"request_limit": 512})
    given = given.model_copy(update={"spec": given.spec.model_copy(update={"deployments": (limited,)})})
    endpoints = {L40S: ready("10.0.0.1"), H100: ready("10.0.0.2")}
    table = compile_routes(RouteInputs(GATEWAY, given, (workload(),), endpoints=endpoints))
    assert {cluster.name: cluster.request_limit for cluster in table.clusters} == {L40S: 512, H100: None}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({}, None, id="none by default, whatever the SLO"),
        pytest.param({"perTryIdleSeconds": 3}, 3.0, id="the policy's"),
    ],
)
def test_only_a_policy_limits_how_long_a_replica_may_be_silent(
    spec: dict[str, Any], expected: float | None
) -> None:
    hasty = workload(slo={"ttft": {"p95Milliseconds": 200}, "e2e": {"p95Milliseconds": 1000}})
    (entry,) = compile_routes(RouteInputs(GATEWAY, None, (hasty,), policies=(policy(**spec),))).routes
    assert entry.per_try_idle_timeout_s == expected


def test_a_policys_retries_and_outlier_detection_reach_its_class_and_clusters() -> None:
    strict = policy(retries={"attempts": 4}, outlierDetection={"consecutiveErrors": 2, "ejectionSeconds": 7})
    inputs = RouteInputs(
        GATEWAY,
        plan({L40S: 1.0}),
        (workload(), workload("batch")),
        policies=(strict,),
        endpoints={L40S: ready("10.0.0.1"), "default/batch-l40s": ready("10.0.0.2")},
        groups={"default/batch-l40s": "default/batch"},
    )
    table = compile_routes(inputs)
    assert {entry.class_key: entry.retry_attempts for entry in table.routes} == {
        "default/chat": 4,
        "default/batch": 2,
    }
    assert {cluster.name: cluster.outlier for cluster in table.clusters} == {
        L40S: OutlierSettings(2, 7.0),
        "default/batch-l40s": OutlierSettings(5, 30.0),
    }


def test_a_class_that_can_never_get_a_request_has_no_route() -> None:
    twins = (workload("a", models=["m"]), workload("b", models=["m"]))
    assert [entry.class_key for entry in compile_routes(RouteInputs(GATEWAY, None, twins)).routes] == [
        "default/a"
    ]


def test_the_order_of_the_inputs_does_not_matter() -> None:
    classes = (workload("a"), workload("b"), workload("c", models=["m"]))
    endpoints = {L40S: ready("10.0.0.1", "10.0.0.2"), H100: ready("10.0.0.3")}
    turned = {name: tuple(reversed(found)) for name, found in reversed(endpoints.items())}
    given = plan({L40S: 0.5, H100: 0.5}, cell="default/a")
    one = compile_routes(RouteInputs(GATEWAY, given, classes, endpoints=endpoints))
    other = compile_routes(RouteInputs(GATEWAY, given, classes[::-1], endpoints=turned))
    assert one == other
    assert one.routes[0].class_key == "default/a"


def test_the_table_carries_the_plans_revision() -> None:
    assert compile_routes(RouteInputs(GATEWAY, plan({}, revision=12), ())).revision == 12
    assert compile_routes(RouteInputs(GATEWAY, None, ())).revision == 0


@pytest.mark.parametrize(
    ("max_model_len", "expected"),
    [
        pytest.param(16_384, 4 * 2**20, id="the gateway's limit suffices"),
        pytest.param(1_048_576, 16 * 2**20, id="a million tokens need more"),
    ],
)
def test_the_longest_prompt_of_any_model_fits_the_gateway(max_model_len: int, expected: int) -> None:
    spec = {"modelId": "x", "engine": {"maxModelLen": max_model_len}}
    model = read(ServedModel, {"metadata": {"name": "m", "namespace": "default"}, "spec": spec})
    assert compile_routes(RouteInputs(GATEWAY, None, (), models=(model,))).gateway.max_body_bytes == expected


def test_backends_are_listed_by_name() -> None:
    endpoints = {L40S: ready("10.0.0.1"), H100: ready("10.0.0.2")}
    (entry,) = compile_routes(
        RouteInputs(GATEWAY, plan({L40S: 0.75, H100: 0.25}), (workload(),), endpoints=endpoints)
    ).routes
    assert entry.backends == (Backend(H100, 0.25), Backend(L40S, 0.75))
    assert entry.stat_prefix == "default_chat"


def test_a_cluster_of_the_group_that_the_plan_no_longer_names_serves_only_classes_of_its_model() -> None:
    def cells_of(*names: str) -> FleetPlan:
        plans = [plan({}, cell=f"default/{name}") for name in names]
        cells = tuple(
            p.spec.cells[0].model_copy(update={"sharing_group": GroupName("default/shared")}) for p in plans
        )
        spec = plans[0].spec.model_copy(update={"cells": cells})
        return plans[0].model_copy(update={"spec": spec})

    def backends(model: str, *names: str) -> dict[str, int]:
        inputs = RouteInputs(
            GATEWAY,
            cells_of(*names),
            tuple(workload(name) for name in names),
            endpoints={L40S: ready("10.0.0.1")},
            groups={DeploymentKey(L40S): GroupName("default/shared")},
            cluster_models={DeploymentKey(L40S): ModelKey(model)},
        )
        return {route.cell: len(route.backends) for route in compile_routes(inputs).routes}

    assert backends("default/m", "chat", "batch") == {"default/batch": 1, "default/chat": 1}
    assert backends("default/other", "chat", "batch") == {"default/batch": 0, "default/chat": 0}
    # Where a class is alone in its group, its former model serves it until the new one is ready.
    assert backends("default/other", "chat") == {"default/chat": 1}


def test_what_a_cluster_has_may_go_to_another_only_where_every_class_allows_both() -> None:
    """Class chat may use both, class batch only the L40S: what waits for the L40S may be batch's."""

    def alternatives(**shares: dict[str, float]) -> dict[str, tuple[str, ...]]:
        plans = [plan(its_shares, cell=f"default/{name}") for name, its_shares in shares.items()]
        cells = tuple(each.spec.cells[0] for each in plans)
        whole = plans[0].model_copy(update={"spec": plans[0].spec.model_copy(update={"cells": cells})})
        endpoints = {L40S: ready("10.0.0.1"), H100: ready("10.0.0.2")}
        classes = tuple(workload(name) for name in shares)
        table = compile_routes(RouteInputs(GATEWAY, whole, classes, endpoints=endpoints))
        return {cluster.name: cluster.alternatives for cluster in table.clusters}

    assert alternatives(chat={L40S: 0.5, H100: 0.5}) == {L40S: (H100,), H100: (L40S,)}
    assert alternatives(chat={L40S: 0.5, H100: 0.5}, batch={L40S: 1.0}) == {L40S: (), H100: (L40S,)}
    assert alternatives(chat={H100: 1.0}) == {L40S: (), H100: ()}


def test_requests_are_copied_to_another_class_while_it_has_a_ready_replica() -> None:
    """Where none is, requests wait for one: copies would pile up."""
    chat, canary = workload(), workload("canary")
    cells = [
        plan({name: 1.0}, cell=cell) for name, cell in ((L40S, "default/chat"), (H100, "default/canary"))
    ]
    both = cells[0].spec.model_copy(
        update={
            "cells": (*cells[0].spec.cells, *cells[1].spec.cells),
            "deployments": (*cells[0].spec.deployments, *cells[1].spec.deployments),
        }
    )
    of_both = cells[0].model_copy(update={"spec": both})
    model: ServedModel = read(
        ServedModel, {"metadata": {"name": "m", "namespace": "default"}, "spec": {"modelId": "a/b"}}
    )

    def mirrors(found: tuple[Endpoint, ...]) -> list[str]:
        inputs = RouteInputs(
            GATEWAY,
            of_both,
            (chat, canary),
            (policy(mirrors=[{"name": "canary", "percent": 5}]),),
            (model,),
            {L40S: ready("10.0.0.1"), H100: found},
        )
        return [m.cluster for route in compile_routes(inputs).routes for m in route.mirrors]

    assert mirrors(ready("10.0.0.2")) == [H100]
    assert mirrors(out_of_rotation("10.0.0.2")) == []
