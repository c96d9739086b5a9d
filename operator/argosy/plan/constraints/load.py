"""The load planned for a replica is at most headroom x its capacity."""

from __future__ import annotations

from ortools.math_opt.python import mathopt

from argosy.plan.solver.model import SizingModel


class Load:
    """sum_b r_b x_bv / k_bv <= headroom n_v for every option v, and x_bv <= n_v where that is tighter."""

    def add_to(self, sizing: SizingModel) -> None:
        """One row per option, and one per pair of which the whole cell loads less than one replica."""
        facts = sizing.facts
        for option in facts.options:
            replicas = sizing.replicas[option.name]
            work = []
            for cell in facts.demanding_cells:
                share = sizing.shares.get((cell.name, option.name))
                if share is None:
                    continue
                load = facts.load_per_rate(cell, option)
                work.append(load * share)
                # Implied otherwise. Without it a cell with next to no demand could be served, within
                # the solver's tolerance, by no replica at all; it also tightens the bound.
                if load < facts.problem.headroom:
                    sizing.program.add_linear_constraint(share <= replicas)
            if work:
                limit = facts.problem.headroom * replicas
                sizing.program.add_linear_constraint(mathopt.fast_sum(work) <= limit)
