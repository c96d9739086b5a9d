"""The state of the cluster at one instant: the only input of decisions that changes by itself.

Owns the shape of `FleetSnapshot`. `reconcile.watch` fills one from the API server, `files.objects`
from files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from argosy.api import Fleet, FleetPlan, GPUPool, InvalidObject, RouterPolicy, ServedModel, WorkloadClass
from argosy.api.conditions import ConditionStatus, ConditionType
from argosy.api.fleet import FleetSpec, Mode
from argosy.api.kinds import kind_named
from argosy.api.orders import is_approved
from argosy.api.schema.timestamp import seconds_of
from argosy.keys import ClassKey, DeploymentKey, ModelKey
from argosy.snapshot.admission.quotas import LimitRangeState, QuotaState
from argosy.snapshot.admission.words import RefusedWrite
from argosy.snapshot.cluster import DeploymentState, NodeState, PodState, ReplicaSetState, Unadopted
from argosy.snapshot.scaling.autoscalers import AUTOSCALERS, AutoscalerState, CountOwner, count_owners
from argosy.snapshot.seen import KindState, ObjectRef, Seen
from argosy.snapshot.telemetry import TelemetryReading

TemplateKey = tuple[ModelKey, str]
"""A ServedModel and the name of a pool: what its engines' pods look like there."""


@dataclass(frozen=True, slots=True)
class EnvoyState:
    """A connected Envoy.

    acknowledged_version: of the routes that it runs; empty before the first
    refused_version:      the version that it refuses now, with its `message`; else empty
    stats_url:            where its counters can be read, as it announced; empty where it did not
    revision:             the largest FleetPlan revision in the versions that it has, of any type
    is_ahead:             it has something of a later FleetPlan revision than the server knows, which
                          therefore sends it nothing yet
    served_at_s:          while it is ahead: from when on it may be served (seconds since the epoch)
    left_revision:        it was ahead with this revision, until the server that it is connected to
                          led it back; 0 where that was not so
    endpoints_version:    of the endpoints that it acknowledged last; empty before the first
    endpoints_since_s:    when it did (seconds since the epoch)
    is_duplicate:         another Envoy with this node id has been connected beside it for a while
    """

    node_id: str
    acknowledged_version: str = ""
    refused_version: str = ""
    message: str = ""
    revision: int = 0
    is_ahead: bool = False
    stats_url: str = ""
    served_at_s: float | None = None
    left_revision: int = 0
    endpoints_version: str = ""
    endpoints_since_s: float | None = None
    is_duplicate: bool = False


@dataclass(frozen=True, slots=True)
class RoutingView:
    """The xDS version that is published, and the state of each Envoy.

    endpoints_by_version: addresses of the endpoints in what was published lately, by the version of the
                          endpoints: what an Envoy has that acknowledged it
    gone_at_s:            when the connections of Envoys ended that have not connected again, by node id
    gone_endpoints:       addresses that each of these may still send requests to; absent where not known
    since_s:              when this process began to serve Envoys (seconds since the epoch)
    published_s:          when it published the version (the same); None where it published none
    """

    version: str = ""
    envoys: tuple[EnvoyState, ...] = ()
    endpoints_by_version: Mapping[str, frozenset[str]] = field(default_factory=dict)
    gone_at_s: Mapping[str, float] = field(default_factory=dict)
    since_s: float = 0.0
    gone_endpoints: Mapping[str, frozenset[str]] = field(default_factory=dict)
    published_s: float | None = None


@dataclass(frozen=True, slots=True, order=True)
class ProfileFileKey:
    """A file that a ServedModel's `spec.profiles` names: a key of a ConfigMap."""

    namespace: str
    config_map: str
    key: str


@dataclass(frozen=True)
class FleetSnapshot:
    """The cluster at `now_s` (seconds since the epoch).

    `fleet` is None where there is none: the settings of the last one hold, or, where there never was
    one, every default, with the mode Recommend.
    `applied_plan` is the FleetPlan of the highest revision with Applied=True. Maps are by
    object key (`name` or `namespace/name`).

    loose: ReplicaSets, by key, that no Deployment owns though one of Argosy's made them
    ending: namespaces that are being deleted: since when (seconds since the epoch)
    protected: replicas that Argosy's PodDisruptionBudget of each Deployment keeps ready
    autoscalers: HorizontalPodAutoscalers that name Deployments, by key
    quotas, limit_ranges: ResourceQuotas and LimitRanges, by key
    enforced: which pods each namespace admits by Pod Security; empty: any
    refused_writes: Deployments that the API server has not let Argosy make or change
    unadopted: Deployments that users labelled for adoption, and why they are not adopted
    unlabelled: what became of the label of a PodDisruptionBudget that was Argosy's by it, by Deployment
    invalid: objects that the API server holds but that cannot be read; decisions leave them out
    profile_files: files that ServedModels name, with their contents; a file in neither map does not exist
    unread_profiles: files that could not be fetched yet, each with the API server's error
    template_refusals: what the API server says to pod templates that it does not take
    seen: how complete the snapshot is
    monotonic_s: the process's monotonic clock, which is never set: it measures how long a look has lasted
    remembered_revision: the largest FleetPlan revision that this process or one before it has seen
    """

    now_s: float
    fleet: Fleet | None
    pools: Mapping[str, GPUPool]
    models: Mapping[ModelKey, ServedModel]
    classes: Mapping[ClassKey, WorkloadClass]
    policies: Mapping[str, RouterPolicy]
    plans: tuple[FleetPlan, ...]
    nodes: Mapping[str, NodeState]
    pods: Mapping[str, PodState]
    deployments: Mapping[DeploymentKey, DeploymentState] = field(default_factory=dict)
    loose: Mapping[str, ReplicaSetState] = field(default_factory=dict)
    ending: Mapping[str, float] = field(default_factory=dict)
    protected: Mapping[DeploymentKey, int] = field(default_factory=dict)
    unlabelled: Mapping[DeploymentKey, str] = field(default_factory=dict)
    autoscalers: Mapping[str, AutoscalerState] = field(default_factory=dict)
    quotas: Mapping[str, QuotaState] = field(default_factory=dict)
    limit_ranges: Mapping[str, LimitRangeState] = field(default_factory=dict)
    enforced: Mapping[str, str] = field(default_factory=dict)
    refused_writes: Mapping[DeploymentKey, RefusedWrite] = field(default_factory=dict)
    unadopted: Mapping[DeploymentKey, Unadopted] = field(default_factory=dict)
    telemetry: TelemetryReading = field(default_factory=TelemetryReading)
    routing: RoutingView = field(default_factory=RoutingView)
    invalid: tuple[InvalidObject, ...] = ()
    profile_files: Mapping[ProfileFileKey, bytes] = field(default_factory=dict)
    unread_profiles: Mapping[ProfileFileKey, str] = field(default_factory=dict)
    template_refusals: Mapping[TemplateKey, str] = field(default_factory=dict)
    seen: Seen = field(default_factory=Seen)
    monotonic_s: float = 0.0
    remembered_revision: int = 0

    @cached_property
    def fleet_spec(self) -> FleetSpec:
        """The settings of Fleet/default, or those that it had last, or every default."""
        if self.fleet is not None:
            return self.fleet.spec
        return self.last_fleet_spec or FleetSpec()

    @cached_property
    def acting_mode(self) -> Mode:
        """What Argosy does about the applied plan: as in Auto, where a user approved it in Recommend."""
        mode, plan = self.fleet_spec.mode, self.applied_plan
        approved = plan is not None and is_approved(plan.metadata.annotations)
        return Mode.AUTO if mode is Mode.RECOMMEND and approved else mode

    @property
    def acts(self) -> bool:
        """Whether Argosy acts on the applied plan."""
        return self.acting_mode is Mode.AUTO

    @cached_property
    def last_fleet_spec(self) -> FleetSpec | None:
        """What the plans say that the Fleet's settings were; None where there never was a Fleet."""
        return last_fleet_spec(self.plans)

    @cached_property
    def count_owners(self) -> Mapping[DeploymentKey, CountOwner]:
        """By Deployment: what sets its number of replicas in Argosy's place."""
        kind = self.seen.kinds.get(AUTOSCALERS)
        are_seen = kind is None or kind.state is KindState.SEEN
        return count_owners(self.deployments, self.autoscalers.values(), are_seen=are_seen)

    @cached_property
    def engine_pods(self) -> tuple[PodState, ...]:
        """Pods of the Deployments that Argosy made or adopted, by key."""
        return tuple(p for _, p in sorted(self.pods.items()) if p.deployment)

    @cached_property
    def parting_classes(self) -> frozenset[ClassKey]:
        """The deleted classes that are served within their grace."""
        return frozenset(ClassKey(r.key) for r in self.seen.parting if r.plural == WorkloadClass.PLURAL)

    @cached_property
    def yielding_classes(self) -> frozenset[ClassKey]:
        """Within the grace of a deleted class: it, and the classes whose models do not exist.

        Of requests that several match alike, another class has them first: nothing could serve those of the
        latter, so a deleted class keeps its own beside them.
        """
        parting = self.parting_classes
        if not parting:
            return parting
        return parting | {key for key, c in self.classes.items() if not c.model_keys & self.models.keys()}

    @cached_property
    def applied_plan(self) -> FleetPlan | None:
        """The plan that the fleet follows; None before the first."""
        return applied_plan(self.plans)


def applied_plan(plans: tuple[FleetPlan, ...]) -> FleetPlan | None:
    """The plan of the highest revision whose condition Applied is True."""
    applied = [p for p in plans if is_true(p, ConditionType.APPLIED)]
    return max(applied, key=lambda p: p.spec.revision, default=None)


def bearer(plans: tuple[FleetPlan, ...]) -> FleetPlan | None:
    """The plan whose status tells of the whole fleet: the applied one, or else the newest."""
    return applied_plan(plans) or max(plans, key=lambda p: p.spec.revision, default=None)


def last_fleet_spec(plans: tuple[FleetPlan, ...]) -> FleetSpec | None:
    """The settings that the last Fleet had: by its bearer, or by the newest plan that tells them.

    A plan may be newer than its record, where the operator ended between the two.
    """
    told = [p for p in plans if p.status.fleet is not None]
    plan = bearer(plans)
    if plan is None or plan.status.fleet is None:
        plan = max(told, key=lambda p: p.spec.revision, default=None)
    return plan.status.fleet if plan is not None else None


def recorded_removals(plans: tuple[FleetPlan, ...]) -> dict[ObjectRef, float]:
    """Deleted objects that replicas ran for, each with the end of its grace (seconds since the epoch)."""
    plan = bearer(plans)
    found = {}
    for each in plan.status.removals if plan is not None else ():
        at_s = seconds_of(each.removed_after)
        if at_s is not None:
            found[ObjectRef(kind_named(each.kind).plural, each.key)] = at_s
    return found


def is_true(plan: FleetPlan, condition: ConditionType) -> bool:
    """Whether the plan's status has `condition` with status True."""
    return any(c.type == condition and c.status is ConditionStatus.TRUE for c in plan.status.conditions)
