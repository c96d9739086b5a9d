"""Watches that fail: of which kinds, why, and when each is tried again.

kopf repeats a request that is refused every two seconds for ever, or ends as a whole, and does not say which
kind it is of. So each kind is then watched for a second by a request of its own: kinds that are refused are
left out of kopf until such a request succeeds, and the others go on.
Owns the pauses between attempts (growing, bounded, with jitter). Input: that requests of kopf's fail, or that
it has ended. Output: the kinds to leave out, sentences for the log and /readyz, and the reason in the store,
which Fleet shows.
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
LONGEST_TOGETHER_S = 15.0
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
        self._turn = asyncio.Lock()

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
        async with self._turn:
            if not await self._look(kinds):
                self._failed(EVERY, f"the watches ended and are started again: {_words(error)}", kinds)
            together = self._failing.get(EVERY)
            return FIRST_S if together is None else max(0.0, together.next_s - self._clock.monotonic_s())

    async def look(self, kinds: frozenset[str]) -> None:
        """Requests of the watches of these kinds fail again and again: find out which ones are refused."""
        async with self._turn:
            if EVERY not in self._failing:
                await self._look(kinds)

    async def try_again(self, unlisted: Collection[str]) -> None:
        """Ask for the watches that are due. unlisted: kinds that cannot even be listed: that is reported."""
        async with self._turn:
            await self._try_again(unlisted)

    async def _look(self, kinds: frozenset[str]) -> bool:
        """Whether watches of these kinds are refused: reports them, or that all are."""
        refused = _refused(await self._answers(kinds))
        if len(refused) == len(kinds) > 1:
            self._failed(EVERY, next(iter(refused.values())), kinds)
        else:
            self._failed_alone(refused)
        return bool(refused)

    async def _try_again(self, unlisted: Collection[str]) -> None:
        for kind in self.kinds.intersection(unlisted):
            self._troubles.forget((_activity(kind),))
            self._works(kind, {kind})
        self._note(self.unreported.intersection(unlisted), "")
        now_s = self._clock.monotonic_s()
        answers = await self._answers(kind for kind in self.kinds if self._failing[kind].next_s <= now_s)
        for kind, sentence in answers.items():
            if sentence:
                self._failed(kind, sentence, {kind})
            else:
                self._works(kind, {kind})
        together = self._failing.get(EVERY)
        if together is not None and now_s >= together.next_s + STEADY_S:
            await self._try_together()

    async def _try_together(self) -> None:
        """Whether the watches that failed together work again, or which of them do not."""
        others = self.unreported - self.kinds
        answers = await self._answers(others)
        refused = _refused(answers)
        if len(answers) < len(others):
            return
        if len(refused) == len(others) > 1:
            self._failed(EVERY, next(iter(refused.values())), others)
            return
        self._failed_alone(refused)
        self._works(EVERY, others - refused.keys())

    async def _answers(self, kinds: Iterable[str]) -> Mapping[str, str]:
        """Why the watch of each kind is refused; empty where it is not. An API server that is away says
        neither: its kinds are left out."""
        every = sorted(kinds)
        answers = await asyncio.gather(*map(self._answer, every))
        return {kind: answer for kind, answer in zip(every, answers, strict=True) if answer is not None}

    async def _answer(self, kind: str) -> str | None:
        try:
            await self._api.watch_briefly(path_of(kind), self._store.newest(kind))
        except ActuationError as error:
            return str(error) if error.status else None
        return ""

    def _failed_alone(self, refused: Mapping[str, str]) -> None:
        for kind, sentence in refused.items():
            self._failed(kind, sentence, {kind})

    def _failed(self, name: str, sentence: str, kinds: Iterable[str]) -> None:
        was = self._failing.get(name)
        longest_s = LONGEST_TOGETHER_S if name == EVERY else LONGEST_S
        pause_s = FIRST_S if was is None else min(2 * was.pause_s, longest_s)
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


def _refused(answers: Mapping[str, str]) -> dict[str, str]:
    return {kind: sentence for kind, sentence in answers.items() if sentence}


def _activity(name: str) -> str:
    return "watches" if name == EVERY else f"watch of {name}"


def _words(error: BaseException | None) -> str:
    """kopf's error, without the answer's body, which it adds to the text."""
    return str(getattr(error, "message", None) or error or type(error).__name__)
