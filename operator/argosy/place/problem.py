"""The placement problem: on which nodes the replicas of a plan run.

Owns the immutable input of placement: nodes with their GPUs, pods that already have a node, and how
many replicas each option should have in all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from argosy.checks import require_count, require_number, require_unique
from argosy.keys import DeploymentKey


@dataclass(frozen=True, slots=True)
class NodeRoom:
    """A live node; `gpus` are those that engine pods may use: allocatable less those of other pods.

    is_closed:  it takes no new replicas; those that it has stay
    is_leaving: it is closed, and its removal is announced: its replicas stay only where no other node
                has room
    is_last:    a node for new replicas where no other has room: the autoscaler may remove it
    """

    name: str
    pool: str
    gpus: int
    is_closed: bool = False
    is_leaving: bool = False
    is_last: bool = False


@dataclass(frozen=True, slots=True)
class PlacedReplica:
    """A pod that already has its node and keeps it (pods do not move).

    `ready` and `age_s` order the pods that are let go where there are too many.
    """

    pod: str
    option: DeploymentKey
    node: str
    gpus: int
    ready: bool
    age_s: float


@dataclass(frozen=True, slots=True)
class WantedReplicas:
    """How many replicas an option should have in all; `gpus` are per replica.

    most_on: by node, how many of them its CPU, memory and disk take, where its GPUs would take more
    """

    option: DeploymentKey
    pool: str
    gpus: int
    replicas: int
    most_on: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlacementProblem:
    """Nodes, what runs on them, and what is wanted.

    draining: pods that are being deleted and still hold GPUs: (pod, node, GPUs)
    most_gpus: by pool, GPUs of the largest replica that may be wanted there one day; absent: of those
        that are wanted now

    A placed pod whose node is not among `nodes` is lost: it does not count and is let go. So is a
    placed pod of an option that `wanted` does not name. An option may have pods on nodes of another
    pool than its own: they count.

    Raises ValueError where a name occurs twice, or a number is negative or not finite.
    """

    nodes: tuple[NodeRoom, ...]
    placed: tuple[PlacedReplica, ...]
    wanted: tuple[WantedReplicas, ...]
    draining: tuple[tuple[str, str, int], ...] = ()
    most_gpus: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse values that break arithmetic; a replica without room is reported by the placement."""
        require_unique("node", (n.name for n in self.nodes))
        require_unique("pod", (*(p.pod for p in self.placed), *(pod for pod, _, _ in self.draining)))
        require_unique("wanted option", (w.option for w in self.wanted))
        for node in self.nodes:
            require_count(f"the GPUs of node {node.name}", node.gpus, 0)
        for pod in self.placed:
            require_count(f"the GPUs of pod {pod.pod}", pod.gpus, 0)
            require_number(f"the age of pod {pod.pod}", pod.age_s)
        for name, _, gpus in self.draining:
            require_count(f"the GPUs of pod {name}", gpus, 0)
        for want in self.wanted:
            require_count(f"the GPUs of option {want.option}", want.gpus, 1)
            require_count(f"the wanted replicas of option {want.option}", want.replicas, 0)
            for name, most in want.most_on.items():
                require_count(f"the most replicas of option {want.option} on node {name}", most, 0)
