"""Every cell is served whole, or the rest of it is counted as missing."""

from __future__ import annotations

from ortools.math_opt.python import mathopt

from argosy.plan.solver.model import SizingModel


class Serving:
    """sum_v x_bv + missing_b = 1 for every cell b."""

    def add_to(self, sizing: SizingModel) -> None:
        """One row per cell."""
        for cell, missing in sizing.missing.items():
            shares = (x for (served, _), x in sizing.shares.items() if served == cell)
            sizing.program.add_linear_constraint(mathopt.fast_sum((missing, *shares)) == 1)
