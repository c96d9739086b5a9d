"""The status of a WorkloadClass.

Owns its conditions and figures. Ready gives the reason that a user would have to remedy first. Input:
`Reported` and the class. Output: a `WorkloadClassStatus`.
"""

from __future__ import annotations

from argosy.api import WorkloadClass
from argosy.api.conditions import ConditionStatus, ConditionType, Reason
from argosy.api.fleet import Mode
from argosy.api.schema.timestamp import rfc3339
from argosy.api.workloadclass import WorkloadClassStatus
from argosy.control.candidates.refusal import Refusal
from argosy.control.status.engines.metrics_read import metrics_verdicts
from argosy.control.status.leaving import remark
from argosy.control.status.observed import observed_status, slo_missed
from argosy.control.status.reported import Reported
from argosy.control.status.rollout.awaited import awaited_verdict
from argosy.control.status.rollout.exchange import Exchange, exchange_of, exchanging_verdict
from argosy.control.status.rollout.held import room_held, served_by_held
from argosy.control.status.rollout.last_replica import (
    interrupted_since_s,
    interrupted_verdict,
    waits_verdict,
)
from argosy.control.status.rollout.unacted import class_unacted
from argosy.control.status.verdict import (
    Verdict,
    admission_verdict,
    because,
    dated,
    ending_verdict,
    false,
    held_verdict,
    mode_not_auto,
    nearest,
    others_serve,
    portless_verdict,
    programmed,
    refused_verdict,
    replicas_verdict,
    true,
)
from argosy.demand.forecast import STALE_S, ForecastNote
from argosy.keys import ClassKey, DeploymentKey
from argosy.place.solution import Unplaced
from argosy.plan.solution import Shortfall, ShortfallCause
from argosy.snapshot.liveness import UNREAD_AFTER_S

_REF_REASONS = (Reason.MODEL_NOT_FOUND, Reason.SERVED_NAME_MISMATCH, Reason.SERVED_NAME_UNKNOWN)

_LIMITS = {
    ShortfallCause.POOL_FULL: Reason.CAPACITY_SHORT,
    ShortfallCause.BUDGET: Reason.BUDGET_SHORT,
    ShortfallCause.REPLICA_LIMIT: Reason.REPLICAS_AT_LIMIT,
    ShortfallCause.FIXED: Reason.REPLICAS_AUTOSCALED,
    ShortfallCause.ADOPTED: Reason.CAPACITY_SHORT,
    ShortfallCause.HELD: Reason.PLANNING_HELD,
    ShortfallCause.QUOTA: Reason.QUOTA_SHORT,
    ShortfallCause.REFUSED: Reason.REPLICAS_REFUSED,
}
"""Shortfalls that a limit causes: their sentences name the field that holds it."""


def class_status(reported: Reported, item: WorkloadClass, usd_per_hour: float) -> WorkloadClassStatus:
    """The status of a WorkloadClass, which costs `usd_per_hour`."""
    cells = reported.cells_of(item.key)
    verdicts: tuple[Verdict, ...] = (
        _accepted(reported, item.key),
        _resolved_refs(reported, item.key),
        programmed(reported),
        class_ready(reported, item.key),
    )
    pods = reported.pods_of_class(item.key)
    verdicts += tuple(metrics_verdicts(reported, pods, item.status.conditions))
    rate_per_s = sum(c.requests_per_second for c in cells)
    since_s = interrupted_since_s(reported, item.key)
    return WorkloadClassStatus(
        observed_generation=item.metadata.generation,
        conditions=dated(item.status.conditions, item.metadata, verdicts, reported.snapshot.now_s),
        requests_per_second=round(rate_per_s, 3) if cells else None,
        observed=observed_status(reported, item.key),
        sharing_group=", ".join(dict.fromkeys(c.sharing_group.name for c in cells)) or None,
        replicas_ready=sum(map(reported.serves, pods)),
        cost_usd_per_hour=usd_per_hour,
        unserved_share=_unserved_share(reported, item.key),
        interrupted_since=None if since_s is None else rfc3339(since_s),
    )


def _unserved_share(reported: Reported, key: ClassKey) -> float | None:
    """Of the class's requests: the cells' shares, each weighted with its rate."""
    cells = reported.cells_of(key)
    if not cells:
        return None
    rate_per_s = sum(c.requests_per_second for c in cells)
    if rate_per_s <= 0:
        return max(c.unserved_share for c in cells)
    unserved_per_s = sum(c.unserved_share * c.requests_per_second for c in cells)
    return min(1.0, round(unserved_per_s / rate_per_s, 6))


def _accepted(reported: Reported, key: ClassKey) -> Verdict:
    refusals = reported.sizing.resolution.classes[key].refusals
    losses = [r for r in refusals if r.reason is Reason.CONFLICTED]
    if losses:
        return because(ConditionType.ACCEPTED, Reason.CONFLICTED, losses[0].message)
    return true(ConditionType.ACCEPTED, Reason.ACCEPTED)


def _resolved_refs(reported: Reported, key: ClassKey) -> Verdict:
    refusals = reported.sizing.resolution.classes[key].refusals
    broken = [r for r in refusals if r.reason in _REF_REASONS]
    if broken:
        return because(ConditionType.RESOLVED_REFS, broken[0].reason, broken[0].message)
    return true(ConditionType.RESOLVED_REFS, Reason.RESOLVED_REFS)


def class_ready(reported: Reported, key: ClassKey) -> Verdict:
    """Whether the class gets what it asks for; if not, the reason to remedy first."""
    if (ending := ending_verdict(reported, key.namespace)) is not None:
        return ending
    resolved = reported.sizing.resolution.classes[key]
    if not resolved.candidates:
        refusal = nearest(resolved.refusals)
        return because(
            ConditionType.READY, refusal.reason, f"{refusal.message}{_kept(reported, key, refusal)}"
        )
    shortfall = _shortfall(reported, key)
    if shortfall is not None:
        return _short(shortfall)
    if reported.mode is not Mode.AUTO and not reported.cells_of(key):
        return mode_not_auto(ConditionType.READY, reported.mode)
    routed = programmed(reported)
    if routed.status is ConditionStatus.FALSE:
        return because(ConditionType.READY, routed.reason, routed.message)
    now = exchange_of(reported, reported.planned_for(key), reported.pods_of_class(key))
    lacking = unplaced(reported, key)
    exchanging = (
        _unreachable(reported, key)
        or class_unacted(reported, key)
        or held_verdict(reported, {d.name for d in reported.planned_for(key)})
        or admission_verdict(reported, {d.name for d in reported.planned_for(key)})
        or room_held(reported, reported.planned_for(key), reported.pods_of_class(key))
        or interrupted_verdict(reported, key)
        or waits_verdict(reported, key, lacking)
        or _exchanging(reported, key, now)
        or awaited_verdict(reported, reported.planned_for(key))
    )
    if exchanging is not None:
        return exchanging
    if lacking is not None and not now.is_draining:
        return because(ConditionType.READY, Reason.UNPLACEABLE, lacking.message)
    planned = reported.planned_for(key)
    names = {d.name for d in planned}
    pods = [p for p in reported.pods_of_class(key) if p.deployment in names]
    served = replicas_verdict(reported, pods, sum(d.replicas for d in planned))
    served = refused_verdict(reported, names, served)
    if served.status is not ConditionStatus.TRUE:
        return served
    return slo_missed(reported, key) or _remarked(reported, key, served)


def _kept(reported: Reported, key: ClassKey, refusal: Refusal) -> str:
    """What becomes of the replicas of a class whose SLO was tightened beyond what any keeps; else empty."""
    serving = sum(map(reported.serves, reported.pods_of_class(key)))
    if refusal.reason is not Reason.SLO_UNREACHABLE or not serving:
        return ""
    return f" Until then it keeps the {serving} replica{'s' * (serving > 1)} that it has, and they serve."


def _unreachable(reported: Reported, key: ClassKey) -> Verdict | None:
    """A planned replica cannot be reached, whatever serves instead: only a user can end that."""
    planned = [d for d in reported.planned_for(key) if d.replicas]
    names = {d.name for d in planned}
    pods = [p for p in reported.pods_of_class(key) if p.deployment in names]
    return portless_verdict(pods, sum(map(reported.serves, pods)), sum(d.replicas for d in planned))


def _exchanging(reported: Reported, key: ClassKey, now: Exchange) -> Verdict | None:
    """Planned replicas are missing, and replicas of the former plan serve instead."""
    if now.ready + now.others == 1 and unplaced(reported, key) is not None:
        return None  # the last replica never gives way: this exchange does not end by itself
    return exchanging_verdict(now)


def _remarked(reported: Reported, key: ClassKey, served: Verdict) -> Verdict:
    """A class that is served on nodes that are leaving, or while its requests or engines cannot be read.

    Where its requests cannot be counted, its last forecast is held.
    """
    if (leaving := remark(reported, reported.pods_of_class(key))) is not None:
        return leaving
    if (held := served_by_held(reported, reported.planned_for(key))) is not None:
        return held
    if reported.sizing.forecasts[key].note is ForecastNote.HELD:
        # No exact age: a status must not change with every decision.
        age_s = f"more than {STALE_S:.0f}"
        return true(
            ConditionType.READY, Reason.OBSERVATION_STALE, source="Envoy's request counters", age_s=age_s
        )
    if (refused := _refused_elsewhere(reported, key)) is not None:
        return refused
    return telemetry_lost(reported) or served


def _refused_elsewhere(reported: Reported, key: ClassKey) -> Verdict | None:
    """A class that is served by other options than those that the cluster refuses."""
    candidates = reported.sizing.resolution.classes[key].candidates
    return others_serve(reported, (c.workload.variant for c in candidates))


def telemetry_lost(reported: Reported) -> Verdict | None:
    """Ready, though engines or Envoys could not be read for a while; None where they can be."""
    if not reported.unread:
        return None
    age_s = f"more than {UNREAD_AFTER_S:.0f}"
    return true(ConditionType.READY, Reason.OBSERVATION_STALE, source=reported.unread, age_s=age_s)


def _short(shortfall: Shortfall) -> Verdict:
    """The rate that is missing, and the limit that causes it."""
    limit = _LIMITS.get(shortfall.cause)
    if limit is not None:
        return false(ConditionType.READY, limit, shortfall=shortfall.message.rstrip("."))
    is_fast_enough = shortfall.cause is ShortfallCause.NO_NODES
    reason = Reason.NO_NODES if is_fast_enough else Reason.SLO_UNREACHABLE
    return because(ConditionType.READY, reason, shortfall.message)


def _shortfall(reported: Reported, key: ClassKey) -> Shortfall | None:
    """The first shortfall of one of the class's cells."""
    cells = {row.name for row in reported.sizing.cells.of_class(key)}
    return next((s for s in reported.plan.shortfalls if s.cell in cells), None)


def unplaced(reported: Reported, key: ClassKey) -> Unplaced | None:
    """The first of the class's Deployments for which there is too little room on nodes."""
    if not reported.placement.unplaced:
        return None  # without a look at every candidate of every class
    workloads = reported.sizing.resolution.workloads()
    groups = reported.sizing.cells.groups_of(key)

    def serves(option: DeploymentKey) -> bool:
        return option in workloads and workloads[option].group in groups

    return next((u for u in reported.placement.unplaced if serves(u.option)), None)
