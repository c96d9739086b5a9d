"""The watches: every object that decisions read, kept in the store.

Owns which kinds can be seen, the comparison of the store with listings, and what a watch has missed.
Input: watch events (`kopf_thread`) and listings. Output: the store; one callback for each change, one
where something is no longer seen, or seen again, and two where the API server was restored from a backup.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

from argosy.api.kinds import CUSTOM, USER_SPECS, WATCHED, kind_of
from argosy.control.triggers import RESTORED
from argosy.errors import ActuationError
from argosy.kube.api import ApiServer, path_of
from argosy.kube.failures import words
from argosy.kube.store import Object, Store, object_key
from argosy.reconcile.clock import Clock
from argosy.reconcile.reporting.troubles import Troubles
from argosy.reconcile.watch.deletions import Deletions
from argosy.reconcile.watch.failing import FailingWatches
from argosy.reconcile.watch.kopf_thread import Backoffs, Found, KopfThread
from argosy.snapshot.admission.quotas import LIMIT_RANGES, QUOTAS
from argosy.snapshot.scaling.autoscalers import AUTOSCALERS
from argosy.snapshot.seen import ROLE, KindSeen, KindState, ObjectRef, problems

log = logging.getLogger(__name__)

ACTIVITY = "caches"

RESYNC_S = 30.0
"""Every kind is compared with a listing so often."""

QUICK_S = 5.0
"""The kinds that users write are few and small: they are compared so often."""

MISSING_S = 2.0
"""A kind that cannot be listed is asked for so often."""

MISSED_AFTER_S = 3.0
"""A watch reports a change within milliseconds; one that a listing found so long ago, it has missed."""

SETTLED_S = 10.0
"""A watch that has just started lists everything first."""

_DONE_WITHOUT = "the %s cannot be listed (%s): %s; allow list and watch, as %s does"
_KNOWN_WITHOUT = {
    AUTOSCALERS: (
        "that one sets the number of a Deployment's replicas is known only from the first number that it sets"
    ),
    QUOTAS: (
        "what they leave of GPUs is not known, so that a plan may want more than they admit; what they refuse"
        " is then left alone for a while"
    ),
    LIMIT_RANGES: "the one that refuses a pod is not named",
}
"""What is lost without the kinds that are not needed."""

_STATES = {404: KindState.MISSING, 403: KindState.FORBIDDEN}


@dataclass(frozen=True, slots=True)
class Change:
    """One object before and after; `current` is None where it was deleted."""

    kind: str
    previous: Object | None
    current: Object | None


@dataclass(frozen=True, slots=True)
class Listeners:
    """Who is notified. on_change: of a changed object; on_picture: why the picture is less or more
    complete than before; on_missed: kind and number of changes that only a listing found; on_restored:
    by what it shows that the API server was restored to an earlier state; on_relisted: of each kind that
    was listed for the first time since, or since the operator may list it, with that cause; on_failing: of
    the kinds whose watches fail now."""

    on_change: Callable[[Change], None]
    on_picture: Callable[[str], None] = lambda sentence: None
    on_missed: Callable[[str, int], None] = lambda kind, number: None
    on_restored: Callable[[str], None] = lambda proof: None
    on_relisted: Callable[[str, str], None] = lambda kind, cause: None
    on_failing: Callable[[frozenset[str]], None] = lambda kinds: None


@dataclass(frozen=True, slots=True)
class _Found:
    """A change that a listing found. version: the object's; None: the object is gone."""

    version: int | None
    at_s: float


class Watches:
    """Keeps a store up to date with the API server."""

    def __init__(
        self, store: Store, api: ApiServer, clock: Clock, troubles: Troubles, listeners: Listeners
    ) -> None:
        self._store, self._api, self._clock, self._listeners = store, api, clock, listeners
        self._troubles = troubles
        self._deletions = Deletions(store, api, clock)
        self._kopf = KopfThread(Found(self.seen, self.watch_stuck), clock, self.watches_ended)
        self._is_stuck = False
        self._failing = FailingWatches(store, api, clock, troubles, listeners.on_failing)
        self._watched_since_s = float("inf")
        self._found: dict[tuple[str, str], _Found] = {}
        self._lost: dict[str, frozenset[str]] = dict.fromkeys(WATCHED, frozenset())
        self._has_looked = False
        self._emptied: set[str] = set()
        self._list_now = asyncio.Event()
        self._asked = asyncio.Event()
        """A deletion was reported: whether a user made it is to be found out at once."""

    @property
    def watched(self) -> frozenset[str]:
        """The kinds that kopf watches."""
        return self._kopf.kinds

    async def run(self, kubeconfig: Path | None) -> None:
        """Watch until `stop`."""
        await self._kopf.run(kubeconfig)

    def stop(self) -> None:
        """End the watches; `run` then returns."""
        self._kopf.stop()

    def list_soon(self) -> None:
        """Compare every kind with a listing at once, not only when the next one is due."""
        self._list_now.set()

    async def keep_synced(self, on_looked: Callable[[float], None]) -> None:
        """Compare the store with listings until cancelled.

        on_looked: called after each complete pass (every kind was listed, or cannot be) with the time when
            the pass began (monotonic seconds)
        """
        full_s = -RESYNC_S
        while True:
            began_s = self._clock.monotonic_s()
            if self._list_now.is_set() or began_s - full_s >= RESYNC_S:
                self._list_now.clear()
                await self.resync_until_complete()
                full_s = self._clock.monotonic_s()
                on_looked(began_s)
            else:
                await self._resync_quietly()
            await self._try_failing()
            self._follow_kinds()
            self._report_missed()
            lacks = any(kind_of(plural).is_needed for plural in self._unlisted())
            await self._clock.wait(self._list_now, MISSING_S if lacks else QUICK_S)

    async def judge_deletions(self) -> None:
        """Find out at once who deleted what a watch has reported as deleted, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            before = self._problems()
            for kind in sorted(self._deletions.waiting()):
                await self._judge(kind)
            self._tell_problems(before)

    async def resync(self, kinds: Iterable[str] = WATCHED) -> None:
        """Compare the store with a listing of each kind: finds changes that a watch has missed.

        A kind that does not exist or may not be listed is noted as such. Raises ActuationError where the
        API server does not answer, or refuses a listing for another reason; the other kinds have been
        compared: just after a kind was installed, the API server refuses to list it once.
        """
        before, refused = self._problems(), None
        for plural in kinds:
            newest = self._store.newest(plural)
            try:
                items, version = await self._api.list(path_of(plural))
            except ActuationError as error:
                if not error.status:
                    raise
                if error.status in _STATES:
                    await self._note_unlisted(plural, error)
                else:
                    refused = error
                continue
            if proof := self._store.restored_by(plural, items, version, newest):
                self._restore(proof)
            await self._compare(plural, items, version)
        self._tell_problems(before)
        if refused is not None:
            raise refused

    async def resync_until_complete(self) -> None:
        """Resync until it succeeds once."""
        for delay_s in Backoffs():
            try:
                await self.resync()
            except ActuationError as error:
                # Just after a kind was installed it asks to come again: that is no reason for alarm.
                level = logging.INFO if error.status == HTTPStatus.TOO_MANY_REQUESTS else logging.WARNING
                self._troubles.failed(ACTIVITY, f"objects could not be listed: {error}", level=level)
                await self._clock.sleep(delay_s)
            else:
                return self._troubles.succeeded(ACTIVITY)

    def seen(self, kind: str, event: Mapping[str, Any]) -> None:
        """One event of a watch."""
        item = event["object"]
        self._forgive(kind, item, is_gone=event["type"] == "DELETED")
        key = object_key(item)
        if event["type"] != "DELETED":
            is_back = key in self._store.unseen(kind)
            if event["type"] is None and _version(item) < _version(self._store.of(kind).get(key, item)):
                self._list_now.set()  # a new watch lists first: was the API server restored meanwhile?
            previous = self._store.put(kind, item)
            if previous != item and not self._store.is_restored(kind):
                # Also with the same spec as before it is a new object: it has no status yet.
                self._listeners.on_change(Change(kind, None if is_back else previous, item))
            return
        self._store.drop(kind, item)
        if kind not in CUSTOM:
            self._listeners.on_change(Change(kind, item, None))
        elif key in self._store.unseen(kind):
            self._deletions.report(ObjectRef(kind, key))
            self._asked.set()

    async def watches_ended(self, error: BaseException | None) -> float:
        """The watches have ended by themselves; returns the seconds until they start again."""
        before = self._failing.unreported
        pause_s = await self._failing.ended(self._kopf.kinds, error)
        await self._resync_quietly()
        await self._try_failing()
        self._follow_kinds()
        self._tell_failing(before)
        return pause_s

    def watch_stuck(self) -> None:
        """A request of the watches keeps failing."""
        self._is_stuck = True

    async def _try_failing(self) -> None:
        before = self._failing.unreported
        if self._is_stuck:
            self._is_stuck = False
            await self._failing.look(self._kopf.kinds)
        await self._failing.try_again(self._unlisted())
        self._tell_failing(before)

    def _tell_failing(self, before: frozenset[str]) -> None:
        """Fleet shows which watches fail."""
        if self._failing.unreported != before:
            self._listeners.on_picture("the watches that fail have changed")

    async def _resync_quietly(self) -> None:
        try:
            await self.resync({*USER_SPECS, *self._unlisted(), *self._failing.unreported})
        except ActuationError as error:
            log.debug("the quick comparison was left out: %s", error)

    async def _compare(self, plural: str, items: Sequence[Object], version: int) -> None:
        was, before = self._store.kinds[plural], dict(self._store.of(plural))
        if self._is_emptied(plural, items, before):
            return
        cause = self._why_anew(was)
        is_changed = self._store.replace(plural, items, version, self._clock.monotonic_s())
        if cause:  # no object is known to be created, changed or deleted
            self._listeners.on_relisted(plural, cause)
        elif is_changed:
            self._report_differences(plural, before)
        must_look = was.state is not KindState.SEEN or not was.crd.exists or self._store.unseen(plural)
        if plural in CUSTOM and must_look:
            await self._judge(plural)

    def _why_anew(self, was: KindSeen) -> str:
        """Why the next listing shows objects that may have been there before; empty where it does not."""
        if self._store.is_restored(was.plural):
            return RESTORED
        if was.state is KindState.FORBIDDEN and was.compared_s is None:
            return f"the operator may list {was.plural} now"
        return ""

    def _restore(self, proof: str) -> None:
        """Begin anew: what was seen of versions, deletions and events is of a history that was undone."""
        log.warning(
            "the API server was restored to an earlier state: %s; every kind is listed anew, and nothing is"
            " removed until a decision has been made on that",
            proof,
        )
        self._store.restore(proof)
        self._deletions.forget()
        self._emptied.clear()
        self._start(self._kopf.kinds)
        self._list_now.set()
        self._listeners.on_restored(proof)

    def _is_emptied(self, plural: str, items: Sequence[Object], before: Mapping[str, Object]) -> bool:
        """Whether a listing lacks every node, pod or Deployment for the first time.

        All of a kind never go at once without events; the next listing is believed.
        """
        is_empty = plural not in CUSTOM and len(before) > 1 and not items
        if not is_empty or plural in self._emptied:
            self._emptied.discard(plural)
            return False
        self._emptied.add(plural)
        log.warning(
            "a listing of %s is empty, and %d were there: the next one is waited for", plural, len(before)
        )
        return True

    async def _judge(self, kind: str) -> None:
        """Look at the kind's definition, and report the objects that a user has deleted."""
        await self._deletions.look(kind)
        for item in self._deletions.believed(kind):
            self._listeners.on_change(Change(kind, item, None))
        for key in sorted(self._store.unseen(kind).keys() - self._lost[kind]):
            log.warning("%s is not seen any more: what was planned for it is kept", ObjectRef(kind, key))
        self._lost[kind] = frozenset(self._store.unseen(kind))

    async def _note_unlisted(self, plural: str, error: ActuationError) -> None:
        was = self._store.kinds[plural]
        self._store.note(replace(was, state=_STATES[error.status], problem=words(error)))
        if was.state is not _STATES[error.status] and not kind_of(plural).is_needed:
            log.warning(_DONE_WITHOUT, plural, words(error), _KNOWN_WITHOUT[plural], ROLE)
        if plural in CUSTOM:
            await self._deletions.look(plural)

    def _problems(self) -> tuple[str, ...]:
        """What cannot be seen; the age of the last comparison is not looked at."""
        return problems(self._store.kinds.values(), 0.0) if self._has_looked else ()

    def _tell_problems(self, before: tuple[str, ...]) -> None:
        """Say once what can no longer be seen, or is seen again."""
        self._has_looked = True
        now = self._problems()
        if now == before:
            return
        sentence = "; ".join(now) or "every kind is seen again"
        log.log(logging.WARNING if self._unlisted() else logging.INFO, "%s", sentence)
        self._listeners.on_picture(sentence)

    def _unlisted(self) -> tuple[str, ...]:
        """Kinds that could not be listed at the last attempt."""
        states = (KindState.MISSING, KindState.FORBIDDEN, KindState.TERMINATING)
        return tuple(k for k, seen in self._store.kinds.items() if seen.state in states)

    def _follow_kinds(self) -> None:
        """Watch exactly the kinds that can be listed: a watch of any other ends kopf."""
        listed = {k for k, seen in self._store.kinds.items() if seen.compared_s is not None}
        wanted = frozenset(listed.difference(self._unlisted(), self._failing.kinds))
        if wanted != self._kopf.kinds:
            self._start(wanted)

    def _start(self, kinds: frozenset[str]) -> None:
        self._kopf.watch(kinds)
        self._watched_since_s = self._clock.monotonic_s()
        self._found.clear()

    def _report_differences(self, kind: str, before: dict[str, Object]) -> None:
        after, unseen = self._store.of(kind), self._store.unseen(kind)
        for key in before.keys() | after.keys():
            old, new = before.get(key), after.get(key)
            if old == new or _is_same_version(old, new):
                continue
            self._await_event(kind, old, new)
            if new is not None or key not in unseen:
                self._listeners.on_change(Change(kind, old, new))

    def _await_event(self, kind: str, old: Object | None, new: Object | None) -> None:
        now_s = self._clock.monotonic_s()
        item = new or old
        is_reported = kind not in self._failing.unreported
        if item is None or not is_reported or now_s - self._watched_since_s < SETTLED_S:
            return
        version = None if new is None else _version(new)
        self._found[kind, _uid(item)] = _Found(version, now_s)

    def _forgive(self, kind: str, item: Object, *, is_gone: bool) -> None:
        """The watch has reported this: it has not missed it."""
        found = self._found.get((kind, _uid(item)))
        if found is not None and (is_gone or (found.version is not None and _version(item) >= found.version)):
            del self._found[kind, _uid(item)]

    def _report_missed(self) -> None:
        """What listings have found and no watch has reported since: then the watches start again."""
        now_s = self._clock.monotonic_s()
        missed = [key for key, found in self._found.items() if now_s - found.at_s >= MISSED_AFTER_S]
        for kind, number in sorted(Counter(kind for kind, _ in missed).items()):
            log.warning(
                "the watch of %s has not reported %d changes that a listing found %g s ago: the watches are"
                " started again",
                kind,
                number,
                MISSED_AFTER_S,
            )
            self._listeners.on_missed(kind, number)
        if missed:
            self._start(self._kopf.kinds)


def _uid(item: Object) -> str:
    return str(item["metadata"].get("uid") or object_key(item))


def _is_same_version(old: Object | None, new: Object | None) -> bool:
    """A listing leaves kind and apiVersion out of its items: they differ from a watch's by these alone."""
    if old is None or new is None:
        return False
    return (_uid(old), _version(old)) == (_uid(new), _version(new))


def _version(item: Object) -> int:
    version = str(item["metadata"].get("resourceVersion", "0"))
    return int(version) if version.isdigit() else 0
