"""The label and the annotations by which users let Argosy adopt a Deployment that they run.

Owns their names. They are on the Deployment itself and not in its pod template: setting one restarts no pod.
Argosy reads them and never writes or removes one.
"""

from __future__ import annotations

ADOPT = "argosy.dev/adopt"
"""Label of a Deployment: the name of the ServedModel, in its namespace, that its replicas serve."""
ADOPT_CLASS = "argosy.dev/adopt-class"
"""Annotation: the WorkloadClass whose requests they serve, where several name the ServedModel."""
ADOPT_ARGS = "argosy.dev/adopt-args"
"""Annotation: arguments that the engines run with and that the pod template does not hold."""
