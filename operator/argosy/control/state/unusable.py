"""Why nodes of a pool cannot be used, in words.

Owns the sentence. Input: a snapshot and a pool's name. Output: the end of a sentence, which names the first
nodes, each with what makes it unusable.
"""

from __future__ import annotations

from collections.abc import Iterable

from argosy.control.state.departure import is_declared_dead
from argosy.control.state.nodes import MOST_NAMED, pool_nodes
from argosy.control.state.waiting import uncounted_pods
from argosy.snapshot.cluster import NodeState, PodState
from argosy.snapshot.fleet import FleetSnapshot


def unusable_text(snapshot: FleetSnapshot, pool: str) -> str:
    """`node n1: it is not Ready, node n2: pod default/p is Terminating and has not ended and 2 more`."""
    lost = uncounted_pods(snapshot)
    nodes = pool_nodes(snapshot, lost)[pool]
    usable = {node.name for node in nodes.usable}
    named = [
        f"node {name}: {_why(snapshot.nodes[name], (p for p in snapshot.engine_pods if p.key in lost))}"
        for name in nodes.all_names
        if name not in usable
    ]
    more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    return ", ".join(named[:MOST_NAMED]) + more if named else "their nodes were not usable a moment ago"


def _why(node: NodeState, lost: Iterable[PodState]) -> str:
    if is_declared_dead(node):
        return "it is out of service"
    if not node.ready:
        return "it is not Ready"
    here = [pod for pod in lost if pod.destination == node.name]
    for pod in here:
        if pod.deleting:
            return f"pod {pod.key} is Terminating and has not ended"
    if here:
        return f"the engine in pod {here[0].key} answers nothing"
    return "a taint with NoExecute that spec.tolerations does not name"
