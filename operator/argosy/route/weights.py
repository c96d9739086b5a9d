"""The traffic loop's correction: how a cell's requests are divided between clusters right now.

Owns the weights between the clusters of one cell; the plan owns the number of replicas. Input: the
plan's shares and what each cluster can carry at this moment. Output: weights that sum to 1, with the
reason beside each.

1. A cluster gets its planned share, less the part of its planned replicas that cannot be used. The
   missing part goes first to usable replicas beyond the plan (surplus that is being removed while
   the plan's own replicas still load), then to all in proportion.
2. A cluster where requests wait longer than elsewhere in the cell loses up to `max_relative` of its
   weight to the others: in proportion to the difference in waiting time, smoothed over rounds,
   without an integral term, so that there is no wind-up while a cluster recovers.
3. A change smaller than `hysteresis` is not published: weights are written to the API server and
   sent to every Envoy.

A cluster whose queue is unknown takes no part in the correction: missing telemetry means neither idle
nor busy.

Why these gains. Let x be the difference between a cluster's waiting time and the cell's mean, c its
relative correction, T = 2 s the loop's period. Near saturation waiting time integrates the surplus of
arrivals (Little's law), so that per round, with gain g and smoothing d,

    c' = (1 - d) c - d g x,    x' = x + T c'.

The characteristic polynomial is z^2 - (2 - d - T d g) z + (1 - d). By Jury's criterion the loop is
stable for 0 < g < (4 - 2d) / (T d): 3 per second at d = 0.5. At g = 0.3, a tenth of that, the roots
have modulus sqrt(1 - d) = 0.71: a disturbance falls to 1/e in 5.8 s and overshoots by about 15 %.
The tenth is for what the model leaves out: samples up to `FRESH_S` old, and the way to Envoy.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from argosy.checks import require_count, require_number
from argosy.keys import CellName, DeploymentKey
from argosy.snapshot import TelemetryReading, fresh

KV_NEARLY_FULL = 0.9
"""Above this share (0-1) of its KV cache an engine is about to queue or to preempt."""

KV_FULL_WAIT_S = 0.5
"""A full KV cache counts as this much waiting time, so that weights move before a queue forms: half of
the second that moves them by `max_relative`."""

FRESH_S = 6.0
"""A sample at most this old, three rounds of the traffic loop, still describes the queue."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A cluster's queue by fresh samples of its engines, averaged over its endpoints.

    Running requests are left out: at the same share of its capacity a slow GPU holds more of them
    than a fast one.
    """

    waiting_per_endpoint: float
    kv_cache_usage: float

    def __post_init__(self) -> None:
        require_number("a queue's waiting_per_endpoint", self.waiting_per_endpoint)
        require_number("a queue's kv_cache_usage", self.kv_cache_usage)


def queue_of(reading: TelemetryReading, addresses: Collection[str], now_s: float) -> Queue | None:
    """A cluster's queue from the fresh samples of its usable endpoints.

    None where fewer than half of them have one: the busy ones may be among the others.
    """
    samples = [fresh(reading.engines.get(address), now_s, FRESH_S) for address in addresses]
    seen = [sample for sample in samples if sample is not None]
    if not seen or 2 * len(seen) < len(samples):
        return None
    return Queue(
        waiting_per_endpoint=sum(sample.num_waiting for sample in seen) / len(seen),
        kv_cache_usage=math.fsum(sample.kv_cache_usage for sample in seen) / len(seen),
    )


@dataclass(frozen=True, slots=True)
class ClusterLoad:
    """One cluster of a cell: what was planned for it and what it has.

    planned_share: 0-1; 0 for a cluster that the plan does not name but whose replicas still run
    planned_replicas: what the share was planned for
    usable_endpoints: ready and not silent
    capacity_per_replica: requests/s of this cell's mix; 0 where unknown
    queue: None where telemetry is missing or stale
    """

    planned_share: float
    planned_replicas: int
    usable_endpoints: int
    capacity_per_replica: float
    queue: Queue | None = None

    def __post_init__(self) -> None:
        require_number("a cluster's planned_share", self.planned_share)
        require_number("a cluster's capacity_per_replica", self.capacity_per_replica)
        require_count("a cluster's planned_replicas", self.planned_replicas)
        require_count("a cluster's usable_endpoints", self.usable_endpoints)

    @property
    def wait_s(self) -> float | None:
        """How long a new request waits here (Little's law: queue / service rate); None if unknown."""
        if self.queue is None or self.capacity_per_replica <= 0:
            return None
        fullness = max(0.0, min(1.0, self.queue.kv_cache_usage) - KV_NEARLY_FULL) / (1 - KV_NEARLY_FULL)
        return self.queue.waiting_per_endpoint / self.capacity_per_replica + KV_FULL_WAIT_S * fullness


@dataclass(frozen=True, slots=True)
class CorrectionSettings:
    """How far and how fast weights follow queues.

    enabled:      RouterPolicy's `weightCorrection`; without it only usable capacity counts
    max_relative: bound of the correction, relative to the cluster's weight
    gain_per_s:   relative correction per second of difference in waiting time: one second reaches
                  `max_relative`; stable up to ten times as much (derived above)
    damping:      share (0-1) of a round's change that is made: a first-order filter over two rounds,
                  because a queue sampled every 2 s is noisy
    hysteresis:   smallest change (of 1) that is published: a point of the traffic
    """

    enabled: bool = True
    max_relative: float = 0.3
    gain_per_s: float = 0.3
    damping: float = 0.5
    hysteresis: float = 0.01


class WeightReason(StrEnum):
    """Why a cluster's weight is what it is; the value is a sentence."""

    PLANNED = "the plan's share"
    CAPACITY_MISSING = "fewer replicas can be used here than are planned"
    COVERS_MISSING = "takes over what replicas elsewhere cannot serve"
    NO_USABLE_ENDPOINT = "no replica can be used here"
    QUEUE_LONGER = "requests wait longer here than in the cell's other clusters"
    QUEUE_SHORTER = "requests wait longer in the cell's other clusters"
    NOTHING_USABLE = "no replica of the cell can be used; the plan's shares stand"


@dataclass(frozen=True, slots=True)
class CellWeights:
    """A cell's weights by cluster (sum 1), with a reason each.

    corrections: what the queues add to each weight, relative to it; the next round's starting point
    """

    weights: Mapping[DeploymentKey, float] = field(default_factory=dict)
    reasons: Mapping[DeploymentKey, WeightReason] = field(default_factory=dict)
    corrections: Mapping[DeploymentKey, float] = field(default_factory=dict)


Cells = Mapping[CellName, Mapping[DeploymentKey, ClusterLoad]]
"""By cell and cluster."""


def correct(
    cells: Cells, previous: Mapping[CellName, CellWeights], settings: CorrectionSettings | None = None
) -> dict[CellName, CellWeights]:
    """The weights of every cell.

    `previous` are the published weights; after a restart, those read back from the plan's status,
    without corrections. A cell in which no weight changed by `hysteresis` keeps its previous weights.
    """
    chosen = settings or CorrectionSettings()
    return {
        cell: _correct_cell(clusters, previous.get(cell, CellWeights()), chosen)
        for cell, clusters in cells.items()
        if clusters
    }


def _correct_cell(
    clusters: Mapping[DeploymentKey, ClusterLoad], previous: CellWeights, settings: CorrectionSettings
) -> CellWeights:
    base = shares_by_capacity(clusters)
    if base is None:
        return CellWeights(_planned(clusters), dict.fromkeys(clusters, WeightReason.NOTHING_USABLE))
    corrections = _corrections(clusters, base, previous.corrections, settings) if settings.enabled else {}
    weights = {name: share * (1 + corrections.get(name, 0.0)) for name, share in base.items()}
    reasons = {
        name: _reason(load, base[name], corrections.get(name, 0.0), settings.hysteresis)
        for name, load in clusters.items()
    }
    if _is_same(previous.weights, weights, settings.hysteresis):
        weights = dict(previous.weights)
    return CellWeights(weights, reasons, corrections)


def shares_by_capacity(clusters: Mapping[DeploymentKey, ClusterLoad]) -> dict[DeploymentKey, float] | None:
    """Shares (sum 1) that follow usable capacity; None where no endpoint can be used at all."""
    planned = _planned(clusters)
    own = {
        name: planned[name] * min(1.0, load.usable_endpoints / load.planned_replicas)
        if load.planned_replicas
        else 0.0
        for name, load in clusters.items()
    }
    missing = max(0.0, 1.0 - math.fsum(own.values()))
    spare = {name: _spare(load, planned[name], clusters) for name, load in clusters.items()}
    all_spare = math.fsum(spare.values())
    covered = min(1.0, missing / all_spare) if all_spare > 0 else 0.0
    return _normalised({name: own[name] + spare[name] * covered for name in clusters})


def _spare(load: ClusterLoad, planned_share: float, clusters: Mapping[DeploymentKey, ClusterLoad]) -> float:
    """What usable replicas beyond the plan's could carry, as a share of the cell's planned load."""
    extra = max(0, load.usable_endpoints - load.planned_replicas * (planned_share > 0))
    if not extra:
        return 0.0
    if planned_share > 0 and load.planned_replicas:
        return extra * planned_share / load.planned_replicas
    planned = math.fsum(
        other.capacity_per_replica * other.planned_replicas
        for other in clusters.values()
        if other.planned_share > 0
    )
    if planned > 0 and load.capacity_per_replica > 0:
        return extra * load.capacity_per_replica / planned
    # Capacities are unknown: all replicas count the same.
    return extra / max(1, sum(other.planned_replicas for other in clusters.values()))


def _planned(clusters: Mapping[DeploymentKey, ClusterLoad]) -> dict[DeploymentKey, float]:
    """The plan's shares, of which what the plan leaves unserved is no part; equal if there are none."""
    shares = {name: load.planned_share for name, load in clusters.items()}
    return _normalised(shares) or dict.fromkeys(clusters, 1 / len(clusters))


def _normalised(shares: Mapping[DeploymentKey, float]) -> dict[DeploymentKey, float] | None:
    whole = math.fsum(shares.values())
    return {name: share / whole for name, share in shares.items()} if whole > 0 else None


def _corrections(
    clusters: Mapping[DeploymentKey, ClusterLoad],
    base: Mapping[DeploymentKey, float],
    before: Mapping[DeploymentKey, float],
    settings: CorrectionSettings,
) -> dict[DeploymentKey, float]:
    """Relative corrections; weighted with `base` they sum to 0, so the weights still sum to 1.

    Only clusters whose queue is known take part, and only if there are two to compare.
    """
    waits = {
        name: wait for name, load in clusters.items() if base[name] > 0 and (wait := load.wait_s) is not None
    }
    if len(waits) < 2:
        return {}
    whole = math.fsum(base[name] for name in waits)
    mean_wait = math.fsum(base[name] * wait for name, wait in waits.items()) / whole
    wanted = {name: -settings.gain_per_s * (wait - mean_wait) for name, wait in waits.items()}
    moved = {
        name: before.get(name, 0.0) + settings.damping * (_bounded(want, settings) - before.get(name, 0.0))
        for name, want in wanted.items()
    }
    # The bounds, and shares that changed since the last round, move the weighted sum away from 0.
    offset = math.fsum(base[name] * move for name, move in moved.items()) / whole
    centred = {name: move - offset for name, move in moved.items()}
    largest = max(abs(move) for move in centred.values())
    scale = min(1.0, settings.max_relative / largest) if largest > 0 else 1.0
    return {name: move * scale for name, move in centred.items()}


def _bounded(correction: float, settings: CorrectionSettings) -> float:
    return max(-settings.max_relative, min(settings.max_relative, correction))


def _reason(load: ClusterLoad, base: float, correction: float, hysteresis: float) -> WeightReason:
    if not load.usable_endpoints:
        return WeightReason.NO_USABLE_ENDPOINT
    if abs(correction) * base >= hysteresis:
        return WeightReason.QUEUE_LONGER if correction < 0 else WeightReason.QUEUE_SHORTER
    if load.planned_share > 0 and load.usable_endpoints < load.planned_replicas:
        return WeightReason.CAPACITY_MISSING
    return WeightReason.COVERS_MISSING if base > load.planned_share + hysteresis else WeightReason.PLANNED


def _is_same(
    previous: Mapping[DeploymentKey, float], weights: Mapping[DeploymentKey, float], hysteresis: float
) -> bool:
    """Whether the change is too small to publish. That a cluster gets its first requests, or no more,
    is always published.
    """
    return previous.keys() == weights.keys() and all(
        abs(weight - previous[name]) < hysteresis and (weight > 0) == (previous[name] > 0)
        for name, weight in weights.items()
    )
