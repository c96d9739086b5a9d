"""The scheduler's words for a pod that it finds no node for.

Owns the reading of the message of the condition PodScheduled (reason Unschedulable). Input: the message, what
the pod is in, the resource of its GPUs. Output: a `ClusterRefusal`, or None where GPUs are missing: the
planner counts these itself. Where it counts some as free, the other reasons are what keeps the pod off. What
the scheduler tried by preemption is left out.
"""

from __future__ import annotations

import re

from argosy.snapshot.admission.words import MOST_TEXT, ClusterRefusal, Refuser

_PREEMPTION = re.compile(
    r"\.? ?(?:(?:no new claims to deallocate|still not schedulable), )?preemption: .*", re.DOTALL
)
"""With what the scheduler says of claims since it reads DRA's."""

_COUNTED = re.compile(
    r"\d+ (?:Insufficient (?P<resource>[^\s,]*[^\s,.])"
    r"|node\(s\) (?:didn't match Pod's node (?:affinity|selector).*|had (?:untolerated )?taint.*"
    r"|were unschedulable|were not ready))"
)
"""Reasons that planning counts by itself, of nodes of the pool; those of other nodes read alike."""
_SHORT_OF = re.compile(r"Insufficient ([^\s,]*[^\s,.])")


def scheduling_words(message: str) -> str:
    """The reasons, without what preemption would not help."""
    return _PREEMPTION.sub("", " ".join(message.split()))[:MOST_TEXT].rstrip(". ")


def waits_for_claim(words: str) -> bool:
    """Whether a pod's PersistentVolumeClaim is missing or not bound: the scheduler looks at no node then, an
    autoscaler brings none, and more of them would not help."""
    return "persistentvolumeclaim" in words.lower()


def scheduling_refusal(
    words: str, namespace: str, pool: str, resource: str, *, is_kept_off: bool = False
) -> ClusterRefusal | None:
    """Why no node takes a pod of a pool; None where GPUs of this resource are what nodes lack, or where
    nothing is said.

    is_kept_off: nodes that lack GPUs do not explain it, since others have them
    """
    lacking = set(_SHORT_OF.findall(words))
    if not words or (resource in lacking and not is_kept_off):
        return None
    remedy = _remedy(words, lacking - {resource}, namespace, pool)
    return ClusterRefusal(Refuser.SCHEDULER, "The scheduler", words, remedy, pool)


def uncounted_reasons(words: str, resource: str) -> bool:
    """Whether the scheduler names a reason besides those that planning counts."""
    for reason in words.partition(": ")[2].split(", "):
        found = _COUNTED.fullmatch(reason)
        if found is None or found["resource"] not in (None, resource):
            return True
    return False


def num_nodes_short_of(words: str, resource: str) -> int:
    """How many nodes lack this resource, in the scheduler's words."""
    found = re.search(rf"(\d+) Insufficient {re.escape(resource)}(?![\w./-])", words)
    return int(found[1]) if found is not None else 0


def _remedy(words: str, lacking: set[str], namespace: str, pool: str) -> str:
    if "volume node affinity conflict" in words or "volume zone" in words:
        return (
            f"Let spec.nodeSelector of GPUPool {pool} select only nodes in the zone of the volume, or use one"
            " that all its nodes reach"
        )
    if waits_for_claim(words):
        return f"Create or bind the PersistentVolumeClaim (kubectl -n {namespace} get pvc)"
    if "taint" in words:
        return f"Tolerate the taint in spec.tolerations of GPUPool {pool}, or remove it from its nodes"
    if lacking:
        short = ", ".join(sorted(lacking))
        return f"Free {short} on the nodes of GPUPool {pool}, or let the engines ask for less"
    return f"Compare the pod with the nodes of GPUPool {pool} (kubectl describe node)"
