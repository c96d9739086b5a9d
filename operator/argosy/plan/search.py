"""Runs the solver again and again within one time limit.

Owns the limits of a solve and what the solver said of its time and its proofs. Never states the
program. There is no clock here: the time spent is the solver's own account of it.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from ortools.math_opt.python import mathopt
from ortools.math_opt.solvers.gscip import gscip_pb2

from argosy.plan.model import SizingModel

FEASIBILITY_TOLERANCE = 1e-9
"""SCIP's own 1e-6 is as much as `check` forgives in all."""

Values = Mapping[mathopt.Variable, float]


@dataclass(frozen=True, slots=True)
class SolveLimits:
    """When to stop.

    time_limit_s: for the whole solve; None runs to the gap, and is the same on every machine
    gap: relative distance (0-1) from the best possible cost that counts as optimal
    """

    time_limit_s: float | None = None
    seed: int = 0
    gap: float = 1e-4

    def __post_init__(self) -> None:
        for name, value in (("time limit", self.time_limit_s), ("gap", self.gap)):
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"the {name} is a finite number of at least 0, got {value}")


@dataclass(frozen=True, slots=True)
class Answer:
    """A solution, its objective, and the best that any solution can reach."""

    values: Values
    objective: float
    bound: float
    is_proven: bool


class Verdict(StrEnum):
    """Why there is no answer."""

    INFEASIBLE = "Infeasible"
    NOTHING_FOUND = "NothingFound"


class Search:
    """A time limit that several solves share."""

    def __init__(self, limits: SolveLimits) -> None:
        self.limits = limits
        self.seconds = 0.0
        self.was_cut = False

    def run(
        self,
        sizing: SizingModel,
        gap: float,
        hint: Values | None = None,
        node_limit: int | None = None,
    ) -> Answer | Verdict:
        """Minimise the model's objective: an `Answer`, or a `Verdict`."""
        start = mathopt.ModelSolveParameters()
        if hint is not None:
            start.solution_hints.append(mathopt.SolutionHint(variable_values=dict(hint)))
        result = mathopt.solve(
            sizing.program,
            mathopt.SolverType.GSCIP,
            params=self._parameters(gap, node_limit),
            model_params=start,
        )
        self.seconds += result.solve_stats.solve_time.total_seconds()
        reason = result.termination.reason
        if reason in (
            mathopt.TerminationReason.INFEASIBLE,
            mathopt.TerminationReason.INFEASIBLE_OR_UNBOUNDED,  # no objective here is unbounded
        ):
            return Verdict.INFEASIBLE
        is_proven = reason is mathopt.TerminationReason.OPTIMAL
        if node_limit is None and not is_proven:
            self.was_cut = True
        if not result.has_primal_feasible_solution():
            return Verdict.NOTHING_FOUND
        bound = result.termination.objective_bounds.dual_bound
        return Answer(result.variable_values(), result.objective_value(), bound, is_proven)

    def _parameters(self, gap: float, node_limit: int | None) -> mathopt.SolveParameters:
        scip = gscip_pb2.GScipParameters()
        scip.real_params["numerics/feastol"] = FEASIBILITY_TOLERANCE
        limit_s = self.limits.time_limit_s
        left = None if limit_s is None else datetime.timedelta(seconds=max(0.0, limit_s - self.seconds))
        return mathopt.SolveParameters(
            time_limit=left,
            node_limit=node_limit,
            threads=1,
            random_seed=self.limits.seed,
            relative_gap_tolerance=gap,
            absolute_gap_tolerance=0.0,
            gscip=scip,
        )
