"""Rejected alternatives: each sharing group's traffic on a single option.

Owns the alternatives of a plan. Input: `Facts`, a group and the planned counts. Output: for each
alternative its cost, with the other groups as planned, or its first obstacle.
"""

from __future__ import annotations

import math

from argosy.keys import GroupName
from argosy.plan.explain.titles import title
from argosy.plan.explain.words import counted, usd
from argosy.plan.facts import Counts, Facts
from argosy.plan.obstacles import full_quotas, obstacles
from argosy.plan.packing import usable_gpus
from argosy.plan.problem import Cell, Option
from argosy.plan.solution import Alternative, ShortfallCause


def alternatives(facts: Facts, group: GroupName, counts: Counts) -> tuple[Alternative, ...]:
    """Each single-option plan for the group, the plan itself apart."""
    if not _demanding(facts, group) and not facts.floor(group):
        return ()
    others = {o.name: counts.get(o.name, 0) for o in facts.options if o.group != group}
    options = facts.named_by_group.get(group, [])
    looked_at = [_alternative(facts, option, counts, others) for option in options]
    return tuple(a for a in looked_at if a is not None)


def _alternative(facts: Facts, option: Option, counts: Counts, others: Counts) -> Alternative | None:
    alone = f"{title(facts, option.group)} on {option.label} alone"
    demanding = _demanding(facts, option.group)
    unable = [c.name for c in demanding if option not in facts.able_by_cell[c.name]]
    if unable:
        return Alternative(alone, None, f"it cannot serve {', '.join(unable)} within the SLO")
    if not any(option in facts.able_by_cell[c.name] for c in facts.cells_by_group[option.group]):
        return Alternative(alone, None, "it can serve no route cell of the group within the SLO")
    needed = _replicas_needed(facts, option)
    if needed is None:
        return Alternative(alone, None, "its capacity is next to nothing")
    if counts.get(option.name, 0) == needed == facts.group_count(counts, option.group):
        return None
    alone = f"{alone} ({counted(needed, 'replica')})"
    in_the_way = obstacles(facts, others, option, needed)
    if in_the_way:
        return Alternative(
            alone, None, _why_not(facts, option, {**others, option.name: needed}, in_the_way[0])
        )
    return _priced(facts, option, counts, needed, alone)


def _demanding(facts: Facts, group: GroupName) -> list[Cell]:
    """The group's cells with demand, without those that no option can serve, unless there are only such.

    A cell that the plan cannot serve either is no reason against an alternative.
    """
    asked = [c for c in facts.cells_by_group[group] if c.rate_per_s > 0]
    return [c for c in asked if facts.able_by_cell[c.name]] or asked


def _replicas_needed(facts: Facts, option: Option) -> int | None:
    """Replicas that carry the whole demand of the group, at least its floor; None where no number does."""
    worth = math.fsum(
        c.rate_per_s / facts.problem.capacity_per_s[c.name, option.name]
        for c in _demanding(facts, option.group)
    )
    exact = worth / facts.problem.headroom
    if not exact < 1e9:
        return None
    # Rounding may have lifted a whole number of replicas slightly: it is still that number.
    return max(facts.floor(option.group), math.ceil(exact * (1 - 1e-9)))


def _why_not(facts: Facts, option: Option, fleet: Counts, obstacle: ShortfallCause) -> str:
    if obstacle is ShortfallCause.FIXED:
        return f"{option.fixed_by} sets {counted(option.least_replicas, 'replica')} of it"
    if obstacle is ShortfallCause.REFUSED:
        return option.held_by
    if obstacle is ShortfallCause.QUOTA:
        others = {**fleet, option.name: 0}
        needed = fleet[option.name]
        quota = next(full_quotas(facts, others, option, needed))
        return f"{quota.title} and {quota.taken(fleet)} would be taken"
    if obstacle is ShortfallCause.ADOPTED:
        there = counted(option.bounded(fleet[option.name]), "replica")
        return f"Deployment {option.name}, which a user runs, has only {there}"
    if obstacle is ShortfallCause.REPLICA_LIMIT:
        return f"model {option.model} may have {facts.problem.max_replicas[option.model]} replicas in all"
    if obstacle is ShortfallCause.BUDGET:
        cost, budget = facts.price_usd_per_hour(fleet), facts.problem.budget_usd_per_hour or 0.0
        return f"with it the fleet would cost {usd(cost)}, the budget is {usd(budget)}"
    needed = max(0, fleet[option.name] - option.anchored)
    nodes = facts.nodes_by_pool[option.pool]
    room = usable_gpus(nodes, option.gpus)
    asked = f"it takes {counted(needed * option.gpus, 'GPU')}"
    if not nodes:
        return f"{asked} and pool {option.pool} has no node"
    if needed * option.gpus > room:
        return f"{asked} and pool {option.pool} can give groups of {option.gpus} at most {room}"
    return f"{asked} and other groups leave too few of pool {option.pool}'s {sum(nodes)}"


def _priced(facts: Facts, option: Option, counts: Counts, needed: int, alone: str) -> Alternative:
    only = {option.name: needed}
    instead_of = {o.name: counts.get(o.name, 0) for o in facts.options_by_group[option.group]}
    cost, planned = facts.price_usd_per_hour(only), facts.price_usd_per_hour(instead_of)
    more = facts.objective_usd_per_hour(only) - facts.objective_usd_per_hour(instead_of)
    loading = facts.loading_usd_per_hour(option) * max(0, needed - option.current_replicas)
    if cost > planned + 5e-3:
        reason = f"{usd(cost - planned)} more expensive"
    elif more > 5e-3:
        saved = f"{usd(planned - cost)} cheaper to run" if cost < planned - 5e-3 else "no cheaper to run"
        horizon = f"{facts.problem.transition_horizon_s:g} s"
        reason = f"{saved}, but loading it weighs {usd(loading)} over {horizon}"
    else:
        reason = "costs the same; fewer changes, then the name decided"
    return Alternative(alone, cost, reason)
