"""Kubernetes objects as values."""

from argosy.manifests.deployment import EngineWorkload, deployment_manifest, deployment_name, pod_template
from argosy.manifests.disruption_budget import disruption_budget_manifest

__all__ = [
    "EngineWorkload",
    "deployment_manifest",
    "deployment_name",
    "disruption_budget_manifest",
    "pod_template",
]
