"""The port through which measurements come in.

Owns the targets of a reading and the protocol that both sources keep. Never measures.
Input: who is to be asked (`Targets`). Output: a `TelemetryReading`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from argosy.snapshot import TelemetryReading

ClassKeyOf = Callable[[str], str | None]
"""From a route's stat prefix to the key of its class; None for a route that is no class's."""


@dataclass(frozen=True, slots=True)
class Targets:
    """Who is to be measured.

    engines: endpoint addresses `ip:port`
    envoys:  (node id, admin URL such as `http://10.0.0.7:9901`)
    """

    engines: tuple[str, ...] = ()
    envoys: tuple[tuple[str, str], ...] = ()


class TelemetrySource(Protocol):
    """Where a reading comes from.

    A source remembers the last samples: an engine or an Envoy that does not answer keeps its last
    one, which ages, and `unanswered_since_s` tells since when an engine has not answered. A target
    that is no longer asked for is forgotten. Nothing that the far side does makes `read` raise.
    """

    async def read(self, targets: Targets, now_s: float) -> TelemetryReading:
        """Measure `targets`; `now_s` (seconds since the epoch) dates what is seen now."""
        ...

    async def close(self) -> None:
        """Give back connections and threads."""
        ...
