"""The constraints and objectives of the placement program, one unit each.

Owns `ALL`, in the order of the objectives: every unit has one method, `add_to`, which adds its rows
to a `PlacementModel` and appends its objective, if it has one. The rules themselves are specified,
without a solver, in `argosy.place.check`.
"""

from __future__ import annotations

from typing import Protocol

from argosy.place.constraints.capacity import NodeCapacity
from argosy.place.constraints.crowding import Crowding
from argosy.place.constraints.demand import Demand
from argosy.place.constraints.first_replica import FirstReplica
from argosy.place.constraints.fragmentation import Fragmentation
from argosy.place.constraints.order import Order
from argosy.place.constraints.spread import Spread
from argosy.place.model import PlacementModel


class PlacementConstraint(Protocol):
    """A rule that can add its rows to the program."""

    def add_to(self, placing: PlacementModel) -> None:
        """Add the rows and the objective of this rule."""


ALL: tuple[PlacementConstraint, ...] = (
    NodeCapacity(),
    Demand(),
    FirstReplica(),
    Spread(),
    Fragmentation(),
    Crowding(),
    Order(),
)
