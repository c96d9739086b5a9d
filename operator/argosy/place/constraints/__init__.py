"""The rules and goals of the placement program, one unit each.

Owns `ALL`, in the order of the goals: every unit has one method, `add_to`, which writes its rows
into a `PlacementModel` and appends its goal, if it has one. The rules themselves are specified,
without a solver, in `argosy.place.check`.
"""

from __future__ import annotations

from typing import Protocol

from argosy.place.constraints.capacity import NodeCapacity
from argosy.place.constraints.demand import Demand
from argosy.place.constraints.fragmentation import Fragmentation
from argosy.place.constraints.order import Order
from argosy.place.constraints.spread import Spread
from argosy.place.model import PlacementModel


class Constraint(Protocol):
    """A rule that can write itself into the program."""

    def add_to(self, placing: PlacementModel) -> None:
        """Add this rule's rows and its goal."""


ALL: tuple[Constraint, ...] = (NodeCapacity(), Demand(), Spread(), Fragmentation(), Order())
