"""A list of requests through one engine, on a virtual clock.

Owns the loop arrivals -> iterations -> times per request. Never schedules (that is
`scheduler`) and never draws a random number: arrivals and lengths come in as arrays.
Input and output are arrays in the order of arrival, so that a compiled twin can have the
same interface.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from argosy.engine.coefficients import StepCoefficients
from argosy.engine.request import EngineLimits, EngineRequest, Refused
from argosy.engine.scheduler import Scheduler

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Requests:
    """What arrives: three arrays of one length, sorted by arrival (seconds, tokens, tokens)."""

    arrivals_s: Floats
    prompt_tokens: Integers
    output_tokens: Integers

    def __post_init__(self) -> None:
        if not len(self.arrivals_s) == len(self.prompt_tokens) == len(self.output_tokens):
            raise ValueError("arrivals, prompts and outputs must have the same length")
        if not np.all(np.isfinite(self.arrivals_s)) or np.any(np.diff(self.arrivals_s) < 0):
            raise ValueError("arrivals must be finite and sorted")


@dataclass(frozen=True, slots=True)
class RequestTimes:
    """Per request, from its arrival, in milliseconds; NaN in all three where it was refused.

    ttft_ms: to the first token
    itl_ms:  mean gap, (last - first)/(tokens - 1); NaN for an output of one token
    e2e_ms:  to the last token
    """

    ttft_ms: Floats
    itl_ms: Floats
    e2e_ms: Floats
    refused: npt.NDArray[np.bool_]


def simulate(requests: Requests, limits: EngineLimits, coefficients: StepCoefficients) -> RequestTimes:
    """Run one engine until every request is done or refused."""
    engine = Scheduler(limits, coefficients)
    arrivals_ms = requests.arrivals_s * 1e3
    num_requests = len(arrivals_ms)
    first_ms, last_ms = np.full(num_requests, np.nan), np.full(num_requests, np.nan)
    refused = np.zeros(num_requests, dtype=np.bool_)
    due_ms: list[float] = [*arrivals_ms.tolist(), np.inf]
    prompts: list[int] = requests.prompt_tokens.tolist()
    outputs: list[int] = requests.output_tokens.tolist()
    now_ms, following = 0.0, 0
    while True:
        while due_ms[following] <= now_ms:
            request = EngineRequest(following, prompts[following], outputs[following])
            refused[following] = isinstance(engine.add(request), Refused)
            following += 1
        now_ms = engine.decode_ahead(now_ms, due_ms[following])
        if due_ms[following] <= now_ms:
            continue
        step = engine.start_step()
        if step is None:
            if following == num_requests:
                break
            now_ms = due_ms[following]
            continue
        now_ms += step.duration_ms
        events = engine.finish_step()
        for request_id in events.first_token_ids:
            first_ms[request_id] = now_ms
        for request_id in events.finished:
            last_ms[request_id] = now_ms
    gaps = np.where(requests.output_tokens > 1, requests.output_tokens - 1, np.nan)
    return RequestTimes(first_ms - arrivals_ms, (last_ms - first_ms) / gaps, last_ms - arrivals_ms, refused)
