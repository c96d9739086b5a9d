"""The users while a case runs: classes' requests through Envoy until they are told to stop.

Owns the rates, which a case may change, and the records. Requests are planned and sent in pieces of
`PIECE_S`, so that a load has no end of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from argosy.errors import SpecError
from argosy_sim.measures.records import RequestRecord
from argosy_sim.replay.client import ReplayTarget, replay
from argosy_sim.replay.load import ClassLoad, PlannedRequest, plan_load
from argosy_sim.traffic import RateStep, UnknownArchetype, find_archetype

PIECE_S = 2.5
DRAIN_S = 45.0
"""After the last piece: longer than the longest answer of the lengths used."""
LENGTHS = "azure-conversation"
MODEL = "llama-8b"


class Load:
    """Open-loop load on the gateway; also the sink of its records."""

    def __init__(self, url: str, rates: Mapping[str, float]) -> None:
        self._target = ReplayTarget(url, drain_timeout_s=DRAIN_S)
        self.rates = dict(rates)
        self.records: list[RequestRecord] = []
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
        origin_s, number = time.time(), 0
        while True:
            requests = plan_load(_loads(self.rates, number))
            self._pieces.append(asyncio.create_task(replay(requests, self._target, self, origin_s)))
            origin_s, number = origin_s + PIECE_S, number + 1
            await asyncio.sleep(max(0.0, origin_s - time.time()))


def _loads(rates: Mapping[str, float], seed: int) -> list[ClassLoad]:
    lengths = find_archetype(LENGTHS)
    if isinstance(lengths, UnknownArchetype):
        raise SpecError(str(lengths), "the load's lengths")
    return [
        ClassLoad(
            name=name,
            model=MODEL,
            lengths=lengths,
            schedule=(RateStep(0.0, PIECE_S, rate),),
            seed=seed,
            headers=(("x-argosy-class", name),),
        )
        for name, rate in rates.items()
    ]


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
