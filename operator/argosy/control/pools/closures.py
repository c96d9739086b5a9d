"""Why the nodes of a pool take no new replica: the cause on each, the nodes that share it, the remedy.

Owns the causes and their words: a taint that replicas do not tolerate, a cordon, an announced removal, a
node that is not Ready, GPUs that Kubernetes does not count under `spec.resourceName`, that other pods hold or
that are unhealthy, and nodes that are too small. Input: a snapshot, a pool and its `PoolNodes`. Output:
`Closure`s, the most frequent first; part of a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from argosy.api import GPUPool
from argosy.control.state.departure import departure, is_declared_dead
from argosy.control.state.nodes import MOST_NAMED, PoolNodes, UsableNode, untolerated
from argosy.snapshot.cluster import NodeState, Taint
from argosy.snapshot.fleet import FleetSnapshot

CONDITION_TAINTS = ("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/")
"""Taints by which Kubernetes shows a condition: a toleration would not mend it."""

_STARTING = re.compile(
    r".*/agent-not-ready|karpenter\.sh/unregistered"
    r"|(startup|ignore|status)-taint\.cluster-autoscaler\.kubernetes\.io/.*"
)
"""Taints of a node that is being set up: of Cilium, of drivers of volumes, and those that Karpenter and
cluster-autoscaler do not count. Replicas that tolerated one would come before its network or its volumes."""

GPU_RESOURCES = ("gpu", "nvidia.com/", "amd.com/", "habana.ai/", "accelerator")
"""What the name of an extended resource that counts GPUs contains."""

GPU_LABELS = ("nvidia.com/gpu.count", "amd.com/gpu.device-count", "nvidia.com/gpu.product")
"""Labels that show GPUs where no resource counts them, the most telling first."""


@dataclass(frozen=True, slots=True)
class Closure:
    """Nodes that take no new replica for one cause.

    one, many: the cause after one node, and after several (`is cordoned`, `are cordoned`)
    remedy:    what to do; empty where only other nodes help
    is_small:  the nodes are healthy and open, and have too few GPUs
    is_lasting: another node of the pool would be closed for the same cause
    """

    nodes: tuple[str, ...]
    one: str
    many: str
    remedy: str = ""
    is_small: bool = False
    is_lasting: bool = False


def closures(snapshot: FleetSnapshot, pool: GPUPool, nodes: PoolNodes, gpus: int = 1) -> tuple[Closure, ...]:
    """Why no node of the pool can take a replica of so many GPUs; nodes that could are left out."""
    usable = {node.name: node for node in nodes.usable}
    found: dict[Closure, list[str]] = {}
    for name in nodes.all_names:
        cause = _closure(pool, snapshot.nodes[name], usable.get(name), gpus)
        if cause is not None:
            found.setdefault(cause, []).append(name)
    grouped = (
        replace(cause, nodes=tuple(names), remedy=_addressed(cause.remedy, names))
        for cause, names in found.items()
    )
    return tuple(sorted(grouped, key=lambda each: -len(each.nodes)))


def closures_text(found: Iterable[Closure], num_nodes: int) -> str:
    """`2 of 3 nodes (a, b) are cordoned (kubectl uncordon a b); node c is not Ready (...)`.

    num_nodes: of the pool
    """
    return "; ".join(_text(each, num_nodes) for each in found)


def _text(closure: Closure, num_nodes: int) -> str:
    remedy = f" ({closure.remedy})" if closure.remedy else ""
    if num_nodes == 1:
        return f"its only node {closure.nodes[0]} {closure.one}{remedy}"
    more = f" and {len(closure.nodes) - MOST_NAMED} more" if len(closure.nodes) > MOST_NAMED else ""
    named = ", ".join(closure.nodes[:MOST_NAMED]) + more
    verb = closure.one if len(closure.nodes) == 1 else closure.many
    return f"{len(closure.nodes)} of {num_nodes} nodes ({named}) {verb}{remedy}"


def _addressed(remedy: str, names: Iterable[str]) -> str:
    """The remedy with the names of the nodes where it has a place for them."""
    return remedy.replace("NODES", " ".join(names))


def _closure(pool: GPUPool, node: NodeState, usable: UsableNode | None, gpus: int) -> Closure | None:
    """The first cause that keeps a replica off a node, without the node's name; None where it fits."""
    if is_declared_dead(node):
        return _cause("is out of service", "are out of service")
    if leaving := departure(node):
        if leaving == "it is cordoned":
            return _cause("is cordoned", "are cordoned", "kubectl uncordon NODES")
        return _cause(f"is leaving: {leaving}", f"are leaving: {leaving}")
    if not node.ready:
        return _cause("is not Ready", "are not Ready", "check its kubelet: kubectl describe node NODES")
    if taints := untolerated(pool, node):
        return _tainted(pool, taints)
    if usable is None:
        return _cause("has engines that answer nothing", "have engines that answer nothing")
    if usable.unfit is not None:
        other = f"another GPU than {pool.spec.gpu}: {usable.unfit.found}"
        return _cause(f"has {other}", f"have {other}", usable.unfit.remedy, is_lasting=True)
    return _lacking(pool, node, gpus) if usable.gpus < gpus else None


def _cause(
    one: str, many: str, remedy: str = "", *, is_small: bool = False, is_lasting: bool = False
) -> Closure:
    return Closure((), one, many, remedy, is_small, is_lasting)


def _tainted(pool: GPUPool, taints: list[Taint]) -> Closure:
    """Blocking taints: those that a toleration opens, or conditions that have to end first."""
    conditions = [t for t in taints if t.key.startswith(CONDITION_TAINTS)]
    if conditions:
        what = f"the taint {_taint_text(conditions[0])}, by which Kubernetes shows a condition"
        return _cause(f"has {what}", f"have {what}", "it ends with it: kubectl describe node NODES")
    starting = [t for t in taints if _STARTING.fullmatch(t.key)]
    if starting:
        what = f"the taint {_taint_text(starting[0])}, which ends once the node is set up"
        return _cause(f"has {what}", f"have {what}", "see what sets it up: kubectl describe node NODES")
    noun = "taint" if len(taints) == 1 else "taints"
    named = " and ".join(map(_taint_text, taints))
    what = f"the {noun} {named}, which spec.tolerations does not name"
    add = " and ".join(map(toleration_text, taints))
    remedy = f"add {add} to spec.tolerations of GPUPool {pool.key}"
    return _cause(f"has {what}", f"have {what}", remedy, is_lasting=True)


def _taint_text(taint: Taint) -> str:
    """As kubectl prints it: `key=value:effect`."""
    value = f"={taint.value}" if taint.value else ""
    return f"{taint.key}{value}:{taint.effect}"


def toleration_text(taint: Taint) -> str:
    """The toleration for a taint, as an entry to paste into a YAML list."""
    if not taint.value:
        return f"{{key: {taint.key}, operator: Exists, effect: {taint.effect}}}"
    return f'{{key: {taint.key}, operator: Equal, value: "{taint.value}", effect: {taint.effect}}}'


def _lacking(pool: GPUPool, node: NodeState, gpus: int) -> Closure:
    """Why an open node has too few GPUs for a replica of `gpus`."""
    resource = pool.spec.resource_name
    healthy, num_ill = node.allocatable.get(resource, 0), node.unhealthy(resource)
    if healthy + num_ill == 0:
        return _uncounted(pool, node)
    if num_ill and healthy < gpus <= healthy + num_ill:
        what = f"{num_ill} of its {healthy + num_ill} {resource} unhealthy"
        return _cause(f"has {what}", f"have {what}", "look at its GPUs and at the log of its device plugin")
    if min(healthy, pool.spec.gpus_per_node) >= gpus:
        what = f"too few free {resource}: other pods hold some of its {healthy}"
        return _cause(f"has {what}", f"have {what}", "kubectl describe node NODES")
    what = f"{min(healthy, pool.spec.gpus_per_node)} {resource}, and a replica needs {gpus} together"
    return _cause(f"has {what}", f"have {what}", is_small=True)


def _uncounted(pool: GPUPool, node: NodeState) -> Closure:
    """A node that has nothing under the pool's resource: what it has instead, or what its labels show."""
    resource = pool.spec.resource_name
    others = {name: n for name, n in sorted(node.allocatable.items()) if n and _counts_gpus(name)}
    if others:
        has = " and ".join(f"{count} {name}" for name, count in others.items())
        what = f"no {resource}, which spec.resourceName names, and has {has}"
        remedy = f"set spec.resourceName of GPUPool {pool.key} to {' or '.join(others)}"
        many = what.replace("and has", "and have")
        return _cause(f"has {what}", f"have {many}", remedy, is_lasting=True)
    what = f"no extended resource {resource} (spec.resourceName){_shown_by_labels(node.labels)}"
    return _cause(
        f"has {what}",
        f"have {what}",
        "run the device plugin of its GPUs there: Argosy asks for GPUs by an extended resource, and not by"
        " claims of resource.k8s.io (DRA), whose devices kubectl get resourceslices lists",
        is_lasting=True,
    )


def _counts_gpus(resource: str) -> bool:
    return any(part in resource for part in GPU_RESOURCES)


def _shown_by_labels(labels: Mapping[str, str]) -> str:
    found = next((f"{name} is {labels[name]}" for name in GPU_LABELS if name in labels), "")
    return f", though label {found}" if found else ""
