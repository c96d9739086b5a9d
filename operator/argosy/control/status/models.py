"""The status of a ServedModel.

Owns its conditions, its replicas by variant and their calibrations. Input:
`Reported` and the model. Output: a `ServedModelStatus`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Set

from argosy.api import ServedModel
from argosy.api.conditions import ConditionStatus, ConditionType, Reason
from argosy.api.engine.vllm_flags import flag_table, unjudged_args
from argosy.api.fleetplan import PlannedDeployment
from argosy.api.servedmodel import CalibrationStatus, ServedModelStatus, VariantStatus
from argosy.control.candidates.calibration import calibration_key
from argosy.control.candidates.variants import variants_of
from argosy.control.status.classes import unplaced
from argosy.control.status.engines.adapters import adapter_statuses, adapter_verdicts
from argosy.control.status.engines.metrics_read import metrics_verdicts
from argosy.control.status.reported import Reported
from argosy.control.status.rollout.adopted import model_verdict
from argosy.control.status.rollout.awaited import awaited_verdict
from argosy.control.status.rollout.exchange import exchange_of, exchanging_verdict
from argosy.control.status.rollout.held import room_held, served_by_held
from argosy.control.status.rollout.last_replica import interrupted_verdict, waits_verdict
from argosy.control.status.rollout.unacted import model_unacted
from argosy.control.status.verdict import (
    Verdict,
    because,
    dated,
    ending_verdict,
    nearest,
    others_serve,
    programmed,
    refused_verdict,
    replicas_verdict,
    true,
)
from argosy.engine_version import contradicts
from argosy.keys import DeploymentKey, ModelKey
from argosy.perf.recalibration.recalibrate import Confidence, confidence
from argosy.snapshot.cluster import PodState

MAX_VARIANTS = 256
"""The API's bound on the list; a plan has at most twice as many Deployments."""

DRIFT_SHOWN_S = 3600.0
"""A calibration is shown as drifted for this long after the drift was detected."""


def model_status(reported: Reported, item: ServedModel, usd_per_hour: float) -> ServedModelStatus:
    """The status of a ServedModel, whose replicas cost `usd_per_hour`."""
    variants = _variants(reported, item)
    desired = sum(v.desired for v in variants)
    pods = reported.pods_of_model(item.key)
    accepted = _accepted(item)
    ready = ending_verdict(reported, item.key.namespace) or _ready(reported, item.key, pods)
    if ready.status is ConditionStatus.TRUE or ready.reason in (Reason.LOADING, Reason.EXCHANGING):
        ready = model_unacted(reported, item.key) or ready
    if refusals := reported.sizing.resolution.model_refusals[item.key]:
        worst = nearest(refusals)
        accepted = because(ConditionType.ACCEPTED, worst.reason, worst.message)
        ready = because(ConditionType.READY, worst.reason, worst.message)
    verdicts = [accepted, _profiles(reported, item.key), programmed(reported), ready]
    verdicts += [found] if (found := model_verdict(reported, item)) is not None else []
    verdicts += metrics_verdicts(reported, pods, item.status.conditions)
    adapters = adapter_statuses(reported.snapshot, item, reported.adapters)
    verdicts += adapter_verdicts(item, adapters, sum(map(reported.serves, pods)), item.status.conditions)
    return ServedModelStatus(
        observed_generation=item.metadata.generation,
        conditions=dated(item.status.conditions, item.metadata, verdicts, reported.snapshot.now_s),
        replicas_ready=sum(map(reported.serves, pods)),
        replicas_desired=desired,
        replicas_adopted=_adopted(reported, pods),
        cost_usd_per_hour=usd_per_hour,
        variants=variants,
        adapters=adapters,
    )


def _accepted(item: ServedModel) -> Verdict:
    """That it is in use, with a remark where flags or the version of its engines are in doubt."""
    engine = item.spec.engine
    if (named := contradicts(engine.image, engine.version)) is not None:
        parts = {"version": engine.version, "image": engine.image, "named": str(named)}
        return true(ConditionType.ACCEPTED, Reason.VERSION_CONTRADICTED, **parts)
    if not (flags := unjudged_args(engine.args, engine.image, engine.version)):
        return true(ConditionType.ACCEPTED, Reason.ACCEPTED)
    first, last = flag_table().versions[0], flag_table().versions[-1]
    return true(
        ConditionType.ACCEPTED,
        Reason.FLAG_UNJUDGED,
        flags=", ".join(flags),
        first=first,
        last=last,
        image=engine.image,
    )


def _adopted(reported: Reported, pods: list[PodState]) -> int | None:
    """Of these pods, those that serve in Deployments of users; None where there is none."""
    states = reported.snapshot.deployments
    its = [p for p in pods if (state := states.get(p.deployment)) is not None and state.is_adopted]
    return sum(map(reported.serves, its)) if its else None


def _ready(reported: Reported, key: ModelKey, pods: list[PodState]) -> Verdict:
    """Whether its planned replicas serve; while former ones still do in their place, how far that is."""
    planned = [d for d in reported.planned if d.model_key == key]
    names = {d.name for d in planned}
    served = replicas_verdict(reported, pods, sum(d.replicas for d in planned))
    if served.status is ConditionStatus.TRUE or served.reason is Reason.LOADING:
        now = exchange_of(reported, planned, pods)
        held = room_held(reported, planned, pods)
        served = held or _last_replica(reported, names) or exchanging_verdict(now) or served
        if served.status is not ConditionStatus.TRUE and served.reason is not Reason.EXCHANGING:
            served = awaited_verdict(reported, planned) or served
    refused = refused_verdict(reported, names, served)
    if refused.status is ConditionStatus.TRUE:
        return (
            served_by_held(reported, planned)
            or others_serve(reported, variants_of(reported.snapshot, reported.snapshot.models[key]))
            or refused
        )
    return refused


def _last_replica(reported: Reported, names: Set[DeploymentKey]) -> Verdict | None:
    """What a class that these Deployments serve says of the exchange of its last replica; else None."""
    for key in sorted(reported.snapshot.classes):
        if names.isdisjoint(d.name for d in reported.planned_for(key)):
            continue
        waits = waits_verdict(reported, key, unplaced(reported, key))
        if (said := interrupted_verdict(reported, key) or waits) is not None:
            return said
    return None


def _variants(reported: Reported, item: ServedModel) -> tuple[VariantStatus, ...]:
    """Replicas by variant: a variant may have a Deployment in several sharing groups."""
    planned = [d for d in reported.planned if d.model_key == item.key]
    calibrations = _calibrations(reported, item)
    desired: Counter[str] = Counter()
    ready: Counter[str] = Counter()
    first: dict[str, PlannedDeployment] = {}
    for entry in planned:
        first.setdefault(entry.variant, entry)
        desired[entry.variant] += entry.replicas
        ready[entry.variant] += reported.num_serving[entry.name]
    return tuple(
        VariantStatus(
            name=name,
            pool=first[name].pool,
            desired=desired[name],
            ready=ready[name],
            calibration=calibrations.get(name),
        )
        for name in sorted(first)[:MAX_VARIANTS]
    )


def _calibrations(reported: Reported, item: ServedModel) -> dict[str, CalibrationStatus]:
    """By variant; rounded, as statuses must not change with every window."""
    found: dict[str, CalibrationStatus] = {}
    for variant in variants_of(reported.snapshot, item) if reported.calibration.states else ():
        key = calibration_key(variant)
        known = confidence(reported.calibration, key) if key else None
        if known is not None and known.num_windows > 0:
            found[variant.name] = _calibration(known, reported.snapshot.now_s)
    return found


def _calibration(known: Confidence, now_s: float) -> CalibrationStatus:
    age_s = math.inf if known.drifted_at_s is None else now_s - known.drifted_at_s
    prefill = known.prefill_deviation
    return CalibrationStatus(
        step_time_factor=round(1.0 + known.deviation, 2),
        prefill_factor=None if prefill is None else round(max(0.0, 1.0 + prefill), 1),
        uncertainty=round(known.uncertainty, 2),
        windows=_one_digit(known.num_windows),
        drifted=age_s < DRIFT_SHOWN_S,
    )


def _one_digit(count: int) -> int:
    """17 -> 10: rounded down to one digit and zeros."""
    step: int = 10 ** (len(str(count)) - 1)
    return count // step * step


def _profiles(reported: Reported, key: ModelKey) -> Verdict:
    """Whether every file of spec.profiles can be used, with remarks on those that can.

    Unknown where files could not be fetched yet and nothing else is wrong. A remark leaves it True,
    with a reason of its own.
    """
    kind, resolution = ConditionType.RESOLVED_REFS, reported.sizing.resolution
    refusals, notes = resolution.profile_refusals[key], resolution.profile_notes[key]
    message = " ".join([*(refusal.message for refusal in refusals), *(note.message for note in notes)])
    if not refusals and not notes:
        return true(kind, Reason.RESOLVED_REFS)
    if not refusals:
        return Verdict(kind, ConditionStatus.TRUE, notes[0].reason, message)
    worst = next((r for r in refusals if r.reason is not Reason.PROFILE_UNREAD), refusals[0])
    is_unseen = worst.reason is Reason.PROFILE_UNREAD
    status = ConditionStatus.UNKNOWN if is_unseen else ConditionStatus.FALSE
    return Verdict(kind, status, worst.reason, message)
