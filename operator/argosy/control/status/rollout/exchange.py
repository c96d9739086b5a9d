"""How far planned replicas have taken over from former ones: one count for every status.

Owns the count. Input: `Reported`, planned Deployments, and the engine pods that serve the same classes.
Output: an `Exchange`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from argosy.api.fleetplan import PlannedDeployment
from argosy.control.status.reported import Reported
from argosy.snapshot.cluster import PodState


@dataclass(frozen=True, slots=True)
class Exchange:
    """Replicas that get requests.

    ready:     planned ones; wanted: how many are planned
    others:    further ones: of the former plan, or beyond the planned count
    is_moving: one is drained or loads, or any class's has got room, so more will change
    is_draining: one is drained or about to be, so that room is to come
    """

    ready: int
    wanted: int
    others: int
    is_moving: bool
    is_draining: bool

    @property
    def is_exchanging(self) -> bool:
        """True while former replicas serve in place of all planned ones, or of all but moving ones."""
        if self.ready >= self.wanted or not self.others:
            return False
        return self.ready + self.others >= self.wanted or self.is_moving


def exchange_of(
    reported: Reported, planned: Iterable[PlannedDeployment], pods: Iterable[PodState]
) -> Exchange:
    """The count of these planned Deployments and of the pods beside them."""
    planned, pods = tuple(planned), tuple(pods)
    ready = sum(min(d.replicas, reported.num_serving[d.name]) for d in planned)
    # Also where the room goes to another class: then the next replica gives way in the same decision.
    has_room = any(reported.placement.new_nodes.values())
    is_draining = any((p.deleting or p.is_marked) and p.is_active for p in pods)
    is_loading = any(not p.ready and p.destination and p.is_active for p in pods)
    return Exchange(
        ready=ready,
        wanted=sum(d.replicas for d in planned),
        others=sum(map(reported.serves, pods)) - ready,
        is_moving=has_room or is_draining or is_loading,
        is_draining=is_draining,
    )
