"""What is not served, why, and what would remedy it.

Owns the shortfalls of a plan and their sentences. Input: `Facts`, counts and shares. Output: one
`Shortfall` per cell that is not served whole. That no more could be served is ensured by `solve`.

A sentence names the total that is needed, of all groups that lack the same thing: a user who adds what
one group lacks would find the next one short.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from argosy.keys import CellName, GroupName
from argosy.plan.explain.takers import taken_by
from argosy.plan.explain.titles import title
from argosy.plan.explain.words import counted, rate, usd
from argosy.plan.facts import Counts, Facts, groups_on
from argosy.plan.obstacles import full_quotas, model_count, obstacles
from argosy.plan.problem import Cell, Option
from argosy.plan.solution import Shortfall, ShortfallCause
from argosy.plan.solver.shares import Shares, missing_per_s


@dataclass(frozen=True, slots=True)
class _Lack:
    """What one group needs beyond the plan: `more` replicas of an option, which a limit keeps out."""

    group: GroupName
    option: Option
    cause: ShortfallCause
    more: int


def shortfalls(facts: Facts, counts: Counts, found: Shares) -> tuple[Shortfall, ...]:
    """One per cell that is not served whole, in order of names."""
    missing = missing_per_s(facts, found)
    return _Shortfalls(facts, counts, missing).all()


@dataclass(frozen=True)
class _Shortfalls:
    """The counts, and the requests/s that they leave unserved, by cell."""

    facts: Facts
    counts: Counts
    missing: dict[CellName, float]

    def all(self) -> tuple[Shortfall, ...]:
        return tuple(self._of(c) for c in self.facts.cells if c.name in self.missing)

    def _of(self, cell: Cell) -> Shortfall:
        facts, missing_per_s = self.facts, self.missing[cell.name]
        able = facts.able_by_cell[cell.name]
        lacks = f"{cell.name} lacks {rate(missing_per_s)} of {rate(cell.rate_per_s)}"
        if not able:
            sentence = f"{lacks}: " + (
                cell.refusal.rstrip(".")
                or f"no variant of {title(facts, cell.group)} can serve it within its SLO; "
                "loosen spec.slo of its WorkloadClass or allow another model or GPUPool"
            )
            return Shortfall(cell.name, missing_per_s, ShortfallCause.NO_VARIANT, sentence)
        hosted = self._hosted(cell)
        if not hosted:
            sentence = f"{lacks}: {_no_nodes(facts, able)}"
            return Shortfall(cell.name, missing_per_s, ShortfallCause.NO_NODES, sentence)
        option, cause = self._nearest_remedy(cell, hosted)
        remedy = {
            ShortfallCause.REPLICA_LIMIT: self._replica_limit,
            ShortfallCause.BUDGET: self._budget,
            ShortfallCause.POOL_FULL: self._pool_full,
            ShortfallCause.FIXED: self._fixed,
            ShortfallCause.QUOTA: self._quota,
            ShortfallCause.REFUSED: self._refused,
            ShortfallCause.ADOPTED: self._adopted,
        }[cause]
        takers = taken_by(facts, self.counts, cell)
        return Shortfall(cell.name, missing_per_s, cause, f"{lacks}: {takers}{remedy(option)}")

    def _hosted(self, cell: Cell) -> list[Option]:
        """Options that serve the cell and of which a node of their pool could hold, or holds, a replica."""
        nodes, able = self.facts.nodes_by_pool, self.facts.able_by_cell[cell.name]
        return [o for o in able if o.anchored or o.gpus <= max(nodes[o.pool], default=0)]

    def _nearest_remedy(self, cell: Cell, hosted: list[Option]) -> tuple[Option, ShortfallCause]:
        """The option with the fewest obstacles; among equals, the cheapest per request."""
        capacity = self.facts.problem.capacity_per_s
        found = [
            (len(found), o.price_usd_per_hour / capacity[cell.name, o.name], o.name, o, found)
            for o in hosted
            for found in (obstacles(self.facts, self.counts, o),)
        ]
        _, _, _, option, in_the_way = min(found)
        # No obstacle: one more replica would carry next to nothing of this cell.
        return option, in_the_way[0] if in_the_way else ShortfallCause.POOL_FULL

    @cached_property
    def _lacks(self) -> tuple[_Lack, ...]:
        """What every group needs beyond the plan: for what is not served, or for its floor."""
        facts = self.facts
        unmet, found = facts.unmet_floors(self.counts), []
        for group in facts.groups:
            worth: dict[tuple[Option, ShortfallCause], float] = {}
            for cell in facts.cells_by_group[group]:
                if (cell.name in self.missing or group in unmet) and (hosted := self._hosted(cell)):
                    option, cause = self._nearest_remedy(cell, hosted)
                    carried_per_s = (
                        facts.problem.headroom * facts.problem.capacity_per_s[cell.name, option.name]
                    )
                    missing_per_s = self.missing.get(cell.name, 0.0)
                    worth[option, cause] = worth.get((option, cause), 0.0) + missing_per_s / carried_per_s
            least = unmet.get(group, 0)
            for (option, cause), replicas in sorted(worth.items(), key=lambda item: item[0][0].name):
                found.append(_Lack(group, option, cause, max(least, _whole(replicas))))
                least = 0  # the floor counts all options together
        return tuple(found)

    def _like(self, cause: ShortfallCause) -> Iterable[_Lack]:
        return (lack for lack in self._lacks if lack.cause is cause)

    def _replica_limit(self, option: Option) -> str:
        model = option.model
        more = sum(
            lack.more for lack in self._like(ShortfallCause.REPLICA_LIMIT) if lack.option.model == model
        )
        ceiling = self.facts.problem.max_replicas[model]
        needed = model_count(self.facts, self.counts, model) + more
        return (
            f"model {model} may have {counted(ceiling, 'replica')} and {needed} are needed; "
            "raise the replica bounds of its ServedModel or lower the demand"
        )

    def _budget(self, option: Option) -> str:
        lacks = list(self._like(ShortfallCause.BUDGET))
        budget = self.facts.problem.budget_usd_per_hour or 0.0
        more_usd = math.fsum(lack.more * lack.option.price_usd_per_hour for lack in lacks)
        needed = self.facts.price_usd_per_hour(self.counts) + more_usd
        mine = sum(lack.more for lack in lacks if lack.option == option)
        others = f" and {_of_others(len(lacks) - 1)}" if len(lacks) > 1 else ""
        return (
            f"the budget is {usd(budget)} and {usd(needed)} is needed, for {counted(mine, 'more replica')} "
            f"of {option.label}{others}; raise the budget of the Fleet or lower the demand"
        )

    def _quota(self, option: Option) -> str:
        """Of several quotas the one that is exceeded most, with what all groups lack of it."""
        lacks = list(self._like(ShortfallCause.QUOTA))
        beyond = [
            (quota.taken(self.counts) + more - quota.units, quota, quota.taken(self.counts) + more)
            for quota in full_quotas(self.facts, self.counts, option)
            for more in (sum(k.more * quota.per_replica.get(k.option.name, 0) for k in lacks),)
        ]
        _, quota, needed = max(beyond, key=lambda each: (each[0], each[1].name))
        others = f" for it and {_of_others(len(lacks) - 1)}" if len(lacks) > 1 else ""
        return f"{quota.title} and {needed} are needed{others}; {quota.remedy} or lower the demand"

    def _refused(self, option: Option) -> str:
        return f"{option.label}: {option.held_by}"

    def _fixed(self, option: Option) -> str:
        more = sum(lack.more for lack in self._like(ShortfallCause.FIXED) if lack.option == option)
        count = self.counts.get(option.name, 0)
        return (
            f"{option.fixed_by} sets {counted(count, 'replica')} of {option.label} and {count + more} are"
            " needed; let it set more, or delete it to let Argosy decide"
        )

    def _adopted(self, option: Option) -> str:
        more = sum(lack.more for lack in self._like(ShortfallCause.ADOPTED) if lack.option == option)
        count = self.counts.get(option.name, 0)
        return (
            f"Deployment {option.name}, which a user runs, has {counted(count, 'replica')} and"
            f" {count + more} are needed; scale it up, or let Argosy make replicas in a pool with free GPUs"
        )

    def _pool_full(self, option: Option) -> str:
        facts, pool = self.facts, option.pool
        nodes, groups = facts.nodes_by_pool[pool], groups_on(facts.options, self.counts, pool)
        lacks = [k for k in self._like(ShortfallCause.POOL_FULL) if k.option.pool == pool]
        needed = sum(size * n for size, n in groups.items()) + sum(k.more * k.option.gpus for k in lacks)
        whose = title(facts, option.group)
        more = "raise spec.nodes.max of" if pool in facts.to_come else "add nodes to"
        remedy = f"{more} GPUPool {pool} or lower the demand of {whose}"
        has = f"pool {pool} has {counted(sum(nodes), 'GPU')}{_to_come(facts, pool)}{_closed(facts, pool)}"
        if needed <= sum(nodes):
            return f"{has}, but no node has {option.gpus} left together for {option.label}; {remedy}"
        mine = sum(k.more * k.option.gpus for k in lacks if k.group == option.group)
        for_whom = (
            f" ({mine} for {whose}, the rest for {_of_others(len(lacks) - 1)})" if len(lacks) > 1 else ""
        )
        return f"{has} and {needed} are needed{for_whom}; {remedy}"


def _whole(replicas: float) -> int:
    return math.ceil(min(replicas, 1e9) - 1e-9)


def _of_others(number: int) -> str:
    return "those of another group" if number == 1 else f"those of {number} other groups"


def _no_nodes(facts: Facts, able: tuple[Option, ...]) -> str:
    sentences = []
    for pool in sorted({o.pool for o in able}):
        least = min(o.gpus for o in able if o.pool == pool)
        nodes = facts.nodes_by_pool[pool]
        largest = f"its largest node has {counted(max(nodes), 'GPU')}" if nodes else "it has no node"
        sentences.append(f"pool {pool} would have to hold {counted(least, 'GPU')} on one node and {largest}")
    return f"{', '.join(sentences)}; add nodes to GPUPool {' or '.join(sorted({o.pool for o in able}))}"


def _closed(facts: Facts, pool: str) -> str:
    """Where some of a pool's GPUs are on nodes that take no new replicas: what the number leaves out."""
    gpus = next((p.gpus_closed for p in facts.problem.pools if p.name == pool), 0)
    return f" on nodes that take new replicas ({gpus} in use on nodes that do not)" if gpus else ""


def _to_come(facts: Facts, pool: str) -> str:
    """How many of a pool's GPUs are on nodes that do not exist yet."""
    to_come = facts.to_come.get(pool)
    return f" ({to_come.most * to_come.gpus} of them on nodes that do not exist yet)" if to_come else ""
