"""What the statuses of all kinds are computed from.

Owns the shape of `Reported` and the counts that several statuses share. Input: what was sized, placed
and is followed. Output: replicas and pods by class, model and Deployment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from argosy.api import FleetPlan
from argosy.api.fleet import Mode
from argosy.api.fleetplan import PlannedCell, PlannedDeployment
from argosy.api.servedmodel import Exchange
from argosy.control.memory import NodeMemory, Quarantine
from argosy.control.refused.evidence import Evidence, evidence, option_of
from argosy.control.revision.decided import Hold, Waiting
from argosy.control.sizing import Sizing
from argosy.control.state.differences import Difference, Wanted, differences
from argosy.control.state.measured import measured
from argosy.control.state.owners import Owners
from argosy.control.state.routable import ROUTED_WITHIN_S, Unrouted, unrouted
from argosy.control.state.silence import doubted_pods, idle_pods, silent_since, unread_pods
from argosy.demand.adapters import AdapterLoads
from argosy.demand.observed import Measured, Observed, ObservedHistory, observed
from argosy.keys import ClassKey, DeploymentKey, GroupName, ModelKey
from argosy.perf.recalibration.memory import CalibrationMemory
from argosy.place.solution import Placement
from argosy.plan.solution import Plan
from argosy.snapshot.cluster import PodState
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.serving import takes_requests
from argosy.snapshot.telemetry import Unread


@dataclass(frozen=True)
class Reported:
    """A decision and its inputs.

    follow:  the plan that is carried out, or None
    history: what requests got in the last minutes
    waiting: the change of the plan that waits, or None
    hold:    planning that a user has paused, or None
    nodes:   what is known of nodes that autoscalers bring
    unread:  what has not been readable for a while, such as `all engines`; else empty
    edits: what other clients have changed of templates and nothing sets back, by Deployment
    adapters: what was counted of the requests for LoRA adapters
    unplannable: the classes of each Deployment that is kept, for which nothing can be planned
    """

    sizing: Sizing
    plan: Plan
    placement: Placement
    follow: FleetPlan | None
    owners: Mapping[DeploymentKey, Owners]
    calibration: CalibrationMemory = field(default_factory=CalibrationMemory)
    history: ObservedHistory = field(default_factory=ObservedHistory)
    waiting: Waiting | None = None
    hold: Hold | None = None
    nodes: NodeMemory = field(default_factory=NodeMemory)
    unread: str = ""
    edits: Mapping[DeploymentKey, str] = field(default_factory=dict)
    adapters: AdapterLoads = field(default_factory=AdapterLoads)
    unplannable: Mapping[DeploymentKey, tuple[ClassKey, ...]] = field(default_factory=dict)

    @property
    def snapshot(self) -> FleetSnapshot:
        """The snapshot that was decided on."""
        return self.sizing.snapshot

    @property
    def mode(self) -> Mode:
        """What Argosy may do."""
        return self.snapshot.acting_mode

    @cached_property
    def num_serving(self) -> Counter[DeploymentKey]:
        """Replicas that take requests, by Deployment."""
        return Counter(p.deployment for p in self.snapshot.engine_pods if self.serves(p))

    @cached_property
    def refused(self) -> Mapping[DeploymentKey, Evidence]:
        """Deployments whose replicas the cluster refuses now."""
        return evidence(self.snapshot)

    def left_alone(self, namespace: str, variant: str) -> Quarantine | None:
        """Why a variant gets no more replicas for a while; None where it may."""
        found = self.sizing.quarantines.get(option_of(namespace, variant))
        return found if found is not None and found.is_active(self.snapshot.now_s) else None

    @cached_property
    def doubted(self) -> frozenset[str]:
        """Keys of the pods whose engines stopped answering together."""
        return doubted_pods(self.snapshot)

    @cached_property
    def silent_s(self) -> Mapping[str, float]:
        """Since when each silent engine has answered nothing (epoch seconds), by the key of its pod."""
        return silent_since(self.snapshot)

    @cached_property
    def unread_engines(self) -> Mapping[str, Unread]:
        """Why the metrics of an engine that serves cannot be read, by the key of its pod."""
        return unread_pods(self.snapshot)

    @cached_property
    def _out(self) -> frozenset[str]:
        return self.sizing.lost | idle_pods(self.snapshot) | self.unrouted.keys()

    @cached_property
    def unrouted(self) -> Mapping[str, Unrouted]:
        """Ready pods to which Envoys do not send requests, by key."""
        return unrouted(self.snapshot)

    def serves(self, pod: PodState) -> bool:
        """True if an engine gets new requests and answers them."""
        return takes_requests(pod, self._out)

    def is_starting(self, pod: PodState) -> bool:
        """True if a replica has a node and gets no requests yet: it loads, or Envoys have yet to find it."""
        is_lost = pod.key in self.sizing.lost or pod.deleting or not pod.is_active
        return bool(pod.destination) and not is_lost and (not pod.ready or pod.key in self.unrouted)

    def stopped(self, pods: Iterable[PodState]) -> list[PodState]:
        """Those whose pod is ready and stays, and whose engine does not serve all the same; one that
        became ready a moment ago is still starting.
        """
        not_serving = (p for p in pods if p.ready and not (p.deleting or p.is_marked or self.serves(p)))
        return [p for p in not_serving if not (p.key in self.unrouted and self._is_new(p))]

    def _is_new(self, pod: PodState) -> bool:
        since_s = pod.ready_since_s
        return since_s is not None and self.snapshot.now_s - since_s < ROUTED_WITHIN_S

    def pods_of_class(self, key: ClassKey) -> list[PodState]:
        """The engine pods that serve a WorkloadClass: planned, surplus, or standing by for a cell of it."""
        groups = self.sizing.cells.groups_of(key)
        listed = {share.deployment for cell in self.cells_of(key) for share in cell.shares}

        def serves_class(deployment: DeploymentKey) -> bool:
            owners = self.owners[deployment]
            is_member = owners.group in groups and self.may_run(key, owners.group, owners.model)
            return is_member or deployment in listed

        return [p for p in self.snapshot.engine_pods if serves_class(p.deployment)]

    def pods_of_model(self, key: ModelKey) -> list[PodState]:
        """The engine pods of a ServedModel, planned or not."""
        return [p for p in self.snapshot.engine_pods if self.owners[p.deployment].model == key]

    @cached_property
    def _measured(self) -> Measured:
        return measured(self.snapshot)

    def observed_of(self, key: ClassKey) -> Observed:
        """What the class's requests got in the last minutes."""
        return observed(self.history, self._measured, key, self.sizing.cells.groups_of(key))

    def classes_beside(self, key: ClassKey) -> frozenset[ClassKey]:
        """The classes that share replicas with this one, itself included."""
        cells = self.sizing.cells
        return frozenset(each for group in cells.groups_of(key) for each in cells.classes_of(group))

    def cells_of(self, key: ClassKey) -> tuple[PlannedCell, ...]:
        """The route cells of a class, as the followed plan has them."""
        cells = self.follow.spec.cells if self.follow else ()
        return tuple(c for c in cells if c.workload_class == key)

    @property
    def planned(self) -> tuple[PlannedDeployment, ...]:
        """The Deployments of the followed plan."""
        return self.follow.spec.deployments if self.follow else ()

    def planned_for(self, key: ClassKey) -> list[PlannedDeployment]:
        """The followed plan's Deployments that serve a class."""
        groups = {c.sharing_group for c in self.cells_of(key)} or set(self.sizing.cells.groups_of(key))
        return [
            d
            for d in self.planned
            if d.sharing_group in groups and self.may_run(key, d.sharing_group, d.model_key)
        ]

    def is_kept(self, deployment: DeploymentKey) -> bool:
        """True if its replicas stay though none is planned: nothing can be planned for a class of theirs."""
        return deployment in self.unplannable

    @cached_property
    def differences(self) -> tuple[Difference, ...]:
        """Where what runs is not what is wanted and stays so; none in a mode in which Argosy acts."""
        if self.mode is Mode.AUTO:
            return ()
        planned = {d.name: d for d in self.planned}
        workloads = self.sizing.resolution.workloads()
        if self.waiting is not None:
            workloads |= self.waiting.workloads
        wanted = Wanted(self._wanted, planned, workloads, self.edits)
        return differences(self.snapshot, self.sizing.lost, wanted)

    @property
    def is_plan_outdated(self) -> bool:
        """Whether the followed plan has other replicas than a plan that would be made now."""
        return {d.name: d.replicas for d in self.planned if d.replicas} != self._wanted

    @cached_property
    def _wanted(self) -> dict[DeploymentKey, int]:
        """Replicas of a plan that would be made now, by Deployment; those that are kept stay."""
        postponed = self.waiting or self.hold
        plan = postponed.wanted if postponed is not None else self.plan
        found = {name: count for name, count in plan.replicas.items() if count}
        for name, state in self.snapshot.deployments.items():
            if self.is_kept(name):
                found[name] = max(found.get(name, 0), state.replicas)
        return found

    def may_interrupt(self, key: ModelKey) -> bool:
        """True if users of a model let the last replica that serves go, to make room for its successor."""
        found = self.snapshot.models.get(key)
        return found is not None and found.spec.exchange is Exchange.BRIEF_OUTAGE

    def may_run(self, key: ClassKey, group: GroupName | None, model: ModelKey | None) -> bool:
        """True if replicas of the group that run this model answer the class's requests."""
        is_alone = group is not None and self.sizing.cells.classes_of(group) == (key,)
        return is_alone or model in self.snapshot.classes[key].model_keys
