"""From counts to a `Plan`, with the reasons for each group's replicas.

Owns `explain` and the sentences on the solve, on unmet floors and on what binds each group: its
capacity, its floor, or no demand. Input: `Facts`, counts and the solver's report. Output: a `Plan`.
The counts are not changed. The sentences are for users.
"""

from __future__ import annotations

import math

from argosy.keys import GroupName
from argosy.plan.explain.rejected import alternatives
from argosy.plan.explain.shortfalls import shortfalls
from argosy.plan.explain.titles import title
from argosy.plan.explain.words import counted, percent, rate, replicas_of, usd
from argosy.plan.facts import Counts, Facts
from argosy.plan.problem import Option
from argosy.plan.solution import Alternative, Plan, PlanReason, PlanReasonCode, SolveReport, SolveStatus
from argosy.plan.solver.shares import carries, shares


def explain(facts: Facts, counts: Counts, report: SolveReport) -> Plan:
    """The plan of these counts, with shares, shortfalls, reasons and rejected alternatives."""
    found = shares(facts, counts)
    unmet = facts.unmet_floors(counts)
    per_group = {g: alternatives(facts, g, counts) for g in facts.groups}
    to_come = facts.nodes_asked(counts)
    reasons = [*_solve_reasons(report), *(_nodes_to_come(facts, *each) for each in to_come.items())]
    reasons += _quota_reasons(facts, counts)
    for group in facts.groups:
        if group in unmet:
            reasons.append(_unmet_floor(facts, group, unmet[group]))
        reasons.extend(_group_reasons(facts, group, counts, per_group[group]))
    return Plan(
        replicas={o.name: counts.get(o.name, 0) for o in facts.named_options},
        shares=found,
        shortfalls=shortfalls(facts, counts, found),
        cost_usd_per_hour=facts.price_usd_per_hour(counts),
        report=report,
        reasons=tuple(reasons),
        alternatives=tuple(a for group in facts.groups for a in per_group[group]),
        unmet_floors=unmet,
        to_come=to_come,
    )


def _solve_reasons(report: SolveReport) -> list[PlanReason]:
    cost, bound = usd(report.objective_usd_per_hour), usd(report.bound_usd_per_hour)
    within = f"no plan costs less than {bound}, this one {cost}"
    if report.status == SolveStatus.GREEDY:
        return [
            PlanReason(
                PlanReasonCode.GREEDY,
                f"the solver was stopped before it had a better plan; by the greedy rule: {within}",
            )
        ]
    if report.status == SolveStatus.TIME_LIMIT:
        stopped = f"the solver was stopped after {report.seconds:.1f} s"
        sentence = f"{stopped}, the cost is at most {percent(report.gap)} too high: {within}"
        return [PlanReason(PlanReasonCode.TIME_LIMIT, sentence)]
    return []


def _nodes_to_come(facts: Facts, pool: str, number: int) -> PlanReason:
    """How many of the nodes that the plan may use in a pool do not exist yet, and what that weighs."""
    limit = next(p for p in facts.problem.pools if p.name == pool)
    to_come, total = facts.to_come[pool], len(limit.node_gpus) + number
    do = "does" if number == 1 else "do"
    weight = f"{usd(facts.node_usd_per_hour(to_come))} over {facts.problem.transition_horizon_s:g} s"
    asked = f", {min(to_come.asked, number)} of them asked for already" if to_come.asked else ""
    return PlanReason(
        PlanReasonCode.NODES_TO_COME,
        f"{number} of {counted(total, 'node')} of pool {pool} {do} not exist yet{asked}: an autoscaler brings"
        f" one in about {to_come.delay_s:.0f} s, which weighs {weight}",
    )


def _quota_reasons(facts: Facts, counts: Counts) -> list[PlanReason]:
    """Of the quotas that leave no further replica of an option beside those that are planned."""
    found = []
    for quota in sorted(facts.problem.quotas, key=lambda q: q.name):
        taken = quota.taken(counts)
        sizes = [quota.per_replica[o.name] for o in facts.named_options if o.name in quota.per_replica]
        if sizes and taken + max(sizes) > quota.units:
            found.append(PlanReason(PlanReasonCode.QUOTA, f"{quota.title}; the plan takes {taken}"))
    return found


def _unmet_floor(facts: Facts, group: GroupName, missing: int) -> PlanReason:
    able = any(facts.able_by_cell[c.name] for c in facts.cells_by_group[group])
    refusals = (c.refusal.rstrip(".") for c in facts.cells_by_group[group] if c.refusal)
    why = (
        "nodes, ceilings, quotas and budget leave no room: add nodes to its GPUPools or raise what limits it"
        if able
        else next(refusals, "no variant can serve it: allow another model or GPUPool")
    )
    return PlanReason(
        PlanReasonCode.FLOOR_UNMET,
        f"{title(facts, group)} has a floor of {counted(facts.floor(group), 'replica')} and lacks {missing}"
        f" of them; {why}",
    )


def _group_reasons(
    facts: Facts, group: GroupName, counts: Counts, rejected: tuple[Alternative, ...]
) -> list[PlanReason]:
    used = [o for o in facts.options_by_group[group] if counts.get(o.name, 0)]
    fixed = [_fixed(o, counts) for o in facts.named_by_group.get(group, ()) if o.fixed_by]
    if all(o.fixed_by for o in used):
        return fixed or _no_replica(facts, group)
    return [*fixed, *_choice_reasons(facts, group, counts, rejected)]


def _fixed(option: Option, counts: Counts) -> PlanReason:
    which = replicas_of(option, counts.get(option.name, 0))
    return PlanReason(PlanReasonCode.FIXED, f"{which}: {option.fixed_by} sets this number")


def _choice_reasons(
    facts: Facts, group: GroupName, counts: Counts, rejected: tuple[Alternative, ...]
) -> list[PlanReason]:
    used = [o for o in facts.options_by_group[group] if counts.get(o.name, 0)]
    held = " and ".join(replicas_of(o, counts[o.name]) for o in used)
    # What no variant can serve binds nothing: it is reported as a shortfall.
    demand_per_s = math.fsum(c.rate_per_s for c in facts.demanding_cells if c.group == group)
    if demand_per_s == 0:
        kept = f"its floor of {facts.floor(group)} keeps {held}"
        return [
            PlanReason(
                PlanReasonCode.FLOOR, f"{title(facts, group)} has no demand that it can serve now; {kept}"
            )
        ]
    if _is_held_by_floor(facts, group, counts, used):
        kept = f"which fewer replicas would carry; its floor keeps {held}"
        return [
            PlanReason(
                PlanReasonCode.FLOOR, f"{title(facts, group)} has a demand of {rate(demand_per_s)}, {kept}"
            )
        ]
    return [_capacity(facts, group, counts, used), *_choice(held, title(facts, group), rejected)]


def _no_replica(facts: Facts, group: GroupName) -> list[PlanReason]:
    """Without demand and without floor; everything else is a shortfall or an unmet floor."""
    if facts.floor(group) or any(c.rate_per_s > 0 for c in facts.cells_by_group[group]):
        return []
    return [
        PlanReason(PlanReasonCode.NO_DEMAND, f"{title(facts, group)} has no demand and no floor: no replica")
    ]


def _is_held_by_floor(facts: Facts, group: GroupName, counts: Counts, used: list[Option]) -> bool:
    if facts.group_count(counts, group) > facts.floor(group):
        return False
    return any(carries(facts, group, {**counts, o.name: counts[o.name] - 1}) for o in used)


def _capacity(facts: Facts, group: GroupName, counts: Counts, used: list[Option]) -> PlanReason:
    """The group's demand, what one replica carries of it, and the number of replicas that follows."""
    cells = [c for c in facts.demanding_cells if c.group == group]
    demand_per_s = math.fsum(c.rate_per_s for c in cells)
    free = percent(1 - facts.problem.headroom)
    carried = []
    for option in used:
        able = [c for c in cells if (c.name, option.name) in facts.capacity_per_s]
        part_per_s = math.fsum(c.rate_per_s for c in able)
        worth = math.fsum(facts.load_per_rate(c, option) for c in able)
        if worth > 0:
            carried.append((option, part_per_s / worth))
    each = ", ".join(f"one replica of {o.label} carries {per_s:,.2f}" for o, per_s in carried)
    takes = (
        " and ".join(f"{counts[o.name]} of {o.label}" for o in used)
        if len(used) > 1
        else str(counts[used[0].name])
    )
    verb = "takes" if carries(facts, group, counts) else "takes more than there is room for; it gets"
    kept = f"with {free} kept free that {verb} {takes}"
    return PlanReason(
        PlanReasonCode.CAPACITY,
        f"{title(facts, group)} has a demand of {rate(demand_per_s)}; {each} within its SLO; {kept}",
    )


def _choice(held: str, name: str, rejected: tuple[Alternative, ...]) -> list[PlanReason]:
    """The cheapest alternative on a single option, where there is one."""
    priced = [a for a in rejected if a.cost_usd_per_hour is not None]
    if not priced:
        return []
    best = min(priced, key=lambda a: (a.cost_usd_per_hour or 0.0, a.description))
    return [
        PlanReason(
            PlanReasonCode.CHOSEN, f"{name} is on {held}; next best, {best.description}: {best.reason}"
        )
    ]
