"""What placement answers: nodes for new replicas, victims among the old, and what found no room.

Owns the shape of a placement. Never judges one (`check`) and never makes one (`solve`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from argosy.plan.solution import SolveReport


@dataclass(frozen=True, slots=True)
class Unplaced:
    """Replicas of an option that no node has room for now, and why, in one sentence."""

    option: str
    replicas: int
    message: str


@dataclass(frozen=True, slots=True)
class Placement:
    """Counts per (option, node) in all, new nodes per option, and which pods go.

    counts:  (option, node) -> replicas, the kept ones included and the victims not; positive ones only
    new_nodes: option -> the node of each replica to be started, sorted; one entry per replica, and
        no entry for an option that starts none
    victims: pods to let go, by option and then the first to go first
    report: how it was found; `objective` and `bound` are replicas without a node. None where
        nothing had to be solved
    """

    counts: Mapping[tuple[str, str], int]
    new_nodes: Mapping[str, tuple[str, ...]]
    victims: tuple[str, ...]
    unplaced: tuple[Unplaced, ...]
    report: SolveReport | None = None
