"""The users while a case runs: classes' requests through Envoy until they are told to stop.

Owns the rates, which a case may change, and the records. A class's requests are evenly spaced: by chance
three requests of a slow class would come together, and the FleetPlan made for them would count as the
fault's. They are sent in pieces of `PIECE_S`, so that a load has no end of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

from argosy.client.open_loop import ReplayTarget, replay
from argosy.client.planned import PlannedRequest
from argosy.client.records import RequestRecord
from argosy.errors import SpecError
from argosy_sim.replay.load import ClassLoad, plan_load
from argosy_sim.traffic import RateStep, UnknownArchetype, find_archetype

PIECE_S = 2.5
DRAIN_S = 45.0
"""After the last piece: longer than the longest answer of the lengths used."""
LENGTHS = "azure-conversation"
NUM_LENGTHS = 500
"""So many different requests of a class, about, before they repeat."""
MODEL = "llama-8b"


class Load:
    """Open-loop load on the gateway; also the sink of its records."""

    def __init__(self, url: str, rates: Mapping[str, float]) -> None:
        self._target = ReplayTarget(url, drain_timeout_s=DRAIN_S)
        self.rates = dict(rates)
        self.records: list[RequestRecord] = []
        self._lengths = {name: _lengths(name) for name in rates}
        self._due_s: dict[str, float] = {}
        self._pieces: list[asyncio.Task[object]] = []
        self._sender: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to send."""
        if self.rates:
            self._sender = asyncio.create_task(self._send())

    async def stop(self) -> None:
        """Send no more and wait for the answers under way."""
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)
            await asyncio.gather(*self._pieces)

    def write(self, record: RequestRecord) -> None:
        """Take a record."""
        self.records.append(record)

    def flush(self) -> None:
        """Records stay in memory."""

    async def _send(self) -> None:
        origin_s = time.time()
        while True:
            requests = [r for name, rate in self.rates.items() for r in self._piece(name, rate)]
            self._pieces.append(asyncio.create_task(replay(requests, self._target, self, origin_s)))
            origin_s += PIECE_S
            await asyncio.sleep(max(0.0, origin_s - time.time()))

    def _piece(self, name: str, rate: float) -> Iterator[PlannedRequest]:
        """A class's requests of the next piece; what is left of a gap goes on in the next one."""
        due_s = self._due_s.get(name, 0.0)
        while due_s < PIECE_S:
            yield replace(next(self._lengths[name]), arrival_s=due_s)
            due_s += 1 / rate
        self._due_s[name] = due_s - PIECE_S


def _lengths(name: str) -> Iterator[PlannedRequest]:
    """Requests of a class with the archetype's lengths, without an end; their times are not used."""
    archetype = find_archetype(LENGTHS)
    if isinstance(archetype, UnknownArchetype):
        raise SpecError(str(archetype), "the load's lengths")
    headers = (("x-argosy-class", name),)
    load = ClassLoad(name, MODEL, archetype, (RateStep(0.0, NUM_LENGTHS, 1.0),), headers=headers)
    return itertools.cycle(plan_load([load]))


def long_request(output_tokens: int) -> PlannedRequest:
    """One chat request with an answer of so many tokens."""
    return PlannedRequest(
        id=f"long-{output_tokens}",
        class_name="chat",
        arrival_s=0.0,
        prompt_tokens=50,
        output_tokens=output_tokens,
        path="/v1/chat/completions",
        headers=(("x-argosy-class", "chat"),),
        model=MODEL,
    )
