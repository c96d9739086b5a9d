"""The sizing problem: how many replicas of what, and which share of each cell they carry.

Owns the immutable input of the planner, all units resolved. Never solves, never names a node
and never looks at a clock. Section 5 of the design is the formulation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from argosy.checks import require_count, require_number, require_unique


@dataclass(frozen=True, slots=True)
class Cell:
    """A route cell's demand.

    `group` is its sharing group; a higher `priority` is served first where not all can be.
    """

    name: str
    group: str
    rate_per_s: float
    priority: int

    def __post_init__(self) -> None:
        require_number(f"the rate of cell {self.name}", self.rate_per_s)


@dataclass(frozen=True, slots=True)
class Option:
    """A variant inside a sharing group: one Deployment and one Envoy cluster.

    `model` limits replicas together with its other options. `current_replicas` are the
    replicas that exist and are not being drained; `load_s` is how long a new one loads.
    `price_usd_per_hour` is per replica (all its GPUs). `variant` is for sentences only.
    """

    name: str
    group: str
    model: str
    pool: str
    gpus: int
    price_usd_per_hour: float
    load_s: float
    current_replicas: int = 0
    variant: str = ""

    @property
    def label(self) -> str:
        """What sentences call it: the variant, for the sentence names the group already."""
        return self.variant or self.name

    def __post_init__(self) -> None:
        require_count(f"the GPUs of option {self.name}", self.gpus, least=1)
        require_number(f"the price of option {self.name}", self.price_usd_per_hour)
        require_number(f"the load time of option {self.name}", self.load_s)
        require_count(f"the current replicas of option {self.name}", self.current_replicas)


@dataclass(frozen=True, slots=True)
class PoolLimit:
    """What a pool can hold: usable GPUs of each of its live nodes."""

    name: str
    node_gpus: tuple[int, ...]

    def __post_init__(self) -> None:
        for gpus in self.node_gpus:
            require_count(f"the GPUs of a node of pool {self.name}", gpus)


@dataclass(frozen=True, slots=True)
class PlanProblem:
    """One sizing question.

    capacity_per_s: requests/s that one replica of an option carries of a cell, keyed by
        (cell, option); a pair that is absent or 0 cannot serve, and neither can one of two groups
    min_replicas: floor per sharing group
    max_replicas: ceiling per model
    headroom: share (0-1] of a replica's capacity that may be planned for
    budget_usd_per_hour: for the whole fleet, None where unlimited
    transition_horizon_s: time over which the cost of loading new replicas must pay back
    """

    cells: tuple[Cell, ...]
    options: tuple[Option, ...]
    pools: tuple[PoolLimit, ...]
    capacity_per_s: Mapping[tuple[str, str], float]
    min_replicas: Mapping[str, int] = field(default_factory=dict)
    max_replicas: Mapping[str, int] = field(default_factory=dict)
    headroom: float = 0.8
    budget_usd_per_hour: float | None = None
    transition_horizon_s: float = 600.0

    def __post_init__(self) -> None:
        """Refuse what no arithmetic survives; what merely cannot be satisfied is the plan's to say."""
        require_unique("cell", (c.name for c in self.cells))
        require_unique("option", (o.name for o in self.options))
        require_unique("pool", (p.name for p in self.pools))
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
