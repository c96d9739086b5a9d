"""Whole parallel groups fit on the nodes of their pool: the two formulations of `plan.packing`.

Only replicas that need a node that takes new ones are packed. Those on closed nodes stay where they
are: beyond_v >= n_v - closed_v - staying_v, where staying_v of the replicas on leaving nodes stay.
"""

from __future__ import annotations

from collections import Counter

from ortools.math_opt.python import mathopt

from argosy.plan.packing import divide_each_other, maximal_patterns, usable_gpus
from argosy.plan.problem import Option
from argosy.plan.solver.model import SizingModel


class Packing:
    """Per pool: (*) of `plan.packing` where the sizes divide each other, node patterns elsewhere."""

    def add_to(self, sizing: SizingModel) -> None:
        """Rows for each pool that has a usable option, and for each option with anchored replicas."""
        for name, beyond in sizing.beyond.items():
            replicas, staying = sizing.replicas[name], sizing.staying.get(name, 0)
            closed = sizing.facts.option_by_name[name].closed_replicas
            sizing.program.add_linear_constraint(beyond >= replicas - closed - staying)
        there = {p.name: tuple(sorted(p.node_gpus)) for p in sizing.facts.problem.pools}
        for pool in sizing.facts.nodes_by_pool:
            nodes = there.get(pool, ())
            options = [o for o in sizing.facts.options if o.pool == pool]
            sizes = tuple(sorted({o.gpus for o in options}, reverse=True))
            if divide_each_other(sizes):
                _add_nested(sizing, options, nodes, pool)
            else:
                _add_patterns(sizing, options, nodes, pool)


def _add_nested(sizing: SizingModel, options: list[Option], nodes: tuple[int, ...], pool: str) -> None:
    """For each size g: GPUs of the groups of size >= g, at most what such groups can use."""
    coming, to_come = sizing.coming.get(pool), sizing.facts.to_come.get(pool)
    for size in sorted({o.gpus for o in options}):
        gpus = mathopt.fast_sum(o.gpus * sizing.packed(o) for o in options if o.gpus >= size)
        room = usable_gpus(nodes, size)
        if coming is None or to_come is None:
            sizing.program.add_linear_constraint(gpus <= room)
        else:
            sizing.program.add_linear_constraint(gpus <= room + usable_gpus((to_come.gpus,), size) * coming)


def _add_patterns(sizing: SizingModel, options: list[Option], nodes: tuple[int, ...], pool: str) -> None:
    """Integer numbers of nodes per pattern; the groups are at most what these nodes hold."""
    sizes = tuple(sorted({o.gpus for o in options}, reverse=True))
    places: dict[int, list[mathopt.LinearTerm]] = {size: [] for size in sizes}
    there = sorted(Counter(g for g in nodes if g >= min(sizes)).items())
    alike: list[tuple[int, int | mathopt.Variable, int]] = [(gpus, n, n) for gpus, n in there]
    if (to_come := sizing.facts.to_come.get(pool)) is not None and to_come.gpus >= min(sizes):
        alike.append((to_come.gpus, sizing.coming[pool], to_come.most))
    for gpus, num_nodes, most in alike:
        patterns = maximal_patterns(gpus, sizes)
        uses = [sizing.program.add_integer_variable(lb=0, ub=most) for _ in patterns]
        sizing.program.add_linear_constraint(mathopt.fast_sum(uses) <= num_nodes)
        for use, pattern in zip(uses, patterns, strict=True):
            for size, count in zip(sizes, pattern, strict=True):
                places[size].append(count * use)
    for size in sizes:
        groups = mathopt.fast_sum(sizing.packed(o) for o in options if o.gpus == size)
        sizing.program.add_linear_constraint(groups <= mathopt.fast_sum(places[size]))
