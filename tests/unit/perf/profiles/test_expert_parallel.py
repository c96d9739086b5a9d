"""Experts on ranks of their own: what the fullest rank adds, against counting by chance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.engine.step_times import step_ms
from argosy.keys import ModelKey
from argosy.perf import LibraryPerfModel, shipped_library
from argosy.perf.footprint.memory import shape_fault
from argosy.perf.profile import Profile
from argosy.perf.profiles.expert_parallel import ExpertRanks
from argosy.snapshot import EngineSettings, Variant
from argosy.snapshot.architecture import Architecture

PERF = LibraryPerfModel(shipped_library(), {})
QWEN, LLAMA = "Qwen/Qwen3-30B-A3B", "meta-llama/Llama-3.1-8B-Instruct"
FLAG = ("--enable-expert-parallel",)


def variant(args: tuple[str, ...] = FLAG, ranks: int = 4, model: str = QWEN) -> Variant:
    return Variant(ModelKey(""), model, (), "", "H100", ranks, EngineSettings(args=args))


def profile(asked: Variant) -> Profile:
    found = PERF.profile(asked)
    assert isinstance(found, Profile), found
    return found


def drawn(experts: int, per_token: int, ranks: int, tokens: int) -> tuple[float, float]:
    """Distinct experts and choices of the fullest rank beyond the mean one's, over 400 draws."""
    random = np.random.default_rng(7)
    read, computed = [], []
    for _ in range(400):
        chosen = np.argsort(random.random((tokens, experts)), axis=1)[:, :per_token]
        counts = np.bincount(chosen.ravel(), minlength=experts).reshape(ranks, -1)
        distinct, choices = (counts > 0).sum(axis=1), counts.sum(axis=1)
        read.append(distinct.max() - distinct.mean())
        computed.append(choices.max() - choices.mean())
    return float(np.mean(read)), float(np.mean(computed))


@pytest.mark.parametrize("tokens", [4, 16, 64])
@pytest.mark.parametrize(("experts", "per_token", "ranks"), [(128, 8, 4), (128, 8, 8), (64, 6, 2)])
def test_the_fullest_rank_has_as_much_more_as_counting_gives(
    experts: int, per_token: int, ranks: int, tokens: int
) -> None:
    read, computed = drawn(experts, per_token, ranks, tokens)
    shape = ExpertRanks(experts, per_token, ranks)
    # Tokens take distinct experts, which the formulas do not know: they are up to a sixth too high.
    assert float(shape.read_beyond_mean(tokens)[0]) == pytest.approx(read, rel=0.17, abs=0.1)
    assert float(shape.choices_beyond_mean(tokens)) == pytest.approx(computed, rel=0.12)


@given(
    experts=st.sampled_from([8, 64, 128, 256]),
    ranks=st.sampled_from([2, 4, 8]),
    tokens=st.integers(1, 16_384),
)
def test_no_rank_has_less_than_the_mean_nor_more_than_all(experts: int, ranks: int, tokens: int) -> None:
    read = float(ExpertRanks(experts, 2, ranks).read_beyond_mean([tokens])[0])
    assert 0 <= read <= experts / ranks
    assert float(ExpertRanks(experts, 2, 1).read_beyond_mean([tokens])[0]) == pytest.approx(0.0, abs=1e-9)


def test_a_step_that_reads_every_expert_is_even() -> None:
    assert float(ExpertRanks(8, 2, 4).read_beyond_mean([4096])[0]) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("flag", ["--enable-expert-parallel", "-ep", "--enable_expert_parallel"])
def test_iterations_wait_for_the_fullest_rank(flag: str) -> None:
    plain, expert = profile(variant(())), profile(variant((flag,)))
    for batch in (1, 8, 64, 256):
        before, after = (float(step_ms(p.step_times, batch, batch * 1024)) for p in (plain, expert))
        assert before <= after < 1.7 * before, batch
        assert before < after or batch == 256, batch
    long = [float(step_ms(p.step_times, 0, 0, [(8192, 0)])) for p in (plain, expert)]
    assert long[0] < long[1] < 1.2 * long[0]
    assert expert.uncertainty > plain.uncertainty
    assert "experts on 4 ranks: imbalance computed, not given by the table" in expert.source


@given(batch=st.integers(1, 255), chunk=st.integers(1, 8000))
def test_more_work_never_takes_less(batch: int, chunk: int) -> None:
    times = profile(variant()).step_times
    assert step_ms(times, batch, batch * 512) <= step_ms(times, batch + 1, (batch + 1) * 512) + 1e-9
    assert step_ms(times, 0, 0, [(chunk, 0)]) <= step_ms(times, 0, 0, [(chunk + 100, 0)]) + 1e-9


@pytest.mark.parametrize(
    ("asked", "plain"),
    [
        pytest.param(variant(model=LLAMA), variant((), model=LLAMA), id="no experts"),
        pytest.param(variant(ranks=1), variant((), ranks=1), id="one GPU"),
        pytest.param(variant((*FLAG, "--no-enable-expert-parallel")), variant(()), id="switched off again"),
    ],
)
def test_where_nothing_is_divided_otherwise_nothing_changes(asked: Variant, plain: Variant) -> None:
    assert profile(asked).step_times.digest() == profile(plain).step_times.digest()


def test_a_users_own_profile_is_used_as_it_is() -> None:
    mine = replace(profile(variant(())), source="mine")
    own = PERF.with_profiles([replace(mine, origin=type(mine.origin).USER)])
    found = own.profile(variant())
    assert isinstance(found, Profile)
    assert found.step_times.digest() == mine.step_times.digest()


@pytest.mark.parametrize("flag", [*FLAG, "-ep"])
def test_experts_that_do_not_divide_into_columns_may_be_divided_whole(flag: str) -> None:
    blocks = Architecture(
        4, 512, 512, 8, 8, 64, 1000, 10**8, 10**7, 4096, experts=16, experts_per_token=2,
        expert_intermediate_size=384, weight_block=128,
    )  # fmt: skip
    assert shape_fault(blocks, variant(())) is not None
    assert shape_fault(blocks, variant((flag,))) is None
