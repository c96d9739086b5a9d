"""Whether a replica's requests of CPU, memory and disk fit on any node of its pool.

Owns the comparison with what nodes offer, other pods aside: what does not fit then fits never; and how many
replicas of one Deployment a node has room for. Input: a
snapshot, a pool's nodes, a variant and its pod's requests. Output: `Closure`s, none where it fits or where
nodes do not say what they offer. An autoscaler may bring a node that is large enough: it knows the pod.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from argosy.control.pools.closures import Closure
from argosy.control.state.nodes import PoolNodes
from argosy.manifests import EngineWorkload
from argosy.manifests.pod_requests import workload_requests
from argosy.snapshot import Variant
from argosy.snapshot.cluster import NodeState
from argosy.snapshot.fleet import FleetSnapshot

_GIB = 1000 * 2**30
_UNITS = {
    "cpu": (1000, " cpu"),
    "memory": (_GIB, " GiB of memory"),
    "ephemeral-storage": (_GIB, " GiB of disk"),
}
"""In thousandths, and in words."""


def offers_room(snapshot: FleetSnapshot, nodes: PoolNodes) -> bool:
    """Whether any node says what it offers."""
    return any(snapshot.nodes[node.name].room for node in nodes.open)


def too_little(
    snapshot: FleetSnapshot, nodes: PoolNodes, variant: Variant, requests: Mapping[str, int]
) -> tuple[Closure, ...]:
    """Why no open node with enough GPUs can take a replica; empty where one can, or none has enough GPUs.

    requests: of its pod, in thousandths by resource
    """
    large = [snapshot.nodes[node.name] for node in nodes.open if node.gpus >= variant.gpus]
    by_resource: dict[str, list[NodeState]] = {}
    for node in large:
        lacking = next((r for r, n in requests.items() if n > node.room.get(r, math.inf)), None)
        if lacking is None:
            return ()
        by_resource.setdefault(lacking, []).append(node)
    return tuple(_closure(each, by_resource[each], variant, requests[each]) for each in sorted(by_resource))


def most_on(snapshot: FleetSnapshot, nodes: PoolNodes, workload: EngineWorkload) -> dict[str, int]:
    """By node, for how many replicas it has CPU, memory and disk, where it has GPUs for more of them."""
    if not offers_room(snapshot, nodes):
        return {}
    requests, gpus = workload_requests(workload), workload.variant.gpus
    found = {}
    for node in nodes.open:
        room = snapshot.nodes[node.name].room
        most = min((room[r] // n for r, n in requests.items() if n and r in room), default=math.inf)
        if most < node.gpus // gpus:
            found[node.name] = int(most)
    return found


def _closure(resource: str, nodes: list[NodeState], variant: Variant, asked: int) -> Closure:
    unit, words = _UNITS[resource]
    most = math.floor(100 * max(node.room[resource] for node in nodes) / unit) / 100
    needed = math.ceil(100 * asked / unit) / 100
    what = f"at most {most:g}{words}, and a replica of {variant.name} asks for {needed:g}"
    remedy = (
        f"lower {resource} in spec.engine.resources.requests of ServedModel {variant.model_key}, or what"
        " spec.engine.podTemplatePatch adds to it, or use larger nodes"
    )
    names = tuple(node.name for node in nodes)
    return Closure(names, f"has {what}", f"have {what}", remedy, is_lasting=True)
