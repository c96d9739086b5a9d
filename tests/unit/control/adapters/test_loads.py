"""How much of the requests each adapter gets: as counted, else as declared."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from small_fleet import World, a_class, a_fleet, a_model, a_pool, body_of, some_nodes

from argosy.control.adapters.residency import Replica, WantedAdapter, assign
from argosy.control.adapters.steps import targets
from argosy.control.fast import ReactSettings, react
from argosy.demand.adapters import (
    HALF_LIFE_S,
    PRIOR_REQUESTS,
    STALE_S,
    AdapterLoads,
    expected_loads,
    observe,
)
from argosy.keys import CellName, GroupName, ModelKey
from argosy.snapshot import Sample

CELL = CellName("default/chat")
OF = (ModelKey("default/llama"), GroupName("default/chat"))


def model(**weights: int) -> Any:
    adapters = [
        {"name": name, "source": f"/{name}", "rank": 8, "weight": weight} for name, weight in weights.items()
    ]
    return a_model(adapters=adapters, engine={"maxLoras": 2})


class Counting(World):
    """A fleet with Envoys that have counted requests for adapters."""

    loads = AdapterLoads()

    def read(self, after_s: float = 2.0, **totals_by_envoy: dict[str, float]) -> None:
        self.now_s += after_s
        adapters = {
            node: Sample({(CELL, name): total for name, total in totals.items()}, self.now_s)
            for node, totals in totals_by_envoy.items()
        }
        self.reading = replace(self.snapshot().telemetry, adapters=adapters)
        self.loads = observe(self.loads, self.seen_now())

    def seen_now(self) -> Any:
        return replace(self.snapshot(), telemetry=self.reading)

    def shares(self) -> dict[str, tuple[float, bool]]:
        (llama,) = self.snapshot().models.values()
        found = expected_loads(self.loads, OF, llama.spec.adapters, self.now_s)
        return {name: (round(each.share, 3), each.is_measured) for name, each in found.items()}


@pytest.fixture
def world() -> Counting:
    workload = a_class(match={"path": {"value": "/v1"}})
    found = Counting(some_nodes("l40s", 4), a_fleet(), a_pool(), model(sql=3, law=1), workload)
    found.settle()
    return found


DECLARED = {"sql": (0.75, False), "law": (0.25, False)}


def test_without_a_count_the_declared_weights_are_used(world: Counting) -> None:
    assert world.shares() == DECLARED
    world.read(edge={"sql": 0.0, "law": 5000.0})
    assert world.shares() == DECLARED, "the first totals may be from any time before"
    world.read(edge={"sql": 0.0, "law": 5000.0})
    assert world.shares() == DECLARED, "no request is no measurement"


def test_what_is_counted_takes_over_without_a_step(world: Counting) -> None:
    world.read(edge={})
    world.read(edge={"law": 1.0})
    assert world.shares()["law"] == (
        pytest.approx((1 + 0.25 * PRIOR_REQUESTS) / (1 + PRIOR_REQUESTS), abs=0.001),
        False,
    )
    world.read(edge={"law": 900.0, "sql": 100.0})
    assert world.shares() == {
        "sql": (pytest.approx(0.13, abs=0.01), True),
        "law": (pytest.approx(0.87, abs=0.01), True),
    }


def test_envoys_add_up_and_one_that_starts_again_loses_nothing(world: Counting) -> None:
    world.read(a={"sql": 10.0}, b={"sql": 0.0})
    world.read(a={"sql": 110.0}, b={"law": 100.0})
    world.read(a={"sql": 50.0}, b={"law": 100.0})
    (heard,) = world.loads.heard.values()
    assert round(heard["sql"].num) == 150
    assert round(heard["law"].num) == 100
    assert round(heard["sql"].of) == 250


def test_old_counts_fade_and_the_same_reading_counts_once(world: Counting) -> None:
    world.read(edge={})
    world.read(edge={"sql": 400.0})
    again = observe(world.loads, world.seen_now())
    assert again == world.loads
    world.read(HALF_LIFE_S, edge={"sql": 400.0})
    (heard,) = world.loads.heard.values()
    assert heard["sql"].num == pytest.approx(200.0)


def test_where_no_envoy_is_read_the_estimate_holds_and_then_the_weights_do(world: Counting) -> None:
    world.read(edge={})
    world.read(edge={"law": 1000.0})
    measured = world.shares()
    world.read(STALE_S)
    assert world.shares() == measured, "missing counters are not missing requests"
    world.now_s += 1.0
    assert world.shares() == DECLARED


def test_a_new_adapter_starts_with_its_declared_share_and_one_that_is_gone_is_forgotten(
    world: Counting,
) -> None:
    world.read(edge={})
    world.read(edge={"sql": 1000.0, "stranger": 1000.0})
    world.apply(model(sql=1, new=1))
    world.read(edge={"sql": 1000.0})
    (heard,) = world.loads.heard.values()
    assert set(heard) == {"sql", "new"}
    assert world.shares()["new"] == (0.5, False)
    assert world.shares()["sql"][0] > 0.9


def test_the_adapter_with_the_most_counted_requests_is_on_more_replicas(world: Counting) -> None:
    world.apply(model(sql=9, law=1, med=1))

    def copies() -> tuple[list[int], str]:
        (found,) = targets(world.snapshot(), loads=world.loads).by_group.values()
        names = ("sql", "law", "med")
        return [sum(name in held for held in found.by_pod.values()) for name in names], found.order[0]

    assert copies() == ([2, 1, 1], "sql")
    world.read(edge={})
    world.read(edge={"med": 900.0, "law": 50.0, "sql": 50.0})
    assert copies() == ([1, 1, 2], "med")


def test_the_traffic_loop_counts_and_the_status_shows_what_was_used(world: Counting) -> None:
    for totals in ({}, {"law": 900.0, "sql": 100.0}):
        world.read(edge=totals)
        reaction = react(world.seen_now(), world.memory, ReactSettings(is_leader=False))
        world.memory = world.memory.with_traffic(reaction.memory)
    assert world.memory.traffic.adapters == world.loads
    told = body_of(world.decide(), "default/llama", "servedmodels")["adapters"]
    assert [(a["name"], a["requestShare"], a["shareSource"]) for a in told] == [
        ("sql", 0.1, "Measured"),
        ("law", 0.9, "Measured"),
    ]
    world.now_s += STALE_S + 1.0
    told = body_of(world.decide(), "default/llama", "servedmodels")["adapters"]
    assert [(a["requestShare"], a["shareSource"]) for a in told] == [(0.8, "Declared"), (0.2, "Declared")]


def test_at_steady_rates_copies_hardly_move(world: Counting) -> None:
    """Six adapters on eight slots for four hours, three requests/s in all, looked at every minute."""
    chance = random.Random(7)
    rates = {"a": 8, "b": 4, "c": 3, "d": 2, "e": 2, "f": 1}
    world.apply(model(**dict.fromkeys(rates, 1)))
    (llama,) = world.snapshot().models.values()
    totals = dict.fromkeys(rates, 0.0)
    world.read(edge=dict(totals))
    held: dict[str, frozenset[str]] = {f"p{number}": frozenset() for number in range(4)}
    moves = 0
    for minute in range(240):
        for name in chance.choices(list(rates), list(rates.values()), k=180):
            totals[name] += 1.0
        world.read(60.0, edge=dict(totals))
        loads = expected_loads(world.loads, OF, llama.spec.adapters, world.now_s)
        wanted = [WantedAdapter(name, each.share) for name, each in loads.items()]
        found = assign(wanted, [Replica(pod, 2, names) for pod, names in held.items()]).by_pod
        moves += sum(len(found[pod] - held[pod]) for pod in held) if minute > 30 else 0
        held = dict(found)
    assert moves <= 1
