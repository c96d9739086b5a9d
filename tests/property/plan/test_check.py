"""The check of plans is total: it catches what was changed and never raises, whatever the values."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import MALFORMED, UNKNOWN_NAMES

from argosy.plan.check import violations
from argosy.plan.problem import Cell, Option, PlanProblem, PoolLimit
from argosy.plan.solution import Plan, Shortfall, ShortfallCause, SolveReport, SolveStatus
from argosy.plan.solve import solve
from argosy.plan.violation import Violation

# Two classes in one group of two options, and a group that is short: every part of a plan is there.
PROBLEM = PlanProblem(
    cells=(Cell("chat", "shared", 6.0, 2), Cell("code", "shared", 3.0, 1), Cell("batch", "batch", 9.0, 1)),
    options=(
        Option("s-1", "shared", "llama", "a", 1, 1.0, 20.0, 1),
        Option("s-2", "shared", "llama", "b", 2, 2.5, 20.0),
        Option("b-1", "batch", "qwen", "a", 1, 1.0, 0.0),
        Option("b-3", "batch", "qwen", "b", 3, 3.0, 0.0),
    ),
    pools=(PoolLimit("a", (2, 2)), PoolLimit("b", (5,))),
    capacity_per_s={
        ("chat", "s-1"): 2.5,
        ("chat", "s-2"): 6.0,
        ("code", "s-2"): 5.0,
        ("batch", "b-1"): 1.0,
        ("batch", "b-3"): 2.0,
    },
    min_replicas={"shared": 2, "batch": 1},
    max_replicas={"llama": 6},
    budget_usd_per_hour=20.0,
)
GOOD = solve(PROBLEM)
Mutation = Callable[[Plan], Plan]

fields = ("objective_usd_per_hour", "bound_usd_per_hour", "gap", "seconds", "status")


def _shortfall(**changes: Any) -> Mutation:
    return lambda p: replace(p, shortfalls=(replace(p.shortfalls[0], **changes), *p.shortfalls[1:]))


@st.composite
def malformations(draw: st.DrawFn) -> Mutation:
    """One value or name of the plan replaced by one that no plan may carry."""
    value, name = draw(MALFORMED), draw(UNKNOWN_NAMES)
    option = draw(st.sampled_from(sorted(GOOD.replicas)))
    pair = draw(st.sampled_from(sorted(GOOD.shares)))
    found: Mutation = draw(
        st.sampled_from(
            (
                lambda p: replace(p, replicas={**p.replicas, option: value}),
                lambda p: replace(p, replicas={**p.replicas, name: 1}),
                lambda p: replace(p, shares={**p.shares, pair: value}),
                lambda p: replace(p, shares={**p.shares, (name, pair[1]): 0.5}),
                lambda p: replace(p, shares={**p.shares, (pair[0], name): 0.5}),
                lambda p: replace(p, shares={**p.shares, name: 0.5}),
                lambda p: replace(p, cost_usd_per_hour=value),
                lambda p: replace(p, unmet_floors={"batch": value}),
                lambda p: replace(p, unmet_floors={name: 1}),
                _shortfall(missing_per_s=value),
                _shortfall(cell=name),
                _shortfall(cause=value),
                _shortfall(message=draw(st.sampled_from(("", " ", None, 7)))),
                lambda p: replace(p, report=replace(p.report, **{draw(st.sampled_from(fields)): value})),
            )
        )
    )
    return found


def _is_sound(report: SolveReport) -> bool:
    """A report may be changed to another sound one: 10**9 seconds, an objective far above its bound."""
    figures = (report.objective_usd_per_hour, report.bound_usd_per_hour, report.gap, report.seconds)
    if any(isinstance(f, bool) or not isinstance(f, int | float) or abs(f) > 1e308 for f in figures):
        return False
    objective, bound, gap, seconds = figures
    return bound <= objective and 0 <= gap <= 1 and seconds >= 0 and isinstance(report.status, SolveStatus)


@given(malformations())
@settings(max_examples=600, deadline=None)
def test_a_malformed_plan_is_caught_and_nothing_is_raised(mutate: Mutation) -> None:
    changed = mutate(GOOD)
    found = violations(PROBLEM, changed)
    if _is_sound(changed.report) and changed.report is not GOOD.report:
        assert found == ()
    else:
        assert found != ()
    assert all(isinstance(v, Violation) and len(str(v).split()) > 4 for v in found)


def test_the_plan_that_is_changed_is_sound_and_has_every_part() -> None:
    assert violations(PROBLEM, GOOD) == ()
    assert GOOD.shares
    assert GOOD.shortfalls


names = st.one_of(
    UNKNOWN_NAMES, st.sampled_from(("chat", "code", "batch", "s-1", "s-2", "b-1", "b-3", "shared"))
)
values = st.one_of(MALFORMED, st.integers(0, 4), st.floats(0, 1))
plans = st.builds(
    Plan,
    replicas=st.dictionaries(names, values, max_size=5),
    shares=st.dictionaries(st.tuples(names, names), values, max_size=5),
    shortfalls=st.lists(
        st.builds(Shortfall, names, values, st.one_of(st.sampled_from(ShortfallCause), MALFORMED), names),
        max_size=3,
    ).map(tuple),
    cost_usd_per_hour=values,
    report=st.builds(
        SolveReport, st.one_of(st.sampled_from(SolveStatus), MALFORMED), values, values, values, values
    ),
    unmet_floors=st.dictionaries(names, values, max_size=3),
)


@given(plans)
@settings(max_examples=600, deadline=None)
def test_no_plan_at_all_makes_the_check_raise(plan: Plan) -> None:
    assert all(str(v) for v in violations(PROBLEM, plan))


SOUND_NAMES = st.sampled_from(sorted(GOOD.replicas))


@given(st.dictionaries(SOUND_NAMES, st.integers(0, 6), min_size=4, max_size=4))
@settings(max_examples=200, deadline=None)
def test_other_counts_under_the_same_shares_are_caught(replicas: dict[str, int]) -> None:
    assume(replicas != dict(GOOD.replicas))
    assert violations(PROBLEM, replace(GOOD, replicas=replicas)) != ()
