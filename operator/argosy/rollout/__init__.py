"""Safe, reversible steps from what runs to what is planned."""

from argosy.rollout.gates import assign_nodes
from argosy.rollout.steps import (
    CreateDeployment,
    DeleteDeployment,
    MarkVictim,
    PlacePod,
    ScaleDeployment,
    Step,
    describe,
    rollout_steps,
)
from argosy.rollout.targets import RolloutInputs, Target

__all__ = [
    "CreateDeployment",
    "DeleteDeployment",
    "MarkVictim",
    "PlacePod",
    "RolloutInputs",
    "ScaleDeployment",
    "Step",
    "Target",
    "assign_nodes",
    "describe",
    "rollout_steps",
]
