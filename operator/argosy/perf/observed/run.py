"""An observed run: what each request was and when its tokens came.

Owns the nouns that every reader produces and that replay and calibration consume. A quantity that a
file does not have is None, never 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from argosy.arrays import Floats
from argosy.engine.simulate import Requests
from argosy.refusals import Refused


@dataclass(frozen=True, slots=True)
class ObservedRequest:
    """A request that was answered in full.

    sent_s:          after the first request of the run was sent
    cached_tokens:   of the prompt, found in the prefix cache; 0 where the file does not say
    ttft_ms, e2e_ms: from sending to the first and the last token; a TTFT of None was not measured
    """

    id: str
    sent_s: float
    prompt_tokens: int
    output_tokens: int
    e2e_ms: float
    ttft_ms: float | None = None
    cached_tokens: int = 0

    @property
    def itl_ms(self) -> float | None:
        """Mean gap between tokens; None for a single token and where the first was not seen."""
        if self.ttft_ms is None or self.output_tokens < 2:
            return None
        return (self.e2e_ms - self.ttft_ms) / (self.output_tokens - 1)


@dataclass(frozen=True, slots=True)
class FailedRequest:
    """A request without a complete answer, and why."""

    id: str
    sent_s: float | None
    cause: str


@dataclass(frozen=True, slots=True)
class Engine:
    """What is known of the engine that was observed; None where nothing told it.

    version:   of vLLM, as it reports it
    kv_blocks: of block_size tokens each, as the engine has them
    """

    model: str | None = None
    gpu: str | None = None
    tp: int | None = None
    pp: int | None = None
    dtype: str | None = None
    version: str | None = None
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    kv_blocks: int | None = None
    block_size: int | None = None


UNKNOWN = Engine()
"""An engine of which nothing is known."""


@dataclass(frozen=True, slots=True)
class ObservedRun:
    """Requests in the order in which they were sent.

    name, sha256: of the file that was read
    tool:         what wrote it
    is_partial:   the run was interrupted, so its last requests are missing
    notes:        sentences about what was left out or had to be assumed
    """

    name: str
    sha256: str
    tool: str
    requests: tuple[ObservedRequest, ...]
    failed: tuple[FailedRequest, ...] = ()
    engine: Engine = UNKNOWN
    tool_version: str | None = None
    is_partial: bool = False
    notes: tuple[str, ...] = ()

    def as_requests(self) -> Requests:
        """What the simulated engine is given: arrivals from zero, and lengths."""
        return Requests(
            self.of("sent_s"),
            np.array([one.prompt_tokens for one in self.requests], dtype=np.int64),
            np.array([one.output_tokens for one in self.requests], dtype=np.int64),
            np.array([min(one.cached_tokens, one.prompt_tokens) for one in self.requests], dtype=np.int64),
        )

    def of(self, name: str) -> Floats:
        """One quantity of every request, shape (N,); NaN where it was not measured."""
        values: Sequence[float | None] = [getattr(one, name) for one in self.requests]
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


class UnreadableRunReason(StrEnum):
    """Why a file gives no run."""

    UNKNOWN_FORMAT = "UnknownFormat"
    AMBIGUOUS = "Ambiguous"
    UNKNOWN_VERSION = "UnknownVersion"
    BROKEN = "Broken"
    """Not the JSON that it begins as, or cut off."""
    INCOMPLETE = "Incomplete"
    """Something that a replay cannot do without is missing."""
    BAD_VALUE = "BadValue"
    SEVERAL_RUNS = "SeveralRuns"
    NOTHING_MEASURED = "NothingMeasured"
    """No request was answered in full."""


@dataclass(frozen=True, slots=True)
class UnreadableRun(Refused[UnreadableRunReason]):
    """No run, and why: a sentence with the file, the request and the field."""


def in_order(requests: Sequence[ObservedRequest]) -> tuple[ObservedRequest, ...]:
    """The requests in the order of sending; the first one's time becomes zero."""
    ordered = sorted(requests, key=lambda one: one.sent_s)
    zero_s = ordered[0].sent_s if ordered else 0.0
    return tuple(replace(one, sent_s=round(one.sent_s - zero_s, 6)) for one in ordered)
