"""Nodes that have to come for replicas, and nodes that are paid for anyhow."""

from __future__ import annotations

from ortools.math_opt.python import mathopt

from argosy.plan.solver.model import SizingModel


class Nodes:
    """ordered_p >= coming_p - asked_p, and idle_p >= paid_p less the price of the replicas in pool p.

    Both are minimised in the cost, which makes them equal to the larger of that and 0.
    """

    def add_to(self, sizing: SizingModel) -> None:
        """One row for each pool to which nodes may come, and for each that keeps some."""
        facts = sizing.facts
        for pool, coming in sizing.coming.items():
            new = coming - facts.to_come[pool].asked
            sizing.program.add_linear_constraint(sizing.ordered[pool] >= new)
        for pool, idle in sizing.idle.items():
            used = (o.price_usd_per_hour * sizing.replicas[o.name] for o in facts.options if o.pool == pool)
            paid = facts.paid_usd_per_hour[pool]
            sizing.program.add_linear_constraint(mathopt.fast_sum((idle, *used)) >= paid)
