"""The sizing problem: how many replicas of what, and which share of each cell they carry.

Owns the immutable input of the planner, all units resolved. It knows pools and their sizes, not
nodes by name: on which nodes replicas run is decided by `argosy.place`. The formulation is section 1
of docs/design/0002-sizing-and-placement.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from argosy.checks import require_count, require_number, require_unique
from argosy.keys import CellName, DeploymentKey, GroupName, ModelKey


@dataclass(frozen=True, slots=True)
class Cell:
    """A route cell's demand.

    group: the cells of one group share replicas; they may be of one class or of several
    priority: a cell of a higher priority is served first where not all can be
    is_served: replicas serve it now; only a higher priority may take the last of them
    refusal: why no option serves it, in a sentence; empty: none keeps its SLO. For sentences only

    Raises ValueError where the rate is negative or not finite.
    """

    name: CellName
    group: GroupName
    rate_per_s: float
    priority: int
    is_served: bool = False
    refusal: str = ""

    def __post_init__(self) -> None:
        require_number(f"the rate of cell {self.name}", self.rate_per_s)


@dataclass(frozen=True, slots=True)
class Option:
    """A variant inside a sharing group: one Deployment and one Envoy cluster.

    model: a model's ceiling counts the replicas of all its options
    gpus: per replica
    price_usd_per_hour: per replica, all its GPUs
    load_s: seconds from the start of a replica until it serves
    current_replicas: replicas that exist and are not being drained, those on leaving nodes apart
    closed_replicas: of these, those on nodes that take no new ones: no other option can use their GPUs
    leaving_replicas: replicas on nodes whose removal is announced: they count only where nothing else
        can serve, and their successors have to be loaded
    least_replicas: replicas that stay, whatever they serve: those of the last plan, while its removals wait
    most_replicas: replicas that there can be: of a user's Deployment, which is never given more, or of one of
        which the cluster refuses more. None: any
    held_by: why there can be no more than `most_replicas`, in a sentence; empty for a user's Deployment
    fixed_by: what sets the number of its replicas in the planner's place (an autoscaler): the least and the
        most are that number. Empty: the planner decides
    variant: for sentences only

    Raises ValueError where a number is negative or not finite, or a replica has no GPU.
    """

    name: DeploymentKey
    group: GroupName
    model: ModelKey
    pool: str
    gpus: int
    price_usd_per_hour: float
    load_s: float
    current_replicas: int = 0
    closed_replicas: int = 0
    leaving_replicas: int = 0
    least_replicas: int = 0
    most_replicas: int | None = None
    fixed_by: str = ""
    held_by: str = ""
    variant: str = ""

    @property
    def anchored(self) -> int:
        """Replicas that need no GPU of a node that takes new ones."""
        return self.closed_replicas + self.leaving_replicas

    def bounded(self, replicas: int) -> int:
        """So many replicas, or as many as there can be."""
        return replicas if self.most_replicas is None else min(replicas, self.most_replicas)

    @property
    def label(self) -> str:
        """Its name in sentences: the variant, because the sentence already names the group."""
        return self.variant or self.name

    def __post_init__(self) -> None:
        require_count(f"the GPUs of option {self.name}", self.gpus, least=1)
        require_number(f"the price of option {self.name}", self.price_usd_per_hour)
        require_number(f"the load time of option {self.name}", self.load_s)
        require_count(f"the current replicas of option {self.name}", self.current_replicas)
        require_count(f"the closed replicas of option {self.name}", self.closed_replicas)
        require_count(f"the leaving replicas of option {self.name}", self.leaving_replicas)
        require_count(f"the least replicas of option {self.name}", self.least_replicas)
        if self.most_replicas is not None:
            require_count(
                f"the most replicas of option {self.name}", self.most_replicas, least=self.least_replicas
            )
        if self.fixed_by and self.most_replicas != self.least_replicas:
            raise ValueError(f"{self.fixed_by} sets one number of replicas of option {self.name}")


@dataclass(frozen=True, slots=True)
class NodesToCome:
    """Alike nodes that do not exist and that an autoscaler brings for replicas that find no room.

    most:    how many may come
    gpus:    of each
    asked:   how many of them replicas wait for already
    delay_s: seconds from the first replica that waits for one until it is Ready
    price_usd_per_hour: of one node, all its GPUs

    Raises ValueError where a number is negative or not finite, or a node has no GPU.
    """

    most: int
    gpus: int
    asked: int = 0
    delay_s: float = 0.0
    price_usd_per_hour: float = 0.0

    def __post_init__(self) -> None:
        require_count("the nodes that may come", self.most)
        require_count("the GPUs of a node that may come", self.gpus, least=1)
        require_count("the nodes that are asked for", self.asked)
        require_number("the delay of a node that may come", self.delay_s)
        require_number("the price of a node that may come", self.price_usd_per_hour)


@dataclass(frozen=True, slots=True)
class PoolLimit:
    """Usable GPUs of each node of a pool that takes new replicas.

    gpus_closed: GPUs that replicas hold on nodes that take no new ones; for sentences only
    to_come: nodes that do not exist yet; None where none may come
    paid_usd_per_hour: the price of nodes that are kept whether replicas use them or not

    Raises ValueError where a number of GPUs is no whole number >= 0, or the price is negative.
    """

    name: str
    node_gpus: tuple[int, ...]
    gpus_closed: int = 0
    to_come: NodesToCome | None = None
    paid_usd_per_hour: float = 0.0

    def __post_init__(self) -> None:
        for gpus in self.node_gpus:
            require_count(f"the GPUs of a node of pool {self.name}", gpus)
        require_number(f"the price of the nodes that pool {self.name} keeps", self.paid_usd_per_hour)

    def nodes_with(self, num_to_come: int) -> tuple[int, ...]:
        """GPUs of each node once so many of those to come exist."""
        gpus = self.to_come.gpus if self.to_come is not None else 0
        return (*self.node_gpus, *(gpus for _ in range(num_to_come)))

    @property
    def most_nodes(self) -> tuple[int, ...]:
        """GPUs of each node, those that do not exist yet included."""
        return self.nodes_with(self.to_come.most if self.to_come is not None else 0)


@dataclass(frozen=True, slots=True)
class Quota:
    """What the replicas of several options may take together of one resource of a namespace.

    units: of the resource; what others hold is subtracted, and what runs now is never more
    per_replica: units of one replica, by option: one that is absent takes none
    title:  what it leaves, as the beginning of a sentence: `ResourceQuota a/b leaves 3 of 8 nvidia.com/gpu`
    remedy: what gives more, as an order

    Raises ValueError where a number is no whole number >= 0, or one of a replica is not above 0.
    """

    name: str
    title: str
    remedy: str
    units: int
    per_replica: Mapping[DeploymentKey, int]

    def taken(self, counts: Mapping[DeploymentKey, int]) -> int:
        """Units that so many replicas take."""
        return sum(units * counts.get(name, 0) for name, units in self.per_replica.items())

    def __post_init__(self) -> None:
        require_count(f"what {self.name} leaves", self.units)
        for option, units in self.per_replica.items():
            require_count(f"what a replica of {option} takes of {self.name}", units, least=1)


@dataclass(frozen=True, slots=True)
class PlanProblem:
    """One sizing question.

    capacity_per_s: requests/s that one replica of an option carries of a cell, keyed by
        (cell, option); an option cannot serve a cell where the pair is absent or 0, or where the
        two are of different groups
    min_replicas: floor per sharing group
    max_replicas: ceiling per model
    headroom: share of a replica's capacity, in (0, 1], that may be planned for
    budget_usd_per_hour: for the whole fleet, None where unlimited
    quotas: limits of namespaces
    transition_horizon_s: time over which the cost of loading new replicas must pay back

    Raises ValueError where a name occurs twice, or a number is negative or not finite.
    """

    cells: tuple[Cell, ...]
    options: tuple[Option, ...]
    pools: tuple[PoolLimit, ...]
    capacity_per_s: Mapping[tuple[CellName, DeploymentKey], float]
    min_replicas: Mapping[GroupName, int] = field(default_factory=dict)
    max_replicas: Mapping[ModelKey, int] = field(default_factory=dict)
    headroom: float = 0.8
    budget_usd_per_hour: float | None = None
    transition_horizon_s: float = 600.0
    quotas: tuple[Quota, ...] = ()

    def __post_init__(self) -> None:
        """Refuse values that break arithmetic; a demand that cannot be met is reported by the plan."""
        require_unique("cell", (c.name for c in self.cells))
        require_unique("option", (o.name for o in self.options))
        require_unique("pool", (p.name for p in self.pools))
        require_unique("quota", (q.name for q in self.quotas))
        for (cell, option), capacity in self.capacity_per_s.items():
            require_number(f"the capacity of option {option} for cell {cell}", capacity)
        for group, floor in self.min_replicas.items():
            require_count(f"the floor of group {group}", floor)
        for model, ceiling in self.max_replicas.items():
            require_count(f"the ceiling of model {model}", ceiling)
        if not (math.isfinite(self.headroom) and 0 < self.headroom <= 1):
            raise ValueError(f"headroom lies in (0, 1], got {self.headroom}")
        if self.budget_usd_per_hour is not None:
            require_number("the budget", self.budget_usd_per_hour)
        if not (math.isfinite(self.transition_horizon_s) and self.transition_horizon_s > 0):
            raise ValueError(f"the transition horizon is positive, got {self.transition_horizon_s}")
