"""Nodes, pods and Deployments as decisions need them.

Owns the nouns of the cluster, with only the fields that decisions read. `snapshot.kubernetes` builds
them from the API server's objects.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from argosy.addresses import written
from argosy.api.schema.ownership import FieldManager
from argosy.keys import ClassKey, DeploymentKey, GroupName, NamespacedName
from argosy.snapshot.adapters.record import AdapterRecord, LoraLimits
from argosy.snapshot.variant import Variant

LABEL_DEPLOYMENT = "argosy.dev/deployment"
LABEL_VARIANT = "argosy.dev/variant"
LABEL_GROUP = "argosy.dev/sharing-group"
LABEL_MODEL = "argosy.dev/model"
LABEL_POOL = "argosy.dev/pool"
LABEL_PREFIX = "argosy.dev/"
"""What all of Argosy's own labels begin with."""
LABEL_TEMPLATE_HASH = "pod-template-hash"
"""By it, and by `LABEL_DEPLOYMENT`, a ReplicaSet knows its pods."""
ANNOTATION_RUNS = "argosy.dev/runs"
"""What a Deployment runs, in words."""
ANNOTATION_RESTARTED = "kubectl.kubernetes.io/restartedAt"
"""What `kubectl rollout restart` sets in a pod template: the time of the order."""
RESTARTED_LIMIT = 256
"""Characters of it that are read: a time has 25, and a FleetPlan holds it."""
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "argosy"
PLACEMENT_GATE = "argosy.dev/placement"
"""The scheduling gate that a pod carries until placement has chosen its node."""
KUEUE = "kueue.x-k8s.io/"
"""What the names of Kueue's gates and labels begin with."""
LABEL_QUEUE = "kueue.x-k8s.io/queue-name"
"""The pod label by which Kueue knows the LocalQueue in which a pod waits."""
ENGINE_CONTAINER = "engine"
ENGINE_PORT = "http"
"""The name of the engine's container port: its container is found by it, whatever that is called."""

HOSTNAME = "kubernetes.io/hostname"
"""The node label that a pod's node selector names once its gate is lifted: it gives the pod its node."""
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
"""The pod annotation by which a ReplicaSet chooses the pods that a scale-down deletes: lowest first."""

ANNOTATION_KEPT = "argosy.dev/kept-on-node-by"
"""Which annotations that keep a pod on its node Argosy has set: one that a user set stays when the pod is no
longer chosen. It is there, empty or not, as long as the deletion cost is Argosy's."""

ROOM = ("cpu", "memory", "ephemeral-storage")
"""What every node offers beside devices, as far as decisions read it."""

LABEL_VALUE_LIMIT = 63
"""Kubernetes' bound on a label's value; names of objects may have 253 characters."""


def label_value(name: str) -> str:
    """An object's name as a label value: itself where it fits, else its head and a hash of all of it."""
    if len(name) <= LABEL_VALUE_LIMIT:
        return name
    return f"{name[:54]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class Taint:
    """A node's taint."""

    key: str
    value: str
    effect: str


@dataclass(frozen=True, slots=True)
class NodeState:
    """A node, and what it can run. `allocatable` counts healthy devices by resource name.

    capacity: the same with those that are unhealthy; empty where it was not read
    created_s: seconds since the epoch; None where it is not known
    announcement: what other fields than taints say of its removal, as the end of a sentence; or empty
    room: what of `ROOM` it offers to pods, in thousandths (CPUs, bytes); without what was not read
    """

    name: str
    labels: Mapping[str, str]
    allocatable: Mapping[str, int]
    ready: bool
    unschedulable: bool = False
    taints: tuple[Taint, ...] = ()
    announcement: str = ""
    capacity: Mapping[str, int] = field(default_factory=dict)
    created_s: float | None = None
    room: Mapping[str, int] = field(default_factory=dict)

    def unhealthy(self, resource: str) -> int:
        """Devices that it has and that its device plugin reports as unhealthy."""
        return max(0, self.capacity.get(resource, 0) - self.allocatable.get(resource, 0))


@dataclass(frozen=True, slots=True)
class PodState:
    """A pod. `deployment` is that of an engine pod of Argosy's, empty for any other pod.

    `devices` are its limits by resource name; `port` is the engine's; what ends in `_s` is
    seconds since the epoch. `assigned_node` is the one that its node selector names: an engine
    whose gate was lifted goes there, though the scheduler may not have bound it yet.
    `unschedulable_since_s`: since when the scheduler finds no node for it; a gate does not count.
    `unschedulable`: why, in its words; empty where it finds one.
    `restarts`: of all its containers.

    started:  its engine runs and has answered its start-up probe, ready or not
    ends_s:   of a pod that is being deleted: when its grace period, of `grace_s`, ends
    exits:    how often its engine has ended by itself
    last_exit: how it ended the last time, as the end of a sentence; empty where it never did
    portless: of an engine pod no container of which has a port named `http`: their names
    evicted:  Kubernetes announced that something removes it (its condition DisruptionTarget)
    origin:   the Deployment of Argosy's that it was made for, by its generateName, while it carries any of
              Argosy's labels; else empty
    lacking:  labels by which it would be known as one of `origin`'s that are missing or changed
    controller: the name of the object that counts it, a ReplicaSet; empty for a pod that none counts
    finalizers: what holds it once it has ended
    is_chosen: its deletion cost is Argosy's
    is_users_cost: its deletion cost is the user's who runs its Deployment
    adapter_record: what its engine was found to hold of LoRA adapters, at some start
    loras: what its engine's arguments allow of LoRA adapters; None where they do not show it
    other_gates: its scheduling gates that are not Argosy's: each is removed by the client that set it
    """

    namespace: str
    name: str
    uid: str
    deployment: DeploymentKey
    node: str
    phase: str
    ready: bool
    deleting: bool
    gated: bool
    devices: Mapping[str, int]
    ip: str = ""
    port: int = 0
    created_s: float = 0.0
    ready_since_s: float | None = None
    deletion_cost: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    assigned_node: str = ""
    unschedulable_since_s: float | None = None
    unschedulable: str = ""
    restarts: int = 0
    started: bool = False
    ends_s: float | None = None
    grace_s: int = 0
    exits: int = 0
    last_exit: str = ""
    portless: tuple[str, ...] = ()
    evicted: bool = False
    origin: DeploymentKey = field(default_factory=DeploymentKey)
    lacking: tuple[str, ...] = ()
    controller: str = ""
    finalizers: tuple[str, ...] = ()
    other_gates: tuple[str, ...] = ()
    is_chosen: bool = False
    is_users_cost: bool = False
    adapter_record: AdapterRecord | None = None
    loras: LoraLimits | None = None

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return NamespacedName.of(self.namespace, self.name)

    @property
    def address(self) -> str:
        """`ip:port` of its engine, an IPv6 address in brackets; empty until it has an IP."""
        return written(self.ip, self.port) if self.ip and self.port else ""

    @property
    def adapters(self) -> AdapterRecord | None:
        """What its engine holds of LoRA adapters; None where that is not known of its present start."""
        record = self.adapter_record
        return record if record is not None and record.exits == self.exits else None

    @property
    def is_marked(self) -> bool:
        """Whether Argosy is about to remove it: it should go before the others of its Deployment."""
        return self.deletion_cost < 0 and not self.is_users_cost

    @property
    def should_answer(self) -> bool:
        """Whether its engine is expected to answer: a busy one may be started and not ready."""
        return bool(self.address) and (self.ready or self.started)

    @property
    def holds_devices(self) -> bool:
        """Whether it takes GPUs of a node, now or as soon as it is bound."""
        return bool(self.destination) and self.is_active

    @property
    def destination(self) -> str:
        """The node that it runs on or that placement chose; empty where there is none yet."""
        return self.node or self.assigned_node

    @property
    def is_active(self) -> bool:
        """Whether Kubernetes counts it among a Deployment's replicas: it has not ended."""
        return self.phase not in ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class ReplicaSetState:
    """A ReplicaSet that a Deployment of Argosy's made and that no Deployment owns now.

    deployment: the one that made it, by the labels of its pods
    labels:     those of its pods
    lacking:    those of them that it lacks or has with another value: by them its Deployment finds it
    """

    key: NamespacedName
    uid: str
    deployment: DeploymentKey
    labels: Mapping[str, str]
    lacking: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Adoption:
    """How a Deployment takes part that a user runs and lets Argosy adopt.

    workload_class: whose requests its replicas serve, in the sharing group `group`
    variant: what one of its replicas is; None where it is given back: it serves until others do
    problem: why it is given back, in a sentence without its full stop; else empty
    """

    workload_class: ClassKey
    group: GroupName
    variant: Variant | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Unadopted:
    """A Deployment that a user labelled and that is not adopted.

    model:   the label's value
    problem: why, in a sentence without its full stop
    """

    model: str
    problem: str


@dataclass(frozen=True, slots=True)
class DeploymentState:
    """A Deployment that Argosy made or adopted; `replicas` is what its spec asks for.

    created_s:    seconds since the epoch; None where it is not known
    pods_refused: why the API server refuses its pods (a quota, an admission plugin), in its words; else empty
    refused_since_s: since when it does (seconds since the epoch); None: not, or not known
    spec:         as the API server has it
    managers:     which client set which of its fields, the latest last
    deleted_s:    when its deletion was requested (seconds since the epoch), after which nothing of it changes
    finalizers:   what holds it until then
    adoption:     of a user's Deployment; None for Argosy's own. Its labels are then as Argosy would set them
    """

    key: DeploymentKey
    replicas: int
    labels: Mapping[str, str] = field(default_factory=dict)
    created_s: float | None = None
    pods_refused: str = ""
    refused_since_s: float | None = None
    annotations: Mapping[str, str] = field(default_factory=dict, repr=False)
    spec: Mapping[str, Any] = field(default_factory=dict, repr=False)
    managers: tuple[FieldManager, ...] = field(default=(), repr=False)
    deleted_s: float | None = None
    finalizers: tuple[str, ...] = ()
    adoption: Adoption | None = None

    @property
    def is_adopted(self) -> bool:
        """Whether a user runs it: Argosy makes, restarts and deletes nothing of it."""
        return self.adoption is not None

    @property
    def is_given_back(self) -> bool:
        """Whether a user wants it back: nothing of it is changed any more."""
        return self.adoption is not None and self.adoption.variant is None

    @property
    def is_going(self) -> bool:
        """Whether its deletion was requested: its controller makes and removes no replica any more."""
        return self.deleted_s is not None

    @property
    def model_label(self) -> str:
        """The name of its ServedModel, as far as a label holds it."""
        return self.labels.get(LABEL_MODEL, "")

    @property
    def template(self) -> Mapping[str, Any]:
        """Its pod template; empty where it is not known."""
        found: Mapping[str, Any] = self.spec.get("template") or {}
        return found

    @property
    def settings(self) -> Mapping[str, Any]:
        """Its spec but for the count, which Argosy changes all the time."""
        return {name: value for name, value in self.spec.items() if name != "replicas"}

    @property
    def restarted_at(self) -> str:
        """When a user last ordered a restart of its replicas, as kubectl wrote it; empty: never."""
        annotations = (self.template.get("metadata") or {}).get("annotations") or {}
        return str(annotations.get(ANNOTATION_RESTARTED) or "")[:RESTARTED_LIMIT]
