"""The answer of placement: nodes for new replicas, pods to let go, and replicas without a node.

Owns the shape of a placement; `solve` makes one and `check` judges it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from argosy.keys import DeploymentKey
from argosy.plan.solution import SolveStatus


@dataclass(frozen=True, slots=True)
class Unplaced:
    """Replicas of an option for which no node has room now, and why, in one sentence.

    lacks_room: GPUs are free where CPU, memory or disk is for fewer: another node would take them
    """

    option: DeploymentKey
    replicas: int
    message: str
    lacks_room: bool = False


@dataclass(frozen=True, slots=True)
class PlacementReport:
    """How the placement was found.

    unplaced: replicas without a node
    unplaced_bound: no placement leaves fewer of them
    gap: relative distance (0-1) from the bound to `unplaced`
    seconds: solving time as the solver measured it; not compared, as in `plan.solution.SolveReport`
    """

    status: SolveStatus
    unplaced: int
    unplaced_bound: float
    gap: float
    seconds: float = field(compare=False)


@dataclass(frozen=True, slots=True)
class Placement:
    """Replicas per option and node, the nodes of the new ones, and the pods that go.

    counts: (option, node) -> replicas, the new ones included and the victims not; positive ones only
    new_nodes: option -> the node of each replica to be started, sorted; one entry per replica, and
        no entry for an option that starts none
    victims: pods to let go, by option, and within it in the order in which they should go
    staying: pods on leaving nodes that stay, because no other node has room for their successors
    report: None where nothing had to be solved
    """

    counts: Mapping[tuple[DeploymentKey, str], int]
    new_nodes: Mapping[DeploymentKey, tuple[str, ...]]
    victims: tuple[str, ...]
    unplaced: tuple[Unplaced, ...]
    report: PlacementReport | None = None
    staying: tuple[str, ...] = ()
