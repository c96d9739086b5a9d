"""Owns one engine against the clock: adds requests, lets steps take their time, hands out tokens.

Scheduling is the engine's `Scheduler`. A step that began at t and lasts d ends at t + d, and the
next begins there, however late the event loop called: an engine's speed must not depend on how
busy the machine is. Only when the process fell more than a second behind does the engine's clock
jump, and a warning is logged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from argosy.engine import EngineRequest, PromptPrefix, RejectedRequest, Scheduler
from argosy_sim.livefleet.vllm.metrics import EngineLoad, FinishedRequest, VllmMetrics

# A garbage collection or a large body takes tens of milliseconds; a second is a sleeping machine.
RESYNCHRONISE_AFTER_S = 1.0

TokenCallback = Callable[[int, int], None]
"""Called with the token's index, from 0, and the number of the prompt's tokens that the prefix cache held;
after the last token nothing more is called."""


@dataclass(slots=True)
class LiveRequest:
    """A request in the engine. Times are seconds of the engine's clock, NaN-free: 0 until they happen."""

    request: EngineRequest
    max_tokens: int
    arrival_s: float
    on_token: TokenCallback
    scheduled_s: float = 0.0
    first_token_s: float = 0.0
    last_token_s: float = 0.0
    num_tokens: int = 0
    cached_tokens: int = 0

    def ended(self, reason: str) -> FinishedRequest:
        """Return what the metrics want of it."""
        return FinishedRequest(
            finished_reason=reason,
            prompt_tokens=self.request.prompt_tokens,
            generation_tokens=self.num_tokens,
            max_tokens=self.max_tokens,
            queue_s=max(0.0, self.scheduled_s - self.arrival_s),
            prefill_s=max(0.0, self.first_token_s - self.scheduled_s),
            decode_s=max(0.0, self.last_token_s - self.first_token_s),
            cached_tokens=self.cached_tokens,
        )


class EngineDriver:
    """One engine that runs. All methods belong to the event loop's thread."""

    def __init__(self, scheduler: Scheduler, metrics: VllmMetrics, log: Callable[[str], None]) -> None:
        self._scheduler = scheduler
        self._metrics = metrics
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._live: dict[int, LiveRequest] = {}
        self._next_id = 0
        self._deadline_s = 0.0
        self._step_started_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._halted = False

    @property
    def num_requests(self) -> int:
        """Requests in the engine, running or waiting."""
        return len(self._live)

    @property
    def load(self) -> EngineLoad:
        """The gauges, now."""
        engine = self._scheduler
        return EngineLoad(engine.num_running, engine.num_waiting, engine.kv_usage)

    def submit(
        self,
        lengths: tuple[int, int],
        max_tokens: int,
        on_token: TokenCallback,
        prefix: PromptPrefix | None = None,
    ) -> int | RejectedRequest:
        """Queue a request of (prompt, output) tokens; returns its id, or why it can never be served."""
        request_id = self._next_id
        request = EngineRequest(request_id, *lengths, prefix=prefix)
        answer = self._scheduler.add(request)
        if isinstance(answer, RejectedRequest):
            self._metrics.admission_rejections.value += 1
            return answer
        self._next_id += 1
        now_s = self._loop.time()
        self._live[request_id] = LiveRequest(request, max_tokens, now_s, on_token)
        if self._timer is None and not self._halted:
            self._start_step(now_s)
        return request_id

    def abort(self, request_id: int) -> None:
        """Take a request out; nothing happens if it has ended."""
        live = self._live.pop(request_id, None)
        if live is not None:
            self._scheduler.abort(request_id)
            self._metrics.request_ended(live.ended("abort"))

    def halt(self) -> None:
        """Stop for good, in the middle of whatever runs."""
        self._halted = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start_step(self, start_s: float) -> None:
        step = self._scheduler.start_step()
        if step is None:
            self._timer = None
            return
        for request_id, cached_tokens in zip(step.admitted, step.cached_tokens, strict=True):
            # A request may arrive within a step's overdue time; it cannot have waited less than nothing.
            live = self._live[request_id]
            live.scheduled_s = max(start_s, live.arrival_s)
            live.cached_tokens = cached_tokens
            self._metrics.request_admitted(live.request.prompt_tokens, cached_tokens)
        self._step_started_s = start_s
        self._deadline_s = start_s + step.duration_ms / 1000.0
        self._timer = self._loop.call_at(self._deadline_s, self._finish_step)

    def _finish_step(self) -> None:
        end_s = self._deadline_s
        behind_s = self._loop.time() - end_s
        if behind_s > RESYNCHRONISE_AFTER_S:
            self._log(f"WARNING the process fell {behind_s:.2f} s behind; the engine's clock jumps forward")
            end_s += behind_s
        events = self._scheduler.finish_step()
        metrics = self._metrics
        cached_tokens = sum(self._live[request_id].cached_tokens for request_id in events.first_token_ids)
        metrics.iteration_ended(events.prompt_tokens, cached_tokens, len(events.token_ids))
        metrics.num_preemptions.value += len(events.preempted)
        for request_id in events.first_token_ids:
            live = self._live[request_id]
            live.first_token_s = live.last_token_s = end_s
            metrics.ttft.observe(max(0.0, end_s - live.arrival_s))
        self._hand_out(events.token_ids, end_s)
        for request_id in events.finished:
            live = self._live.pop(request_id)
            stopped = live.num_tokens < live.max_tokens
            metrics.request_ended(live.ended("stop" if stopped else "length"))
        if not self._halted:
            self._start_step(end_s)

    def _hand_out(self, token_ids: tuple[int, ...], end_s: float) -> None:
        lives, observe = self._live, self._metrics.itl.observe
        for request_id in token_ids:
            live = lives[request_id]
            index = live.num_tokens
            if index:
                observe(end_s - live.last_token_s)
                live.last_token_s = end_s
            live.num_tokens = index + 1
            live.on_token(index, live.cached_tokens)
