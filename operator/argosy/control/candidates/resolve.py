"""What could serve each class, and what could not and why.

Owns the step from the users' objects to candidates: class x allowed model x parallel shape x
pool; `plan` decides which of them are used. Input: a snapshot and a performance model.
Output: a `Resolution`, in which "cannot" is a `Refusal` with a reason and a sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from argosy.api import ServedModel, WorkloadClass
from argosy.api.conditions import Reason
from argosy.control.candidates.calibration import corrected
from argosy.control.candidates.profiles import ProfileNote, model_profiles, profile_notes
from argosy.control.candidates.refusal import Refusal
from argosy.control.candidates.variants import variants_of
from argosy.control.candidates.workload import mix_of, slo_of
from argosy.control.cells import RouteCells
from argosy.control.state.nodes import PoolNodes, closed_pods, closed_text, selector_text
from argosy.keys import ClassKey, DeploymentKey, GroupName, ModelKey
from argosy.manifests import EngineWorkload
from argosy.perf.footprint.memory import load_delay_s
from argosy.perf.protocol import Capacity, Fits, OutOfRange, OutOfRangeReason, PerfModel, TooLarge
from argosy.perf.recalibration.memory import CalibrationMemory
from argosy.route.precedence import conflicts
from argosy.snapshot import Mix, Slo, Variant
from argosy.snapshot.fleet import FleetSnapshot

_FIELD_OUT_OF_RANGE = {
    OutOfRangeReason.NO_PROFILE: "spec.parallelShapes",
    OutOfRangeReason.CONTEXT_TOO_LONG: "spec.traffic.lengths",
    OutOfRangeReason.BEYOND_PROFILE: "spec.engine or spec.traffic.lengths",
    OutOfRangeReason.IMPOSSIBLE_SHAPE: "spec.parallelShapes",
}
"""The field that a user would change where the performance model has no answer."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A variant that can serve a class: one replica carries `capacity` and loads for `load_s`."""

    workload: EngineWorkload
    capacity: Capacity
    load_s: float


@dataclass(frozen=True, slots=True)
class ResolvedClass:
    """A class with its mix, its objectives, the variants that can serve it, and why others cannot."""

    key: ClassKey
    spec: WorkloadClass
    mix: Mix
    slo: Slo
    candidates: tuple[Candidate, ...]
    refusals: tuple[Refusal, ...]

    @property
    def gets_requests(self) -> bool:
        """Whether any request can reach it: older classes may take every one."""
        return all(r.reason is not Reason.CONFLICTED for r in self.refusals)

    @property
    def is_unplannable(self) -> bool:
        """Whether it gets requests and nothing can be planned for them."""
        return self.gets_requests and not self.candidates


@dataclass(frozen=True, slots=True)
class Resolution:
    """All classes, by key; by a ServedModel's key, why none of its variants can run, which of its
    `spec.profiles` cannot be used, and what is odd about the others."""

    classes: Mapping[ClassKey, ResolvedClass]
    model_refusals: Mapping[ModelKey, tuple[Refusal, ...]]
    profile_refusals: Mapping[ModelKey, tuple[Refusal, ...]] = field(default_factory=dict)
    profile_notes: Mapping[ModelKey, tuple[ProfileNote, ...]] = field(default_factory=dict)

    def workloads(self) -> dict[DeploymentKey, EngineWorkload]:
        """Every candidate's workload by its Deployment's key."""
        return {c.workload.key: c.workload for r in self.classes.values() for c in r.candidates}


def resolve(
    snapshot: FleetSnapshot,
    nodes: Mapping[str, PoolNodes],
    cells: RouteCells,
    perf: PerfModel,
    calibrations: CalibrationMemory | None = None,
) -> Resolution:
    """Candidates and refusals for every class of the snapshot, in the order of their keys.

    Profiles that users measured are used for that ServedModel's variants only: two ServedModels of one
    checkpoint may run on different hosts. `calibrations`: of running engines; None where plans should
    not use them.
    """
    own = {key: model_profiles(snapshot, model) for key, model in sorted(snapshot.models.items())}
    perf_by_model = {
        key: perf.with_profiles(found.profiles) if found.profiles else perf for key, found in own.items()
    }
    if calibrations is not None:
        perf_by_model = {
            key: corrected(perf_by_model[key], variants_of(snapshot, model), calibrations)
            for key, model in sorted(snapshot.models.items())
        }
    closed = closed_pods(snapshot, nodes)
    anchored = frozenset(p.deployment for p in snapshot.engine_pods if p.key in closed and not p.deleting)
    known = _Known(snapshot, nodes, perf_by_model, anchored)
    classes = {
        key: _resolve_class(known, spec, cells.groups_of(key))
        for key, spec in sorted(snapshot.classes.items())
    }
    for conflict in conflicts(snapshot.classes.values()):
        shadowed = Refusal(Reason.CONFLICTED, conflict.message)
        classes[conflict.loser] = replace(
            classes[conflict.loser], candidates=(), refusals=(shadowed, *classes[conflict.loser].refusals)
        )
    models = {
        key: _model_refusals(snapshot, model, perf_by_model[key])
        for key, model in sorted(snapshot.models.items())
    }
    refused = {key: found.refusals for key, found in own.items()}
    notes = {
        key: profile_notes(own[key], variants_of(snapshot, model), perf)
        for key, model in sorted(snapshot.models.items())
    }
    return Resolution(classes, models, refused, notes)


@dataclass(frozen=True, slots=True)
class _Known:
    """What candidates are found in: objects, nodes by pool, and each model's performance.

    anchored: Deployments with replicas on nodes that take no new ones: they need no other node
    """

    snapshot: FleetSnapshot
    nodes: Mapping[str, PoolNodes]
    perf_by_model: Mapping[ModelKey, PerfModel]
    anchored: frozenset[DeploymentKey]


def _resolve_class(known: _Known, spec: WorkloadClass, groups: tuple[GroupName, ...]) -> ResolvedClass:
    snapshot = known.snapshot
    mix, slo = mix_of(spec.spec.traffic.lengths), slo_of(spec)
    candidates: list[Candidate] = []
    refusals: list[Refusal] = []
    for reference in spec.spec.models:
        model = snapshot.models.get(ModelKey.of(spec.metadata.namespace, reference.name))
        if model is None:
            refusals.append(Refusal.of(Reason.MODEL_NOT_FOUND, field="spec.models", name=reference.name))
            continue
        missing = sorted(set(spec.spec.match.models) - set(model.served_names))
        if missing:
            refusals.append(Refusal.of(Reason.SERVED_NAME_MISMATCH, name=missing[0]))
            continue
        for variant in variants_of(snapshot, model):
            for group in groups:
                workload = EngineWorkload(variant, group, snapshot.pools[variant.pool])
                answer = _candidate(workload, mix, slo, known.perf_by_model[model.key])
                nodes = known.nodes[variant.pool]
                is_hosted = nodes.has_room_for(variant.gpus) or workload.key in known.anchored
                if isinstance(answer, Candidate) and not is_hosted:
                    answer = _no_room(workload, nodes)
                if isinstance(answer, Candidate):
                    candidates.append(answer)
                else:
                    refusals.append(answer)
    return ResolvedClass(spec.key, spec, mix, slo, tuple(candidates), tuple(refusals))


def _candidate(workload: EngineWorkload, mix: Mix, slo: Slo, perf: PerfModel) -> Candidate | Refusal:
    variant = workload.variant
    fits = perf.fits(variant)
    if not isinstance(fits, Fits):
        return perf_refusal(variant, fits)
    capacity = perf.capacity(variant, mix, slo)
    if isinstance(capacity, OutOfRange):
        return perf_refusal(variant, capacity)
    if capacity.requests_per_s <= 0:
        return Refusal.of(Reason.SLO_UNREACHABLE, terms=capacity.binding_name)
    return Candidate(workload, capacity, load_delay_s(fits.weight_bytes))


def _no_room(workload: EngineWorkload, nodes: PoolNodes) -> Refusal:
    if nodes.open:
        needed, largest = workload.variant.gpus, max(node.gpus for node in nodes.open)
        return Refusal.of(
            Reason.UNPLACEABLE,
            replicas="The",
            variant=workload.variant.name,
            pool=nodes.pool,
            detail=f"each needs {needed} GPUs together and the most that a node has is {largest}",
        )
    if nodes.usable:
        return Refusal.of(Reason.NODES_CLOSED, pool=nodes.pool, nodes=closed_text(nodes))
    message = f"pool {nodes.pool}: " + Reason.NO_NODES.sentence(selector=selector_text(workload.pool))
    return Refusal(Reason.NO_NODES, message)


def perf_refusal(variant: Variant, answer: TooLarge | OutOfRange) -> Refusal:
    """Why the performance model has no answer for a variant, in the words of a condition."""
    return replace(_in_words(variant, answer), nearest=answer.nearest)


def _in_words(variant: Variant, answer: TooLarge | OutOfRange) -> Refusal:
    if isinstance(answer, TooLarge):
        detail = f"{variant.name}: {answer.message}"
        return Refusal.of(Reason.MODEL_TOO_LARGE, model_id=variant.model_id, detail=detail)
    if answer.reason is OutOfRangeReason.UNKNOWN_GPU:
        return Refusal(Reason.UNKNOWN_GPU, f"spec.gpu of GPUPool {variant.pool}: {answer.message}")
    problem = answer.message.rstrip(".")
    if answer.reason is OutOfRangeReason.UNKNOWN_MODEL:
        return Refusal.of(Reason.UNKNOWN_MODEL, problem=problem)
    field = _FIELD_OUT_OF_RANGE[answer.reason]
    return Refusal.of(Reason.OUT_OF_RANGE, field=field, problem=problem)


def _model_refusals(snapshot: FleetSnapshot, model: ServedModel, perf: PerfModel) -> tuple[Refusal, ...]:
    """Why variants of a model cannot run at all; empty where one of them can."""
    refusals: list[Refusal] = []
    for variant in variants_of(snapshot, model):
        fits = perf.fits(variant)
        if isinstance(fits, Fits):
            return ()
        refusals.append(perf_refusal(variant, fits))
    return tuple(refusals)
