"""Which pods count, and for what: the one definition.

Owns five questions about an engine pod: whether it takes new requests, whether its capacity counts,
whether it still answers, whether it has never served, whether it may have requests in flight. Input: a pod
and the keys of those that are lost (silent, stranded, stuck), which `control.state` finds. Output: yes or no.
"""

from __future__ import annotations

from collections.abc import Set

from argosy.snapshot.cluster import PodState


def takes_requests(pod: PodState, lost: Set[str]) -> bool:
    """True if new requests reach the engine: it is ready, not draining and not lost."""
    return pod.ready and not pod.deleting and pod.is_active and pod.key not in lost


def is_alive(pod: PodState, lost: Set[str]) -> bool:
    """True if the replica counts as capacity, now or once it has loaded."""
    return pod.is_active and not pod.deleting and pod.key not in lost


def never_served(pod: PodState) -> bool:
    """True if the engine only loads: one that was ready before, or has crashed, has started or restarted."""
    return pod.is_active and not pod.ready and not pod.started and not pod.restarts


def may_have_requests(pod: PodState) -> bool:
    """True if requests may be in flight on the engine: it has served, though it may not be ready any more."""
    return bool(pod.address) and pod.is_active and (pod.ready or pod.started)


def answers(pod: PodState) -> bool:
    """True if the engine finishes the requests that it has: ready, draining or not."""
    return pod.ready and bool(pod.address)
