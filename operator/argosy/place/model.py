"""The placement program's variables; its rules and goals are the units in `constraints/`.

Owns one CP-SAT model for one pool. Never runs a solver.

    starts[o, n]   new replicas of option o on node n
    levels         what is minimised, one after the other; each unit may add its own
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ortools.sat.python import cp_model

from argosy.place.facts import PoolFacts


@dataclass(frozen=True)
class PlacementModel:
    """A CP-SAT model, its variables by meaning, and its goals in order of importance."""

    facts: PoolFacts
    program: cp_model.CpModel
    starts: Mapping[tuple[str, str], cp_model.IntVar]
    levels: list[cp_model.LinearExprT] = field(default_factory=list)


def declare(facts: PoolFacts) -> PlacementModel:
    """A model with all variables, and no rule and no goal yet."""
    program = cp_model.CpModel()
    starts = {
        (want.option, node.name): program.new_int_var(0, most, f"starts[{want.option},{node.name}]")
        for want in facts.wanted
        for node in facts.nodes
        if (most := facts.most(want, node)) > 0
    }
    return PlacementModel(facts, program, starts)
