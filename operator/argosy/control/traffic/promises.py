"""Classes whose requests have begun to miss their SLO, or to be refused so often that they miss it.

Owns when their status should tell it at once: at a rate that is declared, nothing else calls for a
decision, and the next regular look may be half a minute away. Input: a snapshot, what was measured up to
it, the classes that missed their SLO before. Output: those that do now; triggers.
"""

from __future__ import annotations

from collections.abc import Iterable

from argosy.api.conditions import ConditionStatus, ConditionType, find_condition
from argosy.control.candidates.workload import slo_of
from argosy.control.cells import known_cells
from argosy.control.triggers import Trigger
from argosy.demand.observed import Measured, ObservedHistory, observed
from argosy.keys import ClassKey
from argosy.snapshot.fleet import FleetSnapshot


def missing_slo(snapshot: FleetSnapshot, history: ObservedHistory, measured: Measured) -> frozenset[ClassKey]:
    """The classes that certainly missed a term of their SLO in the last minutes."""
    cells = known_cells(snapshot)
    return frozenset(
        key
        for key, item in snapshot.classes.items()
        if observed(history, measured, key, cells.groups_of(key)).missed(slo_of(item)) is not None
    )


def slo_triggers(
    snapshot: FleetSnapshot, before: frozenset[ClassKey], now: frozenset[ClassKey]
) -> Iterable[Trigger]:
    """One for each class that its status still calls Ready.

    A class at the edge of its SLO calls for one decision between two regular looks, not for one per reading:
    until the next look its status stays not Ready.
    """
    for key in sorted(now - before):
        ready = find_condition(snapshot.classes[key].status.conditions, ConditionType.READY)
        if ready is not None and ready.status is ConditionStatus.TRUE:
            yield Trigger(f"requests of {key} miss its SLO", is_progress=True)
