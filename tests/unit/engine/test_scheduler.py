"""The scheduler's decisions, one story at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from argosy.engine import (
    Admitted,
    EngineLimits,
    EngineRequest,
    RejectedRequest,
    RejectionReason,
    Scheduler,
    StepCoefficients,
    StepEvents,
)
from argosy.errors import InvariantError

CONSTANT = StepCoefficients(10.0, 0.0, 4.0, 0, 0, 0, 0, 0, 0, 0)
ROOMY = EngineLimits(
    max_num_seqs=8, max_num_batched_tokens=100, kv_blocks=100, block_size=4, max_model_len=400
)


def engine(limits: EngineLimits, *requests: EngineRequest) -> Scheduler:
    scheduler = Scheduler(limits, CONSTANT)
    for request in requests:
        assert scheduler.add(request) == Admitted()
    return scheduler


def step(scheduler: Scheduler) -> StepEvents:
    assert scheduler.start_step() is not None
    return scheduler.finish_step()


def test_an_idle_engine_has_no_step() -> None:
    assert Scheduler(ROOMY, CONSTANT).start_step() is None


def test_the_first_token_comes_with_the_last_chunk_of_the_prompt() -> None:
    scheduler = engine(ROOMY, EngineRequest(1, 250, 2))
    assert [step(scheduler).token_ids for _ in range(4)] == [(), (), (1,), (1,)]
    assert scheduler.start_step() is None


def test_decodes_go_first_and_the_prompt_gets_what_is_left_of_the_budget() -> None:
    scheduler = engine(ROOMY, EngineRequest(1, 10, 50), EngineRequest(2, 10, 50))
    step(scheduler)
    scheduler.add(EngineRequest(3, 300, 5))
    begun = scheduler.start_step()
    assert begun is not None
    assert (begun.num_decodes, begun.prefill_tokens, begun.admitted) == (2, 98, (3,))


def test_a_cut_prompt_continues_before_anybody_is_admitted_behind_it() -> None:
    scheduler = engine(ROOMY, EngineRequest(1, 150, 1), EngineRequest(2, 60, 1), EngineRequest(3, 1, 1))
    chunks = []
    while (begun := scheduler.start_step()) is not None:
        chunks.append((begun.prefill_tokens, begun.admitted))
        scheduler.finish_step()
    assert chunks == [(100, (1,)), (100, (2,)), (11, (3,))]


def test_no_more_sequences_run_than_there_are_slots() -> None:
    scheduler = engine(replace(ROOMY, max_num_seqs=2), *(EngineRequest(i, 1, 2) for i in range(5)))
    scheduler.start_step()
    assert (scheduler.num_running, scheduler.num_waiting) == (2, 3)


def test_cached_prompt_tokens_are_not_computed_but_the_last_one_always_is() -> None:
    scheduler = engine(
        ROOMY, EngineRequest(1, 80, 1, cached_tokens=64), EngineRequest(2, 20, 1, cached_tokens=20)
    )
    begun = scheduler.start_step()
    assert begun is not None
    assert begun.prefill_tokens == 16 + 1
    scheduler.finish_step()
    assert (scheduler.counters.prompt_tokens, scheduler.counters.cached_prompt_tokens) == (100, 83)


def test_a_request_waits_until_its_whole_prompt_fits_into_free_blocks() -> None:
    """Its first chunk would fit at once; vLLM's scheduler_reserve_full_isl holds it back."""
    limits = replace(ROOMY, kv_blocks=30, max_num_batched_tokens=20)
    scheduler = engine(limits, EngineRequest(1, 60, 4), EngineRequest(2, 80, 1))
    admitted = []
    while (begun := scheduler.start_step()) is not None:
        admitted.append(begun.admitted)
        scheduler.finish_step()
    assert admitted == [(1,), (), (), (), (), (), (2,), (), (), ()]


def test_without_a_free_block_the_youngest_starts_over_with_what_it_has_generated() -> None:
    limits = replace(ROOMY, kv_blocks=5)
    scheduler = engine(limits, EngineRequest(1, 8, 6), EngineRequest(2, 8, 6))
    assert step(scheduler).token_ids == (1, 2)
    # Both stand at a block's end and one block is free: 2 goes, 1 continues.
    events = step(scheduler)
    assert (events.token_ids, events.preempted) == ((1,), (2,))
    assert (scheduler.num_running, scheduler.num_waiting) == (1, 1)
    recomputed = []
    while (begun := scheduler.start_step()) is not None:
        recomputed.append(begun.prefill_tokens)
        assert begun.admitted == ()
        scheduler.finish_step()
    # Eight prompt tokens and the one it had generated, once 1 has left room.
    assert sum(recomputed) == 9
    assert scheduler.counters.preemptions == 1
    assert scheduler.counters.generation_tokens == 12
    assert scheduler.counters.prompt_tokens == 16
    assert scheduler.counters.computed_prompt_tokens == 25


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        pytest.param(
            EngineRequest(1, 399, 2), RejectionReason.LONGER_THAN_CONTEXT, id="one-token-over-the-context"
        ),
        pytest.param(
            EngineRequest(1, 40, 1), RejectionReason.LONGER_THAN_KV_CACHE, id="one-token-over-the-kv-cache"
        ),
    ],
)
def test_a_request_that_can_never_fit_is_refused(request_: EngineRequest, reason: RejectionReason) -> None:
    scheduler = Scheduler(replace(ROOMY, kv_blocks=10), CONSTANT)
    answer = scheduler.add(request_)
    assert isinstance(answer, RejectedRequest)
    assert (answer.reason, scheduler.start_step()) == (reason, None)


def test_a_request_that_fills_the_whole_kv_cache_is_served() -> None:
    scheduler = engine(replace(ROOMY, kv_blocks=10), EngineRequest(1, 30, 10))
    tokens = 0
    while scheduler.start_step() is not None:
        tokens += len(scheduler.finish_step().token_ids)
    assert (tokens, scheduler.kv_usage, scheduler.counters.preemptions) == (10, 0.0, 0)


@pytest.mark.parametrize(
    ("aborted", "steps_before"),
    [
        pytest.param(3, 0, id="waiting"),
        pytest.param(1, 1, id="in-the-middle-of-its-prompt"),
        pytest.param(1, 3, id="decoding"),
    ],
)
def test_an_aborted_request_leaves_nothing_behind(aborted: int, steps_before: int) -> None:
    scheduler = engine(ROOMY, EngineRequest(1, 150, 9), EngineRequest(2, 90, 9), EngineRequest(3, 90, 9))
    for _ in range(steps_before):
        step(scheduler)
    # In the middle of a step, as a client's disconnection comes.
    scheduler.start_step()
    assert scheduler.abort(aborted)
    assert not scheduler.abort(aborted)
    assert aborted not in scheduler.finish_step().token_ids
    tokens: list[int] = []
    while scheduler.start_step() is not None:
        tokens += scheduler.finish_step().token_ids
    assert aborted not in tokens
    assert scheduler.num_free_blocks == ROOMY.kv_blocks


def test_the_counters_are_those_of_vllm() -> None:
    scheduler = engine(ROOMY, EngineRequest(1, 30, 3), EngineRequest(2, 50, 1))
    while scheduler.start_step() is not None:
        scheduler.finish_step()
    counters = scheduler.counters
    assert (counters.iterations, counters.iteration_tokens) == (3, 80 + 4)
    assert (counters.prompt_tokens, counters.generation_tokens, counters.finished) == (80, 4, 2)


def test_the_kv_usage_counts_blocks_not_tokens() -> None:
    scheduler = engine(ROOMY, EngineRequest(1, 5, 4))
    step(scheduler)
    assert scheduler.kv_usage == pytest.approx(2 / 100)


def test_limits_that_cannot_decode_a_full_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="at least max_num_seqs"):
        replace(ROOMY, max_num_batched_tokens=7)


@pytest.mark.parametrize(
    "field", ["max_num_seqs", "max_num_batched_tokens", "kv_blocks", "block_size", "max_model_len"]
)
def test_limits_are_positive(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} must be at least 1"):
        replace(ROOMY, **{field: 0})


@pytest.mark.parametrize("lengths", [(0, 1, 0), (1, 0, 0), (4, 1, 5), (4, 1, -1)])
def test_impossible_lengths_are_no_request(lengths: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="token"):
        EngineRequest(1, *lengths)


def test_misuse_is_our_bug() -> None:
    scheduler = engine(ROOMY, EngineRequest(1, 5, 4))
    with pytest.raises(InvariantError, match="already in the engine"):
        scheduler.add(EngineRequest(1, 5, 4))
    with pytest.raises(InvariantError, match="in no step"):
        scheduler.finish_step()
    scheduler.start_step()
    with pytest.raises(InvariantError, match="already in a step"):
        scheduler.start_step()
