"""The engine against the clock: no drift, and a jump that is logged."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from argosy.engine import EngineLimits, RejectedRequest, Scheduler, StepCoefficients
from argosy_sim.livefleet.vllm.driver import EngineDriver
from argosy_sim.livefleet.vllm.metrics import EngineIdentity, VllmMetrics

STEP_S = 0.010
STEPS = StepCoefficients(wn=1000 * STEP_S, f=0.0, q=4.0, c1=0, a0=0, a1=0, a2=0, b0=0, b1=0, b2=0)
LIMITS = EngineLimits(8, 512, 64, 16, 1024)


class Engine:
    """A driver, what it logged, and when tokens came."""

    def __init__(self, limits: EngineLimits = LIMITS) -> None:
        self.log: list[str] = []
        self.metrics = VllmMetrics(EngineIdentity("m", 1024, 16, 64))
        self.driver = EngineDriver(Scheduler(limits, STEPS), self.metrics, self.log.append)
        self.tokens_s: list[float] = []
        self.done = asyncio.Event()

    def ask(self, num_tokens: int) -> int | RejectedRequest:
        def on_token(index: int) -> None:
            self.tokens_s.append(time.monotonic())
            if index == num_tokens - 1:
                self.done.set()

        return self.driver.submit((10, num_tokens), num_tokens, on_token)

    def sum_of(self, name: str) -> float:
        text = self.metrics.render(self.driver.load).decode()
        line = next(line for line in text.splitlines() if line.startswith(f"vllm:{name}_sum"))
        return float(line.split()[-1])


async def test_a_late_event_loop_slows_no_engine_down() -> None:
    engine = Engine()
    started_s = time.monotonic()
    engine.ask(60)
    for _ in range(3):
        await asyncio.sleep(0.02)
        time.sleep(0.1)  # noqa: ASYNC251 (the lateness under test: ten steps long)
    await engine.done.wait()
    assert len(engine.tokens_s) == 60
    # 60 steps of 10 ms; without virtual deadlines the three pauses would add 300 ms.
    assert engine.tokens_s[-1] - started_s < 60 * STEP_S + 0.2
    assert engine.sum_of("inter_token_latency_seconds") == pytest.approx(59 * STEP_S)
    assert engine.log == []


async def test_an_engine_more_than_a_second_behind_jumps_and_says_so() -> None:
    engine = Engine()
    engine.ask(3)
    await asyncio.sleep(STEP_S / 2)
    time.sleep(1.2)  # noqa: ASYNC251 (the machine slept)
    await engine.done.wait()
    assert len(engine.log) == 1
    assert "the engine's clock jumps forward" in engine.log[0]
    # Only one step was late; the other two take their time again.
    assert engine.tokens_s[-1] - engine.tokens_s[0] >= 1.5 * STEP_S


async def test_a_request_that_can_never_be_served_is_refused_and_counted() -> None:
    engine = Engine()
    answer = engine.ask(1020)
    assert isinstance(answer, RejectedRequest)
    assert "exceed the context limit of 1024 tokens" in answer.message
    assert engine.metrics.admission_rejections.value == 1


async def test_an_aborted_request_gets_no_further_token() -> None:
    engine = Engine()
    asked = engine.ask(100)
    assert isinstance(asked, int)
    await asyncio.sleep(5 * STEP_S)
    num_tokens = len(engine.tokens_s)
    engine.driver.abort(asked)
    await asyncio.sleep(5 * STEP_S)
    assert num_tokens > 0
    assert len(engine.tokens_s) == num_tokens
    assert engine.driver.num_requests == 0


async def test_a_halted_engine_takes_no_step_more() -> None:
    engine = Engine()
    engine.ask(100)
    await asyncio.sleep(3 * STEP_S)
    engine.driver.halt()
    num_tokens = len(engine.tokens_s)
    engine.ask(5)
    await asyncio.sleep(5 * STEP_S)
    assert len(engine.tokens_s) == num_tokens


async def test_a_request_waits_an_iteration_more_where_the_next_batch_is_decided_already() -> None:
    """Beside one that decodes; the time until it is scheduled ends with the decision, as in vLLM."""
    engines = [Engine(), Engine(replace(LIMITS, batches_in_flight=2))]
    for engine in engines:
        engine.ask(40)
    await asyncio.sleep(2.5 * STEP_S)
    for engine in engines:
        engine.ask(1)
    for engine in engines:
        await engine.done.wait()
    await asyncio.sleep(0.5)
    # The first request's own first token took one iteration in both.
    one, two = (engine.sum_of("time_to_first_token_seconds") for engine in engines)
    assert two - one == pytest.approx(STEP_S, abs=0.4 * STEP_S)
    queued = [engine.sum_of("request_queue_time_seconds") for engine in engines]
    assert queued[1] == pytest.approx(queued[0], abs=0.4 * STEP_S)
    assert [engine.driver.num_requests for engine in engines] == [0, 0]


async def test_an_abort_between_two_batches_leaves_the_engine_usable() -> None:
    engine = Engine(replace(LIMITS, batches_in_flight=2))
    asked = engine.ask(100)
    assert isinstance(asked, int)
    await asyncio.sleep(2.5 * STEP_S)
    engine.driver.abort(asked)
    engine.ask(2)
    await asyncio.wait_for(engine.done.wait(), 5)
    assert engine.driver.num_requests == 0
