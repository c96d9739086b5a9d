"""A list of requests through one engine, on a virtual clock.

Owns the loop arrivals -> iterations -> times per request, open (arrivals are given) and closed (the
next request arrives when one completes). `scheduler` schedules; arrivals and lengths come in as
arrays. Input and output are arrays in the order of arrival; the compiled `twin` has the same
interface and is checked against this.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from argosy.arrays import Booleans, Floats, Integers
from argosy.engine.prefixes import Prefixes
from argosy.engine.request import EngineLimits, EngineRequest
from argosy.engine.scheduler import Scheduler
from argosy.engine.step_times import StepTimeSource
from argosy.errors import SpecError


@dataclass(frozen=True, slots=True)
class Requests:
    """What arrives: arrays of one length, sorted by arrival (seconds, tokens, tokens, tokens).

    `prefixes` tell what prompts have in common, for engines with a prefix cache; `cached_tokens` state
    what of each is found, where that is not known. None: of no prompt. Raises ValueError for what no clock
    shows and no client sends.
    """

    arrivals_s: Floats
    prompt_tokens: Integers
    output_tokens: Integers
    cached_tokens: Integers | None = None
    prefixes: Prefixes | None = None

    def __post_init__(self) -> None:
        lengths = [self.prompt_tokens, self.output_tokens]
        lengths += [] if self.cached_tokens is None else [self.cached_tokens]
        if any(len(each) != len(self.arrivals_s) for each in lengths):
            raise ValueError("arrivals, prompts, outputs and cached tokens must have the same length")
        if not np.all(np.isfinite(self.arrivals_s)) or np.any(np.diff(self.arrivals_s) < 0):
            raise ValueError("arrivals must be finite and sorted")
        if not all(np.issubdtype(each.dtype, np.integer) for each in lengths):
            raise ValueError("tokens are counted in whole numbers")
        if np.any(self.prompt_tokens < 1) or np.any(self.output_tokens < 1):
            raise ValueError("a request has at least one token each way")
        cached = self.cached_tokens
        if cached is not None and (np.any(cached < 0) or np.any(cached > self.prompt_tokens)):
            raise ValueError("cached tokens are part of the prompt")
        shared = self.prefixes
        if shared is not None:
            if len(shared.tokens) != len(self.prompt_tokens) or np.any(shared.tokens > self.prompt_tokens):
                raise ValueError("a prefix is part of the prompt, and every request has an entry")
            if np.any(self.cached[shared.tokens > 0]):
                raise ValueError("a request has a prefix, or a stated number of cached tokens")

    @property
    def cached(self) -> Integers:
        """`cached_tokens`, shape (N,); zeros where there are none."""
        if self.cached_tokens is None:
            return np.zeros(len(self.prompt_tokens), dtype=np.int64)
        return self.cached_tokens

    def refused_by(self, limits: EngineLimits) -> Booleans:
        """True for each request that can never fit (`admit`), shape (N,)."""
        refused: Booleans = self.prompt_tokens + self.output_tokens > limits.longest_request
        return refused


@dataclass(frozen=True, slots=True)
class RequestTimes:
    """Milliseconds per request from its arrival, shape (N,) each; NaN in all three where it was refused.

    ttft_ms: to the first token
    itl_ms:  mean gap, (last - first)/(tokens - 1); NaN for an output of one token
    e2e_ms:  to the last token
    """

    ttft_ms: Floats
    itl_ms: Floats
    e2e_ms: Floats
    refused: Booleans


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """Requests in the order in which they come, `concurrency` of them in flight at any time.

    Arrays as in `Requests`, which refuses lengths that no client sends once the loop is run. Raises
    SpecError for a concurrency below 1.
    """

    prompt_tokens: Integers
    output_tokens: Integers
    concurrency: int
    cached_tokens: Integers | None = None
    prefixes: Prefixes | None = None

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise SpecError("at least one request has to be in flight", "concurrency")


@dataclass(frozen=True, slots=True)
class ClosedLoopTimes:
    """What a closed loop measured; `arrivals_s` is NaN where the request was refused."""

    arrivals_s: Floats
    times: RequestTimes

    @property
    def duration_s(self) -> float:
        """From the start to the last token; 0 where nothing was served."""
        ends_s = self.arrivals_s + self.times.e2e_ms / 1e3
        return float(np.max(ends_s, initial=0.0, where=~self.times.refused))


@dataclass(slots=True)
class _Clock:
    """What it showed, milliseconds: when requests were due, their first and last tokens.

    `due_ms` holds those known so far; in a closed loop each completion adds the next.
    """

    due_ms: list[float]
    first_ms: list[float]
    last_ms: list[float]

    @staticmethod
    def starting(due_ms: list[float], num_requests: int) -> _Clock:
        """Nothing has happened yet."""
        return _Clock(due_ms, [np.nan] * num_requests, [np.nan] * num_requests)

    def stamps_ms(self) -> Floats:
        """Shape (3, N)."""
        return np.array([self.due_ms, self.first_ms, self.last_ms], dtype=np.float64)


def simulate(requests: Requests, limits: EngineLimits, source: StepTimeSource) -> RequestTimes:
    """Run one engine until every request is done or refused."""
    arrivals_ms = requests.arrivals_s * 1e3
    clock = _Clock.starting(arrivals_ms.tolist(), len(arrivals_ms))
    _run(requests, Scheduler(limits, source), clock)
    return request_times(requests.output_tokens, clock.stamps_ms())


def simulate_loop(loop: ClosedLoop, limits: EngineLimits, source: StepTimeSource) -> ClosedLoopTimes:
    """Keep `concurrency` requests in flight: the next one arrives in the moment one completes.

    A request that the engine refuses takes no place: the one after it arrives instead.
    """
    requests, served = loop_requests(loop, limits)
    num_served = len(served.arrivals_s)
    clock = _Clock.starting([0.0] * min(loop.concurrency, num_served), num_served)
    _run(served, Scheduler(limits, source), clock)
    return closed_times(requests, limits, clock.stamps_ms())


def _run(requests: Requests, engine: Scheduler, clock: _Clock) -> None:
    """Serve all; a completion makes the next request due while fewer are due than there are."""
    prompts: list[int] = requests.prompt_tokens.tolist()
    outputs: list[int] = requests.output_tokens.tolist()
    cached: list[int] = requests.cached.tolist()
    prefixes = requests.prefixes
    due_ms, num_requests = clock.due_ms, len(prompts)
    now_ms, following = 0.0, 0
    while True:
        while following < len(due_ms) and due_ms[following] <= now_ms:
            prefix = None if prefixes is None else prefixes.of(following)
            lengths = prompts[following], outputs[following], cached[following]
            engine.add(EngineRequest(following, *lengths, prefix))
            following += 1
        until_ms = due_ms[following] if following < len(due_ms) else np.inf
        now_ms = engine.decode_ahead(now_ms, until_ms)
        if until_ms <= now_ms:
            continue
        step = engine.start_step()
        if step is None:
            if following == len(due_ms):
                break
            now_ms = until_ms
            continue
        now_ms += step.duration_ms
        events = engine.finish_step()
        for request_id in events.first_token_ids:
            clock.first_ms[request_id] = now_ms
        for request_id in events.finished:
            clock.last_ms[request_id] = now_ms
            if len(due_ms) < num_requests:
                due_ms.append(now_ms)


def request_times(output_tokens: Integers, stamps_ms: Floats) -> RequestTimes:
    """From what a clock showed, shape (3, N): arrival, first and last token (NaN where refused)."""
    arrivals_ms, first_ms, last_ms = stamps_ms
    gaps = np.where(output_tokens > 1, output_tokens - 1, np.nan)
    return RequestTimes(
        first_ms - arrivals_ms, (last_ms - first_ms) / gaps, last_ms - arrivals_ms, np.isnan(last_ms)
    )


def loop_requests(loop: ClosedLoop, limits: EngineLimits) -> tuple[Requests, Requests]:
    """All requests of a closed loop, and those that the engine takes (arrivals still unknown)."""
    count = len(loop.prompt_tokens)
    requests = Requests(
        np.zeros(count), loop.prompt_tokens, loop.output_tokens, loop.cached_tokens, loop.prefixes
    )
    taken = ~requests.refused_by(limits)
    prompts, outputs = requests.prompt_tokens[taken], requests.output_tokens[taken]
    prefixes = None if loop.prefixes is None else loop.prefixes.where(taken)
    served = Requests(np.zeros(len(prompts)), prompts, outputs, requests.cached[taken], prefixes)
    return requests, served


def closed_times(requests: Requests, limits: EngineLimits, served_ms: Floats) -> ClosedLoopTimes:
    """From what the clock showed for the requests that were served, shape (3, number served) as in
    `request_times`.
    """
    taken = ~requests.refused_by(limits)
    stamps_ms = np.full((3, len(taken)), np.nan)
    stamps_ms[:, taken] = served_ms
    return ClosedLoopTimes(stamps_ms[0] / 1e3, request_times(requests.output_tokens, stamps_ms))
