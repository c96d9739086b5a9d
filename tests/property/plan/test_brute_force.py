"""Tiny fleets, solved by trying every count: the solver finds nothing worse.

The trial shares no code with the planner: it packs by trying every node for every group, and
serves by filling up capacity, the cells of the highest priority first. Where cells share a group, how
much of each can be served is SciPy's linear program and not the planner's.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from argosy.plan.check import violations
from argosy.plan.problem import Cell, NodesToCome, Option, PlanProblem, PoolLimit, Quota
from argosy.plan.solution import Plan
from argosy.plan.solve import solve
from argosy.plan.solver.search import SolveLimits

Counts = dict[str, int]
MOST_TRIALS = 3000


@st.composite
def tiny_problems(
    draw: st.DrawFn, sizes: tuple[int, ...] = (1, 2), most_leaving: int = 0, *, has_bounds: bool = False
) -> PlanProblem:
    """One or two groups of one cell each, on pools of at most two nodes.

    Some replicas may be on nodes that take no new ones, or that are leaving. has_bounds: some options are
    Deployments of users, which get no more replicas
    """
    cells, options = [], []
    capacity: dict[tuple[str, str], float] = {}
    for g in range(draw(st.integers(1, 2))):
        rate = draw(st.sampled_from((0.0, 0.3, 2.0, 3.0, 7.0)))
        cells.append(Cell(f"c{g}", f"g{g}", rate, draw(st.integers(0, 1)), draw(st.booleans())))
        for i in range(draw(st.integers(1, 2))):
            gpus = draw(st.sampled_from(sizes))
            price, load_s = draw(st.sampled_from((0.9, 1.3, 4.0))), draw(st.sampled_from((0.0, 120.0)))
            current = draw(st.integers(0, 2))
            pool, model = draw(st.sampled_from("ab")), draw(st.sampled_from(("llama", "qwen")))
            closed = draw(st.integers(0, min(current, most_leaving)))
            leaving = draw(st.integers(0, most_leaving))
            option = Option(f"o{g}{i}", f"g{g}", model, pool, gpus, price, load_s, current, closed, leaving)
            bound = draw(st.one_of(st.none(), st.integers(0, 2))) if has_bounds else None
            options.append(replace(option, most_replicas=bound))
            if draw(st.integers(0, 5)):
                capacity[f"c{g}", f"o{g}{i}"] = draw(st.sampled_from((0.7, 1.0, 2.5, 4.0)))
    return PlanProblem(
        cells=tuple(cells),
        options=tuple(options),
        pools=tuple(PoolLimit(p, tuple(draw(st.lists(st.integers(0, 5), max_size=2)))) for p in "ab"),
        capacity_per_s=capacity,
        min_replicas={c.group: draw(st.integers(0, 2)) for c in cells},
        max_replicas=draw(st.dictionaries(st.sampled_from(("llama", "qwen")), st.integers(0, 4))),
        headroom=draw(st.sampled_from((0.8, 1.0))),
        budget_usd_per_hour=draw(st.one_of(st.none(), st.sampled_from((2.0, 5.0, 9.5)))),
        quotas=draw(st.sampled_from(((), (Quota("q", "a quota", "raise it", 2, {"o00": 2, "o10": 1}),)))),
    )


def packs(nodes: tuple[int, ...], groups: list[int]) -> bool:
    if not groups:
        return True
    size, *rest = groups
    return any(
        packs((*nodes[:i], gpus - size, *nodes[i + 1 :]), rest)
        for i, gpus in enumerate(nodes)
        if gpus >= size
    )


def num_staying(problem: PlanProblem, counts: Counts) -> int | None:
    """The fewest replicas that stay on leaving nodes, so that all others have room; None where none do."""
    ways = itertools.product(*(range(min(o.leaving_replicas, counts[o.name]) + 1) for o in problem.options))
    found = [
        sum(stay)
        for stay in ways
        if all(
            packs(
                p.most_nodes,
                [
                    o.gpus
                    for o, n in zip(problem.options, stay, strict=True)
                    if o.pool == p.name
                    for _ in range(counts[o.name] - o.closed_replicas - n)
                ],
            )
            for p in problem.pools
        )
    ]
    return min(found, default=None)


def allowed(problem: PlanProblem, counts: Counts) -> bool:
    cost = sum(o.price_usd_per_hour * counts[o.name] for o in problem.options)
    if problem.budget_usd_per_hour is not None and cost > problem.budget_usd_per_hour + 1e-9:
        return False
    for model, ceiling in problem.max_replicas.items():
        if sum(counts[o.name] for o in problem.options if o.model == model) > ceiling:
            return False
    if any(sum(q.per_replica.get(o, 0) * n for o, n in counts.items()) > q.units for q in problem.quotas):
        return False
    return num_staying(problem, counts) is not None


def trials(problem: PlanProblem) -> Iterator[Counts]:
    nodes = {p.name: p.most_nodes for p in problem.pools}
    able = {option for (_, option) in problem.capacity_per_s}
    most = [
        sum(n // o.gpus for n in nodes[o.pool]) + o.closed_replicas + o.leaving_replicas
        if o.name in able
        else 0
        for o in problem.options
    ]
    most = [
        m if o.most_replicas is None else min(m, o.most_replicas)
        for m, o in zip(most, problem.options, strict=True)
    ]
    assume(math.prod(m + 1 for m in most) <= MOST_TRIALS)
    for numbers in itertools.product(*(range(m + 1) for m in most)):
        counts = {o.name: n for o, n in zip(problem.options, numbers, strict=True)}
        if allowed(problem, counts):
            yield counts


def node_costs(problem: PlanProblem, counts: Counts) -> Iterator[float]:
    """$/h of the nodes that have to come, and of those that are paid for and not used."""
    for pool in problem.pools:
        its = [o for o in problem.options if o.pool == pool.name]
        used = sum(o.price_usd_per_hour * counts[o.name] for o in its)
        yield max(0.0, pool.paid_usd_per_hour - used)
        if (nodes := pool.to_come) is not None:
            groups = [o.gpus for o in its for _ in range(counts[o.name])]
            number = min(n for n in range(nodes.most + 1) if packs(pool.nodes_with(n), groups))
            waits = nodes.delay_s / problem.transition_horizon_s
            yield max(0, number - nodes.asked) * nodes.price_usd_per_hour * waits


def rank(problem: PlanProblem, counts: Counts) -> tuple[float, ...]:
    """What a plan minimises in turn: by priority, groups of now that lose all and unmet floors; by
    priority, groups of now that lose all and missing rates; then replicas that stay on leaving nodes;
    then cost.
    """
    lost_floor, unmet, lost, missing = (dict.fromkeys((1, 0), 0.0) for _ in range(4))
    for cell in problem.cells:
        members = [o for o in problem.options if o.group == cell.group]
        able = [o for o in members if problem.capacity_per_s.get((cell.name, o.name), 0.0) > 0]
        floor, total = problem.min_replicas.get(cell.group, 0), sum(counts[o.name] for o in members)
        unmet[cell.priority] += max(0, floor - total)
        # Of a group that no replica could serve, none is taken.
        is_losing = cell.is_served and bool(able) and total == 0 and (floor > 0 or cell.rate_per_s > 0)
        lost[cell.priority] += is_losing
        lost_floor[cell.priority] += is_losing and floor > 0
        carried = sum(
            problem.headroom * problem.capacity_per_s.get((cell.name, o.name), 0.0) * counts[o.name]
            for o in members
        )
        missing[cell.priority] += max(0.0, cell.rate_per_s - carried)
    cost = sum(
        o.price_usd_per_hour
        * (
            counts[o.name]
            + max(0, counts[o.name] - o.current_replicas) * o.load_s / problem.transition_horizon_s
        )
        for o in problem.options
    )
    cost += math.fsum(node_costs(problem, counts))
    floors = [level[p] for p in (1, 0) for level in (lost_floor, unmet)]
    rates = [level[p] for p in (1, 0) for level in (lost, missing)]
    staying = num_staying(problem, counts) or 0
    return tuple(round(x, 6) + 0.0 for x in (*floors, *rates, staying, cost))


def as_found(problem: PlanProblem, plan: Plan) -> tuple[float, ...]:
    return rank(problem, dict(plan.replicas))


@given(tiny_problems())
@settings(max_examples=150, deadline=None)
def test_no_other_counts_are_better(problem: PlanProblem) -> None:
    best = min(rank(problem, counts) for counts in trials(problem))
    plan = solve(problem, SolveLimits(gap=0.0))
    assert as_found(problem, plan) == best
    assert violations(problem, plan) == ()


@given(tiny_problems(has_bounds=True))
@settings(max_examples=80, deadline=None)
def test_no_other_counts_are_better_beside_deployments_that_get_no_more(problem: PlanProblem) -> None:
    best = min(rank(problem, counts) for counts in trials(problem))
    plan = solve(problem, SolveLimits(gap=0.0))
    assert as_found(problem, plan) == best
    assert violations(problem, plan) == ()


@st.composite
def autoscaled_problems(draw: st.DrawFn) -> PlanProblem:
    """Some nodes do not exist yet, and some are paid for anyhow."""
    problem = draw(tiny_problems(sizes=draw(st.sampled_from(((1, 2), (2, 3))))))
    to_come = st.builds(
        NodesToCome,
        most=st.integers(0, 2),
        gpus=st.integers(1, 4),
        asked=st.integers(0, 2),
        delay_s=st.sampled_from((0.0, 60.0, 600.0)),
        price_usd_per_hour=st.sampled_from((0.0, 2.0)),
    )
    pools = tuple(
        replace(p, to_come=draw(to_come), paid_usd_per_hour=draw(st.sampled_from((0.0, 1.5))))
        for p in problem.pools
    )
    return replace(problem, pools=pools)


@given(autoscaled_problems())
@settings(max_examples=120, deadline=None)
def test_no_other_counts_are_better_where_nodes_have_to_come(problem: PlanProblem) -> None:
    best = min(rank(problem, counts) for counts in trials(problem))
    plan = solve(problem, SolveLimits(gap=0.0))
    assert as_found(problem, plan) == best
    assert violations(problem, plan) == ()
    assert plan.report.objective_usd_per_hour == pytest.approx(best[-1], abs=1e-5)


@given(tiny_problems(most_leaving=2))
@settings(max_examples=150, deadline=None)
def test_no_other_counts_are_better_beside_closed_and_leaving_nodes(problem: PlanProblem) -> None:
    best = min(rank(problem, counts) for counts in trials(problem))
    plan = solve(problem, SolveLimits(gap=0.0))
    assert as_found(problem, plan) == best
    assert violations(problem, plan) == ()


@given(tiny_problems(most_leaving=2), st.integers(2, 3))
@settings(max_examples=60, deadline=None)
def test_no_other_counts_are_better_for_alike_cells_beside_closed_and_leaving_nodes(
    problem: PlanProblem, parts: int
) -> None:
    """Alike cells are one to the solver; only the first of them is served now."""
    cut = [
        (
            replace(
                c, name=f"{c.name}-{i}", rate_per_s=c.rate_per_s / parts, is_served=c.is_served and not i
            ),
            c,
        )
        for c in problem.cells
        for i in range(parts)
    ]
    capacity = {
        (cell.name, o): per_s
        for cell, whole in cut
        for (name, o), per_s in problem.capacity_per_s.items()
        if name == whole.name
    }
    pieces = replace(problem, cells=tuple(c for c, _ in cut), capacity_per_s=capacity)
    best = min(rank(problem, counts) for counts in trials(problem))
    plan = solve(pieces, SolveLimits(gap=0.0))
    assert as_found(problem, plan) == best
    assert violations(pieces, plan) == ()


@given(tiny_problems(sizes=(2, 3)))
@settings(max_examples=100, deadline=None)
def test_no_other_counts_are_better_where_sizes_do_not_divide_each_other(problem: PlanProblem) -> None:
    best = min(rank(problem, counts) for counts in trials(problem))
    assert as_found(problem, solve(problem, SolveLimits(gap=0.0))) == best


@st.composite
def two_option_problems(draw: st.DrawFn) -> PlanProblem:
    """One group of up to four cells on two options: capacities of unlike cells that do not add up."""
    names = [f"c{i}" for i in range(draw(st.integers(2, 4)))]
    rates = st.sampled_from((0.3, 1.0, 2.0, 6.0))
    capacities = st.sampled_from((0.5, 1.0, 2.5, 4.0, 9.0))
    return PlanProblem(
        cells=tuple(Cell(name, "g", draw(rates), 0) for name in names),
        options=(Option("p", "g", "m", "p", 1, 1.0, 0.0), Option("q", "g", "m", "q", 1, 3.5, 0.0)),
        pools=(PoolLimit("p", (8, 8)), PoolLimit("q", (8, 8))),
        capacity_per_s={(name, o): draw(capacities) for name in names for o in "pq"},
    )


def carries(problem: PlanProblem, counts: Counts) -> bool:
    """Fill p with the cells it is comparatively best at, the rest goes to q: exact for two options."""
    room = {o: problem.headroom * counts[o] for o in "pq"}
    capacity = problem.capacity_per_s
    work_on_q = 0.0
    for cell in sorted(problem.cells, key=lambda c: capacity[c.name, "q"] / capacity[c.name, "p"]):
        work = cell.rate_per_s / capacity[cell.name, "p"]
        on_p = min(room["p"], work)
        room["p"] -= on_p
        work_on_q += (1 - on_p / work) * cell.rate_per_s / capacity[cell.name, "q"]
    return work_on_q <= room["q"] + 1e-9


@given(two_option_problems())
@settings(max_examples=60, deadline=None)
def test_no_other_counts_are_better_where_cells_share_a_group(problem: PlanProblem) -> None:
    costs = [p + 3.5 * q for p in range(17) for q in range(17) if carries(problem, {"p": p, "q": q})]
    plan = solve(problem, SolveLimits(gap=0.0))
    assert violations(problem, plan) == ()
    assume(costs)
    assert math.isclose(plan.cost_usd_per_hour, min(costs), abs_tol=1e-6)
    assert plan.shortfalls == ()


@st.composite
def shared_groups(draw: st.DrawFn) -> PlanProblem:
    """One group of two or three cells, of one priority or of two, on up to three GPUs: some is short."""
    cells = tuple(
        Cell(f"c{i}", "g", draw(st.sampled_from((0.5, 2.0, 3.0, 7.0))), draw(st.integers(0, 1)))
        for i in range(draw(st.integers(2, 3)))
    )
    names = draw(st.sampled_from(("p", "pq")))
    options = tuple(
        Option(o, "g", "m", o, 1, draw(st.sampled_from((0.9, 1.3, 4.0))), 0.0, draw(st.integers(0, 1)))
        for o in names
    )
    capacity = st.sampled_from((0.0, 0.7, 1.0, 2.5, 4.0))
    return PlanProblem(
        cells=cells,
        options=options,
        pools=tuple(PoolLimit(o, (draw(st.integers(0, 2)),)) for o in names),
        capacity_per_s={(c.name, o): draw(capacity) for c in cells for o in names},
        min_replicas={"g": draw(st.integers(0, 3))},
        headroom=draw(st.sampled_from((0.8, 1.0))),
        budget_usd_per_hour=draw(st.one_of(st.none(), st.sampled_from((1.0, 3.0, 5.5)))),
    )


def missing_parts(problem: PlanProblem, counts: Counts) -> tuple[float, ...]:
    """Unserved part (0-1) of each priority's rate, the highest first, each as small as can be."""
    pairs = [(c, o) for c in problem.cells for o in problem.options if problem.capacity_per_s[c.name, o.name]]
    served = [[float(pair[0] is c) for pair in pairs] for c in problem.cells]
    work = [
        [c.rate_per_s / problem.capacity_per_s[c.name, o.name] if o is option else 0.0 for c, option in pairs]
        for o in problem.options
    ]
    rows = [*served, *work]
    limits = [1.0] * len(served) + [problem.headroom * counts[o.name] for o in problem.options]
    missing = []
    for priority in sorted({c.priority for c in problem.cells}, reverse=True):
        total_per_s = sum(c.rate_per_s for c in problem.cells if c.priority == priority)
        value = np.array([c.rate_per_s / total_per_s * (c.priority == priority) for c, _ in pairs])
        best = -linprog(-value, A_ub=rows, b_ub=limits).fun if pairs else 0.0
        rows, limits = [*rows, [*-value]], [*limits, 1e-10 - best]
        missing.append(max(0.0, 1.0 - best))
    return tuple(missing)


@given(shared_groups())
@settings(max_examples=60, deadline=None)
def test_no_other_counts_are_better_where_cells_share_a_group_that_is_too_small(
    problem: PlanProblem,
) -> None:
    def shared_rank(counts: Counts) -> tuple[float, ...]:
        _, unmet, *_, cost = rank(replace(problem, cells=(replace(problem.cells[0], priority=1),)), counts)
        return tuple(round(x, 5) + 0.0 for x in (unmet, *missing_parts(problem, counts), cost))

    useful = {o for (_, o), k in problem.capacity_per_s.items() if k}
    best = min(
        shared_rank(counts)
        for counts in trials(problem)
        if all(n == 0 for option, n in counts.items() if option not in useful)
    )
    plan = solve(problem, SolveLimits(gap=0.0))
    assert shared_rank(dict(plan.replicas)) == best
    stated = {s.cell: s.missing_per_s for s in plan.shortfalls}
    for level, part in zip(
        sorted({c.priority for c in problem.cells}, reverse=True), best[1:-1], strict=True
    ):
        members = [c for c in problem.cells if c.priority == level]
        missing_per_s = sum(stated.get(c.name, 0.0) for c in members)
        assert math.isclose(missing_per_s, part * sum(c.rate_per_s for c in members), abs_tol=1e-3)
    assert violations(problem, plan) == ()


@given(two_option_problems(), st.lists(st.integers(1, 4), min_size=4, max_size=4))
@settings(max_examples=30, deadline=None)
def test_cells_cut_into_alike_ones_need_the_same_replicas(problem: PlanProblem, parts: list[int]) -> None:
    """As fifty classes with one capacity are one cell to the solver."""
    cut = [
        (replace(cell, name=f"{cell.name}-{i}", rate_per_s=cell.rate_per_s / n), cell.name)
        for cell, n in zip(problem.cells, parts, strict=False)
        for i in range(n)
    ]
    capacity = {(c.name, o): problem.capacity_per_s[whole, o] for c, whole in cut for o in "pq"}
    pieces = replace(problem, cells=tuple(c for c, _ in cut), capacity_per_s=capacity)
    one, many = (solve(each, SolveLimits(gap=0.0)) for each in (problem, pieces))
    assert math.isclose(one.cost_usd_per_hour, many.cost_usd_per_hour, abs_tol=1e-9)
    assert violations(pieces, many) == ()
    assert math.isclose(
        sum(s.missing_per_s for s in one.shortfalls),
        sum(s.missing_per_s for s in many.shortfalls),
        abs_tol=1e-6,
    )
