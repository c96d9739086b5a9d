"""What could serve each class, and what could not and why.

Owns the step from the users' objects to what could serve them: class x allowed model x parallel
shape x pool; `sharing` finds the classes that share replicas, `groups` makes candidates of both, and
`plan` decides which of them are used. Input: a snapshot and a performance model. Output: a
`Resolution`, in which "cannot" is a `Refusal` with a reason and a sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from argosy.api import GPUPool, ServedModel, WorkloadClass
from argosy.api.conditions import Reason
from argosy.api.schema.timestamp import rfc3339
from argosy.control.candidates.calibration import corrected
from argosy.control.candidates.profiles import ModelProfiles, ProfileNote, model_profiles, profile_notes
from argosy.control.candidates.refusal import Refusal
from argosy.control.candidates.variants import requests_of, template_fault, variants_of
from argosy.control.candidates.workload import mix_of, slo_of
from argosy.control.hardware.declared import GpuFault, pool_gpu
from argosy.control.pools.closures import closures, closures_text
from argosy.control.pools.room import offers_room, too_little
from argosy.control.pools.to_come import not_coming
from argosy.control.state.nodes import PoolNodes, closed_pods, mismatch, selector_text
from argosy.control.state.restarts import Orders, ordered_restarts
from argosy.keys import ClassKey, DeploymentKey, ModelKey
from argosy.manifests import EngineWorkload
from argosy.perf.footprint.memory import load_delay_s
from argosy.perf.protocol import Capacity, Fits, OutOfRange, OutOfRangeReason, PerfModel, TooLarge
from argosy.perf.recalibration.memory import CalibrationMemory
from argosy.route.precedence import conflicts
from argosy.snapshot import Mix, Slo, SloTerm, Variant
from argosy.snapshot.fleet import FleetSnapshot

_FIELD_OUT_OF_RANGE = {
    OutOfRangeReason.NO_PROFILE: "spec.parallelShapes",
    OutOfRangeReason.CONTEXT_TOO_LONG: "spec.traffic.lengths",
    OutOfRangeReason.BEYOND_PROFILE: "spec.engine or spec.traffic.lengths",
    OutOfRangeReason.IMPOSSIBLE_SHAPE: "spec.parallelShapes",
    OutOfRangeReason.NUMBER_TYPE: "spec.modelId or spec.engine.quantization",
}
"""The field that a user would change where the performance model has no answer."""


@dataclass(frozen=True, slots=True)
class AbleVariant:
    """A variant that keeps the SLO of a class that has it for itself; one replica carries `capacity`.

    load_s: seconds until a new replica serves
    no_room: why no node could take a new replica; None where one could
    """

    variant: Variant
    capacity: Capacity
    load_s: float
    no_room: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A variant that can serve a class in its sharing group: one replica carries `capacity` of the
    group's requests, and loads for `load_s` seconds.
    """

    workload: EngineWorkload
    capacity: Capacity
    load_s: float


@dataclass(frozen=True, slots=True)
class ResolvedClass:
    """A class with its mix, its objectives, the variants that can serve it, and why others cannot.

    able: by itself, wherever nodes are; what it can be planned on in its group is in `candidates`
    """

    key: ClassKey
    spec: WorkloadClass
    mix: Mix
    slo: Slo
    able: tuple[AbleVariant, ...]
    refusals: tuple[Refusal, ...]
    candidates: tuple[Candidate, ...] = ()

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
    `spec.profiles` cannot be used, and what is odd about the others; and by Deployment that a user runs,
    why nothing can be planned on it."""

    classes: Mapping[ClassKey, ResolvedClass]
    model_refusals: Mapping[ModelKey, tuple[Refusal, ...]]
    profile_refusals: Mapping[ModelKey, tuple[Refusal, ...]] = field(default_factory=dict)
    profile_notes: Mapping[ModelKey, tuple[ProfileNote, ...]] = field(default_factory=dict)
    adoption_refusals: Mapping[DeploymentKey, Refusal] = field(default_factory=dict)

    def workloads(self) -> dict[DeploymentKey, EngineWorkload]:
        """Every candidate's workload by its Deployment's key."""
        return {c.workload.key: c.workload for r in self.classes.values() for c in r.candidates}


@dataclass(frozen=True, slots=True)
class Known:
    """What candidates are found in: objects, nodes by pool, and each model's performance.

    anchored: Deployments with replicas on nodes that take no new ones: they need no other node
    restarts: which users have ordered
    """

    snapshot: FleetSnapshot
    nodes: Mapping[str, PoolNodes]
    perf: PerfModel
    perf_by_model: Mapping[ModelKey, PerfModel]
    own_profiles: Mapping[ModelKey, ModelProfiles]
    anchored: frozenset[DeploymentKey] = frozenset()
    restarts: Orders = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        snapshot: FleetSnapshot,
        nodes: Mapping[str, PoolNodes],
        perf: PerfModel,
        calibrations: CalibrationMemory | None = None,
    ) -> Known:
        """Profiles that users measured are used for that ServedModel's variants only: two ServedModels of
        one checkpoint may run on different hosts. `calibrations`: of running engines; None where plans
        should not use them.
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
        anchored, restarts = _anchored(snapshot, nodes), ordered_restarts(snapshot)
        return cls(snapshot, nodes, perf, perf_by_model, own, anchored, restarts)


def _anchored(snapshot: FleetSnapshot, nodes: Mapping[str, PoolNodes]) -> frozenset[DeploymentKey]:
    closed = closed_pods(snapshot, nodes)
    return frozenset(p.deployment for p in snapshot.engine_pods if p.key in closed and not p.deleting)


def resolve(known: Known) -> Resolution:
    """For every class of the snapshot, in the order of their keys, what can serve it and what cannot.

    Candidates follow once it is known which classes share replicas (`groups.in_groups`).
    """
    snapshot = known.snapshot
    classes = {key: _resolve_class(known, spec) for key, spec in sorted(snapshot.classes.items())}
    for conflict in conflicts(snapshot.classes.values(), snapshot.yielding_classes):
        if conflict.loser in snapshot.parting_classes:
            continue  # it serves until those that take its requests do
        shadowed = Refusal(Reason.CONFLICTED, conflict.message)
        classes[conflict.loser] = replace(
            classes[conflict.loser], able=(), refusals=(shadowed, *classes[conflict.loser].refusals)
        )
    models = {
        key: _model_refusals(snapshot, model, known.perf_by_model[key])
        for key, model in sorted(snapshot.models.items())
    }
    refused = {key: found.refusals for key, found in known.own_profiles.items()}
    notes = {
        key: profile_notes(known.own_profiles[key], variants_of(snapshot, model), known.perf)
        for key, model in sorted(snapshot.models.items())
    }
    return Resolution(classes, models, refused, notes)


def _resolve_class(known: Known, spec: WorkloadClass) -> ResolvedClass:
    snapshot = known.snapshot
    mix, slo = mix_of(spec.spec.traffic.lengths), slo_of(spec)
    if (ending := _ending(snapshot, spec.key.namespace)) is not None:
        return ResolvedClass(spec.key, spec, mix, slo, (), (ending,))
    able: list[AbleVariant] = []
    unknown = unknown_names(snapshot, spec)
    refusals = [Refusal.of(Reason.SERVED_NAME_UNKNOWN, name=name) for name in unknown]
    for reference in spec.spec.models:
        model = snapshot.models.get(ModelKey.of(spec.metadata.namespace, reference.name))
        if model is None:
            refusals.append(Refusal.of(Reason.MODEL_NOT_FOUND, field="spec.models", name=reference.name))
            continue
        missing = sorted(set(spec.spec.match.models) - set(unknown) - set(model.answered_names))
        if missing:
            refusals.append(Refusal.of(Reason.SERVED_NAME_MISMATCH, name=missing[0]))
            continue
        for variant in variants_of(snapshot, model):
            answer = _unfit(snapshot, variant) or _able(variant, mix, slo, known.perf_by_model[model.key])
            nodes = known.nodes[variant.pool]
            if isinstance(answer, AbleVariant):
                answer = replace(answer, no_room=_no_room(variant, nodes, snapshot))
            if isinstance(answer, AbleVariant):
                able.append(answer)
            else:
                refusals.append(answer)
    return ResolvedClass(spec.key, spec, mix, slo, tuple(able), tuple(refusals))


def unknown_names(snapshot: FleetSnapshot, spec: WorkloadClass) -> tuple[str, ...]:
    """The names in a class's match that none of its models answers to, as after the removal of an adapter:
    they are no obstacle. Empty where they are all it names, or a model of it does not exist: that is one."""
    models = [snapshot.models.get(key) for key in spec.model_keys]
    answered = {name for model in models if model is not None for name in model.answered_names}
    unknown = tuple(sorted(set(spec.spec.match.models) - answered))
    return unknown if None not in models and len(unknown) < len(spec.spec.match.models) else ()


def _pool_refusal(pool: str, fault: GpuFault) -> Refusal:
    """That a pool's GPU is none: its own status has the same sentence."""
    return Refusal(fault.reason, f"GPUPool {pool}: {fault.message}")


def _ending(snapshot: FleetSnapshot, namespace: str) -> Refusal | None:
    """That nothing can be made in a namespace any more; None where it can."""
    at_s = snapshot.ending.get(namespace)
    if at_s is None:
        return None
    return Refusal.of(Reason.NAMESPACE_ENDING, namespace=namespace, since=rfc3339(at_s))


def _unfit(snapshot: FleetSnapshot, variant: Variant) -> Refusal | None:
    """Why a variant is not asked for what it carries: its pool's GPU or its pods are refused."""
    fault = pool_gpu(snapshot.pools[variant.pool].spec)
    if isinstance(fault, GpuFault):
        return _pool_refusal(variant.pool, fault)
    return _pod_refusal(snapshot, variant)


def _pod_refusal(snapshot: FleetSnapshot, variant: Variant) -> Refusal | None:
    fault = template_fault(snapshot, variant)
    if fault is None:
        return None
    return Refusal.of(
        Reason.POD_TEMPLATE_REFUSED, model=variant.model_key.name, pool=variant.pool, fault=fault
    )


def _able(variant: Variant, mix: Mix, slo: Slo, perf: PerfModel) -> AbleVariant | Refusal:
    fits = perf.fits(variant)
    if not isinstance(fits, Fits):
        return perf_refusal(variant, fits)
    capacity = perf.capacity(variant, mix, slo)
    if not isinstance(capacity, Capacity) or capacity.requests_per_s <= 0:
        return capacity_refusal(variant, capacity)
    return AbleVariant(variant, capacity, load_delay_s(fits.weight_bytes))


def capacity_refusal(variant: Variant, answer: Capacity | OutOfRange) -> Refusal:
    """Why a replica carries nothing: no honest answer, or even a lone request breaks the SLO."""
    if isinstance(answer, OutOfRange):
        return perf_refusal(variant, answer)
    bound = f" of {answer.binding.bound_ms:g} ms" if isinstance(answer.binding, SloTerm) else ""
    return Refusal.of(Reason.SLO_UNREACHABLE, terms=f"{answer.binding_name}{bound}")


def _no_room(variant: Variant, nodes: PoolNodes, snapshot: FleetSnapshot) -> Refusal | None:
    """Why no node of its pool could take a replica if no engine ran on it; None where one could."""
    if nodes.has_room_for(variant.gpus):
        return _too_little(variant, nodes, snapshot)
    found = closures(snapshot, snapshot.pools[variant.pool], nodes, variant.gpus)
    most = nodes.to_come.gpus if nodes.to_come is not None else 0
    if (nodes.open or most) and all(each.is_small for each in found):
        needed, largest = variant.gpus, max([most, *(node.gpus for node in nodes.open)])
        return Refusal.of(
            Reason.UNPLACEABLE,
            replicas="The",
            variant=variant.name,
            pool=nodes.pool,
            detail=f"each needs {needed} GPUs together and the most that a node has is {largest}",
        )
    reason, sentence = no_nodes(snapshot, snapshot.pools[variant.pool], nodes, variant.gpus)
    is_named = reason in (Reason.NODES_CLOSED, Reason.NODES_NOT_COMING)
    return Refusal(reason, sentence if is_named else f"pool {nodes.pool}: {sentence}")


def _too_little(variant: Variant, nodes: PoolNodes, snapshot: FleetSnapshot) -> Refusal | None:
    """That its pod asks for more CPU, memory or disk than a node with enough GPUs has; None where it fits."""
    if nodes.may_bring(variant.gpus) or not offers_room(snapshot, nodes):
        return None
    found = too_little(snapshot, nodes, variant, requests_of(snapshot, variant))
    if not found:
        return None
    others = closures(snapshot, snapshot.pools[variant.pool], nodes, variant.gpus)
    why = closures_text((*found, *others), len(nodes.all_names))
    return Refusal.of(Reason.NODES_CLOSED, pool=nodes.pool, nodes=why)


def no_nodes(snapshot: FleetSnapshot, pool: GPUPool, nodes: PoolNodes, gpus: int = 1) -> tuple[Reason, str]:
    """Why no node of a pool takes new replicas of so many GPUs: its selector matches none, none of those is
    Ready, or something keeps replicas off each.
    """
    selector, number = selector_text(pool), len(nodes.all_names)
    if nodes.held is None and number and not any(snapshot.nodes[name].ready for name in nodes.all_names):
        reason = Reason.NODES_NOT_READY
        return reason, reason.sentence(number=number, selector=selector)
    if nodes.held is not None:
        return Reason.NODES_NOT_COMING, not_coming(snapshot, pool, nodes, nodes.held)
    if nodes.usable and all(node.unfit is not None for node in nodes.usable):
        return Reason.GPU_MISMATCH, mismatch(pool.spec.gpu, nodes)
    if number:
        why = closures_text(closures(snapshot, pool, nodes, gpus), number)
        return Reason.NODES_CLOSED, Reason.NODES_CLOSED.sentence(pool=nodes.pool, nodes=why)
    return Reason.NO_NODES, Reason.NO_NODES.sentence(selector=selector)


def perf_refusal(variant: Variant, answer: TooLarge | OutOfRange) -> Refusal:
    """Why the performance model has no answer for a variant, in the words of a condition."""
    return replace(_in_words(variant, answer), nearest=answer.nearest)


def _in_words(variant: Variant, answer: TooLarge | OutOfRange) -> Refusal:
    if isinstance(answer, TooLarge):
        detail = f"{variant.name}: {answer.message}"
        return Refusal.of(Reason.MODEL_TOO_LARGE, model_id=variant.model_id, detail=detail)
    if answer.reason is OutOfRangeReason.UNKNOWN_GPU:
        return Refusal(Reason.UNKNOWN_GPU, f"GPUPool {variant.pool}: spec.gpu: {answer.message}.")
    problem = answer.message.rstrip(".")
    if answer.reason is OutOfRangeReason.UNKNOWN_MODEL:
        return Refusal.of(Reason.UNKNOWN_MODEL, problem=problem)
    field = _FIELD_OUT_OF_RANGE[answer.reason]
    return Refusal.of(Reason.OUT_OF_RANGE, field=field, problem=problem)


def _model_refusals(snapshot: FleetSnapshot, model: ServedModel, perf: PerfModel) -> tuple[Refusal, ...]:
    """Why variants of a model cannot run at all; empty where one of them can."""
    refusals: list[Refusal] = []
    for variant in variants_of(snapshot, model):
        if (unfit := _unfit(snapshot, variant)) is not None:
            refusals.append(unfit)
            continue
        fits = perf.fits(variant)
        if isinstance(fits, Fits):
            return ()
        refusals.append(perf_refusal(variant, fits))
    return tuple(refusals)
