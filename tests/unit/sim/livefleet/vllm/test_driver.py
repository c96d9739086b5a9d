"""The engine against the clock: no drift, and a jump that is logged."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from argosy.engine import EngineLimits, PromptPrefix, RejectedRequest, Scheduler, StepCoefficients
from argosy_sim.livefleet.vllm.driver import EngineDriver
from argosy_sim.livefleet.vllm.metrics import EngineIdentity, VllmMetrics

STEP_S = 0.010
STEPS = StepCoefficients(wn=1000 * STEP_S, f=0.0, q=4.0, c1=0, a0=0, a1=0, a2=0, b0=0, b1=0, b2=0)
LIMITS = EngineLimits(8, 512, 64, 16, 1024)


class Engine:
    """A driver, what it logged, and when tokens came."""

    def __init__(self, limits: EngineLimits = LIMITS) -> None:
        self.log: list[str] = []
        identity = EngineIdentity("m", 1024, 16, 64, prefix_caching=limits.prefix_caching)
        self.metrics = VllmMetrics(identity)
        self.driver = EngineDriver(Scheduler(limits, STEPS), self.metrics, self.log.append)
        self.tokens_s: list[float] = []
        self.done = asyncio.Event()

    def ask(self, num_tokens: int) -> int | RejectedRequest:
        def on_token(index: int, cached_tokens: int) -> None:
            self.tokens_s.append(time.monotonic())
            if index == num_tokens - 1:
                self.done.set()

        return self.driver.submit((10, num_tokens), num_tokens, on_token)

    async def finds(self, prefix: PromptPrefix, prompt_tokens: int = 100) -> int:
        """How much of a prompt the prefix cache holds, once its only token came."""
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def on_token(index: int, cached_tokens: int) -> None:
            found.set_result(cached_tokens)

        assert isinstance(self.driver.submit((prompt_tokens, 1), 1, on_token, prefix), int)
        return await found

    def value_of(self, name: str) -> float:
        text = self.metrics.render(self.driver.load).decode()
        line = next(line for line in text.splitlines() if line.startswith(f"vllm:{name}"))
        return float(line.split()[-1])

    def sum_of(self, name: str) -> float:
        return self.value_of(f"{name}_sum")


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


CHAIN = PromptPrefix((7, 8, 9, 10), 64, 16)
FORK = PromptPrefix((7, 8, 9, 11), 64, 16)


@pytest.mark.parametrize("batches_in_flight", [1, 2])
async def test_the_metrics_count_what_prompts_find_as_vllm_does(batches_in_flight: int) -> None:
    engine = Engine(replace(LIMITS, prefix_caching=True, batches_in_flight=batches_in_flight))
    assert [await engine.finds(each) for each in (CHAIN, FORK, CHAIN)] == [0, 48, 64]
    expected = {
        "prompt_tokens_total": 300,
        "prompt_tokens_cached_total": 112,
        'prompt_tokens_by_source_total{engine="0",model_name="m",source="local_compute"}': 188,
        'prompt_tokens_by_source_total{engine="0",model_name="m",source="local_cache_hit"}': 112,
        "prefix_cache_queries_total": 300,
        "prefix_cache_hits_total": 112,
        "request_prefill_kv_computed_tokens_sum": 188,
        "request_prompt_tokens_sum": 300,
        # As of vLLM 0.32: what was computed and three tokens.
        "iteration_tokens_total_sum": 191,
    }
    assert {name: engine.value_of(name) for name in expected} == expected


async def test_an_engine_without_a_prefix_cache_finds_and_queries_nothing() -> None:
    engine = Engine()
    assert [await engine.finds(CHAIN), await engine.finds(CHAIN)] == [0, 0]
    assert engine.value_of("prefix_cache_queries_total") == 0
    assert engine.value_of("prompt_tokens_cached_total") == 0


async def test_what_was_evicted_is_computed_and_found_again() -> None:
    engine = Engine(replace(LIMITS, prefix_caching=True))
    assert await engine.finds(CHAIN) == 0
    # 64 blocks in all, of which this one takes 63.
    assert await engine.finds(PromptPrefix((1,), 1000), 1000) == 0
    assert await engine.finds(CHAIN) < 64
    assert await engine.finds(CHAIN) == 64


async def test_an_aborted_prompt_leaves_what_it_computed() -> None:
    engine = Engine(replace(LIMITS, prefix_caching=True))
    asked = engine.driver.submit((100, 50), 50, lambda index, cached_tokens: None, CHAIN)
    assert isinstance(asked, int)
    await asyncio.sleep(3 * STEP_S)
    engine.driver.abort(asked)
    assert await engine.finds(CHAIN) == 64
