"""Floors, ceilings and the budget, which users set, and the replicas that stay."""

from __future__ import annotations

from ortools.math_opt.python import mathopt

from argosy.plan.solver.model import SizingModel


class Floors:
    """A group has its floor of replicas, less those that count as unmet."""

    def add_to(self, sizing: SizingModel) -> None:
        """One row per group with a floor and a usable option."""
        for group, unmet in sizing.unmet.items():
            replicas = (sizing.replicas[o.name] for o in sizing.facts.options_by_group[group])
            total = mathopt.fast_sum((unmet, *replicas))
            sizing.program.add_linear_constraint(total >= sizing.facts.floor(group))


class LastReplicas:
    """A group that is served now has a replica, unless it counts as abandoned."""

    def add_to(self, sizing: SizingModel) -> None:
        """One row per such group; implied until floors and service are relaxed."""
        for group, abandoned in sizing.abandoned.items():
            replicas = (sizing.replicas[o.name] for o in sizing.facts.options_by_group[group])
            sizing.program.add_linear_constraint(mathopt.fast_sum((abandoned, *replicas)) >= 1)


class Staying:
    """An option keeps the replicas that stay: never relaxed."""

    def add_to(self, sizing: SizingModel) -> None:
        """One row per option with such replicas."""
        for option in sizing.facts.options:
            if option.least_replicas:
                sizing.program.add_linear_constraint(sizing.replicas[option.name] >= option.least_replicas)


class Ceilings:
    """A model's replicas over all groups and pools are at most its ceiling."""

    def add_to(self, sizing: SizingModel) -> None:
        """One row per model with a ceiling."""
        for model, ceiling in sorted(sizing.facts.problem.max_replicas.items()):
            replicas = [sizing.replicas[o.name] for o in sizing.facts.options if o.model == model]
            if replicas:
                sizing.program.add_linear_constraint(mathopt.fast_sum(replicas) <= ceiling)


class Budget:
    """The price of the fleet is at most the budget. Loading does not count: it is not billed apart."""

    def add_to(self, sizing: SizingModel) -> None:
        """One row, where there is a budget."""
        budget = sizing.facts.problem.budget_usd_per_hour
        if budget is None or not sizing.facts.options:
            return
        price = (o.price_usd_per_hour * sizing.replicas[o.name] for o in sizing.facts.options)
        sizing.program.add_linear_constraint(mathopt.fast_sum(price) <= budget)
