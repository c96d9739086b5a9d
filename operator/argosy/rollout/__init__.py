"""Safe, reversible steps from what runs to what is planned."""

from argosy.rollout.disruptions import protection_steps
from argosy.rollout.gates import assign_nodes, release_for_nodes
from argosy.rollout.orphans import orphan_steps
from argosy.rollout.replica_sets import replica_set_steps
from argosy.rollout.steps import (
    AdoptReplicaSet,
    CreateDeployment,
    DeleteDeployment,
    DeletePod,
    DeleteReplicaSet,
    EndProtection,
    MarkVictim,
    PlacePod,
    ProtectReplicas,
    ReleasePod,
    RestoreDeployment,
    ScaleDeployment,
    Step,
    describe,
    rollout_steps,
)
from argosy.rollout.targets import RolloutInputs, Target

__all__ = [
    "AdoptReplicaSet",
    "CreateDeployment",
    "DeleteDeployment",
    "DeletePod",
    "DeleteReplicaSet",
    "EndProtection",
    "MarkVictim",
    "PlacePod",
    "ProtectReplicas",
    "ReleasePod",
    "RestoreDeployment",
    "RolloutInputs",
    "ScaleDeployment",
    "Step",
    "Target",
    "assign_nodes",
    "describe",
    "orphan_steps",
    "protection_steps",
    "release_for_nodes",
    "replica_set_steps",
    "rollout_steps",
]
