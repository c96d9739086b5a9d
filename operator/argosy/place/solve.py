"""From a `PlacementProblem` to the nodes of all new replicas, and the pods that go.

Owns the order of the objectives. The solver is limited by its own deterministic time and not by a
clock, so a placement is a function of its problem and seed. Input: a `PlacementProblem` and a seed.
Output: a `Placement`. Objectives, in this order, for each pool by itself:

    1  as few replicas as possible without a node
    2  as few options as possible without any replica
    3  the fewest replicas of an option on any one node (summed over options)
    4  the fewest nodes with some GPUs in use and some free, where a replica of several GPUs may come
    5  the fewest replicas together on nodes, whichever options they are of
    6  nodes that come first by name, those that the autoscaler may remove last

Victims on nodes that stay are chosen before (`victims`); their GPUs are not free until they are gone.
Replicas on leaving nodes are placed anew; those that find no room stay where they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from ortools.sat.python import cp_model

from argosy.keys import DeploymentKey
from argosy.place import constraints
from argosy.place.facts import PoolFacts, Starts, kept_pods, pools
from argosy.place.first_fit import first_fit
from argosy.place.model import declare
from argosy.place.problem import PlacementProblem, WantedReplicas
from argosy.place.solution import Placement, PlacementReport, Unplaced
from argosy.place.victims import in_order, settled_victims, staying
from argosy.plan.solution import SolveStatus

DETERMINISTIC_LIMIT = 0.1
"""CP-SAT's own measure of work, for each objective of each pool: some 0.3 s. 200 replicas on 60 nodes
need 0.02 for the first three objectives. A proof of the fourth would take up to 1.0 and save one
stranded node: not worth the wait. An objective that is cut keeps the best solution so far."""


@dataclass(frozen=True, slots=True)
class _PoolAnswer:
    """New replicas of a pool, a bound on the replicas without a node, and how it was found."""

    starts: Starts
    unplaced_bound: float
    status: SolveStatus
    seconds: float


def solve(
    problem: PlacementProblem, seed: int = 0, deterministic_limit: float = DETERMINISTIC_LIMIT
) -> Placement:
    """Nodes for the replicas to be started, victims where there are too many, and what found no room."""
    settled = settled_victims(problem)
    kept = kept_pods(problem, settled)
    facts = pools(problem, kept)
    answers = [_solve_pool(pool, seed, deterministic_limit) for pool in facts]
    starts = {pair: n for answer in answers for pair, n in answer.starts.items()}
    new_nodes = {
        want.option: tuple(
            node for (option, node), n in sorted(starts.items()) if option == want.option for _ in range(n)
        )
        for want in sorted(problem.wanted, key=lambda w: w.option)
    }
    missing = {option: n for pool in facts for option, n in _missing(pool, starts).items()}
    held = staying(problem, missing)
    counts = kept + Counter(starts) + Counter((p.option, p.node) for p in held)
    stand_ins = Counter(p.option for p in held)
    unplaced = tuple(_unplaced(pool, missing, stand_ins) for pool in facts)
    return Placement(
        counts=dict(sorted(counts.items())),
        new_nodes={option: nodes for option, nodes in new_nodes.items() if nodes},
        victims=tuple(p.pod for p in in_order(problem, settled, held)),
        unplaced=tuple(sorted((u for us in unplaced for u in us), key=lambda u: u.option)),
        report=_report(answers, sum(u.replicas for us in unplaced for u in us)) if answers else None,
        staying=tuple(p.pod for p in held),
    )


def _solve_pool(facts: PoolFacts, seed: int, limit: float) -> _PoolAnswer:
    """One objective after the other; each result is a constraint of the next solve."""
    placing = declare(facts)
    best = first_fit(facts)
    if not placing.starts:
        return _PoolAnswer({}, float(sum(facts.needed.values())), SolveStatus.OPTIMAL, 0.0)
    for unit in constraints.ALL:
        unit.add_to(placing)
    unplaced_bound, seconds, status = 0.0, 0.0, SolveStatus.OPTIMAL
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
            unplaced_bound = solver.best_objective_bound
        if outcome != cp_model.OPTIMAL:
            status = SolveStatus.TIME_LIMIT
    return _PoolAnswer(best, unplaced_bound, status, seconds)


def _solver(seed: int, limit: float) -> cp_model.CpSolver:
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = seed
    solver.parameters.max_deterministic_time = limit
    # Else it leaves the system's handler behind: the next Ctrl-C would end the process at once.
    solver.parameters.catch_sigint_signal = False
    return solver


def _report(answers: list[_PoolAnswer], num_unplaced: int) -> PlacementReport:
    """The pools' reports as one, with the status of the least certain."""
    statuses = {a.status for a in answers}
    worst = next(
        s for s in (SolveStatus.GREEDY, SolveStatus.TIME_LIMIT, SolveStatus.OPTIMAL) if s in statuses
    )
    bound = min(float(num_unplaced), sum(a.unplaced_bound for a in answers))
    gap = (num_unplaced - bound) / num_unplaced if num_unplaced else 0.0
    return PlacementReport(worst, num_unplaced, bound, gap, sum(a.seconds for a in answers))


def _missing(facts: PoolFacts, starts: Starts) -> dict[DeploymentKey, int]:
    """Replicas of each option that no node has room for."""
    started = Counter[DeploymentKey]()
    for (option, _), n in starts.items():
        started[option] += n
    return {w.option: facts.needed[w.option] - started[w.option] for w in facts.wanted}


def _unplaced(
    facts: PoolFacts, missing: Mapping[DeploymentKey, int], stand_ins: Counter[DeploymentKey]
) -> list[Unplaced]:
    """Those for which no replica on a leaving node stands in either."""
    found = []
    for want in facts.wanted:
        num_lacking = missing[want.option] - stand_ins[want.option]
        if num_lacking:
            found.append(Unplaced(want.option, num_lacking, _why(facts, want, num_lacking)))
    return found


def _why(facts: PoolFacts, want: WantedReplicas, missing: int) -> str:
    replicas = f"{missing} of {want.replicas} replicas of {want.option} have no node"
    if not facts.nodes:
        return f"{replicas}: pool {want.pool} has none; add nodes to GPUPool {want.pool}"
    largest = max(n.gpus for n in facts.nodes)
    if largest < want.gpus:
        return f"{replicas}: each needs {want.gpus} GPUs and the largest of pool {want.pool} has {largest}"
    if want.most_on:
        return (
            f"{replicas}: where {want.gpus} GPUs of pool {want.pool} are free together, CPU, memory or disk"
            " is for fewer; lower spec.engine.resources.requests of its ServedModel, or add nodes to GPUPool"
            f" {want.pool}"
        )
    return (
        f"{replicas}: none of pool {want.pool} has {want.gpus} GPUs free together; "
        f"wait for pods that are leaving, or add nodes to GPUPool {want.pool}"
    )
