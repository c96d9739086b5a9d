"""Several solves of one sizing program within one time limit.

Owns the limits of a solve, and reads the solver's result: its solution, its bound and its time. No
clock is read: the time spent is what the solver measured. Input: a `SizingModel` with an objective.
Output: an `Incumbent`, or a `NoSolution`.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from ortools.math_opt.python import mathopt
from ortools.math_opt.solvers.gscip import gscip_pb2

from argosy.plan.solver.model import SizingModel

FEASIBILITY_TOLERANCE = 1e-9
"""SCIP's default of 1e-6 alone would use up the whole tolerance of `check`."""

Values = Mapping[mathopt.Variable, float]


SECOND_SHARE = 0.25
"""Of the time limit, what a second solve gets at least: both take 1.25 limits at most, and a decision on a
snapshot of half a minute ago is dropped."""


@dataclass(frozen=True, slots=True)
class SolveLimits:
    """When to stop.

    time_limit_s: for all solves together; None runs to the gap, with the same result on every machine
    seed: of the solver
    gap: relative distance (0-1) from the bound at which a cost counts as optimal

    Raises ValueError where the limit or the gap is negative or not finite.
    """

    time_limit_s: float | None = None
    seed: int = 0
    gap: float = 1e-4

    def __post_init__(self) -> None:
        for name, value in (("time limit", self.time_limit_s), ("gap", self.gap)):
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"the {name} is a finite number of at least 0, got {value}")

    def after(self, seconds: float) -> SolveLimits:
        """The limits of a second solve in the same decision. seconds: what the first one took"""
        if self.time_limit_s is None:
            return self
        left_s = max(self.time_limit_s - seconds, SECOND_SHARE * self.time_limit_s)
        return replace(self, time_limit_s=left_s)


@dataclass(frozen=True, slots=True)
class Incumbent:
    """The best solution found, its objective, and a bound on the objective of all solutions."""

    values: Values
    objective: float
    bound: float
    is_proven: bool


class NoSolution(StrEnum):
    """Why the solver has no solution."""

    INFEASIBLE = "Infeasible"
    NOTHING_FOUND = "NothingFound"


class Search:
    """A time limit that several solves share.

    seconds: solving time so far, as the solver measured it
    was_cut: True once a solve was stopped before its proof
    """

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
    ) -> Incumbent | NoSolution:
        """Minimise the model's objective to a relative `gap` (0-1), starting from `hint`.

        A solve that stops at `node_limit` does not count as cut.
        """
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
            return NoSolution.INFEASIBLE
        is_proven = reason is mathopt.TerminationReason.OPTIMAL
        if node_limit is None and not is_proven:
            self.was_cut = True
        if not result.has_primal_feasible_solution():
            return NoSolution.NOTHING_FOUND
        bound = result.termination.objective_bounds.dual_bound
        return Incumbent(result.variable_values(), result.objective_value(), bound, is_proven)

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
