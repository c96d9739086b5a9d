"""From a `PlacementProblem` to the nodes of all new replicas, and the pods that go.

Owns the order of what matters. Never moves a pod and never looks at a clock: the solver is bounded
by its own deterministic time, so a placement is a function of its problem and seed. Goals, in
this order, for each pool by itself:

    1  as few replicas as possible without a node
    2  the fewest replicas of an option on any one node (summed over options)
    3  the fewest nodes with some GPUs in use and some free
    4  nodes that come first by name

Victims are chosen before (`victims`); their GPUs are not free until they are gone.
"""

from __future__ import annotations

from dataclasses import dataclass

from ortools.sat.python import cp_model

from argosy.place import constraints
from argosy.place.facts import PoolFacts, Starts, kept_pods, pools
from argosy.place.first_fit import first_fit
from argosy.place.model import declare
from argosy.place.problem import PlacementProblem, Wanted
from argosy.place.solution import Placement, Unplaced
from argosy.place.victims import victims
from argosy.plan.solution import SolveReport, SolveStatus

DETERMINISTIC_LIMIT = 0.1
"""CP-SAT's own measure of work for each goal of each pool, some 0.3 s. 200 replicas on 60 nodes
need 0.02 of it for the first two goals; what a proof of the third would cost beyond it (up to 1.0
for one stranded node less) is not worth waiting for. A goal that is cut keeps the best so far."""


@dataclass(frozen=True, slots=True)
class _PoolAnswer:
    """New replicas of a pool, the fewest that could stay without a node, and how it was found."""

    starts: Starts
    least_unplaced: float
    status: SolveStatus
    seconds: float


def solve(
    problem: PlacementProblem, seed: int = 0, deterministic_limit: float = DETERMINISTIC_LIMIT
) -> Placement:
    """Nodes for what has to be started, victims where there are too many, and what found no room."""
    gone = victims(problem)
    kept = kept_pods(problem, gone)
    facts = pools(problem, kept)
    answers = [_solve_pool(pool, seed, deterministic_limit) for pool in facts]
    starts = {pair: n for answer in answers for pair, n in answer.starts.items()}
    new_nodes = {
        want.option: tuple(
            node for (option, node), n in sorted(starts.items()) if option == want.option for _ in range(n)
        )
        for want in sorted(problem.wanted, key=lambda w: w.option)
    }
    counts = dict(sorted((kept + type(kept)(starts)).items()))
    unplaced = tuple(_unplaced(pool, starts) for pool in facts)
    return Placement(
        counts=counts,
        new_nodes={option: nodes for option, nodes in new_nodes.items() if nodes},
        victims=tuple(p.pod for p in gone),
        unplaced=tuple(sorted((u for us in unplaced for u in us), key=lambda u: u.option)),
        report=_report(answers, sum(u.replicas for us in unplaced for u in us)) if answers else None,
    )


def _solve_pool(facts: PoolFacts, seed: int, limit: float) -> _PoolAnswer:
    """One goal after the other, each held while the next is sought."""
    placing = declare(facts)
    best = first_fit(facts)
    if not placing.starts:
        return _PoolAnswer({}, float(sum(facts.needed.values())), SolveStatus.OPTIMAL, 0.0)
    for unit in constraints.ALL:
        unit.add_to(placing)
    least_unplaced, seconds, status = 0.0, 0.0, SolveStatus.OPTIMAL
    found_any = False
    for i, level in enumerate(placing.levels):
        solver = _solver(seed, limit)
        placing.program.clear_hints()
        for pair, variable in placing.starts.items():
            placing.program.add_hint(variable, best.get(pair, 0))
        placing.program.minimize(level)
        outcome = solver.solve(placing.program)
        seconds += solver.wall_time
        if outcome not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            status = SolveStatus.TIME_LIMIT if found_any else SolveStatus.GREEDY
            break
        found_any = True
        best = {pair: n for pair, x in placing.starts.items() if (n := solver.value(x))}
        placing.program.add(level <= round(solver.objective_value))
        if i == 0:
            least_unplaced = solver.best_objective_bound
        if outcome != cp_model.OPTIMAL:
            status = SolveStatus.TIME_LIMIT
    return _PoolAnswer(best, least_unplaced, status, seconds)


def _solver(seed: int, limit: float) -> cp_model.CpSolver:
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = seed
    solver.parameters.max_deterministic_time = limit
    return solver


def _report(answers: list[_PoolAnswer], num_unplaced: int) -> SolveReport:
    """The pools' reports as one: the least certain of them counts."""
    statuses = {a.status for a in answers}
    worst = next(
        s for s in (SolveStatus.GREEDY, SolveStatus.TIME_LIMIT, SolveStatus.OPTIMAL) if s in statuses
    )
    bound = min(float(num_unplaced), sum(a.least_unplaced for a in answers))
    gap = (num_unplaced - bound) / num_unplaced if num_unplaced else 0.0
    return SolveReport(worst, float(num_unplaced), bound, gap, sum(a.seconds for a in answers))


def _unplaced(facts: PoolFacts, starts: Starts) -> list[Unplaced]:
    found = []
    for want in facts.wanted:
        started = sum(n for (option, _), n in starts.items() if option == want.option)
        missing = facts.needed[want.option] - started
        if missing:
            found.append(Unplaced(want.option, missing, _why(facts, want, missing)))
    return found


def _why(facts: PoolFacts, want: Wanted, missing: int) -> str:
    replicas = f"{missing} of {want.replicas} replicas of {want.option} have no node"
    if not facts.nodes:
        return f"{replicas}: pool {want.pool} has none; add nodes to GPUPool {want.pool}"
    largest = max(n.gpus for n in facts.nodes)
    if largest < want.gpus:
        return f"{replicas}: each needs {want.gpus} GPUs and the largest of pool {want.pool} has {largest}"
    return (
        f"{replicas}: none of pool {want.pool} has {want.gpus} GPUs free together; "
        f"wait for pods that are leaving, or add nodes to GPUPool {want.pool}"
    )
