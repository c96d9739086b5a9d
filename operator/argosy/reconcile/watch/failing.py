"""Watches that fail: of which kinds, why, and when each is tried again.

kopf ends as a whole where the watch of one kind is refused, and it does not say which one. So each kind is
then watched for a second by a request of its own: kinds that are refused are left out of kopf until such a
request succeeds, and the others go on. Where none is refused, or every one, all watches are started again.
Owns the pauses between attempts (growing, bounded, with jitter). Input: kopf's end and its error. Output:
the kinds to leave out, sentences for the log and /readyz, and the reason in the store, which Fleet shows.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from argosy.errors import ActuationError
from argosy.kube.api import ApiServer, path_of
from argosy.kube.store import Store
from argosy.reconcile.clock import Clock
from argosy.reconcile.reporting.troubles import Troubles

EVERY = "all"
"""In place of a kind where the watches fail together."""

FIRST_S = 1.0
LONGEST_S = 60.0
STEADY_S = 30.0
"""Watches that have lasted so long after they failed together work again."""


@dataclass(frozen=True, slots=True)
class _Failing:
    """next_s: when it is tried again (monotonic seconds); pause_s: the pause before that, without jitter."""

    next_s: float
    pause_s: float


class FailingWatches:
    """Which watches fail now.

    show: called with their kinds whenever one begins to fail, or works again
    """

    def __init__(
        self,
        store: Store,
        api: ApiServer,
        clock: Clock,
        troubles: Troubles,
        show: Callable[[frozenset[str]], None],
    ) -> None:
        self._store, self._api, self._clock, self._troubles = store, api, clock, troubles
        self._show = show
        self._failing: dict[str, _Failing] = {}

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds whose watch alone is refused: kopf must not watch them."""
        return frozenset(self._failing) - {EVERY}

    @property
    def unreported(self) -> frozenset[str]:
        """The kinds of which no watch reports changes: listings have to find them."""
        return frozenset(kind for kind, seen in self._store.kinds.items() if seen.unwatched)

    async def ended(self, kinds: frozenset[str], error: BaseException | None) -> float:
        """All watches of these kinds have ended; returns the seconds until they start again."""
        refused = await self._refused(kinds)
        if refused and (len(refused) < len(kinds) or len(kinds) == 1):
            for kind, sentence in refused.items():
                self._failed(kind, sentence, {kind})
            return FIRST_S
        found = next(iter(refused.values()), "") or _words(error)
        self._failed(EVERY, f"the watches ended and are started again: {found}", kinds)
        return self._failing[EVERY].next_s - self._clock.monotonic_s()

    async def try_again(self, unlisted: Collection[str]) -> None:
        """Ask for the watches that are due. unlisted: kinds that cannot even be listed: that is reported."""
        for kind in self.kinds.intersection(unlisted):
            self._troubles.forget((_activity(kind),))
            self._works(kind, {kind})
        now_s = self._clock.monotonic_s()
        due = {kind for kind in self.kinds if self._failing[kind].next_s <= now_s}
        refused = await self._refused(due)
        for kind in sorted(due):
            if kind in refused:
                self._failed(kind, refused[kind], {kind})
            else:
                self._works(kind, {kind})
        together = self._failing.get(EVERY)
        if together is not None and now_s >= together.next_s + STEADY_S:
            self._works(EVERY, self.unreported - self.kinds)

    async def _refused(self, kinds: Collection[str]) -> Mapping[str, str]:
        """Of each kind whose watch is refused, why."""
        every = sorted(kinds)
        answers = await asyncio.gather(*map(self._refusal, every))
        return {kind: sentence for kind, sentence in zip(every, answers, strict=True) if sentence}

    async def _refusal(self, kind: str) -> str:
        try:
            await self._api.watch_briefly(path_of(kind), self._store.newest(kind))
        except ActuationError as error:
            return str(error)
        return ""

    def _failed(self, name: str, sentence: str, kinds: Iterable[str]) -> None:
        was = self._failing.get(name)
        pause_s = FIRST_S if was is None else min(2 * was.pause_s, LONGEST_S)
        jitter = random.uniform(0.5, 1.0)  # noqa: S311  (several operators must not ask in step)
        self._failing[name] = _Failing(self._clock.monotonic_s() + jitter * pause_s, pause_s)
        self._troubles.failed(_activity(name), sentence)
        self._note(kinds, sentence)
        if was is None:
            self._show(frozenset(self._failing))

    def _works(self, name: str, kinds: Iterable[str]) -> None:
        del self._failing[name]
        self._troubles.succeeded(_activity(name))
        self._note(kinds, "")
        self._show(frozenset(self._failing))

    def _note(self, kinds: Iterable[str], sentence: str) -> None:
        for kind in kinds:
            self._store.note(replace(self._store.kinds[kind], unwatched=sentence))


def _activity(name: str) -> str:
    return "watches" if name == EVERY else f"watch of {name}"


def _words(error: BaseException | None) -> str:
    """kopf's error, without the answer's body, which it adds to the text."""
    return str(getattr(error, "message", None) or error or type(error).__name__)
