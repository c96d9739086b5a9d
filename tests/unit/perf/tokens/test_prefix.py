"""Prefix caches: whole blocks, never the last token, and what they do to TTFT."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from perf_engines import H100_ENGINE, H100_LIMITS

from argosy.engine import Requests, simulate
from argosy.errors import SpecError
from argosy.perf.capacity.search import CapacitySettings, measure_capacity
from argosy.perf.protocol import Capacity
from argosy.perf.tokens.prefix import (
    PrefixReuse,
    cached_tokens,
    mix_with_reuse,
)
from argosy.snapshot import Mix, Slice, Slo, SloTerm, Term

CHAT = Slo((SloTerm(Term.TTFT, 0.95, 300), SloTerm(Term.ITL, 0.95, 100)))


@pytest.mark.parametrize(
    ("prompt", "share", "expected"),
    [
        pytest.param(100, 0.5, 48, id="half of a hundred is three whole blocks of sixteen"),
        pytest.param(160, 0.9, 144, id="exactly nine blocks"),
        pytest.param(800, 0.58, 464, id="29 blocks, although the product's last bit falls short"),
        pytest.param(160, 1.0, 144, id="all but the block that holds the last token"),
        pytest.param(161, 1.0, 160, id="the last token starts a block of its own"),
        pytest.param(15, 1.0, 0, id="a prompt shorter than a block"),
        pytest.param(1, 1.0, 0, id="a single token is always computed"),
    ],
)
def test_whole_blocks_short_of_the_last_token_are_cached(prompt: int, share: float, expected: int) -> None:
    assert int(cached_tokens(prompt, PrefixReuse(share))) == expected


@given(
    prompt=st.integers(1, 100_000),
    share=st.floats(0, 1),
    block_size=st.sampled_from([1, 16, 32, 528]),
)
def test_cached_tokens_are_whole_blocks_of_the_share(prompt: int, share: float, block_size: int) -> None:
    cached = int(cached_tokens(prompt, PrefixReuse(share, block_size)))
    assert cached % block_size == 0
    assert 0 <= cached < prompt
    assert cached <= share * prompt + 1e-6
    # Nothing that could be cached is left: one more block would break one of the two rules.
    assert cached + block_size > min(share * prompt - 1e-6, prompt - 1)


def test_every_slice_of_a_mix_has_its_share_cached() -> None:
    mix = Mix((Slice(1000, 100, 0.5), Slice(10, 20, 0.5)))
    expected = Mix((Slice(1000, 100, 0.5, 896), Slice(10, 20, 0.5)))
    assert mix_with_reuse(mix, PrefixReuse(0.9)) == expected


def test_what_was_cached_already_stays_cached() -> None:
    mix = Mix((Slice(1000, 100, 1.0, 960),))
    assert mix_with_reuse(mix, PrefixReuse(0.5)) == mix


def test_a_hit_saves_the_prefill_of_what_is_cached() -> None:
    requests = Requests(np.array([0.0, 100.0]), np.array([4096, 512]), np.array([10, 10]))
    cold = simulate(requests, H100_LIMITS, H100_ENGINE.step_times)
    reused = replace(requests, cached_tokens=cached_tokens(requests.prompt_tokens, PrefixReuse(0.875)))
    warm = simulate(reused, H100_LIMITS, H100_ENGINE.step_times)
    # Of 4096 tokens 512 are left: not much slower than a prompt of 512, for they attend to the rest.
    assert cold.ttft_ms[1] < warm.ttft_ms[0] < 1.3 * cold.ttft_ms[1]
    assert warm.itl_ms == pytest.approx(cold.itl_ms, rel=1e-9)


def test_a_replica_carries_more_with_a_prefix_cache() -> None:
    mix = Mix((Slice(4096, 64, 1.0),))
    settings = CapacitySettings(num_requests=300, rate_tolerance=0.05)
    cold = measure_capacity(H100_ENGINE, mix, CHAT, settings)
    warm = measure_capacity(H100_ENGINE, mix_with_reuse(mix, PrefixReuse(0.75)), CHAT, settings)
    assert isinstance(cold, Capacity)
    assert isinstance(warm, Capacity)
    assert warm.requests_per_s > 2 * cold.requests_per_s


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        pytest.param((float("nan"),), "reuse.prompt_share", id="a share that is no number"),
        pytest.param((-0.1,), "reuse.prompt_share", id="a negative share"),
        pytest.param((1.5,), "reuse.prompt_share", id="more of a prompt than there is"),
        pytest.param((0.5, 0), "reuse.block_size", id="blocks of nothing"),
    ],
)
def test_a_reuse_that_means_nothing_is_refused_with_its_field(
    arguments: tuple[float, ...], field: str
) -> None:
    with pytest.raises(SpecError) as refusal:
        PrefixReuse(*arguments)  # type: ignore[arg-type]
    assert refusal.value.field == field


@pytest.mark.parametrize("cached", [-1, 101])
def test_a_slice_has_no_more_cached_tokens_than_prompt(cached: int) -> None:
    with pytest.raises(ValueError, match="part of the prompt"):
        Slice(100, 10, 1.0, cached)
