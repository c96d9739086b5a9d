"""The limits that keep more replicas of an option from being started beside given ones.

Owns the test of the limits that one more replica can break: its own bound, its model's ceiling, the quotas
of its namespace, the budget and the nodes of its pool. Input: `Facts`, counts and an option. Output: the
obstacles; empty where there is room.
"""

from __future__ import annotations

from collections.abc import Iterator

from argosy.keys import ModelKey
from argosy.plan.facts import Counts, Facts, groups_on
from argosy.plan.packing import fits
from argosy.plan.problem import Option, Quota
from argosy.plan.solution import ShortfallCause

BUDGET_TOLERANCE = 1e-9
"""Relative: sums of prices are rounded."""


def obstacles(facts: Facts, counts: Counts, option: Option, more: int = 1) -> tuple[ShortfallCause, ...]:
    """The limits that `more` replicas of `option`, added to `counts`, would break."""
    found = []
    wanted = counts.get(option.name, 0) + more
    if option.bounded(wanted) < wanted:
        found.append(_own_bound(option))
    ceiling = facts.problem.max_replicas.get(option.model)
    if ceiling is not None and model_count(facts, counts, option.model) + more > ceiling:
        found.append(ShortfallCause.REPLICA_LIMIT)
    if any(full_quotas(facts, counts, option, more)):
        found.append(ShortfallCause.QUOTA)
    budget = facts.problem.budget_usd_per_hour
    cost = facts.price_usd_per_hour(counts) + more * option.price_usd_per_hour
    if budget is not None and cost > budget * (1 + BUDGET_TOLERANCE):
        found.append(ShortfallCause.BUDGET)
    nodes = facts.nodes_by_pool[option.pool]
    after = {**counts, option.name: counts.get(option.name, 0) + more}
    if not fits(nodes, groups_on(facts.options, after, option.pool)):
        found.append(ShortfallCause.POOL_FULL)
    return tuple(found)


def _own_bound(option: Option) -> ShortfallCause:
    if option.fixed_by:
        return ShortfallCause.FIXED
    return ShortfallCause.REFUSED if option.held_by else ShortfallCause.ADOPTED


def full_quotas(facts: Facts, counts: Counts, option: Option, more: int = 1) -> Iterator[Quota]:
    """The quotas that `more` replicas of `option`, added to `counts`, would exceed."""
    for quota in facts.problem.quotas:
        units = quota.per_replica.get(option.name)
        if units is not None and quota.taken(counts) + more * units > quota.units:
            yield quota


def model_count(facts: Facts, counts: Counts, model: ModelKey) -> int:
    """Replicas of a model over all groups and pools."""
    return sum(counts.get(o.name, 0) for o in facts.options if o.model == model)
