"""An earlier plan's replicas and shares as the answer to a new problem: do they still keep every promise?

Owns that question. Input: a `PlanProblem`, the plan that was found for it, and the earlier counts and
shares. Output: a `Plan` of these that passes the same independent check and serves no less than the
plan found, or None. What it costs is not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from argosy.keys import CellName, DeploymentKey
from argosy.plan.check import violations
from argosy.plan.explain.reasons import explain
from argosy.plan.facts import Counts, Facts
from argosy.plan.problem import PlanProblem
from argosy.plan.solution import Plan, SolveReport
from argosy.plan.violation import RELATIVE_TOLERANCE

Shares = Mapping[tuple[CellName, DeploymentKey], float]


@dataclass(frozen=True, slots=True)
class Earlier:
    """What an earlier plan had: replicas and shares, positive ones only.

    share_tolerance: a difference of shares (0-1) that is none
    """

    counts: Counts
    shares: Shares
    share_tolerance: float


def kept(problem: PlanProblem, found: Plan, earlier: Earlier) -> Plan | None:
    """The earlier plan as an answer to `problem`; None where it serves less than `found`, or not at all."""
    plan = as_earlier(problem, found, earlier)
    if plan is None or not serves_as_much(problem, plan, found) or violations(problem, plan):
        return None
    return plan


def as_earlier(problem: PlanProblem, found: Plan, earlier: Earlier) -> Plan | None:
    """The earlier replicas and shares as an answer to `problem`, a good one or not.

    Where the number of an option is set elsewhere, it is what it is now, and its group's shares follow.
    None where the problem does not have its options or cells. It is not checked.
    """
    known, cells = {o.name for o in problem.options}, {c.name for c in problem.cells}
    if not set(earlier.counts) <= known or any(cell not in cells for cell, _ in earlier.shares):
        return None
    earlier = _with_fixed(problem, earlier)
    facts = Facts(problem)
    plan = explain(facts, earlier.counts, _report(facts, found, earlier))
    return replace(plan, shares=_shares(problem, plan, earlier))


def _with_fixed(problem: PlanProblem, earlier: Earlier) -> Earlier:
    fixed = {o.name: o.least_replicas for o in problem.options if o.fixed_by}
    changed = {
        o.group for o in problem.options if o.name in fixed and earlier.counts.get(o.name, 0) != fixed[o.name]
    }
    if not changed:
        return earlier
    counts = {name: count for name, count in {**earlier.counts, **fixed}.items() if count}
    anew = {c.name for c in problem.cells if c.group in changed}
    shares = {pair: share for pair, share in earlier.shares.items() if pair[0] not in anew}
    return replace(earlier, counts=counts, shares=shares)


def _report(facts: Facts, found: Plan, earlier: Earlier) -> SolveReport:
    """The search's own, with the cost of keeping what there is: it was not searched for."""
    objective = facts.objective_usd_per_hour(earlier.counts)
    bound = min(found.report.bound_usd_per_hour, objective)
    gap = (objective - bound) / objective if objective > 0 else 0.0
    return replace(found.report, objective_usd_per_hour=objective, bound_usd_per_hour=bound, gap=gap)


def _shares(problem: PlanProblem, plan: Plan, earlier: Earlier) -> Shares:
    """The earlier shares of what is served now; the balanced ones where these hardly differ."""
    served = _served_shares(problem, plan)
    totals: dict[CellName, float] = {}
    for (cell, _), share in earlier.shares.items():
        totals[cell] = totals.get(cell, 0.0) + share
    same = {pair: share / totals[pair[0]] * served[pair[0]] for pair, share in earlier.shares.items()}
    # A cell that the earlier plan did not have has no earlier shares.
    same |= {pair: share for pair, share in plan.shares.items() if pair[0] not in totals}
    pairs = same.keys() | plan.shares.keys()
    is_close = all(abs(same.get(p, 0.0) - plan.shares.get(p, 0.0)) <= earlier.share_tolerance for p in pairs)
    return plan.shares if is_close else same


def _served_shares(problem: PlanProblem, plan: Plan) -> dict[CellName, float]:
    """The share (0-1) of each cell's requests that is served."""
    missing = {s.cell: s.missing_per_s for s in plan.shortfalls}
    return {
        c.name: 1.0 - (missing.get(c.name, 0.0) / c.rate_per_s if c.rate_per_s > 0 else 0.0)
        for c in problem.cells
    }


def serves_as_much(problem: PlanProblem, plan: Plan, found: Plan) -> bool:
    """Whether no cell and no floor is worse off than in `found`, whose groups may be others."""
    before, now = _served_shares(problem, found), _served_shares(problem, plan)
    unmet = found.unmet_floors
    return all(now[cell] >= before[cell] - RELATIVE_TOLERANCE for cell in now) and all(
        missing <= unmet.get(group, 0) for group, missing in plan.unmet_floors.items()
    )


def starves(problem: PlanProblem, plan: Plan, found: Plan) -> bool:
    """Whether a cell that `found` serves, wholly or in part, is not served at all."""
    before, now = _served_shares(problem, found), _served_shares(problem, plan)
    return any(now[cell] <= RELATIVE_TOLERANCE < before[cell] for cell in now)
