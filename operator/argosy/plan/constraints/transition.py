"""The number of new replicas: loading them costs."""

from __future__ import annotations

from argosy.plan.solver.model import SizingModel


class Transition:
    """added_v >= n_v - current_v; minimising the cost makes it max(0, n_v - current_v)."""

    def add_to(self, sizing: SizingModel) -> None:
        """One row per option."""
        for option in sizing.facts.options:
            new = sizing.replicas[option.name] - option.current_replicas
            sizing.program.add_linear_constraint(sizing.added[option.name] >= new)
