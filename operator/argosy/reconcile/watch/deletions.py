"""Whether an object that is gone was deleted by a user, or is only not seen.

Owns the looks at CustomResourceDefinitions, and when an absence is believed. A DELETED event of a kind
whose definition exists, is not being deleted and is older than the object is a user's deletion; an
absence that only a listing shows is believed at the second look, under the same condition. Anything
else is not seen: the store keeps its last version. Input: the store and the API server. Output:
the objects that users have deleted.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from argosy.api.crd.resource import GROUP
from argosy.api.kinds import CUSTOM
from argosy.api.schema.timestamp import seconds_of
from argosy.errors import ActuationError
from argosy.kube.api import DEFINITIONS, ApiServer
from argosy.kube.failures import words
from argosy.kube.store import Object, Store
from argosy.reconcile.clock import Clock
from argosy.snapshot.seen import ROLE, SECOND_LOOK_S, CrdLook, KindState, ObjectRef

log = logging.getLogger(__name__)

FORBIDDEN = 403

_MAY_NOT_LOOK = (
    "the operator may not look at the CustomResourceDefinition of %s (%s), so it cannot tell a deleted object"
    " from one that it does not see, and keeps what was planned for it; allow it get on"
    " customresourcedefinitions, as %s does"
)


class Deletions:
    """Decides about the store's unseen objects."""

    def __init__(self, store: Store, api: ApiServer, clock: Clock) -> None:
        self._store, self._api, self._clock = store, api, clock
        self._reported: set[ObjectRef] = set()
        """A watch has reported that they were deleted."""
        self._since_s: dict[ObjectRef, float] = {}
        """Monotonic time of the first look that did not find them."""

    def report(self, ref: ObjectRef) -> None:
        """A watch has reported a deletion."""
        self._reported.add(ref)

    def forget(self) -> None:
        """The API server was restored: what was reported as deleted may be there."""
        self._reported.clear()
        self._since_s.clear()

    def waiting(self) -> frozenset[str]:
        """Kinds of which objects are unseen."""
        return frozenset(kind for kind in CUSTOM if self._store.unseen(kind))

    async def look(self, kind: str) -> None:
        """Look at the kind's definition; the store has the answer afterwards."""
        crd = await self._definition(kind)
        seen = self._store.kinds[kind]
        state = seen.state
        if crd.is_terminating:
            state = KindState.TERMINATING
        elif crd.exists is False:
            state = KindState.MISSING
        elif state is KindState.TERMINATING:
            state = KindState.SEEN
        self._store.note(replace(seen, state=state, crd=crd))

    def believed(self, kind: str) -> list[Object]:
        """Unseen objects that a user has deleted, by what is known now; the store forgets them."""
        now_s, crd = self._clock.monotonic_s(), self._store.kinds[kind].crd
        found: list[Object] = []
        unseen = dict(self._store.unseen(kind))
        for key, item in unseen.items():
            ref = ObjectRef(kind, key)
            since_s = self._since_s.setdefault(ref, now_s)
            is_sure = ref in self._reported or now_s - since_s >= SECOND_LOOK_S
            made_s = seconds_of(item["metadata"].get("creationTimestamp"))
            if is_sure and crd.vouches_since(made_s):
                found.append(self._store.believe_deleted(kind, key, self._clock.now_s()))
        still = self._store.unseen(kind)
        self._since_s = {r: s for r, s in self._since_s.items() if r.plural != kind or r.key in still}
        self._reported = {r for r in self._reported if r.plural != kind or r.key in still}
        return found

    async def _definition(self, kind: str) -> CrdLook:
        try:
            item = await self._api.find(DEFINITIONS, f"{kind}.{GROUP}")
        except ActuationError as error:
            before = self._store.kinds[kind].crd
            if error.status == FORBIDDEN and not before.problem:
                log.warning(_MAY_NOT_LOOK, kind, error, ROLE)
            return CrdLook(problem=words(error))
        if item is None:
            return CrdLook(exists=False)
        metadata = item["metadata"]
        created_s = seconds_of(metadata.get("creationTimestamp"))
        return CrdLook(True, created_s, is_terminating="deletionTimestamp" in metadata)
