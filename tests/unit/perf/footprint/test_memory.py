"""What fits, what is left for KV, and why something does not."""

from __future__ import annotations

import csv
import json
import math
import runpy
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from memory_cases import (
    DEEPSEEK,
    GPT_OSS,
    LLAMA_8B,
    LLAMA_70B,
    architecture,
    gpu_of,
    room,
    variant,
)
from reference_reserve import reserve_bytes, weights_bytes

from argosy.perf import Gpu, engine_limits, gpus, load_delay_s, models
from argosy.perf.footprint.memory import (
    EXPERT_PARALLEL,
    KvGrowth,
    fits,
    fits_on,
    kv_growth,
    shape_fault,
)
from argosy.perf.footprint.weights import Ranks, adapter_bytes, rank_weight_bytes, weight_bytes
from argosy.perf.footprint.working_memory import working_memory
from argosy.perf.protocol import Fits, TooLarge
from argosy.snapshot import EngineSettings, Variant
from argosy.snapshot.architecture import Architecture, Dtype

REFERENCE = Path(__file__).parents[3] / "data" / "perf" / "kv_capacity.csv"


# --- against the reference --------------------------------------------------------------------

# Where the reference (aiconfigurator-core 0.12.0) counts something else than the checkpoint has.
_SHARED = "leaves out Llama 4's shared expert and holds the embedding whole on each rank"
_MAMBA = "bills KV to all layers of Nemotron-H, although only its few attention layers keep any"
_GLM_FP8 = "takes GLM's FP8 attention as bf16, since its norms are on the list of what stays in bf16"
_M2_FP4 = "quantises the attention that MiniMax-M2's NVFP4 checkpoints exclude"
_M3 = "leaves out MiniMax-M3's attention, and counts its leading dense layers as layers of experts"
DIFFERENT = {
    "meta-llama/Llama-4-Scout-17B-16E-Instruct": _SHARED,
    "meta-llama/Llama-4-Maverick-17B-128E-Instruct": _SHARED,
    "zai-org/GLM-5-FP8": _GLM_FP8,
    "zai-org/GLM-5.1-FP8": _GLM_FP8,
    "zai-org/GLM-5.2-FP8": _GLM_FP8,
    "zai-org/GLM-5.3-FP8": _GLM_FP8,
    "nvidia/Gemma-4-26B-A4B-NVFP4": "takes its NVFP4 experts as bf16",
    "nvidia/MiniMax-M2.5-NVFP4": _M2_FP4,
    "nvidia/MiniMax-M2.7-NVFP4": _M2_FP4,
    "MiniMaxAI/MiniMax-M3": _M3,
    "nvidia/MiniMax-M3-NVFP4": _M3,
    "XiaomiMiMo/MiMo-V2-Flash": "does not cap KV at the window of its 39 sliding layers",
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": _MAMBA,
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-NVFP4": _MAMBA,
    "nvidia/NVIDIA-Nemotron-3.5-Lightning-30B-A3B-NVFP4": _MAMBA,
    "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8": _MAMBA,
    "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-NVFP4": _MAMBA,
    "nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16": _MAMBA,
    "nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B-FP8": _MAMBA,
    "nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B-NVFP4": _MAMBA,
    "nvidia/Nemotron-H-56B-Base-8K": _MAMBA,
}


class Row(NamedTuple):
    """One configuration of the reference on one GPU."""

    checkpoint: str
    variant: Variant
    memory_bytes: int
    expected_tokens: int

    def relative_error(self, memory_bytes: int | None = None) -> float:
        """Of the KV tokens beside the reference's own reserve; infinite where nothing is left."""
        a, engine, ranks = architecture(self.checkpoint), self.variant.engine, self.variant.tensor_parallel
        free = engine.gpu_memory_utilization * (memory_bytes or self.memory_bytes)
        free -= weights_bytes(a, engine.quantization, ranks) + reserve_bytes(a, engine, ranks)
        kv = kv_growth(a, ranks, engine.kv_cache_dtype or a.kv_dtype).within(engine.max_model_len)
        tokens = kv.tokens_in(free)
        if math.isinf(tokens):
            tokens = (free - kv.fixed_bytes) / kv.windowed_bytes
        return int(tokens) / self.expected_tokens - 1 if tokens > 0 else math.inf


@cache
def rows() -> tuple[Row, ...]:
    return tuple(_rows(REFERENCE.read_text().splitlines()))


def _rows(lines: list[str]) -> Iterator[Row]:
    comments = [line for line in lines if line.startswith("#")]
    memory = json.loads(comments[-1].partition("memory_bytes ")[2])
    for entry in csv.DictReader(lines[len(comments) :]):
        # The reference counts tokens, not blocks, and those of a sequence longer than every window.
        engine = EngineSettings(
            max_model_len=architecture(entry["checkpoint"]).sliding_window + 1,
            block_size=1,
            quantization=Dtype(entry["quantization"]) if entry["quantization"] else None,
            kv_cache_dtype=Dtype(entry["kv_dtype"]),
            args=(EXPERT_PARALLEL,) if entry["expert_parallel"] == "1" else (),
        )
        for gpu, tokens in ((gpu, entry[gpu]) for gpu in memory if entry[gpu]):
            asked = variant(gpu, entry["checkpoint"], int(entry["tp"]), engine)
            yield Row(entry["checkpoint"], asked, memory[gpu], int(tokens))


@pytest.mark.parametrize("checkpoint", sorted({row.checkpoint for row in rows()} - DIFFERENT.keys()))
def test_every_shared_configuration_is_within_3_percent_of_the_reference(checkpoint: str) -> None:
    """With the memory of the reference's system files, in the reference's own unit (tokens)."""
    errors = {
        (
            row.variant.gpu,
            row.variant.tensor_parallel,
            row.variant.engine.kv_cache_dtype,
        ): row.relative_error()
        for row in rows()
        if row.checkpoint == checkpoint
    }
    assert errors
    assert {asked: error for asked, error in errors.items() if abs(error) > 0.03} == {}


@pytest.mark.parametrize(("checkpoint", "reason"), DIFFERENT.items())
def test_a_model_is_excused_only_while_it_differs(checkpoint: str, reason: str) -> None:
    errors = [row.relative_error() for row in rows() if row.checkpoint == checkpoint]
    assert reason
    assert max(abs(error) for error in errors) > 0.03


def test_with_the_drivers_memory_nineteen_in_twenty_are_still_within_3_percent() -> None:
    """The rest has so little room for KV that half a per cent of the memory matters."""
    shared = [row for row in rows() if row.checkpoint not in DIFFERENT]
    near = [r for r in shared if abs(r.relative_error(gpu_of(r.variant.gpu).memory_bytes)) <= 0.03]
    assert len(near) / len(shared) > 0.95


def test_the_reference_covers_the_catalogue() -> None:
    """All models but those that only we know, over all kinds of GPU, shape and number type."""
    covered = {row.checkpoint for row in rows()}
    missing = {model.key for model in models() if covered.isdisjoint(model.names)}
    assert missing <= {
        "codellama-34b", "command-r-32b", "gemma-3-12b", "gemma-3-27b", "llama-2-7b", "llama-2-13b",
        "llama-2-70b", "mistral-7b-v0.1", "mistral-nemo-12b", "mistral-small-24b", "nemotron-nano-9b-v2",
        "nemotron-nano-12b-v2", "phi-4", "qwen2.5-72b", "yi-34b",
    }  # fmt: skip
    assert {row.variant.tensor_parallel for row in rows()} == {1, 2, 4, 8}
    assert len(rows()) > 5000


def test_a_row_of_the_reference_is_what_the_script_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aiconfigurator_core", reason="needs the extra: pip install 'argosy[profiles]'")
    hack = Path(__file__).parents[4] / "hack"
    monkeypatch.syspath_prepend(str(hack))
    script = runpy.run_path(str(hack / "export_catalogue.py"))
    written = REFERENCE.read_text()
    for row in script["_rows_of"]("Qwen/Qwen3-235B-A22B-FP8"):
        assert ",".join(str(value) for value in row) in written


def test_weights_of_the_checkpoint_are_what_is_shared_out() -> None:
    answer = room("H100", LLAMA_8B, 1)
    assert answer.weight_bytes == 16_060_522_496
    assert answer.weight_bytes_per_gpu == pytest.approx(16_060_522_496, rel=0.001)


# --- weights ----------------------------------------------------------------------------------


def test_kv_and_weights_are_sharded_by_tensor_parallelism() -> None:
    one, four = room("H100", LLAMA_8B, 1), room("H100", LLAMA_8B, 4)
    assert four.weight_bytes_per_gpu == pytest.approx(one.weight_bytes_per_gpu / 4)
    # A quarter of the bytes per token in more free memory on each GPU.
    assert four.kv_capacity_tokens > 4 * one.kv_capacity_tokens


def test_a_quantised_checkpoint_keeps_its_tables_in_16_bits() -> None:
    a = architecture(LLAMA_8B)
    tables = 2 * a.vocabulary * a.hidden_size
    assert weight_bytes(a, Dtype.FP8) == a.parameters + tables
    assert weight_bytes(a, Dtype.FP4) == (a.parameters - tables) * 9 / 16 + 2 * tables
    assert weight_bytes(a) == 2 * a.parameters


@pytest.mark.parametrize(
    ("name", "gigabytes"),
    [
        pytest.param("nvidia/Llama-3.1-70B-Instruct-FP8", 72.7, id="fp8"),
        pytest.param(GPT_OSS, 61.6, id="mxfp4-experts-only"),
        pytest.param("moonshotai/Kimi-K2.5", 538.0, id="int4-experts-only"),
        pytest.param(DEEPSEEK, 672.9, id="fp8-with-a-router"),
    ],
)
def test_a_checkpoints_bytes_follow_its_number_types(name: str, gigabytes: float) -> None:
    assert weight_bytes(architecture(name)) / 1e9 == pytest.approx(gigabytes, rel=0.02)


def test_the_engine_may_quantise_what_the_checkpoint_did_not() -> None:
    plain, quantised = room("H100", LLAMA_8B, 1), room("H100", LLAMA_8B, 1, quantization=Dtype.FP8)
    assert quantised.weight_bytes_per_gpu < 0.6 * plain.weight_bytes_per_gpu
    assert quantised.kv_capacity_tokens > plain.kv_capacity_tokens


def test_a_type_without_hardware_takes_no_other_memory() -> None:
    """vLLM multiplies in 16 bits with the weights stored small."""
    assert Dtype.FP8 not in gpu_of("A100").flops
    assert room("A100", LLAMA_8B, 1, quantization=Dtype.FP8).weight_bytes_per_gpu == pytest.approx(
        9.08e9, rel=0.01
    )


# --- KV ---------------------------------------------------------------------------------------


def test_kv_heads_repeat_beyond_their_number() -> None:
    a = architecture(LLAMA_70B)
    sixteen, eight, one = (kv_growth(a, ranks, Dtype.BF16).full_bytes for ranks in (16, 8, 1))
    assert sixteen == eight == one / 8


def test_latent_kv_is_whole_on_every_rank() -> None:
    a = architecture(DEEPSEEK)
    assert kv_growth(a, 8, Dtype.BF16) == kv_growth(a, 1, Dtype.BF16) == KvGrowth(61 * 576 * 2)


def test_fp8_kv_holds_twice_the_tokens() -> None:
    bf16, fp8 = (room("H100", LLAMA_8B, 1, kv_cache_dtype=kv) for kv in (Dtype.BF16, Dtype.FP8))
    assert fp8.kv_capacity_tokens == pytest.approx(2 * bf16.kv_capacity_tokens, abs=16)


def test_windowed_layers_hold_no_more_than_their_window() -> None:
    growth = kv_growth(architecture(GPT_OSS), 1, Dtype.BF16)
    per_layer = 2 * 8 * 64 * 2
    assert growth.bytes_of(100) == 36 * per_layer * 100
    assert growth.bytes_of(10_000) == 18 * per_layer * (10_000 + 128)


def test_where_every_layer_has_a_window_one_sequence_fits_at_any_length() -> None:
    name = "mistralai/Mistral-7B-Instruct-v0.1"
    growth = kv_growth(architecture(name), 1, Dtype.BF16)
    assert growth.bytes_of(32_768) == growth.bytes_of(4096) == 4096 * 131_072
    assert growth.tokens_in(4096 * 131_072) == math.inf
    # What a scheduler without windows may hand out is bound by memory nonetheless.
    assert 300_000 < room("H100", name, 1).kv_capacity_tokens < 500_000


def test_a_model_without_any_kv_is_bound_by_its_sequences() -> None:
    plain = architecture("Qwen/Qwen3.5-27B")
    bare = replace(plain, linear_layers=plain.layers)
    answer = fits(replace(variant("H100", "acme/mamba", 1), architecture=bare))
    assert isinstance(answer, Fits)
    assert answer.kv_capacity_tokens == 256 * 16_384


def test_linear_layers_hold_a_state_and_no_tokens() -> None:
    a = architecture("Qwen/Qwen3.5-27B")
    growth = kv_growth(a, 1, Dtype.BF16)
    assert growth.full_bytes == 16 * 2 * 4 * 256 * 2
    assert growth.bytes_of(0) == a.state_bytes == 153_944_064


@given(st.floats(1, 1e6), st.floats(0, 1e6), st.integers(0, 10_000), st.floats(0, 1e8), st.floats(0, 1e12))
def test_tokens_and_bytes_are_each_others_inverse(
    full: float, windowed: float, window: int, fixed: float, available: float
) -> None:
    growth = KvGrowth(full, windowed, window, fixed)
    exact = growth.tokens_in(available)
    assume(math.isfinite(exact))
    tokens = int(exact)
    if tokens > 0:
        assert growth.bytes_of(tokens) <= available * (1 + 1e-9) + 1
        assert growth.bytes_of(tokens + 1) >= available * (1 - 1e-9) - 1


def test_the_capacity_is_in_whole_blocks() -> None:
    assert room("H100", LLAMA_8B, 1, block_size=64).kv_capacity_tokens % 64 == 0
    limits = engine_limits(EngineSettings(max_num_seqs=64, block_size=16), 1000)
    assert (limits.max_num_seqs, limits.kv_blocks, limits.block_size) == (64, 62, 16)


@pytest.mark.parametrize("layers", [32, 20], ids=["all", "some"])
def test_a_window_that_holds_every_sequence_charges_what_no_window_does(layers: int) -> None:
    plain = architecture(LLAMA_8B)
    windowed = replace(plain, sliding_window=4096, sliding_layers=layers)

    def tokens(model: Architecture, longest: int) -> int:
        engine = EngineSettings(max_model_len=longest, max_num_seqs=1)
        found = fits(replace(variant("L40S", LLAMA_8B, 1, engine), architecture=model))
        assert isinstance(found, Fits)
        return found.kv_capacity_tokens

    assert tokens(windowed, 4096) == tokens(plain, 4096)
    assert tokens(windowed, 8192) > tokens(plain, 8192) if layers < 32 else True


def test_what_fits_exactly_fits() -> None:
    capacity = room("L40S", LLAMA_8B, 1, max_model_len=4096, max_num_seqs=1).kv_capacity_tokens
    longer = replace(architecture(LLAMA_8B), max_context=10**6)
    one = EngineSettings(max_model_len=capacity, max_num_seqs=1)
    exact = replace(variant("L40S", LLAMA_8B, 1, one), architecture=longer)
    assert isinstance(fits(exact), Fits)
    over = replace(exact, engine=replace(one, max_model_len=capacity + 1))
    assert isinstance(fits(over), TooLarge)


# --- pipelines and adapters -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "stages", "expected"),
    [
        pytest.param(32, 1, [32], id="one"),
        pytest.param(32, 4, [8, 8, 8, 8], id="even"),
        pytest.param(61, 2, [31, 30], id="odd"),
        pytest.param(30, 4, [7, 8, 8, 7], id="the-ends-hold-the-tables"),
    ],
)
def test_layers_are_spread_over_stages_as_vllm_does(layers: int, stages: int, expected: list[int]) -> None:
    assert [Ranks(1, stages, stage).layers_of(layers) for stage in range(stages)] == expected


def test_the_fullest_stage_of_a_pipeline_decides() -> None:
    plain = variant("L40S", LLAMA_70B, 2, EngineSettings(max_model_len=8192))
    assert isinstance(fits(plain), TooLarge)
    piped = fits(replace(plain, pipeline_parallel=2))
    assert isinstance(piped, Fits)
    a = architecture(LLAMA_70B)
    stages = [rank_weight_bytes(a, None, Ranks(2, 2, stage)) for stage in (0, 1)]
    assert piped.weight_bytes_per_gpu == round(max(stages)) == round(rank_weight_bytes(a, None, Ranks(2)) / 2)


def test_where_windows_cap_every_layer_the_stage_with_most_layers_decides() -> None:
    """32 layers in 5 stages: 6, 6, 7, 7, 6; the outer ones hold half a table each."""
    a = architecture("mistralai/Mistral-7B-Instruct-v0.1")
    piped = fits(replace(variant("L4", "mistral-7b-v0.1", 1), pipeline_parallel=5))
    assert isinstance(piped, Fits)
    by_stage = [round(rank_weight_bytes(a, None, Ranks(1, 5, stage))) for stage in range(5)]
    assert piped.weight_bytes_per_gpu == max(by_stage) == by_stage[2]


def test_weights_that_do_not_fit_are_those_of_the_fullest_stage() -> None:
    """126 layers in 4 stages: 31, 32, 32, 31; a layer is more than half of both tables."""
    name = "meta-llama/Llama-3.1-405B-Instruct"
    asked, a = replace(variant("H100", name, 1), pipeline_parallel=4), architecture(name)
    answer = fits(asked)
    assert isinstance(answer, TooLarge)
    weights = rank_weight_bytes(a, None, Ranks(1, 4, 1))
    kv = kv_growth(a, 1, Dtype.BF16).times(32 / 126).bytes_of(asked.engine.max_model_len)
    beside = working_memory(a, gpu_of("H100"), asked).total
    assert answer.needed_bytes_per_gpu == round(weights + kv + beside)


def test_adapters_take_their_slots_before_the_kv() -> None:
    a = architecture(LLAMA_8B)
    # 167,772,160 parameters of an adapter at rank 64 over all seven projections, two bytes each.
    assert adapter_bytes(a, 1, 64, Ranks(1)) == 2 * 167_772_160
    without = room("H100", LLAMA_8B, 1)
    with_eight = room("H100", LLAMA_8B, 1, max_loras=8, max_lora_rank=64)
    taken = (without.kv_capacity_tokens - with_eight.kv_capacity_tokens) * 131_072
    assert taken == pytest.approx(8 * 2 * 167_772_160, abs=16 * 131_072)


# --- properties -------------------------------------------------------------------------------

MODELS = st.sampled_from([model.architecture for model in models()])
ENGINES = st.builds(
    EngineSettings,
    max_num_seqs=st.integers(1, 1024),
    max_num_batched_tokens=st.integers(1, 32_768),
    max_model_len=st.integers(1, 8192),
    gpu_memory_utilization=st.floats(0.05, 1.0),
    quantization=st.none() | st.sampled_from(Dtype),
    kv_cache_dtype=st.none() | st.sampled_from([Dtype.BF16, Dtype.FP8]),
    max_loras=st.integers(0, 4),
    args=st.just((EXPERT_PARALLEL,)),
)


def tokens(gpu: Gpu, model: Architecture, asked: Variant) -> int | None:
    answer = fits_on(gpu, model, asked)
    return answer.kv_capacity_tokens if isinstance(answer, Fits) else None


@given(st.sampled_from(gpus()), MODELS, ENGINES, st.sampled_from([1, 2, 4, 8]), st.floats(1.0, 4.0))
def test_more_memory_never_holds_fewer_tokens(
    gpu: Gpu, model: Architecture, engine: EngineSettings, ranks: int, factor: float
) -> None:
    asked = variant(gpu.name, "m", ranks, engine)
    less = tokens(gpu, model, asked)
    assume(less is not None)
    more = tokens(replace(gpu, memory_bytes=int(gpu.memory_bytes * factor)), model, asked)
    assert more is not None
    assert less is not None
    assert more >= less


@given(st.sampled_from(gpus()), MODELS, ENGINES, st.sampled_from([1, 2, 4]))
def test_twice_the_ranks_never_hold_fewer_tokens(
    gpu: Gpu, model: Architecture, engine: EngineSettings, ranks: int
) -> None:
    few, many = variant(gpu.name, "m", ranks, engine), variant(gpu.name, "m", 2 * ranks, engine)
    assume(shape_fault(model, many) is None)
    # Buffers of the links come on top: only where what is shared out shrinks by more than that.
    gained = working_memory(model, gpu, few).total - working_memory(model, gpu, many).total
    gained += rank_weight_bytes(model, engine.quantization, Ranks(ranks))
    gained -= rank_weight_bytes(model, engine.quantization, Ranks(2 * ranks))
    assume(gained > 0)
    less = tokens(gpu, model, few)
    assume(less is not None)
    more = tokens(gpu, model, many)
    assert more is not None
    assert less is not None
    assert more >= less


@given(st.sampled_from(gpus()), MODELS, ENGINES, st.integers(0, 8192))
def test_a_longer_context_never_makes_a_misfit_fit(
    gpu: Gpu, model: Architecture, engine: EngineSettings, longer: int
) -> None:
    misfit = fits_on(gpu, model, variant(gpu.name, "m", 1, engine))
    assume(isinstance(misfit, TooLarge))
    more = replace(engine, max_model_len=engine.max_model_len + longer)
    assert not isinstance(fits_on(gpu, model, variant(gpu.name, "m", 1, more)), Fits)


# --- loading ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loaded_bytes", "expected_s"),
    [
        pytest.param(1_000_000_000, 15.0, id="never-under-15-s"),
        pytest.param(16_060_522_496, 18.03, id="8b"),
        pytest.param(141_107_412_992, 80.55, id="70b"),
    ],
)
def test_the_load_delay_is_two_gigabytes_a_second_and_ten_seconds(
    loaded_bytes: int, expected_s: float
) -> None:
    assert load_delay_s(loaded_bytes) == pytest.approx(expected_s, abs=0.01)
