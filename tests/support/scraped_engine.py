"""A simulated vLLM engine under random traffic, as a scraper sees it.

Owns the far side of recalibration's tests: requests arrive at random at an `argosy.engine` on a
virtual clock, its counters are kept as vLLM keeps them, and samples of them are taken with what
happens to scrapes in life: they come early or late, and are dated by a clock that is off.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from argosy.arrays import Integers
from argosy.engine import EngineLimits, EngineRequest, Scheduler
from argosy.engine.step_times import StepTimeSource
from argosy.snapshot.sample import Sample
from argosy.snapshot.telemetry import CounterReading

STARTED_S = 1_700_000_000.0
"""When every engine here started (seconds since the epoch)."""


@dataclass(frozen=True)
class Traffic:
    """Poisson arrivals; lognormal lengths of tokens with a coefficient of variation."""

    rate_per_s: float
    mean_prompt: float = 1155.0
    mean_output: float = 211.0
    variation: float = 1.0

    def lengths(self, rng: np.random.Generator, num: int) -> tuple[Integers, Integers]:
        sigma = np.sqrt(np.log1p(self.variation**2))
        noise = rng.lognormal(-sigma * sigma / 2, sigma, (2, num))
        prompts = np.clip(self.mean_prompt * noise[0], 4, 8000).astype(np.int64)
        return prompts, np.clip(self.mean_output * noise[1], 2, 4000).astype(np.int64)


@dataclass(frozen=True)
class Scraper:
    """How an engine is asked.

    interval_s: between scrapes; jitter_s: each is early or late by up to so much
    date_error_s: the sample is dated so much too early at most (the question, not the answer)
    """

    interval_s: float = 2.0
    jitter_s: float = 0.5
    date_error_s: float = 0.3


@dataclass
class ScrapedEngine:
    """One engine, its clock and what vLLM's metrics would show of it."""

    limits: EngineLimits
    times: StepTimeSource
    rng: np.random.Generator
    noise: float = 0.0
    noise_s: float = 15.0
    now_s: float = 0.0
    gaps: float = 0.0
    gap_s: float = 0.0
    iterations: int = 0
    prompts: int = 0
    computed_s: float = 0.0
    _engine: Scheduler = field(init=False)
    _next_id: int = 0
    _factor: float = 1.0
    _factor_until_s: float = 0.0

    def __post_init__(self) -> None:
        self._engine = Scheduler(self.limits, self.times)

    def run(self, traffic: Traffic, until_s: float) -> None:
        """Let time pass; the engine is slow or fast by `noise` for `noise_s` at a time."""
        num = 1000
        arrivals_s = self.now_s + np.cumsum(self.rng.exponential(1.0 / traffic.rate_per_s, num))
        prompts, outputs = traffic.lengths(self.rng, num)
        following = 0
        while self.now_s < until_s:
            while arrivals_s[following] <= self.now_s:
                request = EngineRequest(self._next_id, int(prompts[following]), int(outputs[following]))
                self._engine.add(request)
                self._next_id += 1
                following += 1
                if following == num:
                    return self.run(traffic, until_s)
            self._step(min(arrivals_s[following], until_s))
        return None

    def _step(self, until_s: float) -> None:
        if self.now_s >= self._factor_until_s:
            self._factor = 1.0 + self.noise * self.rng.standard_normal()
            self._factor_until_s = self.now_s + self.noise_s
        step = self._engine.start_step()
        if step is None:
            self.now_s = until_s
            return
        duration_s = step.duration_ms * self._factor / 1e3
        self.now_s += duration_s
        self.computed_s += duration_s
        events = self._engine.finish_step()
        self.iterations += bool(events.token_ids)
        self.prompts += len(events.first_token_ids)
        # A preempted sequence's gap would be longer; its window is not used anyway.
        self.gaps += step.num_decodes
        self.gap_s += step.num_decodes * duration_s

    def reading(self) -> CounterReading:
        counters = self._engine.counters
        return CounterReading(
            iterations=float(self.iterations),
            gaps=self.gaps,
            gap_s=self.gap_s,
            prompts=float(self.prompts),
            prompt_tokens=float(counters.prompt_tokens),
            cached_prompt_tokens=float(counters.cached_prompt_tokens),
            preemptions=float(counters.preemptions),
            num_running=float(self._engine.num_running),
            kv_cache_usage=self._engine.kv_usage,
            kv_blocks=float(self.limits.kv_blocks),
            block_size=float(self.limits.block_size),
            start_time_s=STARTED_S,
        )

    def scrapes(
        self, traffic: Traffic, duration_s: float, scraper: Scraper
    ) -> Iterator[Sample[CounterReading]]:
        """Samples of the next `duration_s`, one per scrape."""
        end_s = self.now_s + duration_s
        due_s = self.now_s
        while due_s < end_s:
            due_s += scraper.interval_s
            at_s = due_s + self.rng.uniform(-scraper.jitter_s, scraper.jitter_s)
            self.run(traffic, max(at_s, self.now_s))
            dated_s = self.now_s - self.rng.uniform(0.0, scraper.date_error_s)
            yield Sample(self.reading(), STARTED_S + 100.0 + dated_s)
