"""LoRA adapters: what they add to a step, and more of them than there are slots."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_cases import architecture, gpu_of
from perf_engines import H100_8B

from argosy.engine.step_times import step_ms
from argosy.errors import SpecError
from argosy.perf.footprint.weights import Ranks, adapter_bytes
from argosy.perf.profiles.adapters import (
    LAUNCHES_MS_PER_LAYER,
    AdaptedStepTimes,
    Adapters,
    adapter_ms,
)


def added_ms(adapters: Adapters, tokens: float, gpu_name: str = "H100", ranks: int = 1) -> float:
    return float(adapter_ms(adapters, gpu_of(gpu_name), ranks, np.array([tokens]))[0])


# arXiv 2310.18547 (Punica): 2 ms per token, 32 layers of an 8B-class model on an A100.
def test_a_small_batch_on_an_a100_loses_about_two_milliseconds() -> None:
    assert added_ms(Adapters(architecture("llama-3.1-8b"), 1, 16), 8, "A100") == pytest.approx(2.0, rel=0.1)


def test_an_engine_with_lora_launches_kernels_although_no_request_names_an_adapter() -> None:
    idle = Adapters(architecture("llama-3.1-8b"), 0, 16)
    assert added_ms(idle, 256) == pytest.approx(32 * LAUNCHES_MS_PER_LAYER)


# Sharded as the slots in memory are: one more adapter is read once more.
@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("model", ["llama-3.1-8b", "llama-3.1-70b"])
def test_one_more_adapter_reads_the_bytes_of_its_slot(model: str, ranks: int) -> None:
    dense, h100 = architecture(model), gpu_of("H100")
    more = added_ms(Adapters(dense, 5, 64), 64, ranks=ranks) - added_ms(
        Adapters(dense, 4, 64), 64, ranks=ranks
    )
    slot_bytes = adapter_bytes(dense, 1, 64, Ranks(ranks))
    assert more == pytest.approx(1e3 * slot_bytes / h100.memory_bytes_per_s)


def test_of_a_mixtures_adapter_only_the_experts_in_use_are_read() -> None:
    mixture, h100 = architecture("qwen3-235b-a22b"), gpu_of("H100")
    slot_ms = 1e3 * adapter_bytes(mixture, 1, 16, Ranks(8)) / h100.memory_bytes_per_s
    few = added_ms(Adapters(mixture, 1, 16), 1, ranks=8) - added_ms(Adapters(mixture, 0, 16), 1, ranks=8)
    assert 0 < few < 0.2 * slot_ms


def test_an_adapters_experts_are_read_for_its_own_tokens_only() -> None:
    """Eight tokens of eight adapters read what eight iterations of one token and adapter do."""
    mixture = architecture("qwen3-235b-a22b")
    launches = added_ms(Adapters(mixture, 0, 16), 1, ranks=8)
    one = added_ms(Adapters(mixture, 1, 16), 1, ranks=8) - launches
    eight = added_ms(Adapters(mixture, 8, 16), 8, ranks=8) - launches
    assert eight == pytest.approx(8 * one)


def test_no_more_adapters_are_read_than_there_are_tokens() -> None:
    dense = architecture("llama-3.1-8b")
    assert added_ms(Adapters(dense, 64, 64), 4) == added_ms(Adapters(dense, 4, 64), 4)


def test_a_prompts_tokens_pass_every_projection_twice() -> None:
    adapters = Adapters(architecture("llama-3.1-8b"), 1, 16)
    more = added_ms(adapters, 8192) - added_ms(adapters, 4096)
    # Inputs once and outputs twice, of q, k, v, o, gate, up, down; 2 bytes each, 32 layers.
    widths = (4096 + 2 * 4096) * 2 + (4096 + 2 * 1024) * 2 + (4096 + 2 * 14_336) * 2 + 14_336 + 2 * 4096
    assert more == pytest.approx(1e3 * 4096 * 2 * 32 * widths / 3.35e12)


# Measured: 20 % at batch 8, 14 % at 64, 8 % at 256 (reported for this model: 8 to 24 %).
def test_an_h100_loses_between_a_twelfth_and_a_quarter_of_its_decode_rate() -> None:
    adapted = AdaptedStepTimes(H100_8B, Adapters(architecture("llama-3.1-8b"), 4, 16), gpu_of("H100"))
    losses = [
        1 - float(step_ms(H100_8B, b, b * 1024)) / float(step_ms(adapted, b, b * 1024)) for b in (8, 64, 256)
    ]
    assert losses == sorted(losses, reverse=True)
    assert 0.07 < losses[-1] < losses[0] < 0.25


def test_what_is_added_does_not_depend_on_the_calibration() -> None:
    adapters = Adapters(architecture("llama-3.1-8b"), 4, 16)
    adapted = AdaptedStepTimes(H100_8B, adapters, gpu_of("H100"))
    longer = float(step_ms(adapted, 64, 65_536)) - float(step_ms(H100_8B, 64, 65_536))
    assert longer == pytest.approx(added_ms(adapters, 64))


@given(
    model=st.sampled_from(["llama-3.1-8b", "qwen3-30b-a3b"]),
    tokens=st.integers(1, 8192),
    active=st.integers(0, 32),
    rank=st.sampled_from([8, 16, 64, 256]),
)
def test_more_tokens_adapters_or_rank_never_take_less(
    model: str, tokens: int, active: int, rank: int
) -> None:
    adapted = architecture(model)
    less = added_ms(Adapters(adapted, active, rank), tokens)
    assert less > 0
    for more in (
        added_ms(Adapters(adapted, active, rank), tokens + 1),
        added_ms(Adapters(adapted, active + 1, rank), tokens),
        added_ms(Adapters(adapted, active, 2 * rank), tokens),
    ):
        assert more >= less * (1 - 1e-12)


@pytest.mark.parametrize(
    ("active", "rank", "field"),
    [(-1, 16, "adapters.active"), (1, 0, "adapters.rank"), (1, -8, "adapters.rank")],
)
def test_adapters_that_mean_nothing_are_refused_with_their_field(active: int, rank: int, field: str) -> None:
    with pytest.raises(SpecError) as refusal:
        Adapters(architecture("llama-3.1-8b"), active, rank)
    assert refusal.value.field == field


def test_other_adapters_have_other_digests() -> None:
    dense = architecture("llama-3.1-8b")
    digests = {
        AdaptedStepTimes(H100_8B, Adapters(dense, active, rank), gpu_of(name)).digest()
        for active in (1, 2)
        for rank in (8, 16)
        for name in ("H100", "L40S")
    }
    assert len(digests) == 8
