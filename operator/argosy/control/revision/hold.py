"""Planning that a user has paused, or sent back to an earlier revision: what is held instead of a new plan.

A hold keeps what runs and in which shares, not where: replicas of a node that is lost start on another, and
what is deleted goes. Where the present objects do not allow the held replicas any more (their model was
edited, their pool is too small now), nothing is planned at all until the user resumes.

Input: what was sized, and the plan found for it. Output: a `Hold`, None where planning goes on.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from argosy.api import FleetPlan
from argosy.api.fleet import Mode
from argosy.api.orders import Orders, orders_of
from argosy.control.cells import cells_of_plan
from argosy.control.revision.decided import Hold
from argosy.control.revision.growth import Choice, Resize
from argosy.control.revision.revision import SHARE_TOLERANCE
from argosy.control.revision.window import (
    counts_by_variant,
    has_counts_of,
    last_revision,
    planned_counts,
    shares_of,
)
from argosy.control.sizing import Sizing, plan_problem
from argosy.plan.check import violations
from argosy.plan.explain.words import rate
from argosy.plan.kept import Earlier, as_earlier
from argosy.plan.problem import PlanProblem
from argosy.plan.solution import Plan, Shortfall, ShortfallCause
from argosy.plan.violation import RELATIVE_TOLERANCE, ViolationCode
from argosy.snapshot.fleet import FleetSnapshot

NO_ORDERS = Orders()

_ORDERED = frozenset(
    {
        ViolationCode.SHORTFALL_NEEDLESS,
        ViolationCode.SHORTFALL_WRONG,
        ViolationCode.USELESS_REPLICA,
        ViolationCode.BELOW_FLOOR,
        ViolationCode.FLOOR_NEEDLESSLY_UNMET,
        ViolationCode.ABOVE_CEILING,
        ViolationCode.OVER_BUDGET,
    }
)
"""Rules that an order may break: it serves less than could be served, or costs more than it may."""


def fleet_orders(snapshot: FleetSnapshot) -> Orders:
    """What the annotations of Fleet/default order; nothing where there is no Fleet."""
    return orders_of(snapshot.fleet.metadata.annotations) if snapshot.fleet is not None else NO_ORDERS


def hold(found: Choice, resize: Resize) -> tuple[Hold | None, Choice]:
    """What is held instead of `found`, and the choice that is made; None where planning goes on.

    It is sized for the cells of what is held: which classes would share replicas now is not asked.
    """
    snapshot, orders = found.sizing.snapshot, fleet_orders(found.sizing.snapshot)
    if not orders.holds or snapshot.fleet_spec.mode is Mode.OBSERVE:
        return None, found
    last, variants = last_revision(snapshot), counts_by_variant(found.problem, found.plan)
    if last is None:
        why = "there is no FleetPlan yet that could be held"
        return Hold(orders, 0, None, why, found.plan, variants, is_same=False), found
    target, wrong = _target(snapshot, orders, last)
    sizing = resize(cells_of_plan(target))
    problem = plan_problem(sizing)
    plan = as_earlier(problem, found.plan, _earlier(target, problem))
    refusal = _refusal(problem, plan, target)
    kept = None if plan is None or refusal else _with_causes(problem, plan, found.plan, orders)
    is_same, number = has_counts_of(found.plan, target), target.spec.revision
    paused = Hold(orders, number, kept, wrong or refusal, found.plan, variants, is_same)
    return paused, found if kept is None else Choice(sizing, problem, kept)


def _target(snapshot: FleetSnapshot, orders: Orders, last: FleetPlan) -> tuple[FleetPlan, str]:
    """The plan to hold, and why the ordered one cannot be it."""
    if orders.rollback is None or last.spec.restores == orders.rollback:
        return last, orders.problem
    found = next((p for p in snapshot.plans if p.spec.revision == orders.rollback), None)
    if found is not None:
        return found, ""
    return (
        last,
        f"there is no FleetPlan of revision {orders.rollback} (argosy plans lists those that there are)",
    )


def _earlier(plan: FleetPlan, problem: PlanProblem) -> Earlier:
    """Its replicas and shares, without those of classes that are gone."""
    cells, groups = {c.name for c in problem.cells}, {c.group for c in problem.cells}
    group_of = {entry.name: entry.sharing_group for entry in plan.spec.deployments}
    return Earlier(
        {name: n for name, n in planned_counts(plan).items() if group_of[name] in groups},
        {pair: share for pair, share in shares_of(plan).items() if pair[0] in cells},
        SHARE_TOLERANCE,
    )


def followed(sizing: Sizing, problem: PlanProblem, found: Plan) -> Plan | None:
    """The applied plan as the plan of the present problem; None where this does not allow it.

    For mode Recommend, in which it stays the applied one whatever is recommended.
    """
    applied = sizing.snapshot.applied_plan
    if applied is None:
        return None
    plan = as_earlier(problem, found, _earlier(applied, problem))
    return None if _refusal(problem, plan, applied) else plan


def _with_causes(problem: PlanProblem, plan: Plan, found: Plan, orders: Orders) -> Plan:
    """The plan, with the order as the cause of what it serves less than the plan found."""
    unavoidable = {each.cell: each.missing_per_s for each in found.shortfalls}
    rates = {cell.name: cell.rate_per_s for cell in problem.cells}

    def explained(each: Shortfall) -> Shortfall:
        if each.missing_per_s <= unavoidable.get(each.cell, 0.0) * (1 + RELATIVE_TOLERANCE):
            return each
        message = (
            f"{each.cell} lacks {rate(each.missing_per_s)} of {rate(rates[each.cell])}: because of"
            f" the {orders.named} of Fleet/default the replicas stay as they are"
        )
        return replace(each, cause=ShortfallCause.HELD, message=message)

    return replace(plan, shortfalls=tuple(map(explained, plan.shortfalls)))


def _refusal(problem: PlanProblem, plan: Plan | None, target: FleetPlan) -> str:
    """Why the present objects do not allow the held replicas; empty where they do."""
    number = target.spec.revision
    if plan is not None:
        broken = [str(each) for each in violations(problem, plan) if each.code not in _ORDERED]
        return f"its replicas break a rule now: {broken[0]}" if broken else ""
    known = Counter(option.name for option in problem.options)
    groups = {cell.group for cell in problem.cells}
    lacking = [
        f"{entry.replicas} x {entry.variant} for {entry.sharing_group}"
        for entry in target.spec.deployments
        if entry.replicas and entry.name not in known and entry.sharing_group in groups
    ]
    named = ", ".join(lacking[:3]) or "its replicas"
    return (
        f"{named} of revision {number} cannot be made of the present objects: a ServedModel, GPUPool or"
        " WorkloadClass was edited since"
    )
