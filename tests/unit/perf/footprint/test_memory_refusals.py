"""What does not fit, or cannot be cut that way: refused with the numbers and the remedy."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from memory_cases import (
    DEEPSEEK,
    LLAMA_8B,
    LLAMA_70B,
    QWEN_235B_FP8,
    architecture,
    room,
    variant,
)

from argosy.errors import SpecError
from argosy.perf.footprint.memory import (
    ALLOW_LONG,
    EXPERT_PARALLEL,
    fits,
)
from argosy.perf.protocol import Fits, OutOfRange, OutOfRangeReason, TooLarge
from argosy.snapshot import EngineSettings, Variant


@pytest.mark.parametrize(
    ("asked", "sentences"),
    [
        pytest.param(
            variant("H100", LLAMA_70B, 1),
            ("weights alone do not fit", "needs 150.6 GB", "76.4 GB are available", "TP 4 would fit"),
            id="the-weights",
        ),
        pytest.param(
            variant("L4", LLAMA_8B, 1, EngineSettings(max_model_len=100_000)),
            ("a context of 100000 tokens do not fit", "TP 2 would fit"),
            id="the-context",
        ),
        pytest.param(
            variant("L40S", LLAMA_8B, 1, EngineSettings(gpu_memory_utilization=0.3)),
            ("weights alone do not fit",),
            id="the-utilisation",
        ),
        pytest.param(
            variant("H100", LLAMA_8B, 1, EngineSettings(max_num_batched_tokens=100_000_000)),
            ("weights, and the buffers of the activations, adapters and links, do not fit",),
            id="the-buffers",
        ),
        pytest.param(
            variant("H100", "deepseek-ai/DeepSeek-V3", 8, EngineSettings(args=(EXPERT_PARALLEL,))),
            ("TP 16 would fit (more than the 8 GPUs of a node)",),
            id="more-than-a-node",
        ),
        pytest.param(variant("T4", DEEPSEEK, 8), ("no tensor parallelism fits on T4",), id="never"),
    ],
)
def test_what_does_not_fit_is_named_with_both_sizes_and_the_remedy(
    asked: Variant, sentences: tuple[str, ...]
) -> None:
    answer = fits(asked)
    assert isinstance(answer, TooLarge)
    assert [sentence for sentence in sentences if sentence not in answer.message] == []
    assert answer.needed_bytes_per_gpu > answer.available_bytes_per_gpu


def test_a_model_too_large_is_answered_with_every_width_that_fits() -> None:
    answer = fits(variant("H100", LLAMA_70B, 1))
    assert isinstance(answer, TooLarge)
    assert answer.nearest == ("TP 4", "TP 8", "TP 16", "TP 32", "TP 64")
    never = fits(variant("T4", DEEPSEEK, 8))
    assert isinstance(never, TooLarge)
    assert never.nearest == ()


@pytest.mark.parametrize(
    ("ranks", "stages", "nearest"),
    [
        pytest.param(3, 1, ("TP 2", "TP 4", "TP 1"), id="the-closest-widths-first"),
        pytest.param(1, 33, ("PP 32",), id="as-many-stages-as-layers"),
    ],
)
def test_an_impossible_shape_is_answered_with_the_closest_possible_ones(
    ranks: int, stages: int, nearest: tuple[str, ...]
) -> None:
    answer = fits(replace(variant("H100", LLAMA_8B, ranks), pipeline_parallel=stages))
    assert isinstance(answer, OutOfRange)
    assert answer.nearest[:3] == nearest


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        pytest.param(variant("H100", LLAMA_8B, 3), "32 attention heads do not divide into 3", id="heads"),
        pytest.param(variant("H100", LLAMA_8B, 0), "TP 0 and PP 1 must both be at least 1", id="none"),
        pytest.param(
            replace(variant("H100", LLAMA_8B, 1), pipeline_parallel=33),
            "32 layers are fewer than 33 pipeline stages",
            id="stages",
        ),
        pytest.param(
            variant("H200", QWEN_235B_FP8, 8),
            "192 each, not whole blocks of 128; use fewer ranks or",
            id="blocks",
        ),
        pytest.param(
            variant("H100", "Qwen/Qwen2.5-14B", 5), "8 KV heads neither divide into 5", id="kv-heads"
        ),
    ],
)
def test_an_impossible_shape_says_so_with_the_numbers(asked: Variant, sentence: str) -> None:
    answer = fits(asked)
    assert isinstance(answer, OutOfRange)
    assert answer.reason is OutOfRangeReason.IMPOSSIBLE_SHAPE
    assert sentence in answer.message


def test_expert_parallelism_keeps_blocks_whole() -> None:
    engine = EngineSettings(args=(EXPERT_PARALLEL,))
    assert isinstance(fits(variant("H200", QWEN_235B_FP8, 8, engine)), Fits)


def test_a_context_beyond_the_trained_one_is_refused_as_vllm_does() -> None:
    long = variant("H200", "Qwen/Qwen3-8B", 1, EngineSettings(max_model_len=65_536))
    answer = fits(long)
    assert isinstance(answer, OutOfRange)
    assert answer.reason is OutOfRangeReason.CONTEXT_TOO_LONG
    assert "40960 positions" in answer.message
    assert "65536" in answer.message
    allowed = replace(long, engine=replace(long.engine, env=((ALLOW_LONG, "1"),)))
    assert isinstance(fits(allowed), Fits)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    gpu, model = fits(variant("H1000", LLAMA_8B, 1)), fits(variant("H100", "lama-3.1-8b", 1))
    assert isinstance(gpu, OutOfRange)
    assert isinstance(model, OutOfRange)
    assert (gpu.nearest[0], model.nearest[0]) == ("H100", "llama-3.1-8b")


def test_a_model_that_the_catalogue_does_not_know_fits_by_its_dimensions() -> None:
    """With the figures that a user can give; only the layout has to be assumed."""
    known = architecture(LLAMA_8B)
    bare = replace(known, family=None, layout=None)
    own = replace(variant("H100", "acme/tiny", 1), architecture=bare)
    answer, catalogued = fits(own), room("H100", LLAMA_8B, 1)
    assert isinstance(answer, Fits)
    assert answer.kv_capacity_tokens == pytest.approx(catalogued.kv_capacity_tokens, rel=0.001)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gpu_memory_utilization", math.nan),
        ("gpu_memory_utilization", 0.0),
        ("gpu_memory_utilization", 1.5),
        ("max_num_seqs", 0),
        ("max_num_batched_tokens", -1),
        ("max_model_len", math.nan),
        ("block_size", 0),
        ("max_loras", -1),
        ("max_lora_rank", 0),
    ],
)
def test_a_setting_that_means_nothing_is_refused_by_name(name: str, value: float) -> None:
    engine = replace(EngineSettings(), **{name: value})  # type: ignore[arg-type]
    with pytest.raises(SpecError, match=f"engine.{name}"):
        fits(variant("H100", LLAMA_8B, 1, engine))
