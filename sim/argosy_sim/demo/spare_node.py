"""Which node the story may end: one whose loss leaves every class a replica. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from argosy.snapshot.cluster import LABEL_GROUP

SHOCKED_CLASS = "chat"
NO_NODE_TO_SPARE = "no node dies: every node with a chat replica also has the last replica of a class"


def spare_node(engine_pods: Iterable[Mapping[str, Any]]) -> str | None:
    """A node with a chat replica and without the last replica of any class; None if there is none.

    `engine_pods` are the API server's objects of Argosy's replicas.
    """
    nodes_by_class: dict[str, list[str]] = {}
    for pod in engine_pods:
        if "deletionTimestamp" not in pod["metadata"] and pod["spec"].get("nodeName"):
            name = pod["metadata"]["labels"][LABEL_GROUP]
            nodes_by_class.setdefault(name, []).append(pod["spec"]["nodeName"])
    for node in sorted(set(nodes_by_class.get(SHOCKED_CLASS, ()))):
        if all(set(nodes) != {node} for nodes in nodes_by_class.values()):
            return node
    return None
