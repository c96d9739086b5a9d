"""How many requests each Envoy sends to a Deployment at once before it refuses more.

Owns the limit, which a FleetPlan publishes, and how many Envoys it is divided by. Input: what was decided,
the Envoys, the limits published last. Output: a limit per Deployment; none where it is not known how long a
request may wait.

A limit that changes makes Envoy build the cluster anew, and its count of requests starts at zero. So
limits are powers of two, and one that was published stays while it is large enough and not four times
too large: a scale step changes it rarely, one back and forth never.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from argosy.api import FleetPlan
from argosy.control.candidates.resolve import ResolvedClass
from argosy.control.revision.decided import Decided
from argosy.control.state.routable import PATIENCE_S
from argosy.keys import CellName, DeploymentKey
from argosy.snapshot import Term
from argosy.snapshot.fleet import FleetSnapshot

TIMES_PLANNED = 2
"""Never below this many times the planned concurrency, at any one Envoy: bursts, and an Envoy that gets
the requests of another that restarts, must not be refused at the planned rate."""

BURST_CV = 4.0
"""Coefficient of variation of the arrivals that must be admitted whole at the planned rate."""

BURST_DEVIATIONS = 5.0
"""Standard deviations above the planned concurrency: with arrivals of that variation the number in flight
has about (1 + CV^2) / 2 times Poisson's variance."""

LARGEST_EXCESS = 4
"""A published limit stays up to this many times what is needed. Of rounding up, a factor of two is used;
the other is for an Envoy, or a replica, that comes and goes."""

LARGEST_LIMIT = 1_000_000


@dataclass(frozen=True, slots=True)
class _Flow:
    """A cell's requests to one Deployment: rate and SLO, and what one replica carries of them."""

    rate_per_s: float
    capacity_per_s: float
    resolved: ResolvedClass

    @property
    def wait_s(self) -> float | None:
        """How long a request may wait for its first token; None where the SLO does not bound it."""
        bounds_ms = self.resolved.slo.bounds_ms(Term.TTFT)
        return max(bounds_ms) / 1000 if bounds_ms else None

    @property
    def residence_s(self) -> float | None:
        """How long a request takes at most by its SLO; None where that does not bound it."""
        slo, wait_s = self.resolved.slo, self.wait_s
        if e2e_ms := slo.bounds_ms(Term.E2E):
            return max(e2e_ms) / 1000
        if (itl_ms := slo.bounds_ms(Term.ITL)) and wait_s is not None:
            return wait_s + self.resolved.mix.mean_output_tokens * max(itl_ms) / 1000
        return None


@dataclass(frozen=True, slots=True)
class EnvoyCount:
    """How many Envoys are seen. is_sure: False where there may be more, which have not connected yet"""

    num: int
    is_sure: bool = True


def envoy_count(snapshot: FleetSnapshot) -> EnvoyCount:
    """With those whose connection ended a moment ago: they mostly come again.

    It is not sure while this process has served Envoys for a moment only.
    """
    routing, now_s = snapshot.routing, snapshot.now_s
    gone = {name for name, at_s in routing.gone_at_s.items() if now_s - at_s < PATIENCE_S}
    num = len(gone | {envoy.node_id for envoy in routing.envoys})
    return EnvoyCount(num, is_sure=now_s - routing.since_s >= PATIENCE_S)


def request_limits(
    decided: Decided, envoys: EnvoyCount, published: FleetPlan | None
) -> dict[DeploymentKey, int]:
    """Requests in flight at one Envoy, by Deployment, beyond which it refuses.

    Where the number of Envoys is not sure, a Deployment whose replicas stay keeps its limit.
    """
    entries = {d.name: d for d in published.spec.deployments} if published else {}
    flows = _flows(decided)
    slots = {name: w.variant.engine.max_num_seqs for name, w in decided.workloads.items()}
    found: dict[DeploymentKey, int] = {}
    for name, replicas in decided.plan.replicas.items():
        needed = _needed(flows.get(name, ()), slots[name], replicas, max(1, envoys.num))
        entry = entries.get(name)
        before = entry.request_limit if entry is not None else None
        if needed is None:
            continue
        stays = not envoys.is_sure and entry is not None and entry.replicas == replicas
        found[name] = before if before is not None and stays else stepped(needed, before)
    return found


def stepped(needed: float, before: int | None) -> int:
    """The limit to publish: the one from before where it will do, else the next power of two."""
    if before is not None and needed <= before <= LARGEST_EXCESS * needed:
        return before
    return min(LARGEST_LIMIT, 1 << math.ceil(math.log2(max(1.0, needed))))


def _needed(flows: tuple[_Flow, ...], slots: int, replicas: int, num_envoys: int) -> float | None:
    waits_s = [(flow, flow.wait_s) for flow in flows]
    queued = [flow.capacity_per_s * wait_s for flow, wait_s in waits_s if wait_s is not None]
    if replicas == 0 or not queued or len(queued) < len(flows):
        return None
    shared = (slots + max(queued)) * replicas / num_envoys
    planned = _planned_concurrency(flows, slots * replicas)
    burst = planned + BURST_DEVIATIONS * math.sqrt(planned * (1 + BURST_CV**2) / 2)
    return max(shared, TIMES_PLANNED * planned, burst)


def _planned_concurrency(flows: tuple[_Flow, ...], num_slots: int) -> float:
    """Requests in flight at the planned rates, by Little's law; all slots where their time is unknown."""
    residences_s = [(flow, flow.residence_s) for flow in flows]
    known = [flow.rate_per_s * time_s for flow, time_s in residences_s if time_s is not None]
    return min(num_slots, math.fsum(known)) if len(known) == len(flows) else num_slots


def _flows(decided: Decided) -> dict[DeploymentKey, tuple[_Flow, ...]]:
    """The cells with a share on each Deployment."""
    rates: Mapping[CellName, float] = {cell.name: cell.rate_per_s for cell in decided.problem.cells}
    found: dict[DeploymentKey, tuple[_Flow, ...]] = {}
    for (cell, option), share in sorted(decided.plan.shares.items()):
        row = decided.cells.find(cell)
        if share > 0 and row is not None:
            capacity_per_s = decided.problem.capacity_per_s.get((cell, option), 0.0)
            resolved = decided.resolution.classes[row.workload_class]
            flow = _Flow(rates[cell] * share, capacity_per_s, resolved)
            found[option] = (*found.get(option, ()), flow)
    return found
