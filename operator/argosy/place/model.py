"""The placement program's variables; its constraints and objectives are the units in `constraints/`.

Owns one CP-SAT model for one pool. `solve` runs the solver on it.

    starts[o, n]   new replicas of option o on node n
    levels         objectives, minimised one after the other; each unit may add one
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ortools.sat.python import cp_model

from argosy.keys import DeploymentKey
from argosy.place.facts import PoolFacts


@dataclass(frozen=True)
class PlacementModel:
    """A CP-SAT model, its variables by meaning, and its objectives in order of importance."""

    facts: PoolFacts
    program: cp_model.CpModel
    starts: Mapping[tuple[DeploymentKey, str], cp_model.IntVar]
    levels: list[cp_model.LinearExprT] = field(default_factory=list)

    def gpus_taken_on(self, node: str) -> list[cp_model.LinearExpr]:
        """GPUs that the new replicas of each option take on the node; empty where none can start there."""
        return [
            want.gpus * self.starts[want.option, node]
            for want in self.facts.wanted
            if (want.option, node) in self.starts
        ]


def declare(facts: PoolFacts) -> PlacementModel:
    """A model with all variables, and no constraint and no objective yet."""
    program = cp_model.CpModel()
    starts = {
        (want.option, node.name): program.new_int_var(0, most, f"starts[{want.option},{node.name}]")
        for want in facts.wanted
        for node in facts.nodes
        if (most := facts.most(want, node)) > 0
    }
    return PlacementModel(facts, program, starts)
