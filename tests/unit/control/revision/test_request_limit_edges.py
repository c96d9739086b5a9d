"""How many requests in flight are needed, to one: limits are powers of two, and one that is published stays
from exactly the need on, up to four times as much."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import ceil
from typing import Any

import pytest
from small_fleet import START_S, World, a_class, a_fleet, a_model, a_pool, some_nodes

from argosy.api import FleetPlan, WorkloadClass
from argosy.control import step as step_module
from argosy.control.revision.decided import Decided
from argosy.control.revision.request_limits import EnvoyCount, envoy_count, request_limits, stepped
from argosy.control.state.routable import PATIENCE_S
from argosy.control.step import StepSettings, step
from argosy.snapshot.fleet import EnvoyState, RoutingView


class Limits:
    """Of what is decided for some classes on L40S, which carries 4 requests/s and has 256 slots."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *workloads: WorkloadClass, is_mixed: bool = False
    ) -> None:
        """is_mixed: one L40S and one H100, which carries 16 requests/s, are all that there is."""
        mixed = [*some_nodes("l40s", 1, 1), *some_nodes("h100", 1, 1)]
        pools = [a_pool(), a_pool("h100", "H100")] if is_mixed else [a_pool()]
        nodes = mixed if is_mixed else some_nodes("l40s", 8)
        world = World(nodes, a_fleet(), *pools, a_model(), *workloads)
        found: list[Decided] = []

        def noted(decided: Decided, envoys: EnvoyCount, last: FleetPlan | None) -> dict[object, int]:
            found.append(decided)
            return {**request_limits(decided, envoys, last)}

        monkeypatch.setattr(step_module, "request_limits", noted)
        snapshot = replace(world.snapshot(), routing=RoutingView("v", (EnvoyState("envoy-0", "v"),)))
        plan = step(snapshot, world.memory, StepSettings("a test"), world.perf).new_plan
        assert plan is not None
        self.plan, [self.decided] = plan, found

    def published(self, limit: int, num_envoys: int, *, is_sure: bool = True, more: int = 0) -> int | None:
        """The limit where `limit` was published before, for `more` replicas than are planned now."""
        rows = tuple(
            d.model_copy(update={"request_limit": limit, "replicas": d.replicas + more})
            for d in self.plan.spec.deployments
        )
        before = self.plan.model_copy(
            update={"spec": self.plan.spec.model_copy(update={"deployments": rows})}
        )
        return next(
            iter(request_limits(self.decided, EnvoyCount(num_envoys, is_sure), before).values()), None
        )

    def assert_needed(self, needed: float, num_envoys: int) -> None:
        """That exactly `needed` requests in flight are needed at each Envoy."""
        lowest, highest = ceil(needed), int(4 * needed)
        kept = [
            limit for limit in range(lowest - 2, lowest + 3) if self.published(limit, num_envoys) == limit
        ]
        power = 1 << (lowest - 1).bit_length()
        assert [limit for limit in kept if limit != power] == [
            limit for limit in (lowest, lowest + 1, lowest + 2) if limit != power
        ]
        assert self.published(highest, num_envoys) == highest
        assert self.published(highest + 1, num_envoys) == power


@pytest.fixture
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as found:
        yield found


TTFT = {"ttft": {"p95Milliseconds": 2000}}


def e2e(milliseconds: int) -> dict[str, object]:
    return {"slo": {**TTFT, "e2e": {"p95Milliseconds": milliseconds}}}


def of_tokens(output_tokens: int) -> dict[str, object]:
    table = [{"promptTokens": 200, "outputTokens": output_tokens, "weight": 1}]
    return {"traffic": {"requestsPerSecond": 8, "source": "Declared", "lengths": {"table": table}}}


SPREAD = 8.5
"""Variance of the number in flight over its mean, with gaps of a CV of 4: (1 + 16) / 2."""


def burst(planned: float) -> float:
    return float(planned + 5 * (planned * SPREAD) ** 0.5)


@pytest.mark.parametrize(
    ("fields", "num_envoys", "needed"),
    [
        pytest.param(e2e(10_000), 1, 528, id="slots and queue of two replicas"),
        pytest.param(e2e(10_000), 0, 528, id="no Envoy is connected yet: as for one"),
        pytest.param(e2e(10_000), 2, 264, id="half of it for each of two Envoys"),
        pytest.param(e2e(30_000), 16, 480, id="twice the planned 8/s x 30 s"),
        pytest.param(e2e(10_000), 16, burst(80), id="a burst above 8/s x 10 s"),
        pytest.param(e2e(100_000), 16, 1024, id="no more are planned than there are slots"),
        pytest.param({}, 16, 1024, id="all slots, where the time of an answer is not bounded"),
        pytest.param(
            {"slo": {**TTFT, "itl": {"p95Milliseconds": 50}}, **of_tokens(100)},
            16,
            burst(8 * 7.0),
            id="the wait of 2 s and 100 tokens of 50 ms",
        ),
        pytest.param(
            {
                "slo": {**TTFT, "itl": {"p95Milliseconds": 50}, "e2e": {"p95Milliseconds": 4000}},
                **of_tokens(100),
            },
            16,
            burst(8 * 4.0),
            id="the bound on the whole answer before the sum of its parts",
        ),
    ],
)
def test_the_need_of_one_class_to_one_request(
    patch: pytest.MonkeyPatch, fields: dict[str, object], num_envoys: int, needed: float
) -> None:
    limits = Limits(patch, a_class(**{"rate_per_s": 8.0, **fields}))  # type: ignore[arg-type]
    assert list(limits.decided.plan.replicas.values()) == [2]
    limits.assert_needed(needed, num_envoys)


@pytest.mark.parametrize(
    ("chat", "code", "num_envoys", "needed"),
    [
        pytest.param(
            e2e(10_000),
            {"slo": {"ttft": {"p95Milliseconds": 1500}, "e2e": {"p95Milliseconds": 10_000}}},
            1,
            528,
            id="the longest queue of both",
        ),
        pytest.param(e2e(10_000), e2e(30_000), 16, burst(4 * 10 + 4 * 30), id="what is planned of both"),
        pytest.param(e2e(10_000), {}, 16, 1024, id="all slots, where one of them has no bound"),
    ],
)
def test_the_need_of_two_classes_that_share(
    patch: pytest.MonkeyPatch,
    chat: dict[str, object],
    code: dict[str, object],
    num_envoys: int,
    needed: float,
) -> None:
    both = (a_class("chat", rate_per_s=4.0, **chat), a_class("code", rate_per_s=4.0, **code))
    limits = Limits(patch, *both)
    assert list(limits.decided.plan.replicas.values()) == [2]
    limits.assert_needed(needed, num_envoys)


def test_the_need_of_a_single_replica_to_one_request(patch: pytest.MonkeyPatch) -> None:
    limits = Limits(patch, a_class(rate_per_s=4.0, **e2e(10_000)))
    assert list(limits.decided.plan.replicas.values()) == [1]
    limits.assert_needed(256 + 4 * 2, 1)


def test_each_deployment_of_a_class_has_the_limit_of_its_own_share(patch: pytest.MonkeyPatch) -> None:
    """20 requests/s: 16 on the H100 and 4 on the L40S, each for 10 s."""
    limits = Limits(patch, a_class(rate_per_s=20.0, **e2e(10_000)), is_mixed=True)
    found = {key.name: limit for key, limit in request_limits(limits.decided, EnvoyCount(16), None).items()}
    pools = {d.name.name: d.pool for d in limits.plan.spec.deployments}
    assert {pools[name]: limit for name, limit in found.items()} == {"h100": 512, "l40s": 256}
    assert 256 < burst(16 * 10) < 512
    assert 128 < burst(4 * 10) < 256


def test_there_is_no_limit_where_one_of_two_classes_may_wait_for_ever(patch: pytest.MonkeyPatch) -> None:
    itl = {"slo": {"itl": {"p95Milliseconds": 50}}}
    limits = Limits(patch, a_class("chat", rate_per_s=4.0), a_class("code", rate_per_s=4.0, **itl))
    assert len(limits.plan.spec.deployments) == 1
    assert limits.published(528, 1) is None


@pytest.mark.parametrize(
    ("needed", "before", "limit"),
    [
        pytest.param(100, None, 128, id="the next power of two"),
        pytest.param(128, None, 128, id="or the need itself"),
        pytest.param(0.2, None, 1, id="never none"),
        pytest.param(600_000, None, 1_000_000, id="nor more than Envoy is given at most"),
        pytest.param(100, 100, 100, id="kept: just enough"),
        pytest.param(100, 99, 128, id="one too few"),
        pytest.param(100, 400, 400, id="kept: four times as many"),
        pytest.param(100, 401, 128, id="one more than that"),
    ],
)
def test_a_limit_at_its_edges(needed: float, before: int | None, limit: int) -> None:
    assert stepped(needed, before) == limit


# --- how many Envoys there are --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        pytest.param({}, 1, id="those that are connected"),
        pytest.param(
            {"gone_at_s": {"b": START_S - PATIENCE_S + 1}}, 2, id="and one that is gone for a moment"
        ),
        pytest.param({"gone_at_s": {"b": START_S - PATIENCE_S}}, 1, id="not for longer"),
        pytest.param({"gone_at_s": {"a": START_S - 1}}, 1, id="one that has come again counts once"),
        pytest.param(
            {"since_s": START_S - PATIENCE_S + 1}, None, id="not sure: the process has just started"
        ),
        pytest.param({"since_s": START_S - PATIENCE_S}, 1, id="a minute later it is sure"),
    ],
)
def test_an_envoy_that_is_away_for_a_moment_counts(view: dict[str, Any], expected: int | None) -> None:
    world = World(some_nodes("l40s", 1), a_fleet())
    routing = RoutingView("v", (EnvoyState("a", "v"),), **view)
    found = envoy_count(replace(world.snapshot(), routing=routing))
    assert found == (EnvoyCount(1, is_sure=False) if expected is None else EnvoyCount(expected))


def test_while_the_number_of_envoys_is_not_sure_a_limit_stays_unless_replicas_come_or_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = Limits(monkeypatch, a_class())
    assert (limits.published(256, 1), limits.published(256, 1, is_sure=False)) == (1024, 256)
    assert limits.published(256, 1, is_sure=False, more=1) == 1024
