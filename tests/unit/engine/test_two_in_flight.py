"""Two batches in flight: timelines worked out by hand, one millisecond clock per story."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from argosy.engine import (
    EngineLimits,
    EngineRequest,
    Requests,
    RequestTimes,
    Scheduler,
    StepCoefficients,
    StepTimeSource,
    simulate,
    twin,
)

# Every iteration takes 10 ms.
TEN = StepCoefficients(10.0, 0.0, 4.0, 0, 0, 0, 0, 0, 0, 0)
ROOMY = EngineLimits(
    max_num_seqs=8,
    max_num_batched_tokens=100,
    kv_blocks=100,
    block_size=4,
    max_model_len=400,
    batches_in_flight=2,
)
Run = Callable[[Requests, EngineLimits, StepTimeSource], RequestTimes]
both = pytest.mark.parametrize("run", [simulate, twin.simulate], ids=["scheduler", "twin"])


def requests(*each: tuple[float, int, int]) -> Requests:
    """(arrival in ms, prompt, output)."""
    arrivals, prompts, outputs = zip(*each, strict=True)
    return Requests(np.array(arrivals) / 1e3, np.array(prompts), np.array(outputs))


def tokens_ms(run: Run, limits: EngineLimits, trace: Requests) -> list[tuple[float, float]]:
    """When the first and the last token came, by the engine's clock."""
    times, start_ms = run(trace, limits, TEN), trace.arrivals_s * 1e3
    rounded = np.round([start_ms + times.ttft_ms, start_ms + times.e2e_ms], 6)
    return [(first, last) for first, last in rounded.T.tolist()]


@both
def test_an_idle_engine_begins_at_once(run: Run) -> None:
    assert tokens_ms(run, ROOMY, requests((3.0, 10, 4))) == [(13.0, 43.0)]


@both
def test_a_request_that_comes_during_an_iteration_is_computed_in_the_one_after_the_next(run: Run) -> None:
    """The iterations begin at 0, 10, 20, ...; that of 10 was decided at 0, that of 20 at 10."""
    trace = requests((0.0, 10, 20), (4.0, 10, 2), (10.5, 10, 1))
    assert tokens_ms(run, ROOMY, trace)[1:] == [(30.0, 40.0), (40.0, 40.0)]
    one = replace(ROOMY, batches_in_flight=1)
    assert tokens_ms(run, one, trace)[1:] == [(20.0, 30.0), (30.0, 30.0)]


@both
def test_nothing_to_decide_takes_no_time(run: Run) -> None:
    """The first request's only token is being computed when the next batch is decided: there is none.

    So the second, which comes meanwhile, begins when that iteration ends.
    """
    assert tokens_ms(run, ROOMY, requests((0.0, 10, 1), (4.0, 10, 2))) == [(10.0, 10.0), (20.0, 30.0)]


@both
def test_a_slot_is_free_for_the_decision_after_the_last_token(run: Run) -> None:
    """The last token of the first comes at 20. The batch of 20 was decided at 10; that of 30 is at 20.

    It takes no other sequence, so the batch of 20 is empty and the decision of 20 begins at once.
    """
    one_slot = replace(ROOMY, max_num_seqs=1)
    trace = requests((0.0, 10, 2), (1.0, 10, 1))
    assert tokens_ms(run, one_slot, trace) == [(10.0, 20.0), (30.0, 30.0)]
    # Beside a sequence that goes on, the slot stays empty for one iteration.
    trace = requests((0.0, 10, 2), (0.0, 10, 9), (1.0, 10, 1))
    two_slots = replace(ROOMY, max_num_seqs=2)
    assert tokens_ms(run, two_slots, trace)[2] == (40.0, 40.0)
    assert tokens_ms(run, replace(two_slots, batches_in_flight=1), trace)[2] == (30.0, 30.0)


@both
def test_blocks_are_free_for_the_decision_after_the_last_token(run: Run) -> None:
    """Ten blocks of four tokens: two requests of 3 and 4 blocks leave none for the third, of 4."""
    ten_blocks = replace(ROOMY, kv_blocks=10)
    trace = requests((0.0, 10, 2), (0.0, 13, 3), (1.0, 16, 1))
    # Without a lag it would run from 20 to 30, beside the second's last token.
    assert tokens_ms(run, replace(ten_blocks, batches_in_flight=1), trace)[2] == (30.0, 30.0)
    # The batch of 20 was decided at 10. At 20 all but 4 blocks are free again.
    assert tokens_ms(run, ten_blocks, trace)[2] == (40.0, 40.0)


def engine(limits: EngineLimits, *requests: EngineRequest) -> Scheduler:
    scheduler = Scheduler(limits, TEN)
    for request in requests:
        scheduler.add(request)
    return scheduler


def test_a_sequence_is_not_computed_again_while_its_last_token_is() -> None:
    scheduler = engine(ROOMY, EngineRequest(1, 10, 2), EngineRequest(2, 10, 4))
    batches = []
    while (begun := scheduler.start_step()) is not None:
        batches.append((begun.num_decodes, scheduler.num_running, scheduler.finish_step().finished))
    # Before the second iteration ends its successor is decided, for one of two that hold slots.
    assert batches == [(0, 2, ()), (2, 2, (1,)), (1, 1, ()), (1, 1, (2,))]
    assert (scheduler.num_free_blocks, scheduler.num_running) == (100, 0)


def test_a_step_names_those_that_were_admitted_when_it_began() -> None:
    scheduler = engine(ROOMY, EngineRequest(1, 10, 9))
    first = scheduler.start_step()
    scheduler.add(EngineRequest(2, 10, 9))
    scheduler.finish_step()
    second = scheduler.start_step()
    assert first is not None
    assert second is not None
    assert (first.admitted, second.admitted, second.prefill_tokens) == ((1,), (2,), 0)
    assert (scheduler.num_waiting, scheduler.num_running) == (0, 2)
    assert scheduler.finish_step().first_token_ids == ()
    third = scheduler.start_step()
    assert third is not None
    assert third.prefill_tokens == 10
    assert scheduler.finish_step().first_token_ids == (2,)


def test_a_sequence_that_is_preempted_during_its_last_token_still_gets_it() -> None:
    """Three blocks of four tokens; the first needs its second when the second's last token is in flight."""
    limits = replace(ROOMY, kv_blocks=3)
    scheduler = engine(limits, EngineRequest(1, 4, 8), EngineRequest(2, 5, 1))
    scheduler.start_step()
    # Decided at the same moment: one more block for the first. All three are taken.
    assert (scheduler.num_free_blocks, scheduler.counters.preemptions) == (1, 1)
    events = scheduler.finish_step()
    assert (events.token_ids, events.finished, scheduler.num_waiting) == ((1, 2), (2,), 0)
    scheduler.start_step()
    assert scheduler.finish_step().preempted == (2,)


def test_a_sequence_that_is_preempted_during_its_last_token_may_be_aborted() -> None:
    scheduler = engine(replace(ROOMY, kv_blocks=3), EngineRequest(1, 4, 8), EngineRequest(2, 5, 1))
    scheduler.start_step()
    assert scheduler.abort(2)
    # Its id is free: another request of that name is aborted from the queue.
    scheduler.add(EngineRequest(2, 5, 1))
    assert (scheduler.abort(2), scheduler.num_waiting) == (True, 0)
    assert scheduler.finish_step().token_ids == (1,)


@pytest.mark.parametrize("when", ["decided", "running"])
def test_an_aborted_request_gets_no_token_and_holds_nothing(when: str) -> None:
    scheduler = engine(ROOMY, EngineRequest(1, 10, 9), EngineRequest(2, 10, 2))
    scheduler.start_step()
    scheduler.finish_step()
    if when == "running":
        # The last token of the second is being computed.
        scheduler.start_step()
    assert scheduler.abort(2)
    assert not scheduler.abort(2)
    assert (scheduler.num_running, scheduler.num_free_blocks) == (1, 97)
    if when == "decided":
        scheduler.start_step()
    # The same id may come back at once.
    scheduler.add(EngineRequest(2, 10, 2))
    assert scheduler.finish_step().token_ids == (1,)


def test_a_batch_of_aborted_requests_runs_to_its_end() -> None:
    """The GPU has it already, as in vLLM."""
    scheduler = engine(ROOMY, EngineRequest(1, 10, 9))
    scheduler.start_step()
    scheduler.abort(1)
    assert scheduler.finish_step().token_ids == ()
    assert scheduler.start_step() is not None
    assert scheduler.finish_step().token_ids == ()
    assert scheduler.start_step() is None


@both
@pytest.mark.parametrize(("batches_in_flight", "iterations"), [(1, 1.5), (2, 2.5)])
def test_a_prompt_on_a_busy_engine_waits_one_iteration_more(
    run: Run, batches_in_flight: int, iterations: float
) -> None:
    """A stream at low load beside a sequence that always decodes.

    Half an iteration is left in the mean; its own comes after that or, with two batches in flight, after
    one that is decided already.
    """
    rng = np.random.default_rng(7)
    count = 400
    arrivals_s = np.concatenate(([0.0], 0.1 + np.cumsum(rng.exponential(1.0, count))))
    prompts, outputs = np.full(count + 1, 10), np.full(count + 1, 2)
    outputs[0] = 60_000
    limits = replace(ROOMY, kv_blocks=20_000, max_model_len=70_000, batches_in_flight=batches_in_flight)
    times = run(Requests(arrivals_s, prompts, outputs), limits, TEN)
    ended = np.count_nonzero(arrivals_s < times.e2e_ms[0] / 1e3)
    assert ended == count + 1
    assert times.ttft_ms[1:].mean() / 10.0 == pytest.approx(iterations, abs=0.05)


@pytest.mark.parametrize("count", [0, 3])
def test_an_engine_has_one_or_two_batches_in_flight(count: int) -> None:
    with pytest.raises(ValueError, match="batches_in_flight"):
        replace(ROOMY, batches_in_flight=count)


def test_a_block_filled_in_the_batch_before_a_preemption_is_not_found_again() -> None:
    """Five blocks of one token: what vLLM 0.32 does with the same requests."""
    limits = EngineLimits(8, 20, 5, 1, 40, batches_in_flight=2, prefix_caching=True)
    scheduler = engine(limits, EngineRequest(0, 2, 2), EngineRequest(1, 1, 3))
    computed = []
    while (step := scheduler.start_step()) is not None:
        computed.append((step.num_decodes, step.prefill_tokens))
        scheduler.finish_step()
    # The second is preempted with two tokens in its blocks; the last of them was unknown when it was decided.
    assert computed == [(0, 3), (2, 0), (0, 2)]


def test_free_blocks_go_to_the_oldest_before_another_sequence_is_preempted() -> None:
    """Eighteen blocks of one token: what vLLM 0.32 does with the same requests.

    The last of the third request's blocks that is still free is taken, so that it is computed from its start.
    """
    limits = EngineLimits(8, 100, 18, 1, 200, batches_in_flight=2, prefix_caching=True)
    scheduler = Scheduler(limits, TEN)
    arriving = [EngineRequest(0, 3, 7), EngineRequest(1, 6, 5), EngineRequest(2, 3, 2)]
    computed, preempted = [], []
    for iteration in range(8):
        if arriving:
            scheduler.add(arriving.pop(0))
        if iteration == 7:
            scheduler.abort(1)
        step = scheduler.start_step()
        assert step is not None
        computed.append(step.num_decodes + step.prefill_tokens)
        preempted.append(scheduler.finish_step().preempted)
    assert computed == [3, 1, 7, 5, 2, 2, 1, 4]
    assert [each for each in preempted if each] == [(2,), (1,)]
