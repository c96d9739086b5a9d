"""From the store to the snapshot that decisions look at.

Owns the assembly of a `FleetSnapshot`. An object that cannot be read is in its `invalid`, and decisions go
on with its last readable version, where this process knows one; an object that is not seen any more
has its last version, and so has a deleted one within its grace. Of a deleted class of which others take and
serve every request the grace ends at once. Input: the store, and what was measured. Output: a
`FleetSnapshot`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from argosy.api import (
    CustomResource,
    Fleet,
    FleetPlan,
    GPUPool,
    InvalidObject,
    RouterPolicy,
    ServedModel,
    WorkloadClass,
)
from argosy.api.fleet import FleetSpec
from argosy.api.kinds import GRACED, USER_SPECS, kind_named, kind_of
from argosy.control.adoption.adopt import listed_as_adopted, may_be_adopted, with_adopted
from argosy.control.candidates.profiles import files_named
from argosy.control.picture.parting import in_use
from argosy.control.picture.takeover import relieved
from argosy.keys import DeploymentKey
from argosy.kube.store import Store
from argosy.reconcile.watch.absences import Absences
from argosy.reconcile.watch.profile_files import ProfileFilesView
from argosy.snapshot import TelemetryReading
from argosy.snapshot.adapters.record import ANNOTATION_ADAPTERS
from argosy.snapshot.admission.quotas import LIMIT_RANGES, QUOTAS, limit_range_state, quota_state
from argosy.snapshot.admission.words import RefusedWrite
from argosy.snapshot.cluster import HOSTNAME, DeploymentState, PodState
from argosy.snapshot.fleet import (
    FleetSnapshot,
    ProfileFileKey,
    RoutingView,
    TemplateKey,
    applied_plan,
    last_fleet_spec,
)
from argosy.snapshot.kubernetes import (
    deletion_asked_s,
    deployment_state,
    enforced_level,
    has_own_label,
    is_engine_deployment,
    loose_replica_set,
    lost_label,
    node_state,
    pod_state,
    protected_replicas,
)
from argosy.snapshot.scaling.autoscalers import AUTOSCALERS, autoscaler_state
from argosy.snapshot.seen import ObjectRef, Seen

HANDOVER_S = 10.0
"""A class that has left is routed for at most so long, while the applied plan still serves it: another
class that takes its replicas over has none before the next plan, and its requests would be refused."""

K = TypeVar("K", bound=CustomResource)
S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Measured:
    """The parts of a snapshot that come from other sources than the watches."""

    telemetry: TelemetryReading
    routing: RoutingView
    profiles: ProfileFilesView = field(default_factory=ProfileFilesView)
    remembered_revision: int = 0
    refused_writes: Mapping[DeploymentKey, RefusedWrite] = field(default_factory=dict)
    template_refusals: Mapping[TemplateKey, str] = field(default_factory=dict)


class Snapshots:
    """Reads the store; each version of an object is parsed once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._parsed: dict[str, dict[str, tuple[str, Any]]] = {}
        self._readable: dict[str, dict[str, CustomResource]] = {}
        """The last version of each object that could be read, by plural and uid."""
        self._absences = Absences(store)
        self._ended_s: dict[ObjectRef, float] = {}
        self._num_restored = 0

    def take(self, measured: Measured, now_s: float, monotonic_s: float = 0.0) -> FleetSnapshot:
        """The store's objects and what was measured. monotonic_s: of the process's monotonic clock."""
        self._forget_what_was_undone()
        found = self._take(measured, now_s, monotonic_s)
        ends = self._ends(found)
        used = in_use(found, ends) if ends else frozenset()
        taken = relieved(found, ends) if ends else frozenset()
        if over := {r for r, until_s in ends.items() if until_s <= now_s or r not in used or r in taken}:
            for ref in over:
                self._store.let_go(ref.plural, ref.key)
                self._ended_s[ref] = now_s
            found = self._take(measured, now_s, monotonic_s)
            ends = {ref: until_s for ref, until_s in ends.items() if ref not in over}
        gone = self._absences.look(found)
        seen = replace(
            found.seen,
            absent=gone.absent,
            deleted=found.seen.deleted | gone.deleted,
            parting={**gone.parting, **ends},
            ended=self._ended(found),
        )
        return replace(found, seen=seen)

    def _ended(self, found: FleetSnapshot) -> frozenset[ObjectRef]:
        self._ended_s = {
            ref: at_s for ref, at_s in self._ended_s.items() if 0.0 <= found.now_s - at_s < HANDOVER_S
        }
        plural = WorkloadClass.PLURAL
        return frozenset(r for r in self._ended_s if r.plural == plural and r.key not in found.classes)

    @property
    def num_restored(self) -> int:
        """How often the API server was found to be restored to an earlier state."""
        return self._store.num_restored

    def _forget_what_was_undone(self) -> None:
        """After a restore the same uid and version may name another content, and looks begin anew."""
        if self._num_restored != self._store.num_restored:
            self._num_restored = self._store.num_restored
            self._parsed.clear()
            self._readable.clear()
            self._absences = Absences(self._store)
            self._ended_s.clear()

    def _ends(self, snapshot: FleetSnapshot) -> dict[ObjectRef, float]:
        """When the grace of each deleted object ends, in seconds since the epoch."""
        grace_s = snapshot.fleet_spec.deletion_grace_seconds
        return {
            ObjectRef(kind, key): each.deleted_s + grace_s
            for kind in GRACED
            for key, each in self._store.parting(kind).items()
        }

    def _take(self, measured: Measured, now_s: float, monotonic_s: float) -> FleetSnapshot:
        found = self._own(measured, now_s, monotonic_s)
        return with_adopted(found, self._adoptable(found))

    def _adoptable(self, found: FleetSnapshot) -> dict[DeploymentKey, DeploymentState]:
        """Deployments of users that are labelled for adoption or that the applied plan lists."""
        listed = listed_as_adopted(found)
        return {
            state.key: state
            for state in self._states("deployments", deployment_state).values()
            if may_be_adopted(state.labels, state.key, listed) and state.key not in found.deployments
        }

    def _own(self, measured: Measured, now_s: float, monotonic_s: float) -> FleetSnapshot:
        fleets, namespaces = self._objects("fleets", Fleet), self._states("namespaces", _namespace)
        return FleetSnapshot(
            now_s=now_s,
            fleet=fleets.get("default"),
            pools=self._objects("gpupools", GPUPool),
            models={m.key: m for m in self._objects("servedmodels", ServedModel).values()},
            classes={c.key: c for c in self._objects("workloadclasses", WorkloadClass).values()},
            policies=self._objects("routerpolicies", RouterPolicy),
            plans=self.plans(),
            nodes={n.name: n for n in self._states("nodes", node_state).values()},
            pods=self.pods(),
            deployments={
                state.key: state
                for key, state in self._states("deployments", deployment_state).items()
                if is_engine_deployment(self._store.of("deployments")[key])
            },
            loose={
                key: state
                for key, state in self._states("replicasets", loose_replica_set).items()
                if state is not None
            },
            ending={name: at_s for name, (at_s, _) in namespaces.items() if at_s is not None},
            enforced={name: level for name, (_, level) in namespaces.items() if level},
            quotas=self._states(QUOTAS, quota_state),
            limit_ranges=self._states(LIMIT_RANGES, limit_range_state),
            refused_writes=dict(measured.refused_writes),
            protected={
                DeploymentKey(key): least
                for key, least in self._states("poddisruptionbudgets", protected_replicas).items()
                if has_own_label(self._store.of("poddisruptionbudgets")[key])
            },
            unlabelled={
                DeploymentKey(key): lost
                for key, budget in self._store.of("poddisruptionbudgets").items()
                if (lost := lost_label(budget))
            },
            autoscalers={
                key: state
                for key, state in self._states(AUTOSCALERS, autoscaler_state).items()
                if state is not None
            },
            telemetry=measured.telemetry,
            routing=measured.routing,
            invalid=self.invalid(),
            profile_files=measured.profiles.files,
            unread_profiles=measured.profiles.unread,
            template_refusals=measured.template_refusals,
            seen=self._seen(),
            monotonic_s=monotonic_s,
            remembered_revision=measured.remembered_revision,
        )

    def stored(self, now_s: float, monotonic_s: float = 0.0) -> FleetSnapshot:
        """The store's objects alone: routes depend on nothing else."""
        return self.take(Measured(TelemetryReading(), RoutingView()), now_s, monotonic_s)

    def profile_files_named(self) -> frozenset[ProfileFileKey]:
        """The files that the ServedModels name as their profiles."""
        models = self._objects("servedmodels", ServedModel).values()
        return frozenset(file for model in models for file in files_named(model))

    def plans(self) -> tuple[FleetPlan, ...]:
        """All FleetPlans, by revision; those that are not seen only until another one is applied."""
        found = self._objects("fleetplans", FleetPlan)
        stored = {key: plan for key, plan in found.items() if key in self._store.of("fleetplans")}
        plans = found if applied_plan(tuple(stored.values())) is None else stored
        return tuple(sorted(plans.values(), key=lambda p: p.spec.revision))

    def has_adapters(self) -> bool:
        """Whether a ServedModel has LoRA adapters, or an engine was found to hold some."""
        specs = (item.get("spec") or {} for item in self._store.of("servedmodels").values())
        pods = (item["metadata"].get("annotations") or {} for item in self._store.of("pods").values())
        return any(spec.get("adapters") for spec in specs) or any(
            ANNOTATION_ADAPTERS in each for each in pods
        )

    def has_applied_plan(self) -> bool:
        """Whether a FleetPlan is applied."""
        return applied_plan(self.plans()) is not None

    def plan_names(self) -> tuple[str, ...]:
        """Names of all FleetPlans, those included that cannot be read: a name can be used once."""
        return tuple(self._store.of("fleetplans"))

    def pods(self) -> dict[str, PodState]:
        """All pods by key. A pod's selector holds a hostname label; `assigned_node` is the node's name."""
        nodes = self._states("nodes", node_state).values()
        by_hostname = {n.labels.get(HOSTNAME, n.name): n.name for n in nodes}
        return {
            key: replace(pod, assigned_node=by_hostname.get(pod.assigned_node, pod.assigned_node))
            if pod.assigned_node
            else pod
            for key, pod in self._states("pods", pod_state).items()
        }

    def fleet_spec(self) -> FleetSpec:
        """The settings of Fleet/default, or those that it had last, or every default."""
        fleet = self._objects("fleets", Fleet).get("default")
        return fleet.spec if fleet is not None else last_fleet_spec(self.plans()) or FleetSpec()

    def invalid(self) -> tuple[InvalidObject, ...]:
        """Objects of users that cannot be read, whether or not an earlier version of them could."""
        models = {plural: model for plural in USER_SPECS if (model := kind_of(plural).model) is not None}
        parsed = [
            p for plural, model in models.items() for p in self._states(plural, model.from_object).values()
        ]
        return tuple(p for p in parsed if isinstance(p, InvalidObject))

    def _objects(self, plural: str, kind: type[K]) -> dict[str, K]:
        """The objects of a kind; of one that cannot be read any more, the last version that could.

        Its metadata and conditions are those of the version that cannot be read: they are reported on.
        """
        before, found = self._readable.get(plural, {}), dict[str, K]()
        for key, value in self._states(plural, kind.from_object).items():
            if isinstance(value, kind):
                found[key] = value
            elif isinstance(value, InvalidObject):
                last = before.get(value.metadata.uid)
                if isinstance(last, kind):
                    found[key] = _with_metadata_of(last, value)
        self._readable[plural] = {item.metadata.uid: item for item in found.values()}
        return found

    def _seen(self) -> Seen:
        store = self._store
        unseen = {ObjectRef(kind, key) for kind in store.kinds for key in store.unseen(kind)}
        deleted = {ObjectRef(kind, key) for kind in store.kinds for key in store.deleted(kind)}
        outdated = {
            ref
            for item in self.invalid()
            if (ref := ObjectRef(kind_named(item.kind).plural, item.key)) and self._has_readable(item)
        }
        return Seen(dict(store.kinds), frozenset(unseen), frozenset(outdated), frozenset(deleted))

    def _has_readable(self, item: InvalidObject) -> bool:
        return item.metadata.uid in self._readable.get(kind_named(item.kind).plural, {})

    def _states(self, plural: str, read: Callable[[Mapping[str, Any]], S]) -> dict[str, S]:
        """Every object of a kind, parsed; an object that has left the store is dropped here too."""
        known = self._parsed.get(plural, {})
        found: dict[str, tuple[str, S]] = {}
        parting = {key: each.item for key, each in self._store.parting(plural).items()}
        kept = {**parting, **self._store.unseen(plural), **self._store.of(plural)}
        for key, item in sorted(kept.items()):
            version = f"{item['metadata'].get('uid')}/{item['metadata'].get('resourceVersion')}"
            before = known.get(key)
            found[key] = before if before and before[0] == version else (version, read(item))
        self._parsed[plural] = found
        return {key: value for key, (_, value) in found.items()}


def _namespace(item: Mapping[str, Any]) -> tuple[float | None, str]:
    """When its deletion was requested, and which pods it admits."""
    return deletion_asked_s(item), enforced_level(item)


def _with_metadata_of(item: K, unreadable: InvalidObject) -> K:
    status = item.status.model_copy(update={"conditions": unreadable.conditions})  # type: ignore[attr-defined]
    return item.model_copy(update={"metadata": unreadable.metadata, "status": status})
