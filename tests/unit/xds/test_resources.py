"""Decisions inside the resources that a golden file would show but not explain."""

from __future__ import annotations

from typing import Any

import pytest

from argosy.route.table import (
    Backend,
    ClusterEntry,
    Endpoint,
    EndpointState,
    Gateway,
    RequestMatch,
    RouteEntry,
    RoutePath,
    RouteTable,
)
from argosy.xds.gateway.bodies import JSON_FILTER
from argosy.xds.gateway.routes import integer_weights, route_configuration_of
from argosy.xds.health import NO_LIMIT
from argosy.xds.hop import tcp_assignment_of
from argosy.xds.resources import assignment_of, cluster_of, resources_of
from argosy.xds.waiting import members_of, waiting_assignment_of

HEADER = RequestMatch(headers=(("x-class", "a"),))
OTHER_HEADER = RequestMatch(headers=(("x-class", "b"),))
MODEL = RequestMatch(models=("m",))


def entry(name: str, match: RequestMatch, *, idle_s: float | None = None, served: bool = True) -> RouteEntry:
    shares = (Backend("c", 1.0),) if served else ()
    return RouteEntry(name, name, name, match, shares, 2, "" if served else "none", idle_s)


def table(*entries: RouteEntry, clusters: tuple[ClusterEntry, ...] = ()) -> RouteTable:
    return RouteTable(1, Gateway("0.0.0.0", 8080, 1000), entries, clusters)


def routes_of(*entries: RouteEntry) -> dict[str, Any]:
    (host,) = route_configuration_of(table(*entries)).virtual_hosts
    return {route.name: route for route in host.routes}


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        pytest.param([entry("a", HEADER)], {"a": False}, id="a header needs no body"),
        pytest.param([entry("a", MODEL)], {"a": True}, id="a model does"),
        pytest.param(
            [entry("a", HEADER), entry("b", MODEL)],
            {"a": False, "b": True},
            id="a model route behind a header route does not concern it",
        ),
        pytest.param(
            [entry("a", RequestMatch(headers=(("x-class", "a"),), models=("m",))), entry("b", HEADER)],
            {"a": True, "b": True},
            id="a model route before it, for the same headers: the body decides between them",
        ),
        pytest.param(
            [entry("a", RequestMatch(headers=(("x-class", "b"),), models=("m",))), entry("b", HEADER)],
            {"a": True, "b": False},
            id="a model route before it, for other headers",
        ),
        pytest.param(
            [entry("a", RequestMatch(RoutePath("/v1/chat", False), models=("m",))), entry("b", HEADER)],
            {"a": True, "b": True},
            id="a path that a request with the header may have",
        ),
        pytest.param([entry("a", HEADER, served=False)], {"a": False}, id="a refusal needs no body"),
    ],
)
def test_the_body_is_read_only_where_it_may_matter(
    entries: list[RouteEntry], expected: dict[str, bool]
) -> None:
    routes = routes_of(*entries)
    assert {name: JSON_FILTER not in routes[name].typed_per_filter_config for name in expected} == expected
    assert JSON_FILTER not in routes["no-class"].typed_per_filter_config, (
        "a model route is reached from there"
    )


@pytest.mark.parametrize("idle_s", [None, 7.5])
def test_a_try_has_no_limit_unless_a_policy_sets_one(idle_s: float | None) -> None:
    policy = routes_of(entry("a", HEADER, idle_s=idle_s))["a"].route.retry_policy
    assert not policy.HasField("per_try_timeout")
    assert policy.HasField("per_try_idle_timeout") == (idle_s is not None)
    assert policy.per_try_idle_timeout.ToTimedelta().total_seconds() == (idle_s or 0.0)


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        pytest.param([1.0], (10_000,), id="one"),
        pytest.param([1 / 3, 1 / 3, 1 / 3], (3334, 3333, 3333), id="thirds: the first gets the rest"),
        pytest.param([0.99999, 0.00001], (10_000, 0), id="less than half a step is nothing"),
    ],
)
def test_weights_are_integers_with_a_fixed_sum(shares: list[float], expected: tuple[int, ...]) -> None:
    assert integer_weights(shares) == expected


def test_a_cluster_whose_weight_rounds_to_nothing_is_not_named_in_the_route() -> None:
    shares = (Backend("c", 0.99999), Backend("d", 0.00001))
    weighted = routes_of(RouteEntry("a", "a", "a", HEADER, shares, 2))["a"].route.weighted_clusters
    assert [each.name for each in weighted.clusters] == ["c"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param(None, ("prefix", "/"), id="none"),
        pytest.param(
            RoutePath("/", False), ("prefix", "/"), id="the root as a prefix, which Envoy's own refuses"
        ),
        pytest.param(RoutePath("/v1", False), ("path_separated_prefix", "/v1"), id="a prefix, by elements"),
        pytest.param(RoutePath("/v1/chat", True), ("path", "/v1/chat"), id="exact"),
    ],
)
def test_paths_match_by_elements(path: RoutePath | None, expected: tuple[str, str]) -> None:
    match = routes_of(entry("a", RequestMatch(path, headers=HEADER.headers)))["a"].match
    kind = match.WhichOneof("path_specifier")
    assert (kind, getattr(match, kind)) == expected


def test_the_listener_does_not_depend_on_classes() -> None:
    some = table(entry("a", HEADER), clusters=(ClusterEntry("c", ()),))
    assert resources_of(some)[-3:-1] == resources_of(table())[-3:-1]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [pytest.param(512, 512, id="a limit"), pytest.param(None, NO_LIMIT, id="none: Envoy's default is 1,024")],
)
def test_only_requests_are_limited_never_retries_or_connections(limit: int | None, expected: int) -> None:
    (threshold,) = cluster_of(ClusterEntry("c", (), request_limit=limit)).circuit_breakers.thresholds
    assert threshold.max_requests.value == expected
    others = (threshold.max_connections, threshold.max_pending_requests, threshold.max_retries)
    assert {each.value for each in others} == {NO_LIMIT}


def test_a_draining_endpoint_stays_listed_as_such_and_one_out_of_rotation_only_behind_the_hop() -> None:
    entry = ClusterEntry(
        "c",
        (
            Endpoint("10.0.0.1", 8000, "n/p"),
            Endpoint("10.0.0.2", 8001, "n/q", EndpointState.DRAINING),
            Endpoint("10.0.0.3", 8000, "n/r", EndpointState.NOT_READY),
            Endpoint("10.0.0.4", 8000, "n/s", EndpointState.TERMINATING),
            Endpoint("10.0.0.5", 8000, "n/t", EndpointState.MARKED),
        ),
    )
    (behind,) = tcp_assignment_of(entry).endpoints
    assert [e.endpoint.address.socket_address.address for e in behind.lb_endpoints] == [
        "10.0.0.1",
        "10.0.0.2",
        "10.0.0.3",
        "10.0.0.4",
        "10.0.0.5",
    ]
    (waiting,) = waiting_assignment_of(entry).endpoints
    assert [e.endpoint.hostname for e in waiting.lb_endpoints] == ["n/p", "n/r"], "what goes gets none"
    locality, _ = assignment_of(entry).endpoints
    found = [
        (
            e.endpoint.address.envoy_internal_address.endpoint_id,
            e.endpoint.health_check_config.address.socket_address.port_value,
            e.endpoint.hostname,
            e.health_status,
        )
        for e in locality.lb_endpoints
    ]
    assert found == [("10.0.0.1:8000", 8000, "n/p", 0), ("10.0.0.2:8001", 8001, "n/q", 3)]  # 3: DRAINING


@pytest.mark.parametrize(
    "endpoints",
    [
        pytest.param((Endpoint("10.0.0.1", 8000, "n/p"),), id="one ready"),
        pytest.param((Endpoint("10.0.0.1", 8000, "n/p", EndpointState.NOT_READY),), id="none ready"),
    ],
)
def test_requests_wait_only_while_no_replica_is_healthy(endpoints: tuple[Endpoint, ...]) -> None:
    assignment = assignment_of(ClusterEntry("c", endpoints))
    *_, last = assignment.endpoints
    (waiting,) = last.lb_endpoints
    assert last.priority == 1
    assert waiting.endpoint.health_check_config.disable_active_health_check
    # Envoy counts a priority's health as this share of its healthy endpoints, at most 100 %.
    assert assignment.policy.overprovisioning_factor.value >= 100 * 10_000


def test_requests_that_wait_try_their_clusters_own_replicas_then_the_alternatives_then_nothing() -> None:
    entries = (ClusterEntry("a", (), alternatives=("b",)), ClusterEntry("b", ()))
    resources = resources_of(table(clusters=entries))
    by_name = {message.name: message for message in resources if hasattr(message, "name")}
    assert members_of(by_name["any:a"]) == ("waiting:a", "waiting:b", "argosy-nowhere")
    assert members_of(by_name["any:b"]) == ("waiting:b", "argosy-nowhere")
    assert members_of(by_name["tcp:a"]) == ()
