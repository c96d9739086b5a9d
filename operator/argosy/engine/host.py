"""The host's work hidden behind the GPU's: what asynchronous scheduling makes of step times.

Owns one change to a source of step times. Input: a source whose c0 and cB are the host's whole work
per iteration and per decoding sequence, and what of it still keeps the GPU waiting. Output: a source in
which the rest only counts where it takes longer than the GPU: max(gpu, c0 + cB*B) + rest.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace

from argosy.engine.step_times import CalibratedSource, StepTimes, StepTimeSource
from argosy.errors import SpecError


@dataclass(frozen=True, slots=True)
class OverlappedHost:
    """A source (`StepTimeSource`) whose host works while the GPU computes.

    waiting: its c0 and cB are the host's work, milliseconds, as if the GPU waited for all of it
    rest_ms: per iteration, added after the longer of the two: what cannot be done beside the GPU

    Raises SpecError for a rest that is not finite.
    """

    waiting: StepTimeSource
    rest_ms: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.rest_ms):
            raise SpecError(f"must be finite, got {self.rest_ms}", "rest_ms")

    def step_times(self, max_tokens: int, max_seqs: int) -> StepTimes:
        """The arrays of the source, the host's work beside the GPU's."""
        times = self.waiting.step_times(max_tokens, max_seqs)
        host_ms, per_sequence_ms = times.host_ms + times.c0, times.host_ms_per_sequence + times.cb
        return replace(times, c0=self.rest_ms, cb=0.0, host_ms=host_ms, host_ms_per_sequence=per_sequence_ms)

    def digest(self) -> str:
        """A hash (hexadecimal) of the source and the rest."""
        return hashlib.sha256(f"overlapped {self.waiting.digest()} {self.rest_ms!r}".encode()).hexdigest()

    def with_calibration(self, s: float, c0: float, cb: float) -> OverlappedHost:
        """The same silicon and rest: `s` times as slow, the host's work c0 and cB (ms).

        Raises SpecError where the source has no calibration of its own.
        """
        if not isinstance(self.waiting, CalibratedSource):
            raise SpecError("its step times and its host are not kept apart", "waiting")
        return replace(self, waiting=self.waiting.with_calibration(s, c0, cb))
