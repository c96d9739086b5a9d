"""Plans that this process has found before, so that stories in which little changes solve each problem once.

Owns that memory. A plan is a function of its problem where no clock limits the search; what is decided with
it, and its independent check, are never remembered.
"""

from __future__ import annotations

from argosy.plan.problem import PlanProblem
from argosy.plan.solution import Plan
from argosy.plan.solve import solve
from argosy.plan.solver.search import SolveLimits

MOST = 2000

_PLANS: dict[str, Plan] = {}
"""By the problem and its limits, in full."""


def solve_once(problem: PlanProblem, limits: SolveLimits) -> Plan:
    """As `argosy.plan.solve.solve`, which is asked once for equal problems."""
    if limits.time_limit_s is not None:
        return solve(problem, limits)
    asked = repr((problem, limits))
    if asked not in _PLANS:
        if len(_PLANS) == MOST:
            _PLANS.clear()
        _PLANS[asked] = solve(problem, limits)
    return _PLANS[asked]
