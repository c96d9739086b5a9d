"""What of Argosy is in a cluster: the objects that it made, its users' objects, and the pods that still run.

Owns which object counts as made by Argosy: its labels say it, never its name alone. Input: objects as the API
server lists them. Output: `Remains`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from argosy.api.fleet import FleetSpec, Mode
from argosy.api.fleetplan import FleetPlan
from argosy.api.kinds import USER_SPECS, kind_named
from argosy.api.orders import is_approved
from argosy.api.schema.timestamp import seconds_of
from argosy.api.servedmodel import DRAIN_SECONDS
from argosy.keys import DeploymentKey, NamespacedName
from argosy.snapshot.cluster import LABEL_DEPLOYMENT, LABEL_MANAGED_BY, MANAGED_BY
from argosy.snapshot.fleet import applied_plan, last_fleet_spec

Object = Mapping[str, Any]

REPLICA_SETS = kind_named("ReplicaSet").plural
"""Those without a Deployment: Kubernetes removes all others with theirs."""
MAKERS = (kind_named("Deployment").plural, REPLICA_SETS)
"""They make pods."""
ENGINES = (*MAKERS, kind_named("PodDisruptionBudget").plural)
"""They go before the records."""
RECORDS = (FleetPlan.PLURAL, kind_named("Lease").plural)
"""They go last: until then a plan says in which mode an operator acts that is started in between."""
USERS = tuple(reversed(USER_SPECS))
"""What refers to an object goes before it."""


@dataclass(frozen=True, slots=True)
class Left:
    """An object that is there. `is_going`: its deletion was asked for already."""

    plural: str
    key: str
    is_going: bool


@dataclass(frozen=True, slots=True)
class PodLeft:
    """A replica's pod.

    drain_s: how long it may take to finish its requests (seconds), its terminationGracePeriodSeconds
    ends_s:  once it is being deleted: when it ends at the latest (seconds since the epoch); else None
    node:    empty before it is placed
    made_by: key of the ReplicaSet that counts it; empty for a pod that none counts
    """

    key: NamespacedName
    deployment: DeploymentKey
    drain_s: float
    ends_s: float | None
    node: str
    made_by: str = ""


@dataclass(frozen=True, slots=True)
class Leader:
    """The operator that leads. mode: None where neither a Fleet nor a plan says it."""

    identity: str
    mode: Mode | None

    @property
    def removes_engines(self) -> bool:
        """Whether it makes and drains engines itself; one whose mode is not known may."""
        return self.mode not in (Mode.OBSERVE, Mode.RECOMMEND)


@dataclass(frozen=True, slots=True)
class Remains:
    """Everything of Argosy's, at one instant.

    missing: plurals of custom kinds that are not installed, so that nothing of them can be there
    """

    objects: tuple[Left, ...] = ()
    pods: tuple[PodLeft, ...] = ()
    leader: Leader | None = None
    missing: frozenset[str] = frozenset()

    def of(self, plurals: Iterable[str]) -> tuple[Left, ...]:
        """The objects of these kinds, in the kinds' order."""
        return tuple(left for plural in plurals for left in self.objects if left.plural == plural)


def left(plural: str, item: Object) -> Left:
    """One object, as it was listed."""
    metadata = item["metadata"]
    key = NamespacedName.of(metadata.get("namespace", ""), metadata["name"])
    return Left(plural, key, bool(metadata.get("deletionTimestamp")))


def is_removed_by_itself(plural: str, item: Object) -> bool:
    """Whether an object of Argosy's is deleted by its own name: not what goes with its owner."""
    return is_engine_object(item) and not (plural == REPLICA_SETS and _controller(item))


def _controller(item: Object) -> str:
    """The name of the object that an object goes with; empty where there is none."""
    owners = item["metadata"].get("ownerReferences") or ()
    return next((str(owner.get("name")) for owner in owners if owner.get("controller")), "")


def is_engine_object(item: Object) -> bool:
    """Whether it is an engine's, by Argosy's labels: other tools may share one of them."""
    labels = item["metadata"].get("labels") or {}
    return labels.get(LABEL_MANAGED_BY) == MANAGED_BY and LABEL_DEPLOYMENT in labels


def pod_left(pod: Object) -> PodLeft:
    """One replica, as its pod was listed."""
    metadata, spec = pod["metadata"], pod.get("spec") or {}
    namespace = metadata["namespace"]
    grace_s = spec.get("terminationGracePeriodSeconds")
    return PodLeft(
        key=NamespacedName.of(namespace, metadata["name"]),
        deployment=DeploymentKey.of(namespace, metadata["labels"][LABEL_DEPLOYMENT]),
        drain_s=DRAIN_SECONDS if grace_s is None else float(grace_s),
        ends_s=seconds_of(metadata.get("deletionTimestamp")),
        node=str(spec.get("nodeName") or ""),
        made_by=NamespacedName.of(namespace, name) if (name := _controller(pod)) else "",
    )


def mode_of(fleets: Iterable[Object], plans: Iterable[Object], *, is_fleet_installed: bool) -> Mode | None:
    """The mode in which an operator acts: the Fleet's, else the last one's by the plans, else the default.

    Auto where in Recommend a user approved the applied plan.
    None where it is not known: Fleet's kind is not installed and no plan tells, or the value is no mode.
    """
    parsed = (FleetPlan.from_object(plan) for plan in plans)
    known = tuple(plan for plan in parsed if isinstance(plan, FleetPlan))
    for fleet in fleets:
        if fleet["metadata"]["name"] == "default":
            mode = _mode((fleet.get("spec") or {}).get("mode", FleetSpec().mode))
            applied = applied_plan(known)
            acts = applied is not None and is_approved(applied.metadata.annotations)
            return Mode.AUTO if mode is Mode.RECOMMEND and acts else mode
    spec = last_fleet_spec(known)
    if spec is None:
        return FleetSpec().mode if is_fleet_installed else None
    return spec.mode


def _mode(text: object) -> Mode | None:
    return Mode(str(text)) if text in list(Mode) else None
