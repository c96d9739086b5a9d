"""Records what a world shows while a case runs, twice a second, and makes its `Outcome`.

Owns the clock of a case: `strike` is its zero. Input: a `Reader`. Output: an `Outcome`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence

from argosy.client.records import RequestRecord
from argosy_sim.faults.outcome import Outcome, Said
from argosy_sim.faults.picture import Object, Picture, revision
from argosy_sim.faults.reading import Reader

LOOK_S = 0.5


class Recorder:
    """Records from `start` until `stop`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.struck_s = time.time()
        self.pictures: list[Picture] = []
        self.blind_s: list[float] = []
        self.kept: dict[str, str] = {}
        self._events_before: Counter[tuple[str, str, str]] = Counter()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take the first picture and begin."""
        self._events_before = Counter(await self._reader.events())
        self.strike()
        while not self.pictures:
            await self._look()
        self._task = asyncio.create_task(self._record())

    def strike(self) -> None:
        """The disturbance happens now."""
        self.struck_s = time.time()

    async def stop(self) -> None:
        """Record no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _record(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            await self._look()

    async def _look(self) -> None:
        picture = await self._reader.picture()
        if picture is None:
            self.blind_s.append(time.time())
        else:
            self.pictures.append(picture)

    def held_since(self, recovered: Callable[[Picture], bool]) -> float | None:
        """Since when (Unix seconds) every picture is as it should be; None where the last one is not."""
        since_s = None
        for picture in reversed(self.pictures):
            if not recovered(picture):
                break
            since_s = picture.at_s
        blind_s = max(self.blind_s, default=0.0)
        return None if since_s is None else max(since_s, blind_s)

    def _is_at_once(self, recovered_s: float, pictures: Sequence[Picture]) -> bool:
        """Whether the first look after the disturbance was as it should be, and none before it failed."""
        is_blind = any(self.struck_s <= at_s <= recovered_s for at_s in self.blind_s)
        return not is_blind and recovered_s <= (pictures[0].at_s if pictures else 0.0)

    async def outcome(
        self, recovered_s: float | None, records: Sequence[RequestRecord], pods: Sequence[Object]
    ) -> Outcome:
        """All of it, from the disturbance on."""
        pictures = [p for p in self.pictures if p.at_s >= self.struck_s]
        first = [p for p in self.pictures if p.at_s < self.struck_s][-1:] or self.pictures[:1]
        before = {revision(plan) for plan in first[0].plans}
        seen = {revision(plan) for picture in pictures for plan in picture.plans}
        events = Counter(await self._reader.events()) - self._events_before
        is_at_once = recovered_s is not None and self._is_at_once(recovered_s, pictures)
        return Outcome(
            records=tuple(records),
            recovery_s=None if recovered_s is None else 0.0 if is_at_once else recovered_s - self.struck_s,
            revisions=tuple(sorted(seen - before)),
            last_revision_before=max(before, default=0),
            pictures=(*first, *pictures),
            said=tuple(_said(pictures, self.struck_s)),
            events=tuple(events),
            pods=tuple(e for e in pods if e["at"] >= self.struck_s and e.get("pod")),
            kept=dict(self.kept),
        )


def _said(pictures: Sequence[Picture], struck_s: float) -> list[Said]:
    said: list[Said] = []
    last: dict[tuple[str, str], tuple[str, str, str]] = {}
    for picture in pictures:
        for item in (*picture.fleets, *picture.classes, *picture.models, *picture.plans):
            name = f"{item['kind']} {item['metadata']['name']}"
            for row in (item.get("status") or {}).get("conditions") or ():
                words = (row["status"], row["reason"], row.get("message", ""))
                if last.get((name, row["type"])) != words:
                    last[name, row["type"]] = words
                    said.append(Said(picture.at_s - struck_s, name, row["type"], *words))
    return said
