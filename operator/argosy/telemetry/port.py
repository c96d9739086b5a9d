"""The port through which measurements come in.

Owns the targets of a reading and the protocol that both sources implement. Input: `Targets`. Output: a
`TelemetryReading`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from argosy.keys import CellName
from argosy.snapshot import TelemetryReading

CellOf = Callable[[str], CellName | None]
"""From a route's stat prefix to its route cell; None for a route that belongs to no cell."""


@dataclass(frozen=True, slots=True)
class Targets:
    """The engines and Envoys to read.

    engines: endpoint addresses `ip:port`
    envoys:  (node id, URL of its statistics such as `http://10.0.0.7:9902`)
    """

    engines: tuple[str, ...] = ()
    envoys: tuple[tuple[str, str], ...] = ()


class TelemetrySource(Protocol):
    """A source of readings.

    It keeps the last sample of each target: that of an engine or an Envoy that does not answer stays
    and ages, and `unanswered_since_s` holds since when an engine has not answered. A target that is
    no longer read is dropped. Nothing that a target does makes `read` raise.
    """

    async def read(self, targets: Targets, now_s: float) -> TelemetryReading:
        """Read `targets`; `now_s` (seconds since the epoch) dates the new samples."""
        ...

    async def close(self) -> None:
        """Close connections and threads."""
        ...
