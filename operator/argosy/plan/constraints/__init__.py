"""The constraints of the sizing program, one unit each.

Owns `ALL`: every unit has one method, `add_to`, which adds its rows to a `SizingModel`. The rules
themselves are specified, without a solver, in `argosy.plan.check`.
"""

from __future__ import annotations

from typing import Protocol

from argosy.plan.constraints.limits import Budget, Ceilings, Floors, LastReplicas, Staying
from argosy.plan.constraints.load import Load
from argosy.plan.constraints.nodes import Nodes
from argosy.plan.constraints.packing import Packing
from argosy.plan.constraints.quotas import Quotas
from argosy.plan.constraints.serving import Serving
from argosy.plan.constraints.transition import Transition
from argosy.plan.solver.model import SizingModel


class SizingConstraint(Protocol):
    """A rule that can add its rows to the program."""

    def add_to(self, sizing: SizingModel) -> None:
        """Add the rows of this rule."""


ALL: tuple[SizingConstraint, ...] = (
    Serving(),
    Load(),
    Packing(),
    Nodes(),
    Ceilings(),
    Quotas(),
    Floors(),
    LastReplicas(),
    Staying(),
    Budget(),
    Transition(),
)
