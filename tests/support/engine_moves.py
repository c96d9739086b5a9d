"""Requests that come and go at a scheduler and, in the same way, at a naive one that it is compared with."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from argosy.engine import EngineRequest, RejectedRequest, Scheduler

Asked = TypeVar("Asked")
Move = tuple[list[Asked], int | None]
"""What happens at one moment: requests that come, and the age of one that is aborted."""


class Naive(Protocol):
    """The engine beside the scheduler."""

    def add(self, request: EngineRequest) -> None: ...
    def abort(self, request_id: int) -> None: ...


def calmed(moves: list[Move[Asked]], calm: bool) -> deque[Move[Asked]]:
    """The moves, without aborts where the engine is to be left in peace."""
    return deque((arriving, None if calm else age) for arriving, age in moves)


@dataclass
class Moves(Generic[Asked]):
    """Plays moves to both engines, those that are `left`. make: of a request, from its id and what was asked.

    wanted: output tokens by request; refused, aborted: requests that do not get them all
    """

    scheduler: Scheduler
    naive: Naive
    make: Callable[[int, Asked], EngineRequest]
    left: deque[Move[Asked]]
    wanted: dict[int, int] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    aborted: set[int] = field(default_factory=set)

    def play(self) -> None:
        """The next move; nothing where none is left."""
        arriving, abort_age = self.left.popleft() if self.left else ([], None)
        for asked in arriving:
            request = self.make(len(self.wanted), asked)
            self.wanted[request.id] = request.output_tokens
            if isinstance(self.scheduler.add(request), RejectedRequest):
                self.refused.add(request.id)
            else:
                self.naive.add(request)
        if abort_age is not None and abort_age < len(self.wanted):
            victim = len(self.wanted) - 1 - abort_age
            if self.scheduler.abort(victim):
                self.aborted.add(victim)
            self.naive.abort(victim)
