"""The sizing program's variables and objectives; its constraints are the units in `constraints/`.

Owns one MathOpt model: which variables exist and what is minimised. `search` runs the solver on it.

    replicas[v]   integer    n_v, replicas of option v
    added[v]                 max(0, n_v - current), what has to be loaded
    shares[b, v]  0-1        x_bv, share of cell b that option v carries
    missing[b]    0-1        unserved share of cell b; 0 until the program is relaxed
    unmet[g]      integer    replicas missing to the floor of group g; 0 until relaxed
    abandoned[g]  0-1        1 where group g, which is served now, gets no replica; 0 until relaxed
    staying[v]    integer    replicas on leaving nodes that stay; 0 until relaxed
    beyond[v]                replicas that need a node that takes new ones, where some do not
    coming[p]     integer    nodes of pool p that do not exist yet and are used
    ordered[p]               max(0, coming - asked), those that nothing waits for yet
    idle[p]                  $/h of the nodes that pool p keeps anyhow, as far as no replica uses them
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ortools.math_opt.python import mathopt

from argosy.keys import CellName, DeploymentKey, GroupName
from argosy.plan.facts import Counts, Facts
from argosy.plan.problem import Option


@dataclass(frozen=True)
class SizingModel:
    """A MathOpt model and its variables by meaning."""

    facts: Facts
    program: mathopt.Model
    replicas: Mapping[DeploymentKey, mathopt.Variable]
    added: Mapping[DeploymentKey, mathopt.Variable]
    shares: Mapping[tuple[CellName, DeploymentKey], mathopt.Variable]
    missing: Mapping[CellName, mathopt.Variable]
    unmet: Mapping[GroupName, mathopt.Variable]
    abandoned: Mapping[GroupName, mathopt.Variable]
    staying: Mapping[DeploymentKey, mathopt.Variable]
    beyond: Mapping[DeploymentKey, mathopt.Variable]
    coming: Mapping[str, mathopt.Variable]
    ordered: Mapping[str, mathopt.Variable]
    idle: Mapping[str, mathopt.Variable]

    def relax_floors(self) -> None:
        """Allow floors to be unmet, and groups that are served now to get no replica."""
        for group, variable in self.unmet.items():
            variable.upper_bound = self.facts.floor(group)
        for variable in self.abandoned.values():
            variable.upper_bound = 1.0

    def relax_service(self) -> None:
        """Allow cells to be served in part."""
        for variable in self.missing.values():
            variable.upper_bound = 1.0

    def relax_staying(self) -> None:
        """Allow replicas on leaving nodes to stay."""
        for name, variable in self.staying.items():
            variable.upper_bound = self.facts.option_by_name[name].leaving_replicas

    def packed(self, option: Option) -> mathopt.Variable:
        """The replicas of an option that take GPUs of nodes that take new ones."""
        return self.beyond.get(option.name, self.replicas[option.name])

    def num_staying(self) -> mathopt.LinearSum:
        """Replicas that stay on leaving nodes."""
        return mathopt.fast_sum(self.staying.values())

    def cost(self) -> mathopt.LinearSum:
        """$/h of running the replicas, of loading the new ones, of the nodes that have to come, and of those
        that are kept and not used."""
        facts = self.facts
        run = (o.price_usd_per_hour * self.replicas[o.name] for o in facts.options)
        load = (facts.loading_usd_per_hour(o) * self.added[o.name] for o in facts.options)
        nodes = (facts.node_usd_per_hour(facts.to_come[p]) * x for p, x in self.ordered.items())
        return mathopt.fast_sum((*run, *load, *nodes, *self.idle.values()))

    def unmet_at(self, priority: int) -> mathopt.LinearSum:
        """Replicas missing to the floors of the groups of one priority."""
        level = (v for g, v in self.unmet.items() if self.facts.priority_by_group[g] == priority)
        return mathopt.fast_sum(level)

    def abandoned_at(self, priority: int, *, with_floor: bool = False) -> mathopt.LinearSum:
        """Groups of one priority that are served now and get no replica; `with_floor`: of those with one."""
        level = (
            v
            for g, v in self.abandoned.items()
            if self.facts.priority_by_group[g] == priority and (self.facts.floor(g) or not with_floor)
        )
        return mathopt.fast_sum(level)

    def missing_at(self, priority: int) -> mathopt.LinearSum:
        """Unserved part (0-1) of the rate of all cells of one priority together."""
        level = [c for c in self.facts.demanding_cells if c.priority == priority]
        total_per_s = math.fsum(c.rate_per_s for c in level)
        return mathopt.fast_sum(c.rate_per_s / total_per_s * self.missing[c.name] for c in level)

    def counts(self, values: Mapping[mathopt.Variable, float]) -> dict[DeploymentKey, int]:
        """The replicas of a solution, rounded: the solver works to a tolerance."""
        return {name: round(values[variable]) for name, variable in self.replicas.items()}

    def nothing(self) -> dict[mathopt.Variable, float]:
        """The solution that is feasible once all is relaxed: no replica but those that stay, all missing."""
        values = dict.fromkeys(self.program.variables(), 0.0)
        values.update(dict.fromkeys(self.missing.values(), 1.0))
        values.update({self.replicas[o.name]: float(o.least_replicas) for o in self.facts.options})
        values.update({variable: float(self.facts.floor(g)) for g, variable in self.unmet.items()})
        values.update(dict.fromkeys(self.abandoned.values(), 1.0))
        # Those that stay may need nodes that have still to come.
        values.update({x: float(self.facts.to_come[p].most) for p, x in self.coming.items()})
        values.update({x: float(self.facts.to_come[p].most) for p, x in self.ordered.items()})
        values.update({x: self.facts.paid_usd_per_hour[p] for p, x in self.idle.items()})
        return values


def declare(facts: Facts) -> SizingModel:
    """A model with all variables and no constraint yet; floors and service are not relaxed."""
    program = mathopt.Model(name="sizing")
    return SizingModel(
        facts=facts,
        program=program,
        replicas={
            o.name: program.add_integer_variable(lb=0, ub=facts.most_replicas[o.name], name=f"n[{o.name}]")
            for o in facts.options
        },
        added={o.name: program.add_variable(lb=0.0, name=f"added[{o.name}]") for o in facts.options},
        shares={
            (c.name, o.name): program.add_variable(lb=0.0, ub=1.0, name=f"x[{c.name},{o.name}]")
            for c in facts.demanding_cells
            for o in facts.options
            if (c.name, o.name) in facts.capacity_per_s
        },
        missing={
            c.name: program.add_variable(lb=0.0, ub=0.0, name=f"missing[{c.name}]")
            for c in facts.demanding_cells
        },
        # A group without a usable option has nothing to decide: its whole floor is unmet.
        unmet={
            g: program.add_integer_variable(lb=0, ub=0, name=f"unmet[{g}]")
            for g in facts.groups
            if facts.floor(g) and facts.options_by_group[g]
        },
        abandoned={
            g: program.add_variable(lb=0.0, ub=0.0, name=f"abandoned[{g}]") for g in sorted(facts.incumbents)
        },
        staying={
            o.name: program.add_integer_variable(lb=0, ub=0, name=f"staying[{o.name}]")
            for o in facts.options
            if o.leaving_replicas
        },
        beyond={
            o.name: program.add_variable(lb=0.0, name=f"beyond[{o.name}]")
            for o in facts.options
            if o.anchored
        },
        coming={
            pool: program.add_integer_variable(lb=0, ub=nodes.most, name=f"coming[{pool}]")
            for pool, nodes in facts.to_come.items()
        },
        ordered={pool: program.add_variable(lb=0.0, name=f"ordered[{pool}]") for pool in facts.to_come},
        idle={pool: program.add_variable(lb=0.0, name=f"idle[{pool}]") for pool in facts.paid_usd_per_hour},
    )


def change_penalty(sizing: SizingModel, current: Counts) -> mathopt.LinearSum:
    """Replicas started and stopped, plus a small weight that prefers options that come first by name.

    The weights add up to less than half a replica, so they never outweigh a change.
    """
    options = sizing.facts.options
    most = sum(sizing.facts.most_replicas[o.name] for o in options)
    by_name = 0.5 / (max(1, most) * max(1, len(options)))
    terms = []
    for rank, option in enumerate(options):
        replicas, added = sizing.replicas[option.name], sizing.added[option.name]
        # started + stopped = added + (added - (n - current)); minimised, so `added` is exact
        terms.append(2 * added - replicas + current[option.name] + rank * by_name * replicas)
    return mathopt.fast_sum(terms)
