"""The rules of the sizing program, one unit each.

Owns `ALL`: every unit has one method, `add_to`, which writes its rows into a `SizingModel`. The
rules themselves are specified, without a solver, in `argosy.plan.check`.
"""

from __future__ import annotations

from typing import Protocol

from argosy.plan.constraints.limits import Budget, Ceilings, Floors
from argosy.plan.constraints.load import Load
from argosy.plan.constraints.packing import Packing
from argosy.plan.constraints.serving import Serving
from argosy.plan.constraints.transition import Transition
from argosy.plan.model import SizingModel


class Constraint(Protocol):
    """A rule that can write itself into the program."""

    def add_to(self, sizing: SizingModel) -> None:
        """Add this rule's rows."""


ALL: tuple[Constraint, ...] = (
    Serving(),
    Load(),
    Packing(),
    Ceilings(),
    Floors(),
    Budget(),
    Transition(),
)
