"""Which nodes are about to go away, and who announced it.

Owns the announcements that Argosy knows: cordons, taints, conditions. Input: a `NodeState`. Output: in
a few words why its pods should leave it, or that it is dead. Where the keys come from:

    karpenter.sh/disrupted           Karpenter since 1.0, on a node that it drains (karpenter.sh,
                                     concepts/disruption); before it, karpenter.sh/disruption
    ToBeDeletedByClusterAutoscaler   set before the drain (cluster-autoscaler, utils/taints/taints.go)
    cloud.google.com/impending-node-termination
                                     GKE, host maintenance and preemption (k8s-node-termination-handler,
                                     main.go, --taint; GKE, manage host maintenance)
    aws-node-termination-handler/*   with TAINT_NODE (aws-node-termination-handler, pkg/node/node.go)
    remediator.kubernetes.azure.com/unschedulable
                                     AKS, auto-drain and repair (learn.microsoft.com, aks/node-auto-drain);
                                     until 2024 remediator.aks.microsoft.com (Azure/AKS, CHANGELOG.md)
    VMEventScheduled                 AKS, a node condition of its node problem detector: its message names
                                     the event of the virtual machine (Preempt, Terminate, ...)
    node.kubernetes.io/out-of-service
                                     an administrator's word that the machine is off (kubernetes.io,
                                     concepts/cluster-administration/node-shutdown)

Taints that stay for a node's whole life are none: kubernetes.azure.com/scalesetpriority marks every
spot node of AKS. `DeletionCandidateOfClusterAutoscaler` is none either. Its effect is PreferNoSchedule,
and the autoscaler takes it back when the node is needed: with each replica pinned to its node by a
node selector, only nodes without replicas become candidates. Placement leaves such nodes to the last.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from argosy.snapshot.cluster import NodeState

CANDIDATE = "DeletionCandidateOfClusterAutoscaler"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"

_EKS = "the AWS node termination handler"
_AKS = "AKS"

ANNOUNCERS: Mapping[str, str] = MappingProxyType(
    {
        "karpenter.sh/disrupted": "Karpenter",
        "karpenter.sh/disruption": "Karpenter",
        "ToBeDeletedByClusterAutoscaler": "the cluster autoscaler",
        "cloud.google.com/impending-node-termination": "GKE",
        "aws-node-termination-handler/spot-itn": _EKS,
        "aws-node-termination-handler/scheduled-maintenance": _EKS,
        "aws-node-termination-handler/asg-lifecycle-termination": _EKS,
        "aws-node-termination-handler/rebalance-recommendation": _EKS,
        "remediator.kubernetes.azure.com/unschedulable": _AKS,
        "remediator.aks.microsoft.com/unschedulable": _AKS,
    }
)
"""Who sets a taint of this key on a node that it is about to take away."""

_BLOCKING = ("NoSchedule", "NoExecute")


def is_declared_dead(node: NodeState) -> bool:
    """Whether an administrator says that the machine is off: then what still answers there is not counted."""
    return any(taint.key == OUT_OF_SERVICE for taint in node.taints)


def departure(node: NodeState) -> str:
    """Why the node's pods should leave it, as the end of a sentence; empty where they may stay.

    A pool's tolerations make no difference: a node that is taken away takes its tolerant pods with it.
    """
    for taint in node.taints:
        if taint.key in ANNOUNCERS and taint.effect in _BLOCKING:
            return f"{ANNOUNCERS[taint.key]} is removing it (taint {taint.key})"
    if node.announcement:
        return node.announcement
    return "it is cordoned" if node.unschedulable else ""


def is_candidate(node: NodeState) -> bool:
    """Whether the autoscaler may remove it soon, if it stays empty."""
    return any(taint.key == CANDIDATE for taint in node.taints)
