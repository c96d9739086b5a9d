"""The rule of sharing by itself: which classes are in one group, at its edges, without planning anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
from small_fleet import FakePerf, World, a_class, a_fleet, a_model, a_pool, some_nodes

from argosy.api import FleetPlan, WorkloadClass
from argosy.control.candidates.resolve import Known, resolve
from argosy.control.candidates.sharing import shared_cells
from argosy.control.state.nodes import pool_nodes
from argosy.control.step import StepSettings, step
from argosy.keys import CellName, ClassKey, GroupName
from argosy.perf.protocol import Capacity, OutOfRange, OutOfRangeReason
from argosy.snapshot import Mix, Slo, SloTerm, Term, Variant

BOUND = SloTerm(Term.TTFT, 0.95, 500.0)


@dataclass(frozen=True)
class Asked(FakePerf):
    """Answers by a TTFT bound (ms), where it is listed; `questions`: each bound that was asked for.

    of_tokens: the mean output of the only classes for which the list holds; 0: for all
    """

    listed: Mapping[float, float | OutOfRange] = field(default_factory=dict)
    of_tokens: int = 0
    questions: list[tuple[str, float]] = field(default_factory=list)

    def capacity(self, variant: Variant, mix: Mix, slo: Slo) -> Capacity | OutOfRange:
        bound_ms = min(term.bound_ms for term in slo.terms)
        self.questions.append((variant.gpu, bound_ms))
        found = self.listed.get(bound_ms)
        if found is None or (self.of_tokens and mix.mean_output_tokens != self.of_tokens):
            return super().capacity(variant, mix, slo)
        return found if isinstance(found, OutOfRange) else Capacity(found, BOUND)


def ttft(name: str, bound_ms: float, **spec: object) -> WorkloadClass:
    return a_class(name, rate_per_s=1.0, **{"slo": {"ttft": {"p95Milliseconds": bound_ms}}, **spec})


def created(item: WorkloadClass, day: int) -> WorkloadClass:
    """Made on that day of a month."""
    metadata = item.metadata.model_copy(update={"creation_timestamp": f"2026-01-{day:02}T00:00:00Z"})
    return item.model_copy(update={"metadata": metadata})


class Sharing:
    """The groups of some classes, each of which every pool can serve by itself with 4 requests/s per GPU.

    perf: answers for groups; before: the planned group and rate (requests/s) of a class; unable: what
    nothing can serve; l40s_only: what only that GPU can serve
    """

    def __init__(
        self,
        *workloads: WorkloadClass,
        perf: Asked | None = None,
        before: Mapping[str, tuple[str, float]] | None = None,
        unable: tuple[str, ...] = (),
        l40s_only: tuple[str, ...] = (),
    ) -> None:
        self.perf = perf or Asked()
        pools = [a_pool(), a_pool("h100", "H100")]
        nodes = [*some_nodes("l40s", 4), *some_nodes("h100", 2)]
        world = World(nodes, a_fleet(), *(pools if l40s_only else pools[:1]), a_model(), *workloads)
        snapshot = world.snapshot()
        if before:
            snapshot = replace(snapshot, plans=(a_plan(world, before),))
        places = pool_nodes(snapshot, frozenset())
        alone = resolve(Known.of(snapshot, places, FakePerf()))
        rows = {}
        for key, row in alone.classes.items():
            able = () if key.name in unable else row.able
            kept = tuple(a for a in able if a.variant.gpu == "L40S" or key.name not in l40s_only)
            rows[key] = replace(row, able=kept)
        self.cells = shared_cells(replace(alone, classes=rows), Known.of(snapshot, places, self.perf))

    @property
    def groups(self) -> dict[str, str]:
        return {row.workload_class.name: row.group.name for row in self.cells.rows}


def a_plan(world: World, before: Mapping[str, tuple[str, float]]) -> FleetPlan:
    """A plan with these cells, whatever else it says."""
    plan = step(world.snapshot(), world.memory, StepSettings("a test"), FakePerf()).new_plan
    assert plan is not None
    cells = []
    for name, (group, rate_per_s) in before.items():
        key = ClassKey.of("default", name)
        changed = {
            "name": CellName.of_class(key),
            "workload_class": key,
            "sharing_group": GroupName.of("default", group),
            "requests_per_second": rate_per_s,
        }
        cells.append(plan.spec.cells[0].model_copy(update=changed))
    return plan.model_copy(update={"spec": plan.spec.model_copy(update={"cells": tuple(cells)})})


def test_each_class_has_one_cell_and_they_are_in_the_order_of_their_names() -> None:
    found = Sharing(ttft("c", 2000), ttft("a", 2000), ttft("b", 2000, priority=7))
    assert list(found.groups) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("carried", "is_shared"),
    [
        pytest.param(2.0, True, id="exactly half of its 4 requests/s"),
        pytest.param(1.99, False, id="less than half"),
        pytest.param(0.0, False, id="nothing"),
        pytest.param(float("inf"), False, id="a number that is none"),
        pytest.param(OutOfRange(OutOfRangeReason.CONTEXT_TOO_LONG, "too long"), False, id="no answer"),
    ],
)
def test_classes_share_where_a_replica_carries_half_of_each_within_the_strictest_slo(
    carried: float | OutOfRange, is_shared: bool
) -> None:
    found = Sharing(ttft("chat", 2000), ttft("fast", 100), perf=Asked(listed={100.0: carried}))
    assert found.groups == {"chat": "chat", "fast": "chat" if is_shared else "fast"}


def test_what_was_asked_once_is_not_asked_again_and_a_class_with_the_strictest_slo_is_not_asked_for() -> None:
    found = Sharing(ttft("chat", 2000), ttft("code", 1000), ttft("fast", 100))
    assert found.perf.questions == [("L40S", 100.0)]


def test_classes_that_have_different_variants_do_not_share() -> None:
    both = (ttft("chat", 2000), ttft("code", 2000))
    assert Sharing(*both, l40s_only=("chat",)).groups == {"chat": "chat", "code": "code"}
    assert Sharing(*both, l40s_only=("chat", "code")).groups == {"chat": "chat", "code": "chat"}


@pytest.mark.parametrize(
    ("days", "groups"),
    [
        pytest.param((1, 2, 3), {"a": "a", "b": "a", "c": "c"}, id="the oldest two"),
        pytest.param((3, 2, 1), {"a": "a", "b": "c", "c": "c"}, id="the other way round"),
    ],
)
def test_where_not_all_can_share_the_older_ones_find_their_group_first(
    days: tuple[int, int, int], groups: dict[str, str]
) -> None:
    """Within 1000 ms a replica carries enough of each, within 400 ms of none but the class that asks it."""
    terms = (2000.0, 1000.0, 400.0) if days[0] == 1 else (400.0, 1000.0, 2000.0)
    perf = Asked(listed={400.0: 1.0})
    workloads = [created(ttft(name, bound), day) for name, bound, day in zip("abc", terms, days, strict=True)]
    assert Sharing(*workloads, perf=perf).groups == groups


@pytest.mark.parametrize(
    ("quick", "slow", "joined"),
    [
        pytest.param(("q", 5.0), ("s", 1.0), "q", id="the first"),
        pytest.param(("q", 1.0), ("s", 5.0), "s", id="the second"),
        pytest.param(("t", 1.0), ("s", 1.0), "s", id="of two with as many the first by name"),
    ],
)
def test_of_the_parts_that_it_can_share_with_a_new_class_joins_that_of_the_largest_group(
    quick: tuple[str, float], slow: tuple[str, float], joined: str
) -> None:
    """Within 400 ms a replica carries too little of `slow` and enough of `new`."""
    table = [{"promptTokens": 200, "outputTokens": 24, "weight": 1}]
    lengths = {"traffic": {"requestsPerSecond": 1, "lengths": {"table": table}}}
    workloads = (ttft("quick", 400), ttft("slow", 2000, **lengths), ttft("new", 1000))
    before = {"quick": quick, "slow": slow}
    perf = Asked(listed={400.0: 1.0}, of_tokens=24)
    found = Sharing(*workloads, perf=perf, before=before).groups
    assert found == {"quick": quick[0], "slow": slow[0], "new": joined}


STRANDED = ("lost",)


def test_a_class_that_nothing_can_serve_stays_with_its_group() -> None:
    before = {"chat": ("g", 1.0), "lost": ("g", 1.0)}
    found = Sharing(ttft("chat", 2000), ttft("lost", 2000), before=before, unable=STRANDED)
    assert found.groups == {"chat": "g", "lost": "g"}


def test_a_class_that_nothing_can_serve_and_that_had_no_group_is_alone() -> None:
    found = Sharing(ttft("chat", 2000), ttft("lost", 2000), before={"chat": ("g", 1.0)}, unable=STRANDED)
    assert found.groups == {"chat": "g", "lost": "lost"}


def test_it_goes_where_most_classes_of_its_group_are_now() -> None:
    """The group has split: one class has another priority now, two have the old one."""
    perf = Asked(listed={400.0: 1.0})
    workloads = (ttft("a", 400), ttft("b", 2000), ttft("c", 2000), ttft("lost", 2000))
    before = dict.fromkeys(("a", "b", "c", "lost"), ("g", 1.0))
    found = Sharing(*workloads, perf=perf, before=before, unable=STRANDED).groups
    assert found["lost"] == found["b"] == found["c"] == "g"
    assert found["a"] == "a"


def test_of_two_parts_with_as_many_classes_it_goes_to_the_first() -> None:
    perf = Asked(listed={400.0: 1.0})
    workloads = (ttft("a", 400), ttft("b", 2000), ttft("lost", 2000))
    before = {"a": ("g", 1.0), "b": ("g", 1.0), "lost": ("g", 1.0)}
    found = Sharing(*workloads, perf=perf, before=before, unable=STRANDED).groups
    assert found == {"a": "g", "b": "b", "lost": "g"}


def test_those_of_a_group_that_nothing_can_serve_stay_together_and_give_its_name_to_others() -> None:
    both = ("gone", "lost")
    workloads = (ttft("chat", 2000), ttft("gone", 2000), ttft("lost", 2000))
    alone = {"chat": ("c", 1.0), "gone": ("g", 1.0), "lost": ("g", 1.0)}
    assert Sharing(*workloads, before=alone, unable=both).groups == {"chat": "c", "gone": "g", "lost": "g"}


def test_those_of_different_groups_that_nothing_can_serve_stay_apart() -> None:
    both = ("gone", "lost")
    workloads = (ttft("chat", 2000), ttft("gone", 2000), ttft("lost", 2000))
    before = {"chat": ("c", 1.0), "gone": ("g", 1.0), "lost": ("l", 1.0)}
    assert Sharing(*workloads, before=before, unable=both).groups == {"chat": "c", "gone": "g", "lost": "l"}
