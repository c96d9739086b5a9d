"""`kubectl rollout restart`, as it is seen of a Deployment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from argosy.snapshot.cluster import ANNOTATION_RESTARTED, DeploymentState


def restarted(deployment: DeploymentState, at: str) -> DeploymentState:
    """As kubectl leaves it. at: the time that it writes."""
    metadata = deployment.template["metadata"]
    changed = {**metadata, "annotations": {ANNOTATION_RESTARTED: at}}
    template = {**deployment.template, "metadata": changed}
    return replace(deployment, spec={**deployment.spec, "template": template})


def is_restarted(deployment: DeploymentState, made: Mapping[str, Any]) -> bool:
    """Whether its template is not as it was made: then Kubernetes makes one pod beyond the count."""
    before = made.get("metadata", {}).get("annotations", {}).get(ANNOTATION_RESTARTED)
    return deployment.restarted_at not in ("", before)
