"""Replicas take at most what the quotas of their namespaces leave."""

from __future__ import annotations

from ortools.math_opt.python import mathopt

from argosy.plan.solver.model import SizingModel


class Quotas:
    """sum_v units_qv n_v <= units_q for every quota q, in units of its smallest replica: never relaxed."""

    def add_to(self, sizing: SizingModel) -> None:
        """One row per quota that a usable option takes something of."""
        for quota in sorted(sizing.facts.problem.quotas, key=lambda q: q.name):
            options = [o for o in sizing.facts.options if o.name in quota.per_replica]
            if not options:
                continue
            least = min(quota.per_replica[o.name] for o in options)
            taken = (quota.per_replica[o.name] / least * sizing.replicas[o.name] for o in options)
            sizing.program.add_linear_constraint(mathopt.fast_sum(taken) <= quota.units / least)
