"""What prompts begin with, as a value and as arrays, and what of it an engine shares."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from argosy.engine import (
    EngineLimits,
    EngineRequest,
    Prefixes,
    PromptPrefix,
    Requests,
    Scheduler,
    simulate,
    twin,
)
from argosy.engine.step_times import StepTimeSource
from argosy.keys import ModelKey
from argosy.perf import EngineModel, LibraryPerfModel, shipped_library
from argosy.snapshot import EngineSettings, Variant


def test_a_group_names_full_blocks_short_of_the_last_token() -> None:
    assert PromptPrefix((7,), 35).blocks(16, 100) == ((7, 0), (7, 1))
    assert PromptPrefix((7,), 32).blocks(16, 32) == ((7, 0),)
    assert PromptPrefix((7,), 12).blocks(16, 100) == ()


def test_a_chain_names_the_blocks_of_each_hash() -> None:
    chain = PromptPrefix((5, 9), 90, tokens_each=64)

    assert chain.blocks(32, 1000) == ((5, 0), (5, 1))
    assert chain.blocks(16, 1000) == ((5, 0), (5, 1), (5, 2), (5, 3), (9, 0))


@pytest.mark.parametrize(
    ("ids", "tokens", "tokens_each"),
    [
        pytest.param((), 5, 0, id="no id"),
        pytest.param((1, 2), 5, 0, id="a group of two ids"),
        pytest.param((1,), 0, 0, id="no token"),
        pytest.param((1, 2), 16, 16, id="an id too many"),
        pytest.param((1,), 17, 16, id="an id too few"),
        pytest.param((-1,), 5, 0, id="a negative id"),
    ],
)
def test_ids_that_do_not_cover_the_tokens_are_refused(
    ids: tuple[int, ...], tokens: int, tokens_each: int
) -> None:
    with pytest.raises(ValueError, match=r"cover|negative"):
        PromptPrefix(ids, tokens, tokens_each)
    with pytest.raises(ValueError, match=r"cover|negative"):
        Prefixes(np.array(ids, dtype=np.int64), np.array([len(ids)]), np.array([tokens]), tokens_each)


def test_a_chain_that_ends_within_blocks_is_refused() -> None:
    engine = Scheduler(EngineLimits(4, 64, 20, 16, 100, prefix_caching=True), TABLE)
    with pytest.raises(ValueError, match="no blocks of 16"):
        engine.add(EngineRequest(0, 40, 1, prefix=PromptPrefix((1, 2), 40, 24)))
    requests = Requests(
        np.zeros(1), np.array([40]), np.array([1]), None, Prefixes(*map(np.array, ([1, 2], [2], [40])), 24)
    )
    with pytest.raises(ValueError, match="no blocks of 16"):
        twin.simulate(requests, engine.limits, TABLE)


def test_a_hash_that_follows_different_ones_is_refused() -> None:
    ids = np.array([1, 3, 2, 3])
    with pytest.raises(ValueError, match="id 3 follows different ids"):
        Prefixes(ids, np.array([2, 4]), np.array([32, 32]), 16)


def test_arrays_of_groups_are_read_request_by_request() -> None:
    prefixes = Prefixes.of_groups(np.array([4, -1, 4, 0]), np.array([10, 20, 30, 0]))

    assert [prefixes.of(number) for number in range(4)] == [
        PromptPrefix((4,), 10),
        None,
        PromptPrefix((4,), 30),
        None,
    ]
    kept = prefixes.where(np.array([False, True, True, True]))
    assert [kept.of(number) for number in range(3)] == [None, PromptPrefix((4,), 30), None]


@pytest.mark.parametrize("cached", [0, 8])
def test_a_prefix_beyond_its_prompt_and_one_beside_a_stated_hit_are_refused(cached: int) -> None:
    tokens = 20 if cached else 50
    with pytest.raises(ValueError, match="prefix"):
        EngineRequest(0, 40, 1, cached, PromptPrefix((1,), tokens))
    groups = Prefixes.of_groups(np.array([1]), np.array([tokens]))
    with pytest.raises(ValueError, match="prefix"):
        Requests(np.zeros(1), np.array([40]), np.array([1]), np.array([cached]), groups)


L40S = LibraryPerfModel(shipped_library(), {}).engine(
    Variant(ModelKey(""), "Qwen/Qwen2.5-14B-Instruct", (), "", "L40S", 1, EngineSettings())
)
assert isinstance(L40S, EngineModel)
TABLE: StepTimeSource = L40S.step_times


def hundred_prompts(num_requests: int, rate: float) -> Requests:
    """Poisson arrivals: one of a hundred prompts of 580 tokens, then 40 tokens of the request's own."""
    rng = np.random.default_rng(1)
    prefixes = Prefixes.of_groups(rng.integers(0, 100, num_requests), np.full(num_requests, 580))
    arrivals_s = np.cumsum(rng.exponential(1 / rate, num_requests))
    lengths = np.full(num_requests, 620), np.full(num_requests, 200)
    return Requests(arrivals_s, *lengths, prefixes=prefixes)


def test_a_hundred_shared_prompts_do_not_fill_the_kv_cache_of_a_14b_model_on_an_l40s() -> None:
    """Apart, the prompts of those that run at five requests a second want more KV than the card has."""
    assert isinstance(L40S, EngineModel)
    requests = hundred_prompts(2000, rate=5.0)

    before, after = (
        twin.simulate_row([twin.EngineRun(requests, replace(L40S.limits, prefix_caching=caches), TABLE)])
        for caches in (False, True)
    )

    assert before.totals.num_preemptions[0] > 100
    assert np.mean(before.times.ttft_ms) > 10_000
    assert after.totals.num_preemptions[0] == 0
    assert np.mean(after.times.ttft_ms) < 300
    # Each prompt is computed once, and some that were evicted again.
    computed = after.totals.computed_prompt_tokens[0]
    assert 2000 * 44 + 100 * 576 < computed < 2000 * 44 + 2000 * 576 / 2
    assert computed + after.totals.cached_prompt_tokens[0] == 2000 * 620


def test_the_scheduler_agrees_about_the_hundred_prompts() -> None:
    limits = EngineLimits(24, 2048, 400, 16, 2048, prefix_caching=True)
    requests = hundred_prompts(300, rate=4.0)

    expected, actual = simulate(requests, limits, TABLE), twin.simulate(requests, limits, TABLE)

    np.testing.assert_allclose(actual.e2e_ms, expected.e2e_ms, rtol=1e-9)
