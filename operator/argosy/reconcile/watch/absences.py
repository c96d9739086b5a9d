"""What a plan or a Deployment names although no version of it is known: after a restart, or a reinstall.

Owns since when each of these has been absent. It counts as deleted at the second look, and only if its
kind has been there, as the same definition, since the plan or the Deployment was made: otherwise it is
not seen. What is known to be deleted has a grace: the one that the plan tells, or one that begins at the
first look. Input: snapshots. Output: what is absent, and what of it is known to be deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from argosy.control.picture.named import makers_by_deployment, missing_since
from argosy.kube.store import Store
from argosy.snapshot.fleet import FleetSnapshot, recorded_removals
from argosy.snapshot.seen import SECOND_LOOK_S, ObjectRef


@dataclass(frozen=True, slots=True)
class Gone:
    """What is named and not there.

    absent:  to be kept as it is
    parting: what of it is known to be deleted, with the end of its grace (seconds since the epoch)
    deleted: known to be deleted, and its grace has ended
    """

    absent: frozenset[ObjectRef] = frozenset()
    parting: Mapping[ObjectRef, float] = field(default_factory=dict)
    deleted: frozenset[ObjectRef] = frozenset()


class Absences:
    """Remembers the looks of one process; a restart begins each anew."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._since_s: dict[ObjectRef, float] = {}

    def look(self, snapshot: FleetSnapshot) -> Gone:
        """What is absent by this snapshot, and what of it is known to be deleted."""
        if not self._store.is_synced:
            return Gone()  # nothing is decided yet, and a look at an empty store shows nothing
        missing = missing_since(makers_by_deployment(snapshot).values())
        missing = {ref: made_s for ref, made_s in missing.items() if ref not in snapshot.seen.deleted}
        now_s = snapshot.monotonic_s
        self._since_s = {ref: self._since_s.get(ref, now_s) for ref in missing}
        recorded = recorded_removals(snapshot.plans)
        known = {
            ref: recorded.get(ref, self._end_s(ref, snapshot))
            for ref, made_s in missing.items()
            if self._is_deleted(ref, made_s, now_s, is_recorded=ref in recorded)
        }
        over = frozenset(ref for ref, until_s in known.items() if until_s <= snapshot.now_s)
        parting = {ref: until_s for ref, until_s in known.items() if ref not in over}
        return Gone(frozenset(missing) - over, parting, over)

    def _end_s(self, ref: ObjectRef, snapshot: FleetSnapshot) -> float:
        """The grace of what was deleted while no process looked begins at the first look."""
        waited_s = snapshot.monotonic_s - self._since_s[ref]
        return snapshot.now_s + snapshot.fleet_spec.deletion_grace_seconds - waited_s

    def _is_deleted(self, ref: ObjectRef, made_s: float | None, now_s: float, *, is_recorded: bool) -> bool:
        if ref.key in self._store.of(ref.plural):
            return False  # it is there and cannot be read
        has_waited = is_recorded or now_s - self._since_s[ref] >= SECOND_LOOK_S
        return has_waited and self._store.kinds[ref.plural].crd.vouches_since(made_s)
