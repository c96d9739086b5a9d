"""What is reported of options that the cluster refuses, besides conditions: events and counts.

Input: the quarantines of the decision before and of this one. Output: `EventRecord`s of ServedModels, and
numbers by what refuses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from argosy.api import ServedModel
from argosy.api.schema.timestamp import rfc3339
from argosy.control.candidates.variants import variants_of
from argosy.control.decision import EventRecord
from argosy.control.memory import Quarantines
from argosy.control.refused.evidence import option_of
from argosy.snapshot.fleet import FleetSnapshot

REFUSED, TRIED_AGAIN = "ReplicasRefused", "ReplicasTriedAgain"
"""Reasons of the events."""


def refused_events(snapshot: FleetSnapshot, before: Quarantines, now: Quarantines) -> Iterator[EventRecord]:
    """One for each pause that begins, and one where the object that refused has changed."""
    if not before and not now:
        return
    for key, model in sorted(snapshot.models.items()):
        for variant in variants_of(snapshot, model):
            option = option_of(key.namespace, variant.name)
            was, each = before.get(option), now.get(option)
            if each is None or each == was:
                continue
            refusal = each.refusal
            if each.num:
                message = (
                    f"{refusal.name} refuses replicas of {variant.name}: {refusal.problem}. {refusal.remedy}."
                    f" Other hardware is used where it can serve; they are tried again at"
                    f" {rfc3339(each.until_s)}."
                )
                yield EventRecord(ServedModel.KIND, key, "Warning", REFUSED, message)
            elif was is not None and was.num:
                message = (
                    f"What refused replicas of {variant.name} has changed ({refusal.name}): they may be"
                    " planned again."
                )
                yield EventRecord(ServedModel.KIND, key, "Normal", TRIED_AGAIN, message)


def refused_counts(quarantines: Quarantines, now_s: float) -> dict[str, int]:
    """Options that are left alone now, by the kind of what refuses them."""
    return dict(Counter(q.refusal.refuser.value for q in quarantines.values() if q.is_active(now_s)))
