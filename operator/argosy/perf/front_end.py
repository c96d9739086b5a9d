"""The front end: what passes between a client and the engine's scheduler, before and after it.

Owns the milliseconds that HTTP, the tokenizer and the detokenizer add to TTFT (and so to E2E), by GPU:
a platform's hosts have the processors that its GPUs are sold with. No iteration is longer for it, so it is no
part of step times. Output: a `FrontEnd` with its origin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class FrontEnd:
    """Milliseconds that a first token takes outside the engine, and where the figure comes from."""

    milliseconds: float
    source: str


FITTED_MS: Mapping[str, float] = MappingProxyType({"H100": 10.3, "H200": 8.9, "B200": 24.1, "B300": 15.3})
"""By GPU: the median over groups of what their calibration halves ask for (`hack/fit_host.py`). Groups of
one GPU are between 0 and 60 ms: the HTTP server, the tokenizer and the client differ."""

ELSEWHERE_MS = 12.8
"""On other platforms: the median of those."""


def front_end_of(gpu: str) -> FrontEnd:
    """Of the hosts of that GPU (a catalogue's name)."""
    fitted = FITTED_MS.get(gpu)
    if fitted is None:
        return FrontEnd(ELSEWHERE_MS, f"assumed: the median of {', '.join(FITTED_MS)}")
    return FrontEnd(fitted, "fitted to measured runs")
