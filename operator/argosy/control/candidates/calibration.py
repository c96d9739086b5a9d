"""Which running engine updates which calibration, and what of it plans may use.

Owns the way from pods to recalibration's keys and priors, one iteration of updates, and the correction
of a performance model; windows and fits are `perf.recalibration`'s. Input: a snapshot, the memory and
the profiles. Output: a new memory, or a corrected model.

A calibration is about a profile (GPU, model, number type, shape) and an engine's version, so all
ServedModels that share these update one. Where users measured profiles of their own, two ServedModels
may have different profiles under one key: then the first of them by name is the one that is updated,
and the engines of the other update nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from argosy.control.memory import TrafficMemory
from argosy.control.state.owners import models_by_deployment
from argosy.keys import DeploymentKey, ModelKey
from argosy.perf.model import wanted_profile
from argosy.perf.profile import Calibration, ProfileKey
from argosy.perf.protocol import OutOfRange, PerfModel
from argosy.perf.recalibration.memory import CalibrationMemory
from argosy.perf.recalibration.observe import ObservedReplica, observe
from argosy.perf.recalibration.recalibrate import Prior, WindowReport, recalibrate
from argosy.perf.recalibration.window import CalibrationKey, Skipped, SkipReason
from argosy.snapshot import CounterReading, Sample, Variant
from argosy.snapshot.cluster import LABEL_VARIANT, PodState
from argosy.snapshot.fleet import FleetSnapshot

VariantKey = tuple[ModelKey, str]
"""A ServedModel and the name of one of its variants."""

_NOTHING_SHOWN = CounterReading(*[None] * 11)
"""An engine that answers without the metrics that are needed: reported as such, unlike silence."""


@dataclass(frozen=True, slots=True)
class CalibratedVariant:
    """A variant as recalibration sees it: the calibration's key, and what is expected without one."""

    key: CalibrationKey
    prior: Prior


CalibratedVariants = Mapping[VariantKey, CalibratedVariant]


@dataclass(frozen=True, slots=True)
class CalibrationUpdate:
    """One iteration: the memory after it, a report for each window, and why readings made no window."""

    memory: TrafficMemory
    reports: tuple[WindowReport, ...] = ()
    skips: tuple[SkipReason, ...] = ()


def engine_version(image: str) -> str:
    """The tag of a container image, else its digest, else `latest` as a container runtime reads it."""
    name, _, digest = image.partition("@")
    _, colon, tag = name.rpartition("/")[2].rpartition(":")
    return (tag if colon else digest) or "latest"


def calibration_key(variant: Variant) -> CalibrationKey | None:
    """The calibration that the variant's engines update; None where its GPU or model is unknown."""
    wanted = wanted_profile(variant)
    if isinstance(wanted, OutOfRange):
        return None
    return CalibrationKey(wanted.key, variant.engine.version or engine_version(variant.engine.image))


def calibrated_variant(variant: Variant, perf: PerfModel) -> CalibratedVariant | None:
    """The variant's key and what its engines are expected to need; None where there is no profile."""
    key, profile = calibration_key(variant), perf.prior(variant)
    if key is None or isinstance(profile, OutOfRange):
        return None
    source, engine = profile.step_times, variant.engine
    times = source.step_times(engine.max_num_batched_tokens, engine.max_num_seqs)
    # Learning starts where plans start: with the host overhead that the profile assumes.
    host = Calibration(times.s, times.c0, times.cb)
    return CalibratedVariant(key, Prior(times, source.digest(), host))


def running_variants(snapshot: FleetSnapshot) -> dict[str, VariantKey]:
    """The variant of each engine pod whose ServedModel exists, by the pod's address."""
    model_of = models_by_deployment(snapshot)
    return {
        pod.address: (model_of[pod.deployment], pod.labels.get(LABEL_VARIANT, ""))
        for pod in snapshot.engine_pods
        # What has ended may have left its address to another.
        if pod.address and pod.is_active and pod.deployment in model_of
    }


def priors_of(variants: CalibratedVariants) -> dict[CalibrationKey, Prior]:
    """One prior per key: of several profiles the first one's, for the largest engine that has it."""
    found: dict[CalibrationKey, Prior] = {}
    for _, each in sorted(variants.items(), key=lambda item: item[0]):
        known = found.setdefault(each.key, each.prior)
        if each.prior.digest == known.digest and _size(each.prior) > _size(known):
            found[each.key] = each.prior
    return found


def learn(memory: TrafficMemory, snapshot: FleetSnapshot, variants: CalibratedVariants) -> CalibrationUpdate:
    """Take in the snapshot's readings of engines; `variants`: every variant that is running."""
    priors = priors_of(variants)
    observed = observe(memory.windows, _replicas(snapshot, variants, priors), snapshot.now_s)
    calibration, reports = recalibrate(memory.calibration, observed.windows, priors, snapshot.now_s)
    skips = [skipped.reason for _, skipped in observed.skipped]
    skips += [report.outcome.reason for report in reports if isinstance(report.outcome, Skipped)]
    learnt = replace(memory, windows=observed.memory, calibration=calibration)
    return CalibrationUpdate(learnt, reports, tuple(skips))


def corrected(perf: PerfModel, variants: Iterable[Variant], memory: CalibrationMemory) -> PerfModel:
    """The model, corrected for these variants by what is published of their own profiles."""
    found: dict[ProfileKey, Calibration] = {}
    for variant in variants:
        key = calibration_key(variant)
        state = None if key is None else memory.states.get(key)
        if key is None or state is None or state.published is None:
            continue
        profile = perf.prior(variant)
        if not isinstance(profile, OutOfRange) and profile.step_times.digest() == state.prior_digest:
            found[key.profile] = state.published
    return perf.with_calibrations(found) if found else perf


def _size(prior: Prior) -> tuple[int, int]:
    return len(prior.step_times.decode_ms), len(prior.step_times.matrix_ms)


def _replicas(
    snapshot: FleetSnapshot, known_variants: CalibratedVariants, priors: Mapping[CalibrationKey, Prior]
) -> dict[str, ObservedReplica]:
    variants, changing = running_variants(snapshot), _changing(snapshot)
    found: dict[str, ObservedReplica] = {}
    for pod in snapshot.engine_pods:
        known = known_variants.get(variants[pod.address]) if pod.address in variants else None
        if known is None or not pod.is_active or known.prior.digest != priors[known.key].digest:
            continue
        is_rolling_out = pod.deleting or not pod.ready or pod.deployment in changing
        found[pod.address] = ObservedReplica(known.key, _sample(snapshot, pod), is_rolling_out)
    return found


def _sample(snapshot: FleetSnapshot, pod: PodState) -> Sample[CounterReading] | None:
    seen = snapshot.telemetry.engines.get(pod.address)
    return None if seen is None else Sample(seen.value.counters or _NOTHING_SHOWN, seen.at_s)


def _changing(snapshot: FleetSnapshot) -> frozenset[DeploymentKey]:
    """Deployments that lose a pod, or that the next rollout step scales."""
    changing = {pod.deployment for pod in snapshot.engine_pods if pod.deleting}
    plan = snapshot.applied_plan
    if plan is not None and snapshot.acts:
        wanted = {entry.name: entry.replicas for entry in plan.spec.deployments}
        changing |= {
            each.key for each in snapshot.deployments.values() if wanted.get(each.key, 0) != each.replicas
        }
    return frozenset(changing)
