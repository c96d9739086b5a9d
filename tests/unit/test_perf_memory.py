"""What fits, what is left for KV, and who is known by which name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from argosy.perf import GPUS, MODELS, Gpu, ModelFacts, engine_limits, find_gpu, find_model, load_delay_s
from argosy.perf.memory import fits
from argosy.perf.protocol import Fits, OutOfRange, OutOfRangeReason, TooLarge
from argosy.snapshot import EngineSettings, Variant


def variant(gpu: str, model_id: str, tensor_parallel: int, engine: EngineSettings | None = None) -> Variant:
    return Variant("ns/m", model_id, ("m",), "pool", gpu, tensor_parallel, engine or EngineSettings())


LLAMA_8B, LLAMA_70B = "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.3-70B-Instruct"


@pytest.mark.parametrize(("gpu", "expected_tokens"), [("H100", 432_992), ("L40S", 174_857)])
def test_the_kv_capacity_is_within_3_percent_of_the_reference(gpu: str, expected_tokens: int) -> None:
    answer = fits(variant(gpu, LLAMA_8B, 1))
    assert isinstance(answer, Fits)
    assert answer.kv_capacity_tokens == pytest.approx(expected_tokens, rel=0.03)
    assert answer.weight_bytes == answer.weight_bytes_per_gpu == 16_060_522_496


def test_kv_and_weights_are_sharded_by_tensor_parallelism() -> None:
    one, four = fits(variant("H100", LLAMA_8B, 1)), fits(variant("H100", LLAMA_8B, 4))
    assert isinstance(one, Fits)
    assert isinstance(four, Fits)
    assert four.weight_bytes_per_gpu == one.weight_bytes // 4
    # A quarter of the bytes per token in more free memory on each GPU.
    assert four.kv_capacity_tokens > 4 * one.kv_capacity_tokens


def test_kv_heads_repeat_beyond_their_number() -> None:
    model = find_model(LLAMA_70B)
    assert not isinstance(model, OutOfRange)
    assert model.kv_bytes_per_token(16) == model.kv_bytes_per_token(8) == model.kv_bytes_per_token(1) / 8


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        pytest.param(variant("H100", LLAMA_70B, 1), "weights alone do not fit", id="the-weights"),
        pytest.param(
            variant("L40S", LLAMA_8B, 1, EngineSettings(max_model_len=200_000)),
            "weights and a context of 200000 tokens do not fit",
            id="the-context",
        ),
        pytest.param(
            variant("L40S", LLAMA_8B, 1, EngineSettings(gpu_memory_utilization=0.3)),
            "weights alone do not fit",
            id="the-utilisation",
        ),
    ],
)
def test_what_does_not_fit_is_named_with_both_sizes(asked: Variant, sentence: str) -> None:
    answer = fits(asked)
    assert isinstance(answer, TooLarge)
    assert sentence in answer.message
    assert answer.needed_bytes_per_gpu > answer.available_bytes_per_gpu


def test_what_fits_exactly_fits() -> None:
    room = fits(variant("L40S", LLAMA_8B, 1))
    assert isinstance(room, Fits)
    exact = EngineSettings(max_model_len=room.kv_capacity_tokens)
    assert isinstance(fits(variant("L40S", LLAMA_8B, 1, exact)), Fits)
    over = replace(exact, max_model_len=room.kv_capacity_tokens + 1)
    assert isinstance(fits(variant("L40S", LLAMA_8B, 1, over)), TooLarge)


def test_heads_that_do_not_divide_are_out_of_range() -> None:
    answer = fits(variant("H100", LLAMA_8B, 3))
    assert isinstance(answer, OutOfRange)
    assert "do not divide into 3" in answer.message


@pytest.mark.parametrize(
    ("gpu", "model_id", "reason", "nearest"),
    [
        pytest.param("NVIDIA-L40", LLAMA_8B, OutOfRangeReason.UNKNOWN_GPU, "NVIDIA-L40S", id="a-near-gpu"),
        pytest.param("H10", LLAMA_8B, OutOfRangeReason.UNKNOWN_GPU, "H100", id="a-typo"),
        pytest.param(
            "H100", "llama-3.1-8b-instruct", OutOfRangeReason.UNKNOWN_MODEL, LLAMA_8B, id="no-owner"
        ),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(
    gpu: str, model_id: str, reason: OutOfRangeReason, nearest: str
) -> None:
    answer = fits(variant(gpu, model_id, 1))
    assert isinstance(answer, OutOfRange)
    assert (answer.reason, answer.nearest[0]) == (reason, nearest)
    assert "did you mean" in answer.message


def test_a_name_like_no_other_is_answered_with_all() -> None:
    answer = find_gpu("abacus")
    assert isinstance(answer, OutOfRange)
    assert answer.nearest == ()
    assert "NVIDIA-B200" in answer.message


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.name)
def test_a_gpu_is_found_by_name_and_by_product_label(gpu: Gpu) -> None:
    assert {find_gpu(name) for name in (gpu.name, gpu.product, gpu.product.lower())} == {gpu}


@pytest.mark.parametrize(("name", "key"), [(name, model.key) for model in MODELS for name in model.names])
def test_a_model_is_found_by_each_of_its_names(name: str, key: str) -> None:
    found = find_model(name)
    assert not isinstance(found, OutOfRange)
    assert found.key == key


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.key)
def test_the_parameters_are_those_of_the_layers(model: ModelFacts) -> None:
    """Counted from the architecture: attention, MLP, norms, embedding and head (untied)."""
    m = model
    head = m.head_dim
    hidden: int = m.hidden_size
    attention = hidden * head * (2 * m.attention_heads + 2 * m.kv_heads)
    layer = attention + 3 * hidden * m.intermediate_size + 2 * hidden
    total = m.layers * layer + 2 * m.vocabulary * hidden + hidden
    assert total == m.parameters


@pytest.mark.parametrize(
    ("weight_bytes", "expected_s"),
    [
        pytest.param(1_000_000_000, 15.0, id="never-under-15-s"),
        pytest.param(16_060_522_496, 18.03, id="8b"),
        pytest.param(141_107_412_992, 80.55, id="70b"),
    ],
)
def test_the_load_delay_is_two_gigabytes_a_second_and_ten_seconds(
    weight_bytes: int, expected_s: float
) -> None:
    assert load_delay_s(weight_bytes) == pytest.approx(expected_s, abs=0.01)


def test_the_limits_are_the_engines_flags_and_whole_blocks() -> None:
    limits = engine_limits(EngineSettings(max_num_seqs=64, block_size=16), 1000)
    assert (limits.max_num_seqs, limits.kv_blocks, limits.block_size) == (64, 62, 16)
