"""No half of a picture takes a replica away: any kinds unseen, any objects absent, in any order of events."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st
from small_fleet import World, a_class, a_fleet, a_model, a_pool, some_nodes

from argosy.api.kinds import WATCHED, kind_of
from argosy.control.picture.named import makers_by_deployment, missing_since
from argosy.control.picture.removal import is_destructive
from argosy.control.recheck import changed_since
from argosy.control.step import StepSettings, step
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.seen import KindSeen, KindState, Seen

NEEDED = [plural for plural in WATCHED if kind_of(plural).is_needed]
FIELDS = ("classes", "models", "pools", "policies", "plans", "nodes", "pods", "deployments")
UNSEEN = [state for state in KindState if state is not KindState.SEEN]


@cache
def a_world() -> World:
    """Two classes on two pools, settled; never changed by a test."""
    nodes = [*some_nodes("l40s", 4), *some_nodes("h100", 2)]
    world = World(
        nodes,
        a_fleet(),
        a_pool(),
        a_pool("h100", "H100"),
        a_model(),
        a_model("big"),
        a_class(rate_per_s=12.0),
        a_class("other", 12.0, models=[{"name": "big"}]),
    )
    world.settle()
    return world


def emptied(snapshot: FleetSnapshot, field: str) -> FleetSnapshot:
    empty: object = () if field == "plans" else {}
    return replace(snapshot, **{field: empty})  # type: ignore[arg-type]


def removed(snapshot: FleetSnapshot) -> list[object]:
    """What a decision on this snapshot would take away; also by a step that is checked against it again."""
    world = a_world()
    decision = step(snapshot, world.memory, StepSettings("a test", plan_time_limit_s=None), world.perf)
    assert decision.alarm == ""
    if decision.new_plan is not None:
        before = world.snapshot().applied_plan
        assert before is not None
        planned = {d.name: d.replicas for d in decision.new_plan.spec.deployments}
        assert all(planned.get(d.name, 0) >= d.replicas for d in before.spec.deployments)
    return [each.step for each in decision.steps if is_destructive(each.step, world.snapshot())]


@settings(max_examples=60, deadline=None)
@given(
    kinds=st.dictionaries(st.sampled_from(NEEDED), st.sampled_from(UNSEEN), min_size=1),
    fields=st.sets(st.sampled_from(FIELDS)),
)
def test_kinds_that_cannot_be_seen_take_nothing_away_whatever_else_is_missing(
    kinds: dict[str, KindState], fields: set[str]
) -> None:
    snapshot = a_world().snapshot()
    for field in sorted(fields):
        snapshot = emptied(snapshot, field)
    seen = Seen({plural: KindSeen(plural, state) for plural, state in kinds.items()})
    assert removed(replace(snapshot, seen=seen)) == []


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_objects_that_are_absent_and_not_known_to_be_deleted_take_nothing_away(data: st.DataObject) -> None:
    snapshot = a_world().snapshot()
    for field in ("classes", "models", "pools"):
        every = dict(getattr(snapshot, field))
        kept = data.draw(st.sets(st.sampled_from(sorted(every))), label=field)
        snapshot = replace(snapshot, **{field: {k: v for k, v in every.items() if k in kept}})
    absent = frozenset(missing_since(makers_by_deployment(snapshot).values()))
    assert removed(replace(snapshot, seen=Seen(absent=absent))) == []


@settings(max_examples=30, deadline=None)
@given(kinds=st.dictionaries(st.sampled_from(NEEDED), st.sampled_from(UNSEEN), min_size=1))
def test_a_removal_that_was_decided_on_a_whole_picture_is_not_taken_on_half_of_one(
    kinds: dict[str, KindState],
) -> None:
    world = a_world()
    snapshot = replace(world.snapshot(), classes={})
    deleted = frozenset(missing_since(makers_by_deployment(snapshot).values()))
    whole = replace(snapshot, seen=Seen(deleted=deleted))
    decision = step(whole, world.memory, StepSettings("a test", plan_time_limit_s=None), world.perf)
    half = replace(whole, seen=Seen({p: KindSeen(p, state) for p, state in kinds.items()}, deleted=deleted))
    destructive = [each for each in decision.steps if is_destructive(each.step, whole)]
    assert destructive != []
    plans = (decision.follow,) if decision.follow else ()
    applied = world.snapshot().applied_plan
    assert applied is not None
    for each in destructive:
        relies_on = replace(each.relies_on, plan=applied.key)
        assert plans
        assert changed_since(replace(each, relies_on=relies_on), half) != ""
        assert changed_since(replace(each, relies_on=relies_on), whole) == ""
