"""What a plan or a Deployment names although no version of it is known: after a restart, or a reinstall.

Owns since when each of these has been absent. It counts as deleted at the second look, and only if its
kind has been there, as the same definition, since the plan or the Deployment was made: otherwise it is
not seen. Input: snapshots. Output: what is absent and not known to be deleted.
"""

from __future__ import annotations

from argosy.control.picture.named import makers_by_deployment, missing_since
from argosy.kube.store import Store
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.seen import SECOND_LOOK_S, ObjectRef


class Absences:
    """Remembers the looks of one process; a restart begins each anew."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._since_s: dict[ObjectRef, float] = {}

    def look(self, snapshot: FleetSnapshot) -> frozenset[ObjectRef]:
        """What is absent by this snapshot and not known to be deleted."""
        if not self._store.is_synced:
            return frozenset()  # nothing is decided yet, and a look at an empty store shows nothing
        missing = missing_since(makers_by_deployment(snapshot).values())
        missing = {ref: made_s for ref, made_s in missing.items() if ref not in snapshot.seen.deleted}
        now_s = snapshot.monotonic_s
        self._since_s = {ref: self._since_s.get(ref, now_s) for ref in missing}
        return frozenset(ref for ref, made_s in missing.items() if not self._is_deleted(ref, made_s, now_s))

    def _is_deleted(self, ref: ObjectRef, made_s: float | None, now_s: float) -> bool:
        if ref.key in self._store.of(ref.plural):
            return False  # it is there and cannot be read
        has_waited = now_s - self._since_s[ref] >= SECOND_LOOK_S
        return has_waited and self._store.kinds[ref.plural].crd.vouches_since(made_s)
