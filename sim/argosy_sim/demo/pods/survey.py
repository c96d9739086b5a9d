"""What a cluster with Argosy has, and whether the story can be told there.

Owns the refusals. Input: the API server's objects, read through `Read`. Output: a `Survey`, or SpecError with
the object, the value found, what is needed and the remedy. Nothing is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from argosy.api import FleetPlan
from argosy.api.kinds import REGISTRY
from argosy.errors import SpecError
from argosy.snapshot.cluster import NodeState
from argosy.snapshot.kubernetes import node_state
from argosy_sim.demo.pods.objects import LABEL, NAMESPACE

Object = Mapping[str, Any]
Read = Callable[..., Sequence[Object]]
"""The items that `kubectl get ARGUMENTS` finds."""

GPU = "nvidia.com/gpu"
PRODUCT_LABEL = "nvidia.com/gpu.product"
SIMULATOR = "argosy-simulator"
_FIELD = "--kubeconfig"
_ARGOSY = "app.kubernetes.io/name=argosy,app.kubernetes.io/component="
_INPUTS = ",".join(f"{k.plural}.argosy.dev" for k in REGISTRY if k.model and k.model is not FleetPlan)
LEFT_BY_A_DEMO = (
    f"`kubectl delete namespace,gpool,fleet,clusterrole,clusterrolebinding -l {LABEL}` and"
    f" `kubectl uncordon -l {LABEL}` remove what an earlier demo left that was killed"
)


@dataclass(frozen=True, slots=True)
class Survey:
    """A cluster that is fit.

    namespace: Argosy's; gateway_url: inside the cluster; envoys: names of their pods
    free_gpus: by node, of nodes that take ordinary pods; plans: names of the FleetPlans that were there
    """

    namespace: str
    gateway_url: str
    envoys: tuple[str, ...]
    image: str
    nodes: tuple[NodeState, ...]
    free_gpus: Mapping[str, int]
    plans: frozenset[str]

    def gpus_by_product(self) -> dict[str, list[int]]:
        """Free GPUs of each node, by the label of their product."""
        found: dict[str, list[int]] = {}
        for node in self.nodes:
            found.setdefault(node.labels[PRODUCT_LABEL], []).append(self.free_gpus[node.name])
        return found

    def allocatable_by_product(self) -> dict[str, list[int]]:
        """GPUs of each node, by the label of their product."""
        found: dict[str, list[int]] = {}
        for node in self.nodes:
            found.setdefault(node.labels[PRODUCT_LABEL], []).append(node.allocatable[GPU])
        return found


def is_installed(read: Read) -> bool:
    """Whether the chart's operator is in the cluster: then its own fleet is used, not an attached one."""
    return bool(read("deployments", "-A", "-l", f"{_ARGOSY}operator"))


def survey(read: Read, image: str | None) -> Survey:
    """What the story needs to know; `image`: the simulator's, None to find it on the nodes.

    Raises SpecError where it cannot be told.
    """
    _require_alone(read)
    operators = _ready_pods(read, "operator")
    namespace = operators[0]["metadata"]["namespace"]
    envoys = _ready_pods(read, "envoy")
    objects = [node for node in read("nodes") if _is_usable(node_state(node))]
    nodes = tuple(node_state(node) for node in objects)
    return Survey(
        namespace=namespace,
        gateway_url=_gateway(read, namespace),
        envoys=tuple(sorted(pod["metadata"]["name"] for pod in envoys)),
        image=image or _image(objects, _tag(operators[0])),
        nodes=nodes,
        free_gpus=_free_gpus(nodes, read("pods", "-A")),
        plans=frozenset(plan["metadata"]["name"] for plan in read("fleetplans.argosy.dev")),
    )


def _require_alone(read: Read) -> None:
    """Objects of a user's would be planned with the story's, and share its nodes."""
    there = read(_INPUTS, "-A")
    theirs = [each for each in there if LABEL.partition("=")[0] not in each["metadata"].get("labels", {})]
    if theirs:
        more = f" and {len(theirs) - 1} more objects" if len(theirs) > 1 else ""
        raise SpecError(
            f"{_named(theirs[0])}{more} would take part in the demo, which needs a cluster without:"
            " `argosy down --all` removes them all, those of `make kind` too",
            _FIELD,
        )
    namespaces = [each for each in read("namespaces") if each["metadata"]["name"] == NAMESPACE]
    for each in (*there, *namespaces):
        raise SpecError(
            f"{_named(each)} is there: another demo runs on this cluster, or {LEFT_BY_A_DEMO}", _FIELD
        )


def _named(item: Object) -> str:
    metadata = item["metadata"]
    namespace = f"{metadata['namespace']}/" if "namespace" in metadata else ""
    return f"{item.get('kind', 'object')} {namespace}{metadata['name']}"


def _ready_pods(read: Read, component: str) -> list[Object]:
    found = [pod for pod in read("pods", "-A", "-l", f"{_ARGOSY}{component}") if _is_ready(pod)]
    if not found:
        raise SpecError(
            f"no pod with the labels {_ARGOSY}{component} is Ready, one is needed;"
            " `argosy doctor` gives the reason",
            _FIELD,
        )
    return found


def _is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    is_ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return is_ready and "deletionTimestamp" not in pod["metadata"]


def _is_usable(node: NodeState) -> bool:
    """With GPUs, for pods without tolerations."""
    is_barred = any(taint.effect in ("NoSchedule", "NoExecute") for taint in node.taints)
    has_gpus = bool(node.allocatable.get(GPU)) and PRODUCT_LABEL in node.labels
    return has_gpus and node.ready and not node.unschedulable and not is_barred


def _free_gpus(nodes: Sequence[NodeState], pods: Sequence[Object]) -> dict[str, int]:
    free = {node.name: node.allocatable[GPU] for node in nodes}
    for pod in pods:
        name = pod["spec"].get("nodeName")
        if name in free and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
            free[name] -= gpus_of(pod)
    return {name: max(0, num) for name, num in free.items()}


def gpus_of(pod: Object) -> int:
    """GPUs that a pod's containers ask for."""
    return sum(
        int(each.get("resources", {}).get("limits", {}).get(GPU, 0)) for each in pod["spec"]["containers"]
    )


def _gateway(read: Read, namespace: str) -> str:
    services = read("services", "-n", namespace, "-l", f"{_ARGOSY}envoy")
    if not services:
        raise SpecError(
            f"namespace {namespace} has no Service with the labels {_ARGOSY}envoy, so requests have no way"
            " in; install the chart with envoy.kind Deployment or DaemonSet",
            _FIELD,
        )
    [service, *_] = services
    return f"http://{service['metadata']['name']}.{namespace}:{service['spec']['ports'][0]['port']}"


def _tag(operator: Object) -> str:
    image: str = operator["spec"]["containers"][0]["image"]
    return image.partition("@")[0].rpartition("/")[2].partition(":")[2]


def _image(nodes: Sequence[Object], tag: str) -> str:
    """The simulator's image of the operator's tag, on every node with GPUs."""
    found = ""
    for node in nodes:
        names = [name for each in node["status"].get("images", ()) for name in each.get("names") or ()]
        fitting = [name for name in names if name.rpartition("/")[2] == f"{SIMULATOR}:{tag}"]
        if not fitting:
            raise SpecError(
                f"node {node['metadata']['name']} has no image {SIMULATOR}:{tag}, which engines and load run;"
                f" load it (`kind load docker-image {SIMULATOR}:{tag}`), or name one that the nodes can pull",
                "--simulator-image",
            )
        found = fitting[0].removeprefix("docker.io/library/")
    return found
