"""Kubernetes objects as values."""

from argosy.manifests.deployment import EngineWorkload, deployment_manifest, deployment_name, pod_template

__all__ = ["EngineWorkload", "deployment_manifest", "deployment_name", "pod_template"]
