"""Labels that users have Argosy set on the pods of engines, for other controllers: Kueue's queue, a team.

Owns the field's type and its rule: none may be one by which Argosy or Kubernetes knows a pod.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from argosy.api.schema.rule import Rule
from argosy.api.schema.value import LABEL_NAME, LabelValue

PodLabels = Annotated[Mapping[str, LabelValue], Field(max_length=16)]

_OWN = ("app.kubernetes.io/managed-by", "pod-template-hash")
_PREFIX = "argosy.dev/"


def pod_labels_rule(kind: str, path: str) -> Rule:
    """The rule of a field `podLabels` of this kind, at this path."""
    own = ", ".join(f"'{name}'" for name in _OWN)
    return Rule(
        name=f"{kind}-pod-labels",
        cel=(
            f"!has(self.podLabels) || self.podLabels.all(key, key.matches('{LABEL_NAME}')"
            f" && !key.startsWith('{_PREFIX}') && !(key in [{own}]))"
        ),
        message=(
            f"{path}: keys must be names of labels, such as kueue.x-k8s.io/queue-name, and none of those by"
            " which Argosy and Kubernetes know a pod (argosy.dev/..., app.kubernetes.io/managed-by,"
            " pod-template-hash)"
        ),
        holds=lambda value: all(
            re.fullmatch(LABEL_NAME, key) and not key.startswith(_PREFIX) and key not in _OWN
            for key in value.pod_labels
        ),
        field="podLabels",
    )
