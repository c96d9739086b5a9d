"""How long sizing and placement take, as multiples of a fixed piece of work on the same machine.

    python bench/plan_time.py

The reference is one small sizing problem (6 cells, 8 options): seconds differ between machines and
hours of the day, ratios hardly do. plan_time.bounds.yaml has the bounds.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable

from argosy.place import solve as place_solve
from argosy.place.problem import NodeRoom, PlacementProblem, WantedReplicas
from argosy.plan import solve as plan_solve
from argosy.plan.problem import Cell, Option, PlanProblem, PoolLimit
from argosy.plan.solver.search import SolveLimits

RUNS = 5


def sizing(num_groups: int, options_per_group: int) -> PlanProblem:
    """One cell per group; capacities and prices spread over a factor of four."""
    cells = tuple(Cell(f"c{g}", f"g{g}", 3.0 + 7.0 * (g % 5), 100) for g in range(num_groups))
    options = tuple(
        Option(
            name=f"g{g}-o{o}",
            group=f"g{g}",
            model=f"m{g % 7}",
            pool=f"p{o % 4}",
            gpus=(1, 2, 4)[o % 3],
            price_usd_per_hour=(0.9, 2.1, 4.4, 6.0)[o % 4] * (1, 2, 4)[o % 3],
            load_s=18.0,
        )
        for g in range(num_groups)
        for o in range(options_per_group)
    )
    capacity = {
        (f"c{g}", f"g{g}-o{o}"): (4.5, 6.3, 19.0, 30.0)[o % 4] * (1.0, 1.7, 3.0)[o % 3]
        for g in range(num_groups)
        for o in range(options_per_group)
    }
    pools = tuple(PoolLimit(f"p{p}", (8,) * (2 * num_groups)) for p in range(4))
    return PlanProblem(cells, options, pools, capacity)


def placing(num_replicas: int, num_nodes: int) -> PlacementProblem:
    """Ten Deployments of mixed sizes on nodes of eight GPUs."""
    nodes = tuple(NodeRoom(f"n{i:03d}", "p", 8) for i in range(num_nodes))
    wanted = tuple(WantedReplicas(f"d{d}", "p", (1, 2, 4)[d % 3], num_replicas // 10) for d in range(10))
    return PlacementProblem(nodes, (), wanted)


def median_s(work: Callable[[], object]) -> float:
    """Median wall-clock seconds of RUNS runs after one that does not count."""
    work()
    seconds = []
    for _ in range(RUNS):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def main() -> None:
    """Print the table and the figures."""
    limits = SolveLimits(time_limit_s=10.0)
    reference = median_s(lambda: plan_solve.solve(sizing(6, 8), limits))
    figures = {"reference_ms": 1e3 * reference}
    print(f"reference: 6 cells x 8 options in {reference * 1000:.1f} ms")
    for groups, options in ((2, 2), (20, 8), (60, 8)):
        took = median_s(lambda g=groups, o=options: plan_solve.solve(sizing(g, o), limits))  # type: ignore[misc]
        figures[f"size_{groups}x{options}"] = took / reference
        print(
            f"size  {groups:3d} groups x {options} options: {took * 1000:8.1f} ms  {took / reference:6.2f} x"
        )
    for replicas, num_nodes in ((20, 10), (200, 60)):
        took = median_s(lambda r=replicas, n=num_nodes: place_solve.solve(placing(r, n)))  # type: ignore[misc]
        figures[f"place_{replicas}_on_{num_nodes}"] = took / reference
        what = f"place {replicas:3d} replicas on {num_nodes} nodes"
        print(f"{what}: {took * 1000:7.1f} ms  {took / reference:6.2f} x")
    print(json.dumps({"figures": figures}))


if __name__ == "__main__":
    main()
