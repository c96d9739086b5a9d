"""The placement problem: on which nodes the replicas of a plan run.

Owns the immutable input of placement. Never decides how many replicas there are (`plan`) and
never touches a pod.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from argosy.checks import require_count, require_unique


@dataclass(frozen=True, slots=True)
class NodeRoom:
    """A live node: GPUs that engine pods of ours may use (allocatable less foreign pods)."""

    name: str
    pool: str
    gpus: int


@dataclass(frozen=True, slots=True)
class PlacedReplica:
    """A pod that already has its node and keeps it (pods do not move).

    `ready` and `age_s` tell which one to let go first where there are too many.
    """

    pod: str
    option: str
    node: str
    gpus: int
    ready: bool
    age_s: float


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many replicas of an option there shall be in all."""

    option: str
    pool: str
    gpus: int
    replicas: int


@dataclass(frozen=True, slots=True)
class PlacementProblem:
    """Nodes, what runs on them, and what is wanted.

    draining: pods (GPUs still taken) that are already on their way out: (pod, node, gpus)

    A placed pod whose node is not among `nodes` is lost: it counts for nothing and is let go. So
    is a placed pod of an option that `wanted` does not name.
    """

    nodes: tuple[NodeRoom, ...]
    placed: tuple[PlacedReplica, ...]
    wanted: tuple[Wanted, ...]
    draining: tuple[tuple[str, str, int], ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no arithmetic survives; what merely finds no room is placement's to say."""
        require_unique("node", (n.name for n in self.nodes))
        require_unique("pod", (*(p.pod for p in self.placed), *(pod for pod, _, _ in self.draining)))
        require_unique("wanted option", (w.option for w in self.wanted))
        for node in self.nodes:
            require_count(f"the GPUs of node {node.name}", node.gpus, 0)
        for pod in self.placed:
            require_count(f"the GPUs of pod {pod.pod}", pod.gpus, 0)
            if not (math.isfinite(pod.age_s) and pod.age_s >= 0):
                raise ValueError(
                    f"the age of pod {pod.pod} is a finite number of at least 0, got {pod.age_s}"
                )
        for name, _, gpus in self.draining:
            require_count(f"the GPUs of pod {name}", gpus, 0)
        for want in self.wanted:
            require_count(f"the GPUs of option {want.option}", want.gpus, 1)
            require_count(f"the wanted replicas of option {want.option}", want.replicas, 0)
