"""The sizing problem in one fixed order, with the figures every step of the solver needs.

Owns what follows from a `PlanProblem` by arithmetic: which option can serve which cell, how many
replicas of it can ever be of use, what it costs. Everything is sorted by name, so that a problem
given in another order is the same problem. `check` does not use it, so that a mistake here is found.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from argosy.keys import CellName, DeploymentKey, GroupName
from argosy.plan.packing import fits, usable_gpus
from argosy.plan.problem import Cell, NodesToCome, Option, PlanProblem

LEAST_PART = 1e-6
"""An option whose every possible replica together carries less than this part of a cell is not
offered to it: it would help no request, and its coefficients would make the program ill-conditioned."""

Counts = Mapping[DeploymentKey, int]
"""Replicas per option. Counts alone determine the shares, the shortfalls and the cost."""


@dataclass(frozen=True)
class Facts:
    """A problem, and what follows from it. Maps and tuples are in order of names."""

    problem: PlanProblem

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """All cells, those without demand included."""
        return tuple(sorted(self.problem.cells, key=lambda c: c.name))

    @cached_property
    def options(self) -> tuple[Option, ...]:
        """The options of which a replica can be of use: the others get none."""
        return tuple(o for o in self.named_options if self.most_replicas[o.name] > 0)

    @cached_property
    def named_options(self) -> tuple[Option, ...]:
        """All options, those of no use included."""
        return tuple(sorted(self.problem.options, key=lambda o: o.name))

    @cached_property
    def option_by_name(self) -> dict[DeploymentKey, Option]:
        """All options by name."""
        return {o.name: o for o in self.named_options}

    @cached_property
    def nodes_by_pool(self) -> dict[str, tuple[int, ...]]:
        """GPUs of the nodes of each pool that take new replicas, those to come included; empty for a
        vanished pool."""
        nodes = {p.name: tuple(sorted(p.most_nodes)) for p in self.problem.pools}
        return {name: nodes.get(name, ()) for name in sorted({o.pool for o in self.problem.options})}

    @cached_property
    def to_come(self) -> dict[str, NodesToCome]:
        """The nodes that may come to each pool that has options, where any may."""
        pools = sorted(self.problem.pools, key=lambda p: p.name)
        return {
            p.name: p.to_come
            for p in pools
            if p.to_come is not None and p.to_come.most and p.name in self.nodes_by_pool
        }

    @cached_property
    def paid_usd_per_hour(self) -> dict[str, float]:
        """The price of the nodes that each pool keeps anyhow, where it keeps any."""
        return {p.name: p.paid_usd_per_hour for p in self.problem.pools if p.paid_usd_per_hour > 0}

    @cached_property
    def groups(self) -> tuple[GroupName, ...]:
        """The sharing groups that have cells, options or a floor."""
        named = {c.group for c in self.cells} | {o.group for o in self.problem.options}
        return tuple(sorted(named | set(self.problem.min_replicas)))

    @cached_property
    def able_by_cell(self) -> dict[CellName, tuple[Option, ...]]:
        """Options of the cell's own group that can serve it within its SLO, wherever they run."""
        return {
            cell.name: tuple(
                o for o in self.named_by_group.get(cell.group, ()) if self._given_per_s(cell, o) > 0
            )
            for cell in self.cells
        }

    @cached_property
    def named_by_group(self) -> dict[GroupName, list[Option]]:
        """All options per sharing group that has any."""
        groups: dict[GroupName, list[Option]] = {}
        for option in self.named_options:
            groups.setdefault(option.group, []).append(option)
        return groups

    def _given_per_s(self, cell: Cell, option: Option) -> float:
        return self.problem.capacity_per_s.get((cell.name, option.name), 0.0)

    @cached_property
    def capacity_per_s(self) -> dict[tuple[CellName, DeploymentKey], float]:
        """Requests/s of one replica, for the (cell, option) pairs that can be used."""
        found = {}
        for cell in self.cells:
            for option in self.able_by_cell[cell.name]:
                capacity = self.problem.capacity_per_s[cell.name, option.name]
                most = self.most_replicas[option.name]
                if most and most * self.problem.headroom * capacity >= LEAST_PART * cell.rate_per_s:
                    found[cell.name, option.name] = capacity
        return found

    @cached_property
    def most_replicas(self) -> dict[DeploymentKey, int]:
        """Upper bound on the replicas of each option: its nodes, ceilings, quotas, its group, its own.

        More than the group's whole demand or its floor takes is never needed, but for those that stay.
        """
        most: dict[DeploymentKey, int] = {}
        for option in self.named_options:
            members = self.cells_by_group[option.group]
            served = [c for c in members if self._given_per_s(c, option) > 0]
            worth = math.fsum(c.rate_per_s / self._given_per_s(c, option) for c in served)
            useful = worth / self.problem.headroom
            floor = self.floor(option.group) if served else 0
            free = usable_gpus(self.nodes_by_pool[option.pool], option.gpus) // option.gpus
            room = free + option.anchored
            ceiling = min(
                self.problem.max_replicas.get(option.model, room), self._most_by_quotas(option, room)
            )
            # A capacity near 0 makes `useful` infinite: the nodes limit it then.
            wanted = max(floor, option.least_replicas, math.ceil(min(useful, room)))
            most[option.name] = option.bounded(min(room, ceiling, wanted))
        return most

    def _most_by_quotas(self, option: Option, room: int) -> int:
        quotas = (q for q in self.problem.quotas if option.name in q.per_replica)
        return min((q.units // q.per_replica[option.name] for q in quotas), default=room)

    @cached_property
    def demanding_cells(self) -> tuple[Cell, ...]:
        """Cells with demand that some usable option can serve."""
        served = {cell for cell, _ in self.capacity_per_s}
        return tuple(c for c in self.cells if c.rate_per_s > 0 and c.name in served)

    @cached_property
    def options_by_group(self) -> dict[GroupName, tuple[Option, ...]]:
        """Usable options per sharing group."""
        return {g: tuple(o for o in self.options if o.group == g) for g in self.groups}

    @cached_property
    def cells_by_group(self) -> dict[GroupName, tuple[Cell, ...]]:
        """All cells per sharing group."""
        return {g: tuple(c for c in self.cells if c.group == g) for g in self.groups}

    @cached_property
    def priority_by_group(self) -> dict[GroupName, int]:
        """The highest priority among the group's cells; a group without cells comes last."""
        lowest = min((c.priority for c in self.cells), default=0) - 1
        return {g: max((c.priority for c in cs), default=lowest) for g, cs in self.cells_by_group.items()}

    @cached_property
    def incumbents(self) -> frozenset[GroupName]:
        """Groups that are served now and still need a replica: the last one is taken by priority only."""
        needed = {c.group for c in self.demanding_cells} | {g for g in self.groups if self.floor(g)}
        served = {c.group for c in self.cells if c.is_served}
        return frozenset(g for g in needed & served if self.options_by_group[g])

    def abandoned(self, counts: Counts) -> frozenset[GroupName]:
        """The incumbents that these counts leave without any replica."""
        return frozenset(g for g in self.incumbents if not self.group_count(counts, g))

    def floor(self, group: GroupName) -> int:
        """Replicas that a group should have, whatever its demand."""
        return self.problem.min_replicas.get(group, 0)

    def load_per_rate(self, cell: Cell, option: Option) -> float:
        """Replicas' worth of work that the whole cell would be on this option."""
        return cell.rate_per_s / self.capacity_per_s[cell.name, option.name]

    def loading_usd_per_hour(self, option: Option) -> float:
        """The cost of loading one new replica, spread over the horizon in which it must pay back."""
        return option.price_usd_per_hour * option.load_s / self.problem.transition_horizon_s

    def node_usd_per_hour(self, to_come: NodesToCome) -> float:
        """The cost of the time until one more node is Ready, spread over the transition horizon."""
        return to_come.price_usd_per_hour * to_come.delay_s / self.problem.transition_horizon_s

    def nodes_asked(self, counts: Counts) -> dict[str, int]:
        """By pool, how many of the nodes to come these replicas need: those pools alone that need any."""
        needed = {pool: self._num_to_come(counts, pool) for pool in self.to_come}
        return {pool: number for pool, number in needed.items() if number}

    def _num_to_come(self, counts: Counts, pool: str) -> int:
        """The least number with which the groups fit; all where they never do."""
        limit = next(p for p in self.problem.pools if p.name == pool)
        groups = groups_on(self.options, counts, pool, are_moved=True)
        numbers = range(self.to_come[pool].most)
        return bisect_left(numbers, True, key=lambda number: fits(limit.nodes_with(number), groups))

    def idle_usd_per_hour(self, counts: Counts) -> float:
        """The part of what pools pay anyhow that no replica uses."""
        return math.fsum(
            max(0.0, paid - math.fsum(self._prices(counts, pool)))
            for pool, paid in self.paid_usd_per_hour.items()
        )

    def _prices(self, counts: Counts, pool: str) -> Iterator[float]:
        return (o.price_usd_per_hour * counts.get(o.name, 0) for o in self.options if o.pool == pool)

    def price_usd_per_hour(self, counts: Counts) -> float:
        """The price of running these replicas."""
        return math.fsum(o.price_usd_per_hour * counts.get(o.name, 0) for o in self.options)

    def objective_usd_per_hour(self, counts: Counts) -> float:
        """The solver's objective: running the replicas, loading the new ones, the nodes that have to come
        for them, and what is paid for nodes that none uses."""
        loading = (
            self.loading_usd_per_hour(o) * max(0, counts.get(o.name, 0) - o.current_replicas)
            for o in self.options
        )
        coming = (
            self.node_usd_per_hour(self.to_come[pool]) * max(0, number - self.to_come[pool].asked)
            for pool, number in self.nodes_asked(counts).items()
        )
        total = self.price_usd_per_hour(counts) + self.idle_usd_per_hour(counts)
        return total + math.fsum((*loading, *coming))

    def group_count(self, counts: Counts, group: GroupName) -> int:
        """Replicas of a sharing group."""
        return sum(counts.get(o.name, 0) for o in self.options_by_group[group])

    def unmet_floors(self, counts: Counts) -> dict[GroupName, int]:
        """Replicas missing to each group's floor, where any are."""
        unmet = {g: self.floor(g) - self.group_count(counts, g) for g in self.groups}
        return {g: missing for g, missing in unmet.items() if missing > 0}


def groups_on(
    options: Iterable[Option], counts: Counts, pool: str, *, are_moved: bool = False
) -> Counter[int]:
    """Parallel groups on a pool's nodes that take new replicas: GPUs of one group -> number of groups.

    are_moved: those on leaving nodes are among them, as their successors will be
    """
    groups: Counter[int] = Counter()
    for option in options:
        if option.pool == pool:
            elsewhere = option.closed_replicas if are_moved else option.anchored
            groups[option.gpus] += max(0, counts.get(option.name, 0) - elsewhere)
    return groups
