"""The scheduler's words for a pod that it finds no node for.

Owns the reading of the message of the condition PodScheduled (reason Unschedulable). Input: the message, what
the pod is in, the resource of its GPUs. Output: a `ClusterRefusal`, or None where only GPUs are missing: the
planner counts these itself. What the scheduler tried by preemption is left out.
"""

from __future__ import annotations

import re

from argosy.snapshot.admission.words import MOST_TEXT, ClusterRefusal, Refuser

_PREEMPTION = re.compile(r"\.? ?preemption: .*", re.DOTALL)
_SHORT_OF = re.compile(r"Insufficient ([^\s,]*[^\s,.])")


def scheduling_words(message: str) -> str:
    """The reasons, without what preemption would not help."""
    return _PREEMPTION.sub("", " ".join(message.split()))[:MOST_TEXT].rstrip(". ")


def scheduling_refusal(words: str, namespace: str, pool: str, resource: str) -> ClusterRefusal | None:
    """Why no node takes a pod of a pool; None where GPUs of this resource are all that nodes lack, or where
    nothing is said."""
    lacking = set(_SHORT_OF.findall(words))
    if not words or resource in lacking:
        return None
    return ClusterRefusal(
        Refuser.SCHEDULER, "The scheduler", words, _remedy(words, lacking, namespace, pool), pool
    )


def _remedy(words: str, lacking: set[str], namespace: str, pool: str) -> str:
    if "volume node affinity conflict" in words or "volume zone" in words:
        return (
            f"Let spec.nodeSelector of GPUPool {pool} select only nodes in the zone of the volume, or use one"
            " that all its nodes reach"
        )
    if "persistentvolumeclaim" in words.lower():
        return f"Create or bind the PersistentVolumeClaim (kubectl -n {namespace} get pvc)"
    if "taint" in words:
        return f"Tolerate the taint in spec.tolerations of GPUPool {pool}, or remove it from its nodes"
    if lacking:
        short = ", ".join(sorted(lacking))
        return f"Free {short} on the nodes of GPUPool {pool}, or let the engines ask for less"
    return f"Compare the pod with the nodes of GPUPool {pool} (kubectl describe node)"
