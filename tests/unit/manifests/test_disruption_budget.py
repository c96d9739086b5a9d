"""The PodDisruptionBudget of a Deployment."""

from __future__ import annotations

from argosy.keys import DeploymentKey
from argosy.manifests import disruption_budget_manifest
from argosy.snapshot.kubernetes import protected_replicas


def test_it_selects_the_deployments_pods_and_reads_back_as_what_it_keeps() -> None:
    budget = disruption_budget_manifest(DeploymentKey("default/chat-1"), 2)
    assert budget["metadata"] == {
        "name": "chat-1",
        "namespace": "default",
        "labels": {"app.kubernetes.io/managed-by": "argosy", "argosy.dev/deployment": "chat-1"},
    }
    assert budget["spec"] == {
        "minAvailable": 2,
        "selector": {"matchLabels": {"argosy.dev/deployment": "chat-1"}},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    assert protected_replicas(budget) == 2


def test_a_budget_that_counts_another_way_is_none_of_ours() -> None:
    assert protected_replicas({"spec": {"maxUnavailable": 1}}) == -1
    assert protected_replicas({"spec": {"minAvailable": "50%"}}) == -1
    assert protected_replicas({}) == -1
