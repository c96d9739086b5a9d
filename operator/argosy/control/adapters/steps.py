"""What is next for the LoRA adapters of each engine.

Owns which engines take part, which adapters their classes may name, and the order of loads and unloads.
Input: a snapshot, and what is being loaded. Output: `EngineTask`s, which `reconcile.adapters` carries out;
and `Targets`, which statuses read.

A replica takes requests for an adapter once its record has it as held: after the engine has loaded it. Before
an unload the record has it as leaving for `LEAVE_S`, in which every Envoy takes the requests away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from argosy.api import ServedModel
from argosy.api.engine.adapters import Adapter
from argosy.control.adapters.residency import Replica, Residency, WantedAdapter, assign
from argosy.control.cells import known_cells
from argosy.control.state.owners import group_by_deployment, models_by_deployment
from argosy.demand.adapters import AdapterGroup, AdapterLoads, ExpectedLoad, expected_loads
from argosy.keys import GroupName, ModelKey
from argosy.route.adapters import adapters_of_class
from argosy.snapshot.adapters.record import AdapterRecord, LoadFailure, LoraLimits
from argosy.snapshot.cluster import PodState
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.serving import takes_requests

LEAVE_S = 3.0
"""As long as an engine that is removed waits for Envoys: they acknowledge within a fraction of a second."""

FIRST_PAUSE_S = 10.0
LONGEST_PAUSE_S = 600.0
"""Between two tries of an adapter that an engine did not load; each is twice the one before."""

AT_A_TIME = 4
"""Loads of one engine until it is decided anew what is next: what has changed meanwhile, an adapter that is
gone or one that gets more requests, waits for these at most."""

Underway = Mapping[str, frozenset[str]]
"""Adapters that engines are loading, by the key of the pod."""


@dataclass(frozen=True, slots=True)
class Load:
    """Load an adapter; `in_place`: instead of the one of this name that the engine holds."""

    name: str
    source: str
    in_place: bool = False


@dataclass(frozen=True, slots=True)
class EngineTask:
    """What to do at one engine, in this order.

    looks:   ask what it holds: nothing is known of this start of the engine
    known:   the adapters of its model
    record:  what is known of it, to be written first where it differs from what its pod has
    unloads: adapters that take no requests any more
    loads:   first those loaded in place, then the others, the one with the largest expected load first
    """

    pod: str
    uid: str
    address: str
    model: ModelKey
    record: AdapterRecord
    looks: bool = False
    known: frozenset[str] = frozenset()
    unloads: tuple[str, ...] = ()
    loads: tuple[Load, ...] = ()


@dataclass(frozen=True, slots=True)
class Targets:
    """Where the adapters of all models are to be.

    pods:     the engines that take part, by model
    by_group: the residency in each sharing group of each model
    routed:   adapters of each model that a class sends requests for
    expected: the load of each adapter in each sharing group that decided this
    """

    pods: Mapping[ModelKey, tuple[PodState, ...]] = field(default_factory=dict)
    by_group: Mapping[tuple[ModelKey, GroupName], Residency] = field(default_factory=dict)
    routed: Mapping[ModelKey, frozenset[str]] = field(default_factory=dict)
    expected: Mapping[AdapterGroup, Mapping[str, ExpectedLoad]] = field(default_factory=dict)

    def wanted(self, pod: PodState) -> tuple[str, ...]:
        """The adapters that this engine is to hold, the one to be loaded first first."""
        of = next((each for each in self.by_group.values() if pod.key in each.by_pod), Residency())
        names = of.by_pod.get(pod.key, frozenset())
        return tuple(name for name in of.order if name in names)

    def without_slot(self, model: ModelKey) -> dict[str, GroupName]:
        """The adapters of a model that have no slot in a sharing group, with the first such group."""
        found: dict[str, GroupName] = {}
        for (key, group), residency in sorted(self.by_group.items()):
            if key == model:
                for name in residency.without_slot:
                    found.setdefault(name, group)
        return found


def targets(
    snapshot: FleetSnapshot, underway: Underway | None = None, loads: AdapterLoads | None = None
) -> Targets:
    """Where the adapters are to be, in every sharing group of every model that has some.

    loads: what was counted of their requests; without it the declared weights are used
    """
    models = {key: model for key, model in snapshot.models.items() if model.spec.adapters}
    if not models:
        return Targets()
    groups = group_by_deployment(snapshot.engine_pods, known_cells(snapshot).groups)
    model_of, loads = models_by_deployment(snapshot), loads or AdapterLoads()
    members: dict[tuple[ModelKey, GroupName], list[PodState]] = defaultdict(list)
    for pod in snapshot.engine_pods:
        model, group = model_of.get(pod.deployment), groups.get(pod.deployment)
        if model in models and group is not None and _takes_part(pod):
            members[model, group].append(pod)
    expected = {
        of: expected_loads(loads, of, _wanted(snapshot, models[of[0]], of[1]), snapshot.now_s)
        for of in members
    }
    return Targets(
        {key: tuple(pod for (of, _), pods in members.items() if of == key for pod in pods) for key in models},
        {
            of: assign(
                [WantedAdapter(name, each.share) for name, each in expected[of].items()],
                [_replica(pod, models[of[0]], snapshot.now_s, underway or {}) for pod in pods],
            )
            for of, pods in members.items()
        },
        {
            key: frozenset().union(*(adapters_of_class(each, [model]) for each in snapshot.classes.values()))
            for key, model in models.items()
        },
        expected,
    )


def engine_tasks(
    snapshot: FleetSnapshot, underway: Underway, loads: AdapterLoads | None = None
) -> tuple[EngineTask, ...]:
    """What is next at each engine that is not busy; nothing where Argosy does not act on its plans.

    underway: by the key of each pod that is busy; loads: what was counted of adapters' requests
    """
    if not snapshot.acts:
        return ()
    found = targets(snapshot, underway, loads)
    model_of = models_by_deployment(snapshot)
    tasks = []
    for pod in snapshot.engine_pods:
        model = snapshot.models.get(model_of.get(pod.deployment, ModelKey()))
        has_some = model is not None and (model.spec.adapters or pod.adapters is not None)
        if model is not None and has_some and _takes_part(pod) and pod.key not in underway:
            task = _task(pod, model, found.wanted(pod), snapshot.now_s)
            tasks += [task] if task is not None else []
    return tuple(tasks)


def pause_s(tries: int) -> float:
    """Seconds until the next try after so many in a row."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(tries - 1, 16))


def after_failure(record: AdapterRecord, load: Load, words: str, now_s: float) -> AdapterRecord:
    """The record after an engine did not load an adapter."""
    before = record.failed.get(load.name)
    tries = before.tries + 1 if before is not None and before.source == load.source else 1
    failure = LoadFailure(load.source, words, tries, now_s + pause_s(tries))
    return replace(record, failed={**record.failed, load.name: failure})


def after_load(record: AdapterRecord, load: Load) -> AdapterRecord:
    """The record after an engine has loaded an adapter."""
    failed = {name: each for name, each in record.failed.items() if name != load.name}
    return replace(record, held={**record.held, load.name: load.source}, failed=failed)


def after_unload(record: AdapterRecord, name: str) -> AdapterRecord:
    """The record after an engine has unloaded an adapter."""
    return replace(record, leaving={each: at for each, at in record.leaving.items() if each != name})


def _takes_part(pod: PodState) -> bool:
    return takes_requests(pod, frozenset()) and bool(pod.address) and not pod.is_marked


def _wanted(snapshot: FleetSnapshot, model: ServedModel, group: GroupName) -> list[Adapter]:
    """The adapters that a class of the group may name."""
    plan = snapshot.applied_plan
    members = (
        {cell.workload_class for cell in plan.spec.cells if cell.sharing_group == group} if plan else set()
    )
    names = {
        name
        for key in members
        if (workload := snapshot.classes.get(key)) is not None
        for name in adapters_of_class(workload, [model])
    }
    return [each for each in model.spec.adapters if each.name in names]


def limits_of(pod: PodState, model: ServedModel) -> LoraLimits:
    """What the pod's engine was started with: during an exchange it differs from the spec. The spec's limits
    where the pod's arguments do not show them."""
    engine = model.spec.engine
    return pod.loras if pod.loras is not None else LoraLimits(engine.max_loras, engine.max_lora_rank)


def _replica(pod: PodState, model: ServedModel, now_s: float, underway: Underway) -> Replica:
    record, sources = pod.adapters, {each.name: each.source for each in model.spec.adapters}
    held = underway.get(pod.key, frozenset()) | (record.held.keys() if record is not None else frozenset())
    failed = record.failed if record is not None else {}
    tried = {name: each for name, each in failed.items() if each.source == sources.get(name)}
    barred = {name for name, each in tried.items() if each.retry_at_s > now_s}
    limits = limits_of(pod, model)
    barred |= _too_large(pod, model)
    return Replica(pod.key, limits.slots, held, frozenset(barred) - held, frozenset(tried) - held)


def _too_large(pod: PodState, model: ServedModel) -> set[str]:
    """The adapters whose rank is more than the engine was started for: it would refuse them."""
    rank = limits_of(pod, model).rank
    return {each.name for each in model.spec.adapters if each.rank > rank}


def _task(pod: PodState, model: ServedModel, order: tuple[str, ...], now_s: float) -> EngineTask | None:
    """order: the adapters that it is to hold, the one to be loaded first first"""
    record, slots = pod.adapters, limits_of(pod, model).slots
    if record is None:
        if not slots:
            return None  # it was started without LoRA: it holds nothing, and has no API to load
        known = frozenset(each.name for each in model.spec.adapters)
        empty = AdapterRecord(pod.exits)
        return EngineTask(pod.key, pod.uid, pod.address, model.key, empty, looks=True, known=known)
    sources, wanted = {each.name: each.source for each in model.spec.adapters}, frozenset(order)
    back = wanted & record.leaving.keys()
    gone = record.held.keys() - wanted
    leaving = {name: at_s for name, at_s in record.leaving.items() if name not in back}
    unloads = tuple(sorted(name for name, since_s in leaving.items() if now_s - since_s >= LEAVE_S))
    kept = {name: source for name, source in record.held.items() if name in wanted}
    failed = {name: each for name, each in record.failed.items() if each.source == sources.get(name)}
    barred = {name for name, each in failed.items() if each.retry_at_s > now_s} | _too_large(pod, model)
    planned = AdapterRecord(pod.exits, kept, {**leaving, **dict.fromkeys(gone, now_s)}, failed)
    # One that is wanted again while it leaves is loaded in place: its source may be another.
    num_free = slots - len(kept) - len(planned.leaving) + len(unloads)
    changed = {name for name, source in kept.items() if source != sources[name]} - barred
    loads = [Load(name, sources[name], in_place=True) for name in order if name in back | changed]
    new = [name for name in order if name not in kept.keys() | back | barred]
    loads = [*loads, *(Load(name, sources[name]) for name in new[: max(0, num_free)])][:AT_A_TIME]
    if planned == record and not unloads and not loads:
        return None
    return EngineTask(pod.key, pod.uid, pod.address, model.key, planned, unloads=unloads, loads=tuple(loads))
