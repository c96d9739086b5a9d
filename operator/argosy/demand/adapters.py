"""How much of a group's requests each LoRA adapter gets: as Envoys count them, else as declared.

Owns the estimate. Input: snapshots, reading by reading, whose telemetry has Envoys' counters of requests by
cell and adapter. Output: `AdapterLoads`, and from it the expected load of each adapter, in which `residency`
sees only ratios.

The estimate of an adapter's share is that of a Dirichlet prior: the declared weights count as
`PRIOR_REQUESTS` requests, and what was counted since the adapter is known comes on top. So a new adapter
starts with its declared share, and the share moves to what is measured without a step. Counts lose half
their weight in `HALF_LIFE_S`, so that the estimate follows a change. While no Envoy is read the last estimate
holds, because missing counters are not missing requests; after `STALE_S` the declared weights are used.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from argosy.api import ServedModel
from argosy.api.engine.adapters import Adapter
from argosy.keys import CellName, GroupName, ModelKey
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.telemetry import AdapterCell

PRIOR_REQUESTS = 50.0
"""Requests of the group that the declared weights are worth; from as many counted ones on, an estimate is
called measured. With fewer, the error of a share of a tenth is more than a third of it."""

HALF_LIFE_S = 900.0
STALE_S = 600.0
"""Longer than an Envoy or Prometheus is away for a restart: a copy that moves for such a gap moves back."""

AdapterGroup = tuple[ModelKey, GroupName]


@dataclass(frozen=True, slots=True)
class Heard:
    """Requests counted since an adapter is known, each with its age's weight: its own, and those of all
    adapters of its model in the sharing group."""

    num: float
    of: float


@dataclass(frozen=True, slots=True)
class AdapterLoads:
    """What is known of adapters' requests.

    totals: as last read, by Envoy's node id, then by cell and adapter
    read_s: when an Envoy was last read (seconds since the epoch)
    heard:  by model and sharing group, then by adapter; only adapters that exist are kept
    """

    totals: Mapping[str, Mapping[AdapterCell, float]] = field(default_factory=dict)
    read_s: float = -math.inf
    heard: Mapping[AdapterGroup, Mapping[str, Heard]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExpectedLoad:
    """An adapter's part of the requests for the adapters of its model in a sharing group.

    share:       above 0, at most 1
    is_measured: counted requests outweigh the declared weight
    """

    share: float
    is_measured: bool = False


def observe(known: AdapterLoads, snapshot: FleetSnapshot) -> AdapterLoads:
    """The loads after one more reading. It is unchanged where no Envoy was read since the last one."""
    samples = snapshot.telemetry.adapters
    read_s = max((each.at_s for each in samples.values()), default=-math.inf)
    if read_s == known.read_s or not samples:
        return known
    gained: dict[AdapterCell, float] = {}
    for node, sample in samples.items():
        if (before := known.totals.get(node)) is not None:
            for key, total in sample.value.items():
                gained[key] = gained.get(key, 0.0) + _gained(before.get(key, 0.0), total)
    elapsed_s = max(0.0, read_s - known.read_s) if math.isfinite(known.read_s) else 0.0
    keeps = 0.5 ** (elapsed_s / HALF_LIFE_S)
    heard = {
        of: _heard(known.heard.get(of, {}), names, _of_cells(gained, cells), keeps)
        for of, (names, cells) in _groups(snapshot).items()
    }
    return AdapterLoads({node: sample.value for node, sample in samples.items()}, read_s, heard)


def expected_loads(
    loads: AdapterLoads, of: AdapterGroup, adapters: Iterable[Adapter], now_s: float
) -> dict[str, ExpectedLoad]:
    """The expected load of each of these adapters, all of one model in one sharing group."""
    wanted = list(adapters)
    weights = sum(each.weight for each in wanted)
    heard = loads.heard.get(of, {}) if now_s - loads.read_s <= STALE_S else {}
    found = {}
    for each in wanted:
        seen = heard.get(each.name, Heard(0.0, 0.0))
        prior = PRIOR_REQUESTS * each.weight / weights
        share = (seen.num + prior) / (seen.of + PRIOR_REQUESTS)
        found[each.name] = ExpectedLoad(min(1.0, share), seen.of >= PRIOR_REQUESTS)
    return found


def _groups(snapshot: FleetSnapshot) -> dict[AdapterGroup, tuple[list[str], frozenset[CellName]]]:
    """The adapters of each model, and the cells of each sharing group that may send requests for them."""
    plan = snapshot.applied_plan
    found: dict[AdapterGroup, tuple[list[str], frozenset[CellName]]] = {}
    for cell in plan.spec.cells if plan is not None else ():
        workload = snapshot.classes.get(cell.workload_class)
        for key in workload.model_keys if workload is not None else ():
            model: ServedModel | None = snapshot.models.get(key)
            if model is not None and model.spec.adapters:
                of = (key, cell.sharing_group)
                names, cells = found.get(of, ([each.name for each in model.spec.adapters], frozenset()))
                found[of] = (names, cells | {cell.name})
    return found


def _heard(
    known: Mapping[str, Heard], names: Iterable[str], gained: Mapping[str, float], keeps: float
) -> dict[str, Heard]:
    """keeps: what a count keeps of its weight (0-1) over the time since the last reading"""
    own = {name: gained.get(name, 0.0) for name in names}
    total = math.fsum(own.values())
    found = {}
    for name, num in own.items():
        before = known.get(name, Heard(0.0, 0.0))
        found[name] = Heard(before.num * keeps + num, before.of * keeps + total)
    return found


def _of_cells(gained: Mapping[AdapterCell, float], cells: frozenset[CellName]) -> dict[str, float]:
    found: dict[str, float] = {}
    for (cell, name), num in gained.items():
        if cell in cells:
            found[name] = found.get(name, 0.0) + num
    return found


def _gained(before: float, total: float) -> float:
    """Requests since the last reading; all of them after a restart."""
    return total - before if total >= before else total
