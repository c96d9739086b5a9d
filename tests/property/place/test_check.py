"""The check of placements is total: it catches what was changed and never raises, whatever the values."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import MALFORMED, UNKNOWN_NAMES

from argosy.place.check import Violation, violations
from argosy.place.problem import NodeRoom, PlacedReplica, PlacementProblem, WantedReplicas
from argosy.place.solution import Placement, PlacementReport, Unplaced
from argosy.place.solve import solve
from argosy.plan.solution import SolveStatus

# chat grows, batch shrinks, large finds no room, one pod's node is gone: every part is there.
PROBLEM = PlacementProblem(
    nodes=(NodeRoom("n1", "a", 2), NodeRoom("n2", "a", 2), NodeRoom("n3", "a", 2)),
    placed=(
        PlacedReplica("chat-1", "chat", "n1", 1, ready=True, age_s=90.0),
        PlacedReplica("batch-1", "batch", "n1", 1, ready=True, age_s=90.0),
        PlacedReplica("batch-2", "batch", "n2", 1, ready=False, age_s=10.0),
        PlacedReplica("lost-1", "chat", "n9", 1, ready=True, age_s=90.0),
    ),
    wanted=(
        WantedReplicas("chat", "a", 1, 3),
        WantedReplicas("batch", "a", 1, 1),
        WantedReplicas("large", "a", 2, 1),
    ),
    draining=(("old-1", "n3", 1),),
)
GOOD = solve(PROBLEM)
Mutation = Callable[[Placement], Placement]


def _unplaced(**changes: Any) -> Mutation:
    return lambda p: replace(p, unplaced=(replace(p.unplaced[0], **changes),))


def _report(**changes: Any) -> Mutation:
    def change(placement: Placement) -> Placement:
        assert placement.report is not None
        return replace(placement, report=replace(placement.report, **changes))

    return change


@st.composite
def malformations(draw: st.DrawFn) -> Mutation:
    """One value or name of the placement replaced by one that no placement may carry."""
    value, name = draw(MALFORMED), draw(UNKNOWN_NAMES)
    pair = draw(st.sampled_from(sorted(GOOD.counts)))
    field = draw(st.sampled_from(("unplaced", "unplaced_bound", "status")))
    found: Mutation = draw(
        st.sampled_from(
            (
                lambda p: replace(p, counts={**p.counts, pair: value}),
                lambda p: replace(p, counts={**p.counts, (name, "n1"): 1}),
                lambda p: replace(p, counts={**p.counts, ("chat", name): 1}),
                lambda p: replace(p, counts={**p.counts, name: 1}),
                lambda p: replace(p, new_nodes={**p.new_nodes, "chat": ("n2", name)}),
                lambda p: replace(p, new_nodes={**p.new_nodes, name: ("n2",)}),
                lambda p: replace(p, new_nodes={}),
                lambda p: replace(p, new_nodes={"chat": ()}),
                lambda p: replace(p, victims=(*p.victims, name)),
                lambda p: replace(p, victims=(*p.victims, "chat-1")),
                lambda p: replace(p, victims=()),
                lambda p: replace(p, unplaced=()),
                _unplaced(replicas=value),
                _unplaced(option=name),
                _unplaced(message=draw(st.sampled_from(("", " ", None, 7)))),
                _report(**{field: value}),
            )
        )
    )
    return found


def test_the_placement_that_is_changed_is_sound_and_has_every_part() -> None:
    assert violations(PROBLEM, GOOD) == ()
    assert GOOD.new_nodes
    assert GOOD.victims
    assert GOOD.unplaced


@given(malformations())
@settings(max_examples=600, deadline=None)
def test_a_malformed_placement_is_caught_and_nothing_is_raised(mutate: Mutation) -> None:
    changed = mutate(GOOD)
    if changed == GOOD or changed == _report(unplaced_bound=0.5)(GOOD):
        return  # a sound value was drawn by chance
    found = violations(PROBLEM, changed)
    assert found != ()
    assert all(isinstance(v, Violation) and len(str(v).split()) > 4 for v in found)


names = st.one_of(
    UNKNOWN_NAMES, st.sampled_from(("chat", "batch", "large", "n1", "n2", "n3", "batch-2", "lost-1"))
)
values = st.one_of(MALFORMED, st.integers(0, 4), st.floats(0, 1))
statuses = st.one_of(st.sampled_from(SolveStatus), MALFORMED)
placements = st.builds(
    Placement,
    counts=st.dictionaries(st.tuples(names, names), values, max_size=5),
    new_nodes=st.dictionaries(names, st.lists(names, max_size=3).map(tuple), max_size=3),
    victims=st.lists(names, max_size=4).map(tuple),
    unplaced=st.lists(st.builds(Unplaced, names, values, names), max_size=3).map(tuple),
    report=st.one_of(st.none(), st.builds(PlacementReport, statuses, values, values, values, values)),
)


@given(placements)
@settings(max_examples=600, deadline=None)
def test_no_placement_at_all_makes_the_check_raise(placement: Placement) -> None:
    assert all(str(v) for v in violations(PROBLEM, placement))
