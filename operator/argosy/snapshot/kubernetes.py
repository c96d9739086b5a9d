"""From Kubernetes objects, as the API server sends them, to the states of a snapshot.

Owns the reading of Node, Pod, Deployment, PodDisruptionBudget and ConfigMap objects. Input: plain
dictionaries. Output: states. Reads leniently: a missing field has its empty value, and no object makes it
raise.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any

from argosy.addresses import canonical
from argosy.api.adoption import ADOPT
from argosy.api.schema.ownership import field_managers
from argosy.api.schema.timestamp import seconds_of
from argosy.keys import DeploymentKey, NamespacedName
from argosy.snapshot.adapters.record import ANNOTATION_ADAPTERS, adapter_record, lora_limits
from argosy.snapshot.admission.quantity import thousandths
from argosy.snapshot.admission.scheduling import scheduling_words
from argosy.snapshot.admission.words import ENFORCE
from argosy.snapshot.cluster import (
    ANNOTATION_KEPT,
    DELETION_COST,
    ENGINE_CONTAINER,
    ENGINE_PORT,
    HOSTNAME,
    LABEL_DEPLOYMENT,
    LABEL_MANAGED_BY,
    LABEL_PREFIX,
    LABEL_TEMPLATE_HASH,
    MANAGED_BY,
    PLACEMENT_GATE,
    ROOM,
    DeploymentState,
    NodeState,
    PodState,
    ReplicaSetState,
    Taint,
)

Object = Mapping[str, Any]

VM_EVENT = "VMEventScheduled"
"""The node condition by which AKS announces an event of the virtual machine."""
LOST_EVENTS = ("Preempt", "Terminate", "Redeploy", "Reboot")
"""Azure's events after which an engine is gone. A Freeze only pauses it for seconds."""
MOST_ANNOUNCED = 128
"""Characters of it that a condition's sentence repeats."""


def node_state(node: Object) -> NodeState:
    """A Node. Ready only where its condition says True (Unknown is not ready)."""
    status, spec = node.get("status") or {}, node.get("spec") or {}
    return NodeState(
        name=node["metadata"].get("name") or "",
        labels=dict(node["metadata"].get("labels") or {}),
        allocatable=_devices(status.get("allocatable") or {}),
        ready=_named_condition(status, "Ready").get("status") == "True",
        unschedulable=bool(spec.get("unschedulable")),
        taints=tuple(
            Taint(t.get("key") or "", t.get("value") or "", t.get("effect") or "")
            for t in spec.get("taints") or ()
        ),
        announcement=_announcement(node["metadata"], status),
        capacity=_devices(status.get("capacity") or {}),
        created_s=seconds_of(node["metadata"].get("creationTimestamp")),
        room=_room(status.get("allocatable") or {}),
    )


def _room(allocatable: Object) -> dict[str, int]:
    found = {name: thousandths(allocatable[name]) for name in ROOM if name in allocatable}
    return {name: amount for name, amount in found.items() if amount is not None}


def _address(status: Object) -> str:
    """The pod's first address, of either family, in the form in which Envoy writes it; empty for none."""
    every = [status.get("podIP"), *(each.get("ip") for each in status.get("podIPs") or ())]
    return next((canonical(str(each)) for each in every if each), "")


def pod_state(pod: Object) -> PodState:
    """A Pod; an engine pod where Argosy's labels are on it."""
    metadata, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    labels = metadata.get("labels") or {}
    origin, lacking = _origin(metadata)
    is_ours = labels.get(LABEL_MANAGED_BY) == MANAGED_BY and LABEL_DEPLOYMENT in labels
    # A pod with another Deployment's label may run another model: it takes none of its requests.
    is_ours = is_ours and LABEL_DEPLOYMENT not in lacking
    namespace, ready = metadata.get("namespace") or "", _readiness(spec, status)
    gates = [str(g.get("name")) for g in spec.get("schedulingGates") or ()]
    gated = PLACEMENT_GATE in gates
    is_ready = ready.get("status") == "True"
    containers = tuple(spec.get("containers") or ())
    port = _http_port(_engine(containers))
    engine = _engine_status(_engine(containers), status)
    return PodState(
        namespace=namespace,
        name=metadata.get("name") or "",
        uid=metadata.get("uid", ""),
        deployment=DeploymentKey.of(namespace, labels[LABEL_DEPLOYMENT]) if is_ours else DeploymentKey(),
        node=spec.get("nodeName") or "",
        phase=status.get("phase") or "Pending",
        ready=is_ready,
        deleting="deletionTimestamp" in metadata,
        gated=gated,
        devices=_device_limits(containers),
        ip=_address(status),
        port=port,
        portless=tuple(str(c.get("name") or "") for c in containers) if is_ours and not port else (),
        created_s=seconds_of(metadata.get("creationTimestamp")) or 0.0,
        ready_since_s=seconds_of(ready.get("lastTransitionTime")) if is_ready else None,
        deletion_cost=_deletion_cost(metadata.get("annotations") or {}),
        is_chosen=ANNOTATION_KEPT in (metadata.get("annotations") or {}),
        adapter_record=adapter_record((metadata.get("annotations") or {}).get(ANNOTATION_ADAPTERS)),
        loras=lora_limits(_words(_engine(containers))),
        labels=dict(labels),
        # While a pod is gated, a host name comes from the pool's own selector: no node is assigned yet.
        assigned_node="" if gated else (spec.get("nodeSelector") or {}).get(HOSTNAME) or "",
        unschedulable_since_s=_unschedulable_since_s(status),
        unschedulable=scheduling_words(str(_unscheduled(status).get("message") or "")),
        restarts=sum(c.get("restartCount") or 0 for c in status.get("containerStatuses") or ()),
        started=bool(engine.get("started")) and "running" in (engine.get("state") or {}),
        # The API server sets it to the instant at which the grace period ends.
        ends_s=seconds_of(metadata.get("deletionTimestamp")),
        grace_s=int(metadata.get("deletionGracePeriodSeconds") or 0),
        exits=_exits(engine),
        last_exit=_last_exit(engine),
        evicted=_named_condition(status, "DisruptionTarget").get("status") == "True",
        origin=origin,
        lacking=lacking,
        finalizers=tuple(metadata.get("finalizers") or ()),
        other_gates=tuple(name for name in gates if name != PLACEMENT_GATE),
        controller=next(
            (str(o.get("name")) for o in metadata.get("ownerReferences") or () if o.get("controller")), ""
        ),
    )


_GENERATED = re.compile(r"(?P<deployment>[^ ]+-[bcdfghjklmnpqrstvwxz2456789]{7})-(?P<hash>[0-9a-z]+)-")
"""The generateName of a ReplicaSet's pods: of a Deployment whose name ends as Argosy's do."""


def _origin(metadata: Object) -> tuple[DeploymentKey, tuple[str, ...]]:
    """The Deployment of Argosy's that a pod was made for, and which of the labels that show it are not so.

    A pod without any of Argosy's labels is the user's, whatever its name.
    """
    labels = metadata.get("labels") or {}
    found = _GENERATED.fullmatch(str(metadata.get("generateName") or ""))
    has_any = labels.get(LABEL_MANAGED_BY) == MANAGED_BY or any(
        name.startswith(LABEL_PREFIX) and name != ADOPT for name in labels
    )
    if found is None or not has_any:
        return DeploymentKey(), ()
    wanted = {
        LABEL_MANAGED_BY: MANAGED_BY,
        LABEL_DEPLOYMENT: found["deployment"],
        LABEL_TEMPLATE_HASH: found["hash"],
    }
    lacking = tuple(name for name, value in wanted.items() if labels.get(name) != value)
    return DeploymentKey.of(metadata.get("namespace") or "", found["deployment"]), lacking


def deployment_state(deployment: Object) -> DeploymentState:
    """A Deployment's count (one where none is given, as in Kubernetes), and why its pods are refused."""
    metadata = deployment["metadata"]
    replicas = (deployment.get("spec") or {}).get("replicas")
    refused = _refused(deployment)
    return DeploymentState(
        key=DeploymentKey.of(metadata.get("namespace") or "", metadata.get("name") or ""),
        replicas=1 if replicas is None else replicas,
        labels=dict(metadata.get("labels") or {}),
        created_s=seconds_of(metadata.get("creationTimestamp")),
        pods_refused=_pods_refused(refused),
        refused_since_s=seconds_of(refused.get("lastTransitionTime")),
        annotations=dict(metadata.get("annotations") or {}),
        spec=deployment.get("spec") or {},
        managers=field_managers(metadata),
        deleted_s=seconds_of(metadata.get("deletionTimestamp")),
        finalizers=tuple(metadata.get("finalizers") or ()),
    )


def loose_replica_set(replica_set: Object) -> ReplicaSetState | None:
    """A ReplicaSet that Argosy's engines belong to and no Deployment owns; None for any other one."""
    metadata, template = replica_set["metadata"], (replica_set.get("spec") or {}).get("template") or {}
    wanted = (template.get("metadata") or {}).get("labels") or {}
    is_ours = wanted.get(LABEL_MANAGED_BY) == MANAGED_BY and LABEL_DEPLOYMENT in wanted
    is_owned = any(o.get("controller") for o in metadata.get("ownerReferences") or ())
    if not is_ours or is_owned or "deletionTimestamp" in metadata:
        return None
    labels, namespace = dict(metadata.get("labels") or {}), metadata.get("namespace") or ""
    return ReplicaSetState(
        key=NamespacedName.of(namespace, metadata.get("name") or ""),
        uid=metadata.get("uid") or "",
        deployment=DeploymentKey.of(namespace, wanted[LABEL_DEPLOYMENT]),
        labels=dict(wanted),
        lacking={name: value for name, value in wanted.items() if labels.get(name) != value},
    )


def deletion_asked_s(item: Object) -> float | None:
    """When an object's deletion was requested (seconds since the epoch); None where it was not."""
    return seconds_of(item["metadata"].get("deletionTimestamp"))


def is_engine_deployment(deployment: Object) -> bool:
    """Whether Argosy made it: by its label, or by its selector, which stays where the label was removed."""
    metadata, spec = deployment["metadata"], deployment.get("spec") or {}
    selected = (spec.get("selector") or {}).get("matchLabels") or {}
    return has_own_label(deployment) or selected.get(LABEL_DEPLOYMENT) == metadata.get("name")


def has_own_label(item: Object) -> bool:
    """Whether an object carries the label by which Argosy's are selected."""
    return bool((item["metadata"].get("labels") or {}).get(LABEL_MANAGED_BY) == MANAGED_BY)


def lost_label(budget: Object) -> str:
    """What became of the label by which Argosy's are selected, of a PodDisruptionBudget that its selector
    shows to be one of them; empty where it has it, and for another's.
    """
    metadata, selector = budget["metadata"], (budget.get("spec") or {}).get("selector") or {}
    selected = (selector.get("matchLabels") or {}).get(LABEL_DEPLOYMENT)
    if has_own_label(budget) or selected != metadata.get("name"):
        return ""
    value = (metadata.get("labels") or {}).get(LABEL_MANAGED_BY)
    return f"label {LABEL_MANAGED_BY} {MANAGED_BY} -> {'none' if value is None else value}"


def protected_replicas(budget: Object) -> int:
    """The ready replicas that a PodDisruptionBudget keeps; -1 where it counts them another way."""
    least = (budget.get("spec") or {}).get("minAvailable")
    return least if isinstance(least, int) else -1


_POD_NAME = re.compile(r'\b([Pp])ods? "[^"]*"')


def _refused(deployment: Object) -> Object:
    """The condition that its pods, or the ReplicaSet that would make them, are refused; {} where none is."""
    status = deployment.get("status") or {}
    failure, progress = _named_condition(status, "ReplicaFailure"), _named_condition(status, "Progressing")
    if failure.get("status") == "True":
        return failure
    is_refused = progress.get("status") == "False" and progress.get("reason") == "ReplicaSetCreateError"
    return progress if is_refused else {}


def _pods_refused(condition: Object) -> str:
    """Its message, without the pod's name, which differs with each try."""
    if not condition:
        return ""
    message = str(condition.get("message") or condition.get("reason") or "no reason given")
    return _POD_NAME.sub(r"\1ods", message)


def enforced_level(namespace: Object) -> str:
    """Which pods a Namespace admits: its labels of Pod Security that refuse; empty where it has none."""
    labels = namespace["metadata"].get("labels") or {}
    return ", ".join(f"{name}={value}" for name, value in sorted(labels.items()) if name.startswith(ENFORCE))


def config_map_files(config_map: Object) -> dict[str, bytes]:
    """A ConfigMap's contents by key: `data` as UTF-8, `binaryData` decoded."""
    plain, coded = (_entries(config_map.get(name)) for name in ("data", "binaryData"))
    return {key: _utf8(value) for key, value in plain} | {key: _decoded(value) for key, value in coded}


def _entries(field: Any) -> list[tuple[str, str]]:
    return [(str(key), str(value)) for key, value in field.items()] if isinstance(field, Mapping) else []


def _utf8(text: str) -> bytes:
    return text.encode(errors="replace")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        return _utf8(text)  # the reader of the file reports best what is wrong with it


def _announcement(metadata: Object, status: Object) -> str:
    """A Node that is being deleted waits for the finalizer of whoever drains it; AKS has a condition."""
    if "deletionTimestamp" in metadata:
        return "its Node object is being deleted"
    event = _named_condition(status, VM_EVENT)
    message = str(event.get("message") or "")
    is_lost = event.get("status") == "True" and message.startswith(LOST_EVENTS)
    return f"AKS announces: {message[:MOST_ANNOUNCED]}" if is_lost else ""


def _named_condition(status: Object, kind: str) -> Mapping[str, Any]:
    return next((c for c in status.get("conditions") or () if c.get("type") == kind), {})


def _readiness(spec: Object, status: Object) -> Mapping[str, Any]:
    """The condition that the kubelet itself sets.

    When a node's heartbeats are missing, the node controller sets Ready to False in the kubelet's
    place: after an outage of the API server, on every pod at once. It does not touch ContainersReady.
    Envoy's health checks and the scrapes show better whether the engine still answers.
    """
    containers = _named_condition(status, "ContainersReady")
    return _named_condition(status, "Ready") if spec.get("readinessGates") or not containers else containers


def _engine(containers: Sequence[Object]) -> Object:
    """The container that has a port named `http`, whatever a webhook has renamed or added; {} where none has.

    Of several, the one with Argosy's name, then one that holds devices: a sidecar may use the name too.
    """
    able = [c for c in containers if _http_port(c)]
    return min(able, key=lambda c: (c.get("name") != ENGINE_CONTAINER, not _limits_of(c)), default={})


def _words(container: Object) -> list[object]:
    return [*(container.get("command") or ()), *(container.get("args") or ())]


def _http_port(container: Object) -> int:
    ports = container.get("ports") or ()
    return next((int(p.get("containerPort") or 0) for p in ports if p.get("name") == ENGINE_PORT), 0)


def _engine_status(engine: Object, status: Object) -> Mapping[str, Any]:
    statuses = status.get("containerStatuses") or ()
    return next((c for c in statuses if c.get("name") == engine.get("name", ENGINE_CONTAINER)), {})


def _exits(engine: Object) -> int:
    """The kubelet counts a restart once it restarts: until then the last end shows in the state."""
    state = engine.get("state") or {}
    waits = (state.get("waiting") or {}).get("reason") == "CrashLoopBackOff"
    return int(engine.get("restartCount") or 0) + ("terminated" in state or waits)


def _last_exit(engine: Object) -> str:
    """`exit code 137 (OOMKilled)`."""
    states = (engine.get("state") or {}, engine.get("lastState") or {})
    ended: Object = next((s["terminated"] for s in states if s.get("terminated")), {})
    if "exitCode" not in ended:
        return ""
    reason = str(ended.get("reason") or "")
    return f"exit code {ended['exitCode']}" + (f" ({reason})" if reason else "")


def _unschedulable_since_s(status: Object) -> float | None:
    return seconds_of(_unscheduled(status).get("lastTransitionTime"))


def _unscheduled(status: Object) -> Object:
    """The condition that the scheduler finds no node; {} where it does, and while a gate holds the pod."""
    scheduled = _named_condition(status, "PodScheduled")
    is_without = scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
    return scheduled if is_without else {}


def _devices(resources: Mapping[str, Any]) -> dict[str, int]:
    """Extended resources (their names have a domain) are whole numbers."""
    return {name: int(count) for name, count in resources.items() if "/" in name and str(count).isdigit()}


def _limits_of(container: Object) -> dict[str, int]:
    return _devices((container.get("resources") or {}).get("limits") or {})


def _device_limits(containers: Sequence[Object]) -> dict[str, int]:
    total: dict[str, int] = {}
    for container in containers:
        for name, count in _limits_of(container).items():
            total[name] = total.get(name, 0) + count
    return total


def _deletion_cost(annotations: Mapping[str, str]) -> int:
    try:
        return int(annotations.get(DELETION_COST) or 0)
    except ValueError:
        return 0
