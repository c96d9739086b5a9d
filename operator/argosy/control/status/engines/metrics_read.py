"""Engines whose metrics cannot be read, in words: the condition MetricsRead.

Owns the sentence's parts. Input: what is reported, and the pods of an object. Output: a `Verdict`, or
none for an object whose engines could be read all the time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from argosy.api.conditions import Condition, ConditionType, Reason, find_condition
from argosy.control.status.reported import Reported
from argosy.control.status.verdict import Verdict, false, true
from argosy.snapshot.cluster import PodState
from argosy.snapshot.telemetry import UnreadCause

MOST_NAMED = 3
"""Pods that a sentence names; of more, it gives the number."""

_REASON = {
    UnreadCause.OLD_METRICS: Reason.METRICS_OLD,
    UnreadCause.BAD_METRICS: Reason.METRICS_UNREADABLE,
    UnreadCause.NO_METRICS: Reason.METRICS_UNREADABLE,
    UnreadCause.STATUS: Reason.METRICS_UNREADABLE,
    UnreadCause.TLS: Reason.METRICS_OVER_TLS,
    UnreadCause.UNREACHABLE: Reason.METRICS_UNREACHABLE,
}


def metrics_verdicts(
    reported: Reported, pods: Iterable[PodState], before: tuple[Condition, ...]
) -> list[Verdict]:
    """The condition of an object with these engines; empty where it was never False.

    Of several reasons the one of most engines is named, and the number of the others.
    """
    mine = [pod for pod in pods if pod.should_answer]
    unread = {pod.key: reported.unread_engines[pod.key] for pod in mine if pod.key in reported.unread_engines}
    kind = ConditionType.METRICS_READ
    if not unread:
        return [] if find_condition(before, kind) is None else [true(kind, Reason.METRICS_READ)]
    counts = Counter(_REASON[each.cause] for each in unread.values())
    reason = min(counts, key=lambda each: (-counts[each], each.value))
    keys = sorted(key for key, each in unread.items() if _REASON[each.cause] is reason)
    more = f" and {len(keys) - MOST_NAMED} more" if len(keys) > MOST_NAMED else ""
    named = f"{', '.join(keys[:MOST_NAMED])}{more}"
    num_others = len(unread) - len(keys)
    others = f" Those of {num_others} more cannot be read for another reason." if num_others else ""
    engines = f"{len(keys)} of {len(mine)} engines ({named})"
    return [false(kind, reason, engines=engines, detail=unread[keys[0]].detail, others=others)]
