"""The registry of kinds: every kind of object that Argosy reads or writes, with what it is to Argosy.

Owns one entry per kind; a new kind is one entry here (and its model in a module of its own). Input:
a plural or a kind's name. Output: its `Kind`. How a URL is made of it is `kube`'s business, what a
change of an object calls for is `control.triggers`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from argosy.api.crd.resource import API_VERSION, CustomResource, Scope
from argosy.api.fleet import Fleet
from argosy.api.fleetplan import FleetPlan
from argosy.api.gpupool import GPUPool
from argosy.api.routerpolicy import RouterPolicy
from argosy.api.servedmodel import ServedModel
from argosy.api.workloadclass import WorkloadClass
from argosy.errors import InvariantError


class TriggerRule(StrEnum):
    """Which change of an object calls for a new decision at once."""

    SPEC = "Spec"
    """Any change of its spec: users write it."""
    NODE = "Node"
    """What the node can run: readiness, taints, devices, labels."""
    POD = "Pod"
    """Where an engine is and whether it serves."""
    PLAN = "Plan"
    """That an applied plan is lost: nothing else of a plan changes but by the operator."""
    DEPLOYMENT = "Deployment"
    """Whether its pods are refused."""
    REPLICA_SET = "ReplicaSet"
    """That no Deployment owns it, or that its labels changed."""
    NAMESPACE = "Namespace"
    """That it is being deleted, or enforces another level of Pod Security."""
    QUOTA = "Quota"
    """What it allows, and GPUs that have become free in it."""
    BOUNDS = "Bounds"
    """Any change of its spec, which is no cause of a plan."""
    BUDGET = "Budget"
    """That it keeps another number of replicas, or is gone."""
    AUTOSCALER = "Autoscaler"
    """That it names a Deployment, or no longer does, and its bounds."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object.

    model:     how its objects are read; None for Kubernetes' own kinds
    watched:   kept in the store, complete and up to date
    trigger:   None where no change of its objects calls for a decision
    is_routed: whether routes are compiled from its objects
    is_needed: whether nothing is decided while its objects cannot be listed
    """

    name: str
    plural: str
    api_version: str
    scope: Scope
    model: type[CustomResource] | None = None
    watched: bool = True
    trigger: TriggerRule | None = None
    is_routed: bool = False
    is_needed: bool = True

    @property
    def is_namespaced(self) -> bool:
        """Whether its objects live in namespaces."""
        return self.scope is Scope.NAMESPACED

    @property
    def group_version(self) -> tuple[str, str]:
        """API group and version; the group of Kubernetes' core kinds is empty."""
        group, _, version = self.api_version.rpartition("/")
        return group, version


def _custom(
    model: type[CustomResource], *, is_routed: bool, trigger: TriggerRule | None = TriggerRule.SPEC
) -> Kind:
    return Kind(
        name=model.KIND,
        plural=model.PLURAL,
        api_version=API_VERSION,
        scope=model.SCOPE,
        model=model,
        trigger=trigger,
        is_routed=is_routed,
    )


REGISTRY: tuple[Kind, ...] = (
    _custom(Fleet, is_routed=True),
    _custom(GPUPool, is_routed=False),
    _custom(ServedModel, is_routed=True),
    _custom(WorkloadClass, is_routed=True),
    _custom(RouterPolicy, is_routed=True),
    # Only the operator writes plans, and their specs never change; but users delete them.
    _custom(FleetPlan, is_routed=True, trigger=TriggerRule.PLAN),
    Kind("Node", "nodes", "v1", Scope.CLUSTER, trigger=TriggerRule.NODE),
    Kind("Pod", "pods", "v1", Scope.NAMESPACED, trigger=TriggerRule.POD, is_routed=True),
    Kind(
        "PodDisruptionBudget",
        "poddisruptionbudgets",
        "policy/v1",
        Scope.NAMESPACED,
        trigger=TriggerRule.BUDGET,
    ),
    Kind("Deployment", "deployments", "apps/v1", Scope.NAMESPACED, trigger=TriggerRule.DEPLOYMENT),
    # Only where no Deployment owns it: deleted without it, or its labels changed by hand.
    Kind("ReplicaSet", "replicasets", "apps/v1", Scope.NAMESPACED, trigger=TriggerRule.REPLICA_SET),
    # The number of replicas of a Deployment that one of them names is its.
    Kind(
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        "autoscaling/v2",
        Scope.NAMESPACED,
        trigger=TriggerRule.AUTOSCALER,
        is_needed=False,
    ),
    # What they leave of GPUs limits the plan of their namespace.
    Kind(
        "ResourceQuota",
        "resourcequotas",
        "v1",
        Scope.NAMESPACED,
        trigger=TriggerRule.QUOTA,
        is_needed=False,
    ),
    # Only to name the one that refuses a pod, and to notice that it has changed.
    Kind("LimitRange", "limitranges", "v1", Scope.NAMESPACED, trigger=TriggerRule.BOUNDS, is_needed=False),
    # Read one by one, and only where a ServedModel names them: a cluster's may be many and large.
    Kind("ConfigMap", "configmaps", "v1", Scope.NAMESPACED, watched=False),
    Kind("Event", "events", "v1", Scope.NAMESPACED, watched=False),
    Kind("Lease", "leases", "coordination.k8s.io/v1", Scope.NAMESPACED, watched=False),
    # Only those of the certificates between Envoys and the operator, each by its name.
    Kind("Secret", "secrets", "v1", Scope.NAMESPACED, watched=False),
    # Which are being deleted, and which enforce Pod Security; and kube-system, whose uid is the cluster's.
    Kind("Namespace", "namespaces", "v1", Scope.CLUSTER, trigger=TriggerRule.NAMESPACE),
    # Of Argosy's own kinds, each looked at by its name: whether its objects were deleted or went with it.
    Kind(
        "CustomResourceDefinition",
        "customresourcedefinitions",
        "apiextensions.k8s.io/v1",
        Scope.CLUSTER,
        watched=False,
    ),
)
"""Every kind; Argosy's own come first, in the order in which objects refer to each other."""

_BY_PLURAL = {kind.plural: kind for kind in REGISTRY}
_BY_NAME = {kind.name: kind for kind in REGISTRY}


def kind_of(plural: str) -> Kind:
    """The kind with this plural; raises InvariantError for one that is not registered."""
    return _known(_BY_PLURAL, plural)


def kind_named(name: str) -> Kind:
    """The kind of this name (`Fleet`); raises InvariantError for one that is not registered."""
    return _known(_BY_NAME, name)


def plurals(which: Callable[[Kind], bool]) -> tuple[str, ...]:
    """The plurals of the kinds for which `which` holds, in the registry's order."""
    return tuple(kind.plural for kind in REGISTRY if which(kind))


def _known(kinds: dict[str, Kind], key: str) -> Kind:
    if key not in kinds:
        raise InvariantError(f"the kind {key} is not in the registry of kinds; known are {', '.join(kinds)}")
    return kinds[key]


WATCHED = plurals(lambda kind: kind.watched)
"""Kept in the store."""
CUSTOM = plurals(lambda kind: kind.model is not None)
"""Argosy's own: each exists only while its CustomResourceDefinition does."""
USER_SPECS = plurals(lambda kind: kind.trigger is TriggerRule.SPEC)
"""Their specs are written by users."""
GRACED = tuple(kind for kind in USER_SPECS if kind not in (Fleet.PLURAL, RouterPolicy.PLURAL))
"""Replicas are made for their objects, so one that is deleted is served for a grace."""
ROUTED = frozenset(plurals(lambda kind: kind.is_routed))
"""A change of one of their objects may change routes."""
