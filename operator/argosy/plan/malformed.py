"""The rules on the form of a plan: known names, whole counts, finite numbers.

Owns the part of `check` that must not trust a single value. Input: a `PlanProblem` and a `Plan` with
any names and values. Output: violations; where there is none, the other rules can do arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator

from argosy.plan.figures import MOST_REPLICAS, is_count, is_finite, is_pair, shown
from argosy.plan.problem import PlanProblem
from argosy.plan.solution import Plan, SolveStatus
from argosy.plan.violation import RELATIVE_TOLERANCE, Violation, ViolationCode, wrong_shortfall


def malformed(problem: PlanProblem, plan: Plan) -> tuple[Violation, ...]:
    """Unknown names, else counts and figures with which no arithmetic is possible."""
    unknown = tuple(_names(problem, plan))
    return unknown or (*_counts(problem, plan), *_figures(plan))


def _names(problem: PlanProblem, plan: Plan) -> Iterator[Violation]:
    cells = {c.name for c in problem.cells}
    options = {o.name for o in problem.options}
    pairs = [k for k in plan.shares if is_pair(k)]
    named: list[tuple[str, str, bool]] = []
    named += [("Deployment", name, name in options) for name in plan.replicas]
    named += [("the pair", shown(k), False) for k in plan.shares if not is_pair(k)]
    named += [("route cell", cell, cell in cells) for cell, _ in pairs]
    named += [("Deployment", option, option in options) for _, option in pairs]
    named += [("route cell", s.cell, s.cell in cells) for s in plan.shortfalls]
    named += [("the floor of sharing group", g, g in problem.min_replicas) for g in plan.unmet_floors]
    pools = {p.name for p in problem.pools}
    named += [("GPUPool", pool, pool in pools) for pool in plan.to_come]
    for kind, name, is_known in named:
        if not is_known:
            message = f"the plan names {kind} {name}: a name that the sizing problem has is needed"
            yield Violation(ViolationCode.UNKNOWN_NAME, str(name), message)


def _counts(problem: PlanProblem, plan: Plan) -> Iterator[Violation]:
    for name, count in plan.replicas.items():
        if not is_count(count):
            message = (
                f"Deployment {name} has {shown(count)} replicas: "
                f"a whole number from 0 to {MOST_REPLICAS} is needed"
            )
            yield Violation(ViolationCode.BAD_COUNT, name, message)
    for pool, count in plan.to_come.items():
        if not is_count(count):
            message = f"GPUPool {pool} gets {shown(count)} nodes: a whole number of at least 0 is needed"
            yield Violation(ViolationCode.BAD_COUNT, pool, message)
    for group, count in plan.unmet_floors.items():
        if not is_count(count, most=problem.min_replicas[group]):
            message = (
                f"sharing group {group} states {shown(count)} replicas as missing to its floor: a whole "
                f"number from 0 to the floor of {problem.min_replicas[group]} is needed"
            )
            yield Violation(ViolationCode.BAD_COUNT, group, message)


def _figures(plan: Plan) -> Iterator[Violation]:
    """Numbers that would make every sum they enter meaningless."""
    for pair, share in plan.shares.items():
        if not (is_finite(share) and 0 <= share <= 1 + RELATIVE_TOLERANCE):
            name = " -> ".join(map(str, pair))
            message = f"the share of {name} is {shown(share)}: a number from 0 to 1 is needed"
            yield Violation(ViolationCode.SHARE_RANGE, name, message)
    for shortfall in plan.shortfalls:
        if not is_finite(shortfall.missing_per_s):
            yield wrong_shortfall(
                shortfall.cell, f"is {shown(shortfall.missing_per_s)} req/s: a finite number is needed"
            )
    if not is_finite(plan.cost_usd_per_hour):
        message = f"the stated cost is ${shown(plan.cost_usd_per_hour)}/h: a finite number is needed"
        yield Violation(ViolationCode.COST_WRONG, "cost", message)


def report_violations(plan: Plan) -> Iterator[Violation]:
    """Figures of the report that contradict each other, or are no numbers at all."""
    report = plan.report
    if report.status not in tuple(SolveStatus):
        known = ", ".join(SolveStatus)
        message = f"the report's status is {shown(report.status)}: one of {known} is needed"
        yield Violation(ViolationCode.REPORT_WRONG, "status", message)
    objective, bound, gap = report.objective_usd_per_hour, report.bound_usd_per_hour, report.gap
    figures = {"objective": objective, "bound": bound, "gap": gap, "seconds": report.seconds}
    endless = [name for name, value in figures.items() if not is_finite(value)]
    for name in endless:
        message = f"the report's {name} is {shown(figures[name])}: a finite number is needed"
        yield Violation(ViolationCode.REPORT_WRONG, name, message)
    if endless:
        return
    if bound > objective * (1 + RELATIVE_TOLERANCE) + RELATIVE_TOLERANCE:
        message = f"the report's bound is {bound} $/h: at most its objective of {objective} $/h is needed"
        yield Violation(ViolationCode.REPORT_WRONG, "bound", message)
    if not 0 <= gap <= 1 + RELATIVE_TOLERANCE:
        message = f"the report's gap is {gap}: a number from 0 to 1 is needed"
        yield Violation(ViolationCode.REPORT_WRONG, "gap", message)
    if report.seconds < 0:
        message = f"the report's seconds are {report.seconds}: at least 0 is needed"
        yield Violation(ViolationCode.REPORT_WRONG, "seconds", message)
