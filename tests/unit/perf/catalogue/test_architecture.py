"""A config.json becomes an architecture with every parameter counted, or a fault with its field."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import json_values

from argosy.errors import SpecError
from argosy.perf.catalogue import ConfigFault, Model, architecture_from_config, find_model
from argosy.perf.catalogue.fields import ConfigFaultReason
from argosy.snapshot.architecture import Architecture, Dtype, Family

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
MOE = LLAMA | {
    "model_type": "qwen3_moe", "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768,
}  # fmt: skip
MLA = MOE | {
    "model_type": "deepseek_v3", "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64, "v_head_dim": 128,
}  # fmt: skip
# What the safetensors indexes of the published checkpoints add up to.
PUBLISHED = {
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-70b": 70_553_706_496,
    "llama-3.1-405b": 405_853_388_800,
    "llama-3.2-3b": 3_212_749_824,
    "qwen2.5-3b": 3_085_938_688,
    "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-14b": 14_770_033_664,
    "qwen2.5-32b": 32_763_876_352,
    "qwen3-0.6b": 596_049_920,
    "qwen3-8b": 8_190_735_360,
    "qwen3-14b": 14_768_307_200,
    "qwen3-32b": 32_762_123_264,
    "qwen3-30b-a3b": 30_532_122_624,
    "qwen3-235b-a22b": 235_093_634_560,
    "gpt-oss-20b": 20_914_757_184,
    "gpt-oss-120b": 116_829_156_672,
    "mistral-7b": 7_241_732_096,
    "mixtral-8x7b": 46_702_792_704,
    "deepseek-v3": 671_026_419_200,
}


def known(name: str) -> Architecture:
    model = find_model(name)
    assert isinstance(model, Model)
    return model.architecture


def read(config: dict[str, Any], hf_quant: dict[str, Any] | None = None) -> Architecture:
    answer = architecture_from_config(config, hf_quant)
    assert isinstance(answer, Architecture), answer
    return answer


def fault_of(config: dict[str, Any]) -> ConfigFault:
    answer = architecture_from_config(config)
    assert isinstance(answer, ConfigFault), answer
    return answer


# --- counting ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "parameters"), PUBLISHED.items())
def test_the_parameters_are_counted_to_the_last_one(key: str, parameters: int) -> None:
    assert known(key).parameters == parameters


@pytest.mark.parametrize(
    ("key", "billions", "counts_the_input_table"),
    [
        pytest.param("qwen3-235b-a22b", 22.19, True, id="qwen3-235b"),
        pytest.param("mixtral-8x7b", 12.88, True, id="mixtral"),
        pytest.param("gpt-oss-120b", 5.13, False, id="gpt-oss-120b"),
        pytest.param("gpt-oss-20b", 3.61, False, id="gpt-oss-20b"),
        pytest.param("deepseek-v3", 37.55, True, id="deepseek-v3"),
    ],
)
def test_the_active_parameters_are_the_published_ones(
    key: str, billions: float, counts_the_input_table: bool
) -> None:
    """Publishers differ in whether the input table is active; here it is not."""
    a = known(key)
    table = a.vocabulary * a.hidden_size if counts_the_input_table else 0
    assert (a.active_parameters + table) / 1e9 == pytest.approx(billions, abs=0.006)


def test_a_tied_head_is_counted_once_and_active() -> None:
    untied, tied = read(LLAMA), read(LLAMA | {"tie_word_embeddings": True})
    table = 128_256 * 4096
    assert untied.parameters - tied.parameters == table
    assert untied.active_parameters == tied.active_parameters == tied.parameters


def test_a_dense_model_is_its_layers_and_tables() -> None:
    a = read(LLAMA)
    layer = 4096 * 128 * (2 * 32 + 2 * 8) + 3 * 4096 * 14336 + 2 * 4096
    assert a.parameters == 32 * layer + 2 * 128_256 * 4096 + 4096


# --- reading ----------------------------------------------------------------------------------


def test_a_plain_config_is_read_field_by_field() -> None:
    a = read(LLAMA)
    expected = (32, 4096, 14336, 32, 8, 128, 128_256, 131_072)
    actual = (
        a.layers, a.hidden_size, a.intermediate_size, a.attention_heads, a.kv_heads, a.head_dim,
        a.vocabulary, a.max_context,
    )  # fmt: skip
    assert expected == actual
    assert (a.family, a.dtype, a.kv_dtype, a.is_moe) == (Family.DENSE, Dtype.BF16, Dtype.BF16, False)


def test_the_language_model_of_a_nested_config_is_read() -> None:
    text = {name: value for name, value in LLAMA.items() if name != "architectures"}
    nested = {
        "architectures": ["SomeVLForConditionalGeneration"],
        "model_type": "some_vl",
        "text_config": text,
    }
    a = read(nested)
    assert a == replace(read(LLAMA), family=Family.HYBRID)


def test_latent_attention_has_one_compressed_entry() -> None:
    a = read(MLA | {"first_k_dense_replace": 3, "n_shared_experts": 1})
    assert (a.mla_kv_dim, a.mla_rope_dim, a.dense_layers) == (576, 64, 3)
    assert (a.shared_expert_intermediate_size, a.family) == (768, Family.MLA)


def test_latent_attention_without_query_compression_is_read() -> None:
    assert read(MLA | {"q_lora_rank": None}).mla_kv_dim == 576


@pytest.mark.parametrize(
    ("fields", "window", "sliding"),
    [
        pytest.param({"sliding_window": 4096, "model_type": "mistral"}, 4096, 32, id="all-of-mistral"),
        pytest.param({"sliding_window": 4096, "use_sliding_window": False}, 0, 0, id="switched-off"),
        pytest.param({"sliding_window": None}, 0, 0, id="null"),
        pytest.param({"sliding_window": 1024, "model_type": "gemma3_text"}, 1024, 27, id="gemma3"),
        pytest.param({"sliding_window": 4096, "model_type": "gemma2"}, 4096, 16, id="every-other-of-gemma2"),
        pytest.param(
            {"sliding_window": 128, "layer_types": ["sliding_attention", "full_attention"] * 16},
            128, 16, id="listed",
        ),
        pytest.param({"attention_chunk_size": 8192, "sliding_window": 8192}, 0, 0, id="chunks-keep-all-kv"),
    ],
)  # fmt: skip
def test_windows_are_counted_by_layer(fields: dict[str, Any], window: int, sliding: int) -> None:
    a = read(LLAMA | fields)
    assert (a.sliding_window, a.sliding_layers) == (window, sliding)


def test_linear_layers_keep_a_state_and_no_kv() -> None:
    linear = {
        "full_attention_interval": 4, "linear_num_key_heads": 16, "linear_key_head_dim": 128,
        "linear_num_value_heads": 48, "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4,
    }  # fmt: skip
    a = read(LLAMA | linear)
    per_layer = 48 * 128 * 128 * 4 + (2 * 16 * 128 + 48 * 128) * 3 * 2
    assert (a.linear_layers, a.kv_layers, a.state_bytes) == (24, 8, 24 * per_layer)


def test_the_layers_of_a_hybrid_are_read_from_its_pattern() -> None:
    nano, by_name = known("nemotron-3-nano-30b-a3b"), known("nemotron-3-ultra-550b-a55b")
    assert (nano.layers, nano.kv_layers) == (52, 6)
    assert (by_name.layers, by_name.kv_layers) == (108, 12)


@pytest.mark.parametrize(
    ("fields", "dense"),
    [
        pytest.param({"first_k_dense_replace": 3}, 3, id="the-first"),
        pytest.param({"mlp_only_layers": [1, 5]}, 2, id="those-listed"),
        pytest.param({"decoder_sparse_step": 2}, 16, id="every-other"),
        pytest.param({"moe_layer_freq": [0] + [1] * 31}, 1, id="by-layer"),
        pytest.param({"mlp_layer_types": ["dense"] * 4 + ["sparse"] * 28}, 4, id="by-name"),
    ],
)
def test_dense_layers_of_a_mixture_are_counted(fields: dict[str, Any], dense: int) -> None:
    assert read(MOE | fields).dense_layers == dense


# --- number types -----------------------------------------------------------------------------

CT = {"quant_method": "compressed-tensors"}


@pytest.mark.parametrize(
    ("quantization", "dtype", "kv_dtype"),
    [
        pytest.param({"quant_method": "fp8"}, Dtype.FP8, Dtype.BF16, id="fp8"),
        pytest.param({"quant_method": "mxfp4"}, Dtype.FP4, Dtype.BF16, id="mxfp4"),
        pytest.param({"quant_method": "awq", "bits": 4}, Dtype.INT4, Dtype.BF16, id="awq"),
        pytest.param({"quant_method": "gptq", "bits": 8}, Dtype.INT8, Dtype.BF16, id="gptq-8-bit"),
        pytest.param(
            {"quant_method": "bitsandbytes", "load_in_4bit": True}, Dtype.INT4, Dtype.BF16, id="bnb-4-bit"
        ),
        pytest.param(
            {"quant_method": "bitsandbytes", "load_in_8bit": True, "load_in_4bit": False},
            Dtype.INT8, Dtype.BF16, id="bnb-8-bit",
        ),
        pytest.param(
            CT | {"config_groups": {"group_0": {"weights": {"type": "int", "num_bits": 4}}}},
            Dtype.INT4, Dtype.BF16, id="compressed-tensors-int4",
        ),
        pytest.param(
            CT | {
                "config_groups": {"group_0": {"weights": {"type": "float", "num_bits": 8}}},
                "kv_cache_scheme": {"num_bits": 8, "type": "float"},
            },
            Dtype.FP8, Dtype.FP8, id="compressed-tensors-fp8-with-kv",
        ),
        pytest.param(
            {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"}, Dtype.FP4, Dtype.FP8, id="modelopt"
        ),
    ],
)  # fmt: skip
def test_a_quantisation_is_recognised(quantization: dict[str, Any], dtype: Dtype, kv_dtype: Dtype) -> None:
    a = read(LLAMA | {"quantization_config": quantization})
    assert (a.dtype, a.kv_dtype) == (dtype, kv_dtype)


def test_hf_quant_config_wins_over_the_config() -> None:
    quant = {
        "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}
    }
    a = read(LLAMA, quant)
    assert (a.dtype, a.kv_dtype) == (Dtype.FP8, Dtype.FP8)
    # Only the head is left out, and it is never quantised: nothing is mixed.
    assert a.layout is not None
    assert a.layout.stored_split_bytes == 0


@pytest.mark.parametrize(
    ("excluded", "in_16_bits"),
    [
        pytest.param(["lm_head", "model.layers.*.self_attn"], True, id="a-star-for-the-layer"),
        pytest.param(["model.language_model.layers.*.self_attn*"], True, id="a-prefix-and-a-tail"),
        pytest.param(["re:.*self_attn.*"], True, id="an-expression"),
        pytest.param(
            [f"model.layers.{n}.self_attn.{p}_proj" for n in range(32) for p in "qkvo"], True, id="each"
        ),
        pytest.param(["mtp.layers.*.self_attn*", "model.layers.40.self_attn"], False, id="other-layers"),
    ],
)
def test_what_a_checkpoint_leaves_in_16_bits_is_counted_so(excluded: list[str], in_16_bits: bool) -> None:
    a = read(LLAMA, {"quantization": {"quant_algo": "FP8", "exclude_modules": excluded}})
    attention = 32 * 4096 * 128 * (2 * 32 + 2 * 8)
    assert a.layout is not None
    assert a.layout.stored_split_bytes == (a.layout.split + attention if in_16_bits else 0)


def test_a_checkpoint_of_two_types_lists_its_layers() -> None:
    mlp = {
        f"model.layers.{n}.mlp.{p}_proj": {"quant_algo": "NVFP4"}
        for n in range(32)
        for p in ("up", "gate", "down")
    }
    qkv = {f"model.layers.{n}.self_attn.{p}_proj": {"quant_algo": "FP8"} for n in range(32) for p in "qkvo"}
    a = read(LLAMA, {"quantization": {"quant_algo": "MIXED_PRECISION", "quantized_layers": mlp | qkv}})
    assert a.layout is not None
    expected = 32 * (3 * 4096 * 14336 * 9 / 16 + 4096 * 128 * (2 * 32 + 2 * 8))
    assert (a.dtype, a.layout.stored_split_bytes) == (Dtype.FP4, expected)


# --- refusing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, 0, 1.5, "32", True], ids=repr)
@pytest.mark.parametrize(
    "field",
    ["num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads",
     "vocab_size", "max_position_embeddings"],
)  # fmt: skip
def test_a_figure_that_means_nothing_is_refused_by_its_field(field: str, value: object) -> None:
    assert fault_of(LLAMA | {field: value}).field == field


@pytest.mark.parametrize(
    "field",
    ["num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size", "max_position_embeddings"],
)
def test_a_missing_figure_is_named_not_guessed(field: str) -> None:
    fault = fault_of({name: value for name, value in LLAMA.items() if name != field})
    assert (fault.field, fault.message) == (field, f"{field}: is missing")
    assert fault.reason is ConfigFaultReason.MISSING_FIELD


@pytest.mark.parametrize(
    ("config", "field"),
    [
        pytest.param(MOE | {"num_experts_per_tok": None}, "num_experts_per_tok", id="no-choice"),
        pytest.param(MOE | {"num_experts_per_tok": 129}, "num_experts_per_tok", id="more-than-there-are"),
        pytest.param(MOE | {"moe_intermediate_size": -3}, "moe_intermediate_size", id="negative-experts"),
        pytest.param(MLA | {"kv_lora_rank": 0}, "kv_lora_rank", id="empty-kv"),
        pytest.param(MLA | {"v_head_dim": None}, "v_head_dim", id="half-an-mla"),
        pytest.param(LLAMA | {"layer_types": ["full_attention"]}, "layer_types", id="too-few-layers"),
        pytest.param(LLAMA | {"num_hidden_layers": 10**9}, "num_hidden_layers", id="too-many-layers"),
        pytest.param(MOE | {"moe_layer_freq": [0, 1]}, "moe_layer_freq", id="too-few-frequencies"),
        pytest.param(LLAMA | {"layer_types": ["magic"] * 32}, "layer_types", id="an-unknown-layer"),
        pytest.param({"text_config": LLAMA | {"hidden_size": 0}}, "text_config.hidden_size", id="nested"),
        pytest.param(
            {"text_config": LLAMA | {"layer_types": ["magic"] * 32}}, "text_config.layer_types",
            id="an-unknown-layer-of-a-nested-one",
        ),
        pytest.param(
            {"text_config": MOE | {"moe_layer_freq": [0, 1]}}, "text_config.moe_layer_freq",
            id="too-few-frequencies-of-a-nested-one",
        ),
        pytest.param(
            LLAMA | {"quantization_config": {"quant_method": "awq"}}, "quantization_config.num_bits",
            id="how-many-bits-is-not-said",
        ),
        pytest.param(
            LLAMA | {"quantization_config": {"quant_method": "magic"}}, "quantization_config.quant_method",
            id="an-unknown-quantisation",
        ),
        pytest.param(LLAMA | {"architectures": ["DeepseekV4ForCausalLM"]}, "architectures", id="odd-kv"),
        pytest.param(LLAMA | {"architectures": ["DeciLMForCausalLM"]}, "architectures", id="odd-layers"),
    ],
)  # fmt: skip
def test_what_cannot_be_expressed_is_refused_by_its_field(config: dict[str, Any], field: str) -> None:
    assert fault_of(config).field == field


JSON = json_values(max_leaves=5)


@pytest.mark.parametrize("huge", [2**40 + 1, 10**400, 1e308], ids=["2^40", "no float", "a float"])
def test_a_count_that_no_model_has_is_refused_and_not_computed_with(huge: float) -> None:
    found = fault_of(LLAMA | {"hidden_size": huge})
    assert found.field == "hidden_size"
    assert f"at most {2**40}, not" in found.message
    assert len(found.message) < 150


FIELDS = [
    *MLA, "sliding_window", "layer_types", "moe_layer_freq", "mlp_layer_types", "text_config",
    "quantization_config", "hybrid_override_pattern", "layers_block_type", "full_attention_interval",
    "linear_num_value_heads", "mamba_num_heads", "first_k_dense_replace", "head_dim",
]  # fmt: skip
QUANTISATION_FIELDS = [
    "quant_method", "quant_algo", "config_groups", "bits", "weight_block_size", "ignore",
    "quantized_layers", "kv_cache_scheme",
]  # fmt: skip
QUANTISATIONS = st.recursive(
    st.sampled_from(["fp8", "awq", "NVFP4", "MIXED_PRECISION", "compressed-tensors", "re:[", "*", 4, 0]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["weights", "x"]), inner),
    max_leaves=4,
)


@given(
    st.sampled_from([LLAMA, MOE, MLA]), st.dictionaries(st.sampled_from(QUANTISATION_FIELDS), QUANTISATIONS)
)
def test_whatever_the_quantisation_says_the_answer_is_a_value(
    config: dict[str, Any], quantization: dict[str, Any]
) -> None:
    answer = architecture_from_config(config | {"quantization_config": quantization})
    assert isinstance(answer, Architecture | ConfigFault)


@settings(deadline=None)
@given(st.sampled_from([LLAMA, MOE, MLA]), st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_whatever_the_config_says_the_answer_is_a_value(
    config: dict[str, Any], changes: dict[str, Any]
) -> None:
    answer = architecture_from_config(config | changes)
    if isinstance(answer, ConfigFault):
        assert answer.field
    else:
        assert 0 < answer.active_parameters <= answer.parameters


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("layers", 0),
        ("hidden_size", -1),
        ("parameters", math.nan),
        ("sliding_window", -1),
        ("vocabulary", math.inf),
    ],
)
def test_an_architecture_of_nothing_cannot_be_made(field: str, value: float) -> None:
    with pytest.raises(SpecError, match=f"architecture.{field}"):
        replace(read(LLAMA), **{field: value})  # type: ignore[arg-type]
