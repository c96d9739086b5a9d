"""The host's work beside the GPU's: what asynchronous scheduling makes of step times.

Owns one change to a source of step times. Input: a source whose c0 and cB are what keeps the GPU waiting,
and the host's work while the GPU computes. Output: a source in which that work counts only where it takes
longer than the GPU: max(gpu, h0 + hB*B) + c0 + cB*B.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace

from argosy.engine.step_times import CalibratedSource, StepTimes, StepTimeSource
from argosy.errors import SpecError


@dataclass(frozen=True, slots=True)
class HostBeside:
    """A source (`CalibratedSource`) whose host works while the GPU computes.

    exposed: its c0 and cB are added to every iteration; a calibration replaces these and leaves the work
             beside the GPU as it is: engines show how long an iteration takes, not what is hidden in it
    beside_ms, beside_ms_per_sequence: h0 and hB, milliseconds per iteration and per decoding sequence

    Raises SpecError for work that is not finite or negative.
    """

    exposed: StepTimeSource
    beside_ms: float
    beside_ms_per_sequence: float = 0.0

    def __post_init__(self) -> None:
        for name in ("beside_ms", "beside_ms_per_sequence"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise SpecError(f"must be a finite number of at least 0, got {value}", name)

    def step_times(self, max_tokens: int, max_seqs: int) -> StepTimes:
        """The arrays of the source, with the host's work beside the GPU's."""
        times = self.exposed.step_times(max_tokens, max_seqs)
        return replace(times, host_ms=self.beside_ms, host_ms_per_sequence=self.beside_ms_per_sequence)

    def digest(self) -> str:
        """A hash (hexadecimal) of the source and the host's work."""
        beside = (self.beside_ms, self.beside_ms_per_sequence)
        return hashlib.sha256(f"beside {beside!r} {self.exposed.digest()}".encode()).hexdigest()

    def with_calibration(self, s: float, c0: float, cb: float) -> HostBeside:
        """The same silicon and the same work beside it.

        Raises SpecError where the source has no calibration.
        """
        if not isinstance(self.exposed, CalibratedSource):
            raise SpecError("its step times and its host are not kept apart", "exposed")
        return replace(self, exposed=self.exposed.with_calibration(s, c0, cb))
