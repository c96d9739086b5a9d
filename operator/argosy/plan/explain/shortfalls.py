"""What is not served, why, and what would remedy it.

Owns the shortfalls of a plan and their sentences. Input: `Facts`, counts and shares. Output: one
`Shortfall` per cell that is not served whole. That no more could be served is ensured by `solve`.
"""

from __future__ import annotations

import math

from argosy.plan.explain.words import counted, rate, usd
from argosy.plan.facts import Counts, Facts
from argosy.plan.obstacles import groups_on, model_count, obstacles
from argosy.plan.problem import Cell, Option
from argosy.plan.solution import Shortfall, ShortfallCause
from argosy.plan.solver.shares import Shares, missing_per_s


def shortfalls(facts: Facts, counts: Counts, found: Shares) -> tuple[Shortfall, ...]:
    """One per cell that is not served whole, in order of names."""
    missing = missing_per_s(facts, found)
    return tuple(_shortfall(facts, counts, c, missing[c.name]) for c in facts.cells if c.name in missing)


def _shortfall(facts: Facts, counts: Counts, cell: Cell, missing: float) -> Shortfall:
    able = facts.able_by_cell[cell.name]
    lacks = f"{cell.name} lacks {rate(missing)} of {rate(cell.rate_per_s)}"
    if not able:
        sentence = (
            f"{lacks}: no variant of {cell.group} can serve it within its SLO; "
            "loosen spec.slo of its WorkloadClass or allow another model or GPUPool"
        )
        return Shortfall(cell.name, missing, ShortfallCause.NO_VARIANT, sentence)
    hosted = [o for o in able if o.gpus <= max(facts.nodes_by_pool[o.pool], default=0) or o.anchored]
    if not hosted:
        return Shortfall(cell.name, missing, ShortfallCause.NO_NODES, f"{lacks}: {_no_nodes(facts, able)}")
    option, cause = _nearest_remedy(facts, counts, cell, hosted)
    carried_per_s = facts.problem.headroom * facts.problem.capacity_per_s[cell.name, option.name]
    more = math.ceil(min(missing / carried_per_s, 1e9))
    remedy = {
        ShortfallCause.REPLICA_LIMIT: _replica_limit,
        ShortfallCause.BUDGET: _budget,
        ShortfallCause.POOL_FULL: _pool_full,
    }[cause]
    return Shortfall(cell.name, missing, cause, f"{lacks}: {remedy(facts, counts, option, more)}")


def _nearest_remedy(
    facts: Facts, counts: Counts, cell: Cell, hosted: list[Option]
) -> tuple[Option, ShortfallCause]:
    """The option with the fewest obstacles; among equals, the cheapest per request."""
    capacity = facts.problem.capacity_per_s
    found = [
        (len(found), o.price_usd_per_hour / capacity[cell.name, o.name], o.name, o, found)
        for o in hosted
        for found in (obstacles(facts, counts, o),)
    ]
    _, _, _, option, in_the_way = min(found)
    # No obstacle: one more replica would carry next to nothing of this cell.
    return option, in_the_way[0] if in_the_way else ShortfallCause.POOL_FULL


def _no_nodes(facts: Facts, able: tuple[Option, ...]) -> str:
    sentences = []
    for pool in sorted({o.pool for o in able}):
        least = min(o.gpus for o in able if o.pool == pool)
        nodes = facts.nodes_by_pool[pool]
        largest = f"its largest node has {counted(max(nodes), 'GPU')}" if nodes else "it has no node"
        sentences.append(f"pool {pool} would have to hold {counted(least, 'GPU')} on one node and {largest}")
    return f"{', '.join(sentences)}; add nodes to GPUPool {' or '.join(sorted({o.pool for o in able}))}"


def _replica_limit(facts: Facts, counts: Counts, option: Option, more: int) -> str:
    ceiling = facts.problem.max_replicas[option.model]
    needed = model_count(facts, counts, option.model) + more
    return (
        f"model {option.model} may have {counted(ceiling, 'replica')} and {needed} are needed; "
        "raise the replica bounds of its ServedModel or lower the demand"
    )


def _budget(facts: Facts, counts: Counts, option: Option, more: int) -> str:
    budget = facts.problem.budget_usd_per_hour or 0.0
    needed = facts.price_usd_per_hour(counts) + more * option.price_usd_per_hour
    return (
        f"the budget is {usd(budget)} and {usd(needed)} is needed, for {counted(more, 'more replica')} of "
        f"{option.label}; raise the budget of the Fleet or lower the demand"
    )


def _pool_full(facts: Facts, counts: Counts, option: Option, more: int) -> str:
    nodes = facts.nodes_by_pool[option.pool]
    groups = groups_on(facts, counts, option.pool)
    needed = sum(size * n for size, n in groups.items()) + more * option.gpus
    remedy = f"add nodes to GPUPool {option.pool} or lower the demand of {option.group}"
    has = f"pool {option.pool} has {counted(sum(nodes), 'GPU')}{_closed(facts, option.pool)}"
    if needed <= sum(nodes):
        return f"{has}, but no node has {option.gpus} left together for {option.label}; {remedy}"
    return f"{has} and {needed} are needed; {remedy}"


def _closed(facts: Facts, pool: str) -> str:
    """Where some of a pool's GPUs are on nodes that take no new replicas: what the number leaves out."""
    gpus = next((p.gpus_closed for p in facts.problem.pools if p.name == pool), 0)
    return f" on nodes that take new replicas ({gpus} in use on nodes that do not)" if gpus else ""
