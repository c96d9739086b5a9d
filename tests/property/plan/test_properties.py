"""What holds for every plan, whatever the problem."""

import math
import pickle
import random
from dataclasses import replace
from typing import TypeVar

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from argosy.control.candidates.autoscaled import with_autoscaled
from argosy.keys import DeploymentKey, NamespacedName
from argosy.plan.check import violations
from argosy.plan.problem import Cell, Option, PlanProblem, PoolLimit, Quota
from argosy.plan.quotas import with_room_for_least
from argosy.plan.solution import Plan, SolveStatus
from argosy.plan.solve import solve
from argosy.plan.solver.search import SolveLimits
from argosy.snapshot.cluster import DeploymentState
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.scaling.autoscalers import AutoscalerState

EXACT = SolveLimits(gap=0.0)
T = TypeVar("T")
NO_TIME = SolveLimits(time_limit_s=0.0)
RANK_TOLERANCE, ROUNDING = 1e-6, 1e-8
"""Part of a level's rate; relative for costs. A service level is solved to a gap of 1e-6 and may lose 1e-8
in a later solve (`plan.solve.LEVEL_GAP`, `HOLD_TOLERANCE`); the cost is solved to a gap of 0 here."""
POOLS = ("a", "b")

prices = st.sampled_from((0.0, 0.5, 0.9, 1.0, 2.5, 6.0))
rates = st.one_of(st.just(0.0), st.floats(1e-6, 1e-2), st.floats(0.05, 40.0))
capacities = st.floats(0.2, 12.0)


@st.composite
def problems(draw: st.DrawFn, sizes: tuple[int, ...] = (1, 2, 4)) -> PlanProblem:
    """Up to three groups of up to three cells and three options on two small pools."""
    groups = [f"g{i}" for i in range(draw(st.integers(1, 3)))]
    cells, options = [], []
    capacity: dict[tuple[str, str], float] = {}
    for group in groups:
        members = [f"{group}c{i}" for i in range(draw(st.integers(1, 3)))]
        cells += [Cell(name, group, draw(rates), draw(st.integers(0, 2))) for name in members]
        for i in range(draw(st.integers(1, 3))):
            option = Option(
                name=f"{group}o{i}",
                group=group,
                model=draw(st.sampled_from(("llama", "qwen"))),
                pool=draw(st.sampled_from(POOLS)),
                gpus=draw(st.sampled_from(sizes)),
                price_usd_per_hour=draw(prices),
                load_s=draw(st.sampled_from((0.0, 30.0, 300.0))),
                current_replicas=draw(st.integers(0, 3)),
                most_replicas=draw(st.sampled_from((None, None, 0, 1, 3))),
            )
            options.append(option)
            capacity |= {(name, option.name): draw(capacities) for name in members if draw(st.integers(0, 4))}
    return PlanProblem(
        cells=tuple(cells),
        options=tuple(options),
        pools=tuple(PoolLimit(p, tuple(draw(st.lists(st.integers(0, 8), max_size=4)))) for p in POOLS),
        capacity_per_s=capacity,
        min_replicas={g: draw(st.integers(0, 3)) for g in groups},
        max_replicas=draw(st.dictionaries(st.sampled_from(("llama", "qwen")), st.integers(0, 6))),
        headroom=draw(st.sampled_from((0.5, 0.8, 1.0))),
        budget_usd_per_hour=draw(st.one_of(st.none(), st.floats(0.0, 30.0))),
        quotas=tuple(draw(st.lists(quotas(options), max_size=2, unique_by=lambda q: q.name))),
    )


def quotas(options: list[Option]) -> st.SearchStrategy[Quota]:
    """Of GPUs or of pods, for some of the options."""
    named = st.sets(st.sampled_from([o.name for o in options]), min_size=1)
    gpus = {o.name: o.gpus for o in options}

    def a_quota(names: set[DeploymentKey], units: int, is_of_pods: bool) -> Quota:
        per_replica = {name: 1 if is_of_pods else gpus[name] for name in sorted(names)}
        return Quota(f"q{min(names)}", "a quota", "raise it", units, per_replica)

    return st.builds(a_quota, named, st.integers(0, 12), st.booleans())


@st.composite
def scarce_problems(draw: st.DrawFn) -> PlanProblem:
    """Cells of several priorities in shared groups: one alone asks more than all nodes carry.

    Every option can serve every cell of its group, so that only the nodes limit what is served.
    """
    groups = [f"g{i}" for i in range(draw(st.integers(1, 2)))]
    cells = tuple(
        Cell(f"{g}c{i}", g, draw(st.floats(60.0, 200.0)), draw(st.integers(0, 2)))
        for g in groups
        for i in range(draw(st.integers(1, 3)))
    )
    options = tuple(
        Option(f"{g}o{i}", g, "llama", draw(st.sampled_from(POOLS)), draw(st.sampled_from((1, 2))), 1.0, 0.0)
        for g in groups
        for i in range(draw(st.integers(1, 2)))
    )
    nodes = st.lists(st.integers(1, 3), min_size=1, max_size=2)
    return PlanProblem(
        cells=cells,
        options=options,
        pools=tuple(PoolLimit(p, tuple(draw(nodes))) for p in POOLS),
        # At most 12 GPUs x 5 requests/s: a single cell asks as much.
        capacity_per_s={
            (c.name, o.name): draw(st.floats(0.5, 4.9)) for c in cells for o in options if c.group == o.group
        },
        min_replicas={g: draw(st.integers(0, 2)) for g in groups},
        headroom=draw(st.sampled_from((0.8, 1.0))),
    )


@given(problems())
@settings(max_examples=100, deadline=None)
def test_every_plan_passes_the_check(problem: PlanProblem) -> None:
    assert violations(problem, solve(problem)) == ()


@given(problems(sizes=(1, 2, 3, 5)))
@settings(max_examples=50, deadline=None)
def test_every_plan_with_odd_group_sizes_passes_the_check(problem: PlanProblem) -> None:
    assert violations(problem, solve(problem)) == ()


@given(problems())
@settings(max_examples=50, deadline=None)
def test_the_greedy_plan_passes_the_same_check(problem: PlanProblem) -> None:
    plan = solve(problem, NO_TIME)
    assert violations(problem, plan) == ()
    assert plan.report.status in (SolveStatus.GREEDY, SolveStatus.OPTIMAL)


def rank(problem: PlanProblem, plan: Plan) -> tuple[float, ...]:
    """Unmet floors (replicas), unserved rate (part of the level's rate), each by priority, then $/h."""
    priorities = sorted({c.priority for c in problem.cells}, reverse=True)
    by_group = {g: max(c.priority for c in problem.cells if c.group == g) for g in problem.min_replicas}
    missing = {s.cell: s.missing_per_s for s in plan.shortfalls}
    floors = [sum(n for g, n in plan.unmet_floors.items() if by_group[g] == p) for p in priorities]
    unserved = []
    for priority in priorities:
        level = [c for c in problem.cells if c.priority == priority]
        total_per_s = math.fsum(c.rate_per_s for c in level)
        unserved.append(math.fsum(missing.get(c.name, 0.0) for c in level) / max(total_per_s, 1e-300))
    return (*floors, *unserved, plan.report.objective_usd_per_hour)


def is_worse(found: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """True if `found` is larger in the first figure that differs by more than RANK_TOLERANCE.

    Not where an earlier figure is smaller by less: a plan that serves a millionth more may cost more.
    """
    for mine, its in zip(found, other, strict=True):
        if abs(mine - its) > RANK_TOLERANCE * max(1.0, abs(its)):
            return mine > its
        if its - mine > ROUNDING * max(1.0, abs(its)):
            return False
    return False


@given(problems())
@settings(max_examples=150, deadline=None)
def test_no_plan_ranks_below_the_greedy_one(problem: PlanProblem) -> None:
    best, greedy = solve(problem, EXACT), solve(problem, NO_TIME)
    assert not is_worse(rank(problem, best), rank(problem, greedy))


@given(scarce_problems())
@settings(max_examples=150, deadline=None)
def test_no_plan_of_a_fleet_that_is_too_small_ranks_below_the_greedy_one(problem: PlanProblem) -> None:
    best, greedy = solve(problem, EXACT), solve(problem, NO_TIME)
    assert best.shortfalls or best.unmet_floors
    assert not is_worse(rank(problem, best), rank(problem, greedy))


def test_a_rank_compares_the_service_of_the_highest_priority_first() -> None:
    assert is_worse((0.0, 0.1, 0.0, 1.0), (0.0, 0.0, 0.9, 9.0))
    assert not is_worse((0.0, 0.0, 0.9, 9.0), (0.0, 0.1, 0.0, 1.0))
    assert is_worse((0.0, 0.0, 0.0, 2.0), (0.0, 1e-9, 0.0, 1.0))


@given(problems(), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_the_same_problem_has_the_same_plan_whatever_the_order_of_its_parts(
    problem: PlanProblem, rng: random.Random
) -> None:
    def shuffled(items: tuple[T, ...]) -> tuple[T, ...]:
        return tuple(rng.sample(items, len(items)))

    other = replace(
        problem,
        cells=shuffled(problem.cells),
        options=shuffled(problem.options),
        pools=tuple(PoolLimit(p.name, shuffled(p.node_gpus)) for p in shuffled(problem.pools)),
        capacity_per_s=dict(shuffled(tuple(problem.capacity_per_s.items()))),
        min_replicas=dict(shuffled(tuple(problem.min_replicas.items()))),
    )
    assert solve(pickle.loads(pickle.dumps(other))) == solve(problem)


@given(problems(), st.floats(1.0, 3.0))
@settings(max_examples=50, deadline=None)
def test_more_demand_never_ranks_better(problem: PlanProblem, factor: float) -> None:
    """A plan for more demand carries less demand too: at its cost, and no smaller part of it."""
    more = replace(problem, cells=tuple(replace(c, rate_per_s=c.rate_per_s * factor) for c in problem.cells))
    less_plan, more_plan = solve(problem, EXACT), solve(more, EXACT)
    assert not is_worse(rank(problem, less_plan), rank(more, more_plan))


@given(problems(), st.sampled_from((0.25, 3.0, 100.0)))
@settings(max_examples=50, deadline=None)
def test_the_cost_scales_with_the_prices(problem: PlanProblem, factor: float) -> None:
    def scaled(price: float) -> float:
        return price * factor

    budget = problem.budget_usd_per_hour
    other = replace(
        problem,
        options=tuple(replace(o, price_usd_per_hour=scaled(o.price_usd_per_hour)) for o in problem.options),
        budget_usd_per_hour=None if budget is None else scaled(budget),
    )
    expected = solve(problem, EXACT).report.objective_usd_per_hour * factor
    assert math.isclose(
        solve(other, EXACT).report.objective_usd_per_hour, expected, rel_tol=1e-6, abs_tol=1e-6 * factor
    )


@given(problems(), st.data())
@settings(max_examples=100, deadline=None)
def test_a_plan_that_was_tampered_with_is_caught(problem: PlanProblem, data: st.DataObject) -> None:
    plan = solve(problem, NO_TIME)  # any sound plan: the check is what is tried
    assume(plan.shares)
    (cell, option), share = data.draw(st.sampled_from(sorted(plan.shares.items())))
    assume(share > 1e-5)  # less may be lost without notice: it is within the tolerance
    tampering: dict[str, Plan] = {
        "a share grows": replace(plan, shares={**plan.shares, (cell, option): share + 0.01}),
        "a share shrinks": replace(plan, shares={**plan.shares, (cell, option): share * 0.99 - 1e-5}),
        "a share is lost": replace(
            plan, shares={k: v for k, v in plan.shares.items() if k != (cell, option)}
        ),
        "its replicas are lost": replace(plan, replicas={**plan.replicas, option: 0}),
        "replicas beyond all nodes": replace(plan, replicas={**plan.replicas, option: 99}),
        "the cost is understated": replace(plan, cost_usd_per_hour=plan.cost_usd_per_hour - 0.01),
        "shortfalls are left out": replace(plan, shortfalls=()),
    }
    if not plan.shortfalls:
        del tampering["shortfalls are left out"]
    kind = data.draw(st.sampled_from(sorted(tampering)))
    assert violations(problem, tampering[kind]) != (), kind


@given(problems(), st.data())
@settings(max_examples=60, deadline=None)
def test_numbers_that_autoscalers_set_break_no_plan(problem: PlanProblem, data: st.DataObject) -> None:
    """However many they ask for: of what finds room every replica is planned, of others none more."""
    asked = {o.name: data.draw(st.integers(0, 9)) for o in problem.options if data.draw(st.booleans())}
    deployments = {DeploymentKey(name): DeploymentState(DeploymentKey(name), n) for name, n in asked.items()}
    scalers = {n: AutoscalerState(NamespacedName(n), DeploymentKey(n), 0, 9) for n in asked}
    picture = FleetSnapshot(0.0, None, {}, {}, {}, {}, (), {}, {}, deployments)
    snapshot = replace(picture, autoscalers=scalers)
    fixed = with_room_for_least(with_autoscaled(problem, snapshot, frozenset()))
    plan = solve(fixed)
    assert violations(fixed, plan) == ()
    for option in fixed.options:
        assert bool(option.fixed_by) == (option.name in asked)
        if option.fixed_by:
            assert plan.replicas[option.name] == option.least_replicas <= asked[option.name]
