"""What a config.json leaves out, writes elsewhere, or calls by another name is read, or refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.perf.catalogue import ConfigFault, architecture_from_config
from argosy.perf.catalogue.fields import ConfigFaultReason
from argosy.snapshot.architecture import Architecture, Dtype

DENSE: dict[str, Any] = {
    "model_type": "qwen3", "hidden_act": "silu", "num_hidden_layers": 8, "hidden_size": 1024,
    "intermediate_size": 3072, "num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 64,
    "vocab_size": 32000, "max_position_embeddings": 32768, "tie_word_embeddings": False,
}  # fmt: skip
LLAMA = DENSE | {"model_type": "llama"}
MIXTURE = DENSE | {
    "model_type": "qwen3_moe", "num_experts": 16, "num_experts_per_tok": 2, "moe_intermediate_size": 512,
}  # fmt: skip


_GLM = {
    "n_routed_experts": 16, "num_experts_per_tok": 2, "moe_intermediate_size": 512, "n_shared_experts": 1,
    "first_k_dense_replace": 1,
}  # fmt: skip


def read(config: dict[str, Any]) -> Architecture:
    found = architecture_from_config(config)
    assert isinstance(found, Architecture), found
    return found


def fault_of(config: dict[str, Any]) -> ConfigFault:
    found = architecture_from_config(config)
    assert isinstance(found, ConfigFault), found
    return found


def test_norms_of_queries_and_keys_are_read_from_type_or_field() -> None:
    assert read(DENSE).query_key_norm, "qwen3"
    assert not read(LLAMA).query_key_norm
    assert read(LLAMA | {"model_type": "glm4_moe", **_GLM, "use_qk_norm": True}).query_key_norm
    assert not read(LLAMA | {"model_type": "glm4_moe", **_GLM}).query_key_norm


# --- fields that are not understood -----------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("routed_expert_total", 64),
        ("numSpecialExperts", 64),
        ("extra_dense_layers", 2),
        ("memory_heads", 4),
        ("attention_window", 512),
        ("kv_share_every", 2),
        ("ffn_multiple", 3),
        ("mamba_chunks_per_layer", 2),
        ("adapter_rank", 128),
        ("layer_pattern", "MMAM"),
        ("block_widths", [1024, 2048]),
        ("use_moe_everywhere", True),
        ("recurrent_state_dim", 64),
        ("cross_attention_layers", [3, 8]),
        ("hidden_size_per_layer_input", 256),
        ("cla_share_factor", 2),
        ("swa", 4096),
        ("use_mqa", True),
        ("mixer_kinds", ["attn", "ssm"]),
        ("types", ["attn", "ssm"]),
        ("first_dense", 1),
        ("hybrid_layer_ids", [2, 5]),
    ],
)
def test_a_field_that_decides_and_is_not_understood_is_named(field: str, value: object) -> None:
    changed = DENSE | {field: value} | ({"use_cla": True} if field == "cla_share_factor" else {})
    found = fault_of(changed)
    assert found.field == field
    assert str(value)[:10] in found.message
    assert "spec.architecture" in found.message


def test_a_field_of_a_nested_configuration_is_named_by_its_path() -> None:
    nested = {"model_type": "some_vl", "language_config": LLAMA | {"num_memory_layers": 3}}
    assert fault_of(nested).field == "language_config.num_memory_layers"
    named_otherwise = DENSE | {"weight_quantization": {"bits": 4}, "quantization": {"bits": 4}}
    assert "quantization.bits" in fault_of(named_otherwise).field
    inner = DENSE | {"delta_config": {"full_layers": [1, 2]}}
    assert fault_of(inner).field == "delta_config.full_layers"


@pytest.mark.parametrize(
    "harmless",
    [
        {"attention_dropout": 0.1, "initializer_range": 0.02, "rms_norm_eps": 1e-6, "bos_token_id": 1},
        {"rope_theta": 1e6, "partial_rotary_factor": 0.5, "logit_scale": 0.06, "router_aux_loss_coef": 0.01},
        {"num_nextn_predict_layers": 1, "num_mtp_modules": 3, "mtp_transformer_layers": 1},
        {"vision_config": {"num_hidden_layers": 24}, "image_token_index": 5, "mm_tokens_per_image": 256},
        {"memory_heads": None, "memory_layers": 0, "use_moe_everywhere": False, "layer_scales": []},
        {"id2label": {"0": "A"}, "transformers_version": "5.0", "torch_dtype": "bfloat16", "use_cache": True},
    ],
)
def test_what_decides_nothing_is_passed_over(harmless: dict[str, Any]) -> None:
    assert read(DENSE | harmless) == read(DENSE)


@pytest.mark.parametrize("field", ["num_experts", "num_experts_per_tok", "moe_intermediate_size"])
@settings(max_examples=30)
@given(word=st.from_regex(r"([a-z]{5,8}|router|norm)", fullmatch=True))
def test_a_renamed_field_of_the_experts_never_makes_a_dense_model(field: str, word: str) -> None:
    written = {name: value for name, value in MIXTURE.items() if name != field}
    found = architecture_from_config(written | {f"{word}_expert_count": MIXTURE[field]})
    assert isinstance(found, ConfigFault)
    assert "expert" in found.field


def test_a_number_of_experts_that_is_missing_is_named() -> None:
    found = fault_of(LLAMA | {"num_experts_per_tok": 2, "moe_intermediate_size": 512})
    assert (found.field, found.reason) == ("num_experts", ConfigFaultReason.MISSING_FIELD)


def test_numbers_by_layer_count_where_all_are_the_same() -> None:
    by_layer = MIXTURE | {"moe_intermediate_size": [512] * 8, "num_experts_per_tok": [2] * 8}
    assert read(by_layer) == read(MIXTURE)
    assert fault_of(by_layer | {"moe_intermediate_size": [512, 256]}).field == "moe_intermediate_size"


# --- model types ------------------------------------------------------------------------------


def test_an_unknown_model_type_is_read_where_everything_is_written() -> None:
    assert read(LLAMA | {"model_type": "acme"}) == read(LLAMA)


@pytest.mark.parametrize("act", ["gelu", "relu2", None])
def test_an_unknown_model_type_whose_mlp_may_have_no_gate_is_refused(act: str | None) -> None:
    found = fault_of(LLAMA | {"model_type": "acme", "hidden_act": act})
    assert found.field == "model_type"
    assert "'acme'" in found.message
    assert "gate" in found.message


def test_an_unknown_model_type_with_windows_must_list_their_layers() -> None:
    windowed = LLAMA | {"model_type": "acme", "sliding_window": 512}
    assert fault_of(windowed).field == "sliding_window"
    assert read(windowed | {"sliding_window": 32768}).sliding_layers == 0
    listed = windowed | {"layer_types": ["sliding_attention", "full_attention"] * 4}
    assert read(listed).sliding_layers == 4


@pytest.mark.parametrize(
    "path", [["text_config"], ["llm_config"], ["language_config"], ["thinker_config", "text_config"]]
)
def test_a_nested_language_model_takes_what_its_type_assumes(path: list[str]) -> None:
    config: dict[str, Any] = {
        "model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240,
        "num_hidden_layers": 34, "sliding_window": 1024,
    }  # fmt: skip
    for name in reversed(path):
        config = {"model_type": "wrapper", name: config}
    a = read(config)
    assert (a.attention_heads, a.kv_heads, a.head_dim, a.vocabulary) == (8, 4, 256, 262_208)
    assert (a.tied_embeddings, a.sliding_layers, a.max_context) == (True, 29, 131_072)


def test_a_null_is_not_what_its_type_assumes() -> None:
    mistral = LLAMA | {"model_type": "mistral"}
    assert read(mistral).sliding_window == 4096
    assert read(mistral | {"sliding_window": None}).sliding_window == 0


def test_an_mlp_without_a_gate_has_two_matrices() -> None:
    gated, plain = read(LLAMA), read(LLAMA | {"model_type": "nemotron", "hidden_act": "relu2"})
    difference = gated.parameters - plain.parameters
    assert difference == pytest.approx(8 * 1024 * 3072, rel=0.001)


# --- windows ----------------------------------------------------------------------------------


def test_a_window_that_no_sequence_fills_is_none() -> None:
    windowed = LLAMA | {"model_type": "phi3", "sliding_window": 65536}
    assert read(windowed) == read(windowed | {"sliding_window": None})


@pytest.mark.parametrize("model_type", ["cohere2", "exaone4", "gemma2", "gemma3_text", "olmo3"])
@pytest.mark.parametrize("every", [2, 4])
def test_a_pattern_and_a_list_of_layers_are_the_same(model_type: str, every: int) -> None:
    config = DENSE | {"model_type": model_type, "sliding_window": 512}
    kinds = ["full_attention" if (n + 1) % every == 0 else "sliding_attention" for n in range(8)]
    listed = read(config | {"layer_types": kinds})
    assert read(config | {"sliding_window_pattern": every}) == listed
    if model_type == "cohere2":
        assert read(config | {"layer_switch": every}) == listed
    assert listed.sliding_layers == 8 - 8 // every


def test_a_pattern_of_letters_ends_with_a_global_layer() -> None:
    config = DENSE | {"model_type": "exaone4", "sliding_window": 512, "num_hidden_layers": 7}
    assert read(config | {"sliding_window_pattern": "LLLG"}).sliding_layers == 5
    assert fault_of(config | {"sliding_window_pattern": "LLX"}).field == "sliding_window_pattern"


def test_layers_with_a_window_may_have_other_kv_heads() -> None:
    config = LLAMA | {
        "model_type": "mimo_v2_flash", "sliding_window": 128, "hybrid_layer_pattern": [0, 1] * 4,
        "swa_num_key_value_heads": 8,
    }  # fmt: skip
    a = read(config)
    assert (a.kv_heads, a.full_kv_heads) == (8, 4)
    assert fault_of(config | {"swa_head_dim": 32}).field == "swa_head_dim"


# --- hybrids ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "kv_layers"),
    [
        pytest.param(
            {"model_type": "jamba", "attn_layer_period": 4, "attn_layer_offset": 2, "num_experts": 4,
             "num_experts_per_tok": 2, "expert_layer_period": 2, "expert_layer_offset": 1,
             "mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2, "mamba_dt_rank": "auto"},
            2, id="jamba",
        ),
        pytest.param(
            {"model_type": "bamba", "attn_layer_indices": [1, 5], "mamba_n_heads": 32, "mamba_d_head": "auto",
             "mamba_d_state": 64, "mamba_n_groups": 1, "mamba_d_conv": 4, "mamba_expand": 2},
            2, id="bamba",
        ),
        pytest.param(
            {"model_type": "falcon_h1", "mamba_d_ssm": 1024, "mamba_n_heads": 16, "mamba_d_head": 64,
             "mamba_d_state": 64, "mamba_n_groups": 1, "mamba_d_conv": 4},
            8, id="falcon-h1-attends-in-every-layer",
        ),
        pytest.param(
            {"model_type": "minimax", "num_local_experts": 4, "num_experts_per_tok": 2,
             "layer_types": ["linear_attention", "full_attention"] * 4},
            4, id="lightning",
        ),
        pytest.param({"model_type": "lfm2", "full_attn_idxs": [3], "conv_L_cache": 3}, 1, id="lfm2"),
    ],
)  # fmt: skip
def test_a_hybrid_keeps_kv_in_its_attention_and_a_state_elsewhere(
    config: dict[str, Any], kv_layers: int
) -> None:
    a = read(DENSE | config)
    assert a.kv_layers == kv_layers
    assert a.state_bytes > 0


@pytest.mark.parametrize(
    ("config", "field"),
    [
        pytest.param({"layers_block_type": ["attention", "hybrid"] * 4}, "layers_block_type", id="zamba"),
        pytest.param({"layer_types": ["conv", "full_attention"] * 4}, "conv_L_cache", id="a-kernel"),
        pytest.param(
            {"layer_types": ["linear_attention", "full_attention"] * 4}, "linear_num_value_heads", id="linear"
        ),
        pytest.param({"layer_types": ["mamba", "attention"] * 4}, "mamba_num_heads", id="mamba"),
        pytest.param({"attn_type_list": [1, 0, 1]}, "layer_types", id="too-short"),
    ],
)
def test_a_hybrid_that_lacks_a_dimension_is_refused_by_its_field(config: dict[str, Any], field: str) -> None:
    assert fault_of(LLAMA | config).field == field


# --- context ----------------------------------------------------------------------------------

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8192}


@pytest.mark.parametrize(
    ("fields", "context"),
    [
        pytest.param({"rope_scaling": YARN}, 32_768, id="yarn"),
        pytest.param({"rope_scaling": {"type": "yarn", "factor": 2.0}}, 65_536, id="yarn-of-all"),
        pytest.param({"rope_parameters": {"full_attention": YARN}}, 32_768, id="by-kind-of-layer"),
        pytest.param({"rope_scaling": {"type": "linear", "factor": 2.0}}, 65_536, id="linear"),
        pytest.param({"rope_scaling": {"type": "dynamic", "factor": 4}}, 131_072, id="dynamic"),
        pytest.param({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 32_768, id="llama3"),
        pytest.param({"rope_scaling": {"type": "longrope", "long_factor": [1.0]}}, 32_768, id="longrope"),
        pytest.param({"rope_scaling": {"type": "mrope", "mrope_section": [1]}}, 32_768, id="mrope"),
        pytest.param({"model_max_length": 4096}, 4096, id="the-smallest-of-several"),
    ],
)
def test_the_context_is_what_vllm_derives(fields: dict[str, Any], context: int) -> None:
    assert read(LLAMA | fields).max_context == context


@pytest.mark.parametrize("factor", [0, -1, "4", float("nan"), float("inf"), True])
def test_a_factor_that_means_nothing_is_refused(factor: object) -> None:
    found = fault_of(LLAMA | {"rope_scaling": YARN | {"factor": factor}})
    assert found.field == "rope_scaling.factor"


# --- number types -----------------------------------------------------------------------------

ATTENTION = {"targets": ["re:.*self_attn.*"], "weights": {"num_bits": 8, "type": "float"}}
MLP = {"targets": ["re:.*mlp.*"], "weights": {"num_bits": 4, "type": "float"}}
REST = {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "int"}}


@pytest.mark.parametrize("groups", [[ATTENTION, MLP], [MLP, ATTENTION], [REST, MLP], [MLP, REST]])
def test_groups_of_a_checkpoint_apply_in_any_order(groups: list[dict[str, Any]]) -> None:
    written = {f"group_{n}": group for n, group in enumerate(groups)}
    a = read(
        LLAMA | {"quantization_config": {"quant_method": "compressed-tensors", "config_groups": written}}
    )
    mlp, attention = 8 * 3 * 1024 * 3072, 8 * 1024 * 64 * (2 * 16 + 2 * 4)
    assert a.layout is not None
    assert (a.dtype, a.layout.stored_split_bytes) == (Dtype.FP4, mlp * 9 / 16 + attention)


def test_a_group_names_experts_one_by_one() -> None:
    group = {
        "targets": [r"re:.*experts\.\d+\.(gate|up|down)_proj"],
        "weights": {"num_bits": 4, "type": "int"},
    }
    quantization = {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}}
    a = read(MIXTURE | {"quantization_config": quantization})
    assert a.layout is not None
    attention, experts = 8 * 1024 * 64 * (2 * 16 + 2 * 4), 8 * 16 * 3 * 1024 * 512
    assert a.layout.stored_split_bytes == 2 * attention + experts / 2


@pytest.mark.parametrize(
    ("weight", "dtype"),
    [
        ({"dtype": "fp4"}, Dtype.FP4),
        ({"dtype": "fp8_e4m3"}, Dtype.FP8),
        ({"dtype": "int8"}, Dtype.INT8),
        ([{"dtype": "uint4"}], Dtype.INT4),
    ],
)
def test_quark_is_read(weight: object, dtype: Dtype) -> None:
    quark = {"quant_method": "quark", "global_quant_config": {"weight": weight}, "exclude": ["lm_head"]}
    assert read(LLAMA | {"quantization_config": quark}).dtype is dtype
    by_layer = quark | {"layer_quant_config": {"*self_attn*": {"weight": {"dtype": "fp8_e4m3"}}}}
    a = read(LLAMA | {"quantization_config": by_layer})
    assert a.layout is not None
    assert bool(a.layout.stored_split_bytes) or dtype in (Dtype.FP8, Dtype.INT8)
    odd = quark | {"global_quant_config": {"weight": {"dtype": "fp3"}}}
    assert "fp3" in fault_of(LLAMA | {"quantization_config": odd}).message


def test_modules_with_other_bits_are_counted_so() -> None:
    gptq = {
        "quant_method": "gptq",
        "bits": 4,
        "dynamic": {"-:.*self_attn.*": {}, "+:.*down_proj": {"bits": 8}},
    }
    a = read(LLAMA | {"quantization_config": gptq})
    one, attention = 8 * 1024 * 3072, 8 * 1024 * 64 * (2 * 16 + 2 * 4)
    assert a.layout is not None
    assert a.layout.stored_split_bytes == 2 * one * 0.5 + one + 2 * attention


@pytest.mark.parametrize(
    "field", ["modules_to_not_convert", "ignore", "ignored_layers", "llm_int8_skip_modules"]
)
@pytest.mark.parametrize(
    "method", [{"quant_method": "fp8"}, {"quant_method": "bitsandbytes", "load_in_4bit": True}]
)
def test_modules_that_stay_in_16_bits_are_counted_so_whatever_their_list_is_called(
    field: str, method: dict[str, Any]
) -> None:
    left_out = {field: ["lm_head", *(f"model.layers.{n}.mlp" for n in range(8))]}
    a = read(LLAMA | {"quantization_config": method | left_out})
    mlp, attention = 8 * 3 * 1024 * 3072, 8 * 1024 * 64 * (2 * 16 + 2 * 4)
    assert a.layout is not None
    assert a.layout.stored_split_bytes == 2 * mlp + attention * (1 if a.dtype is Dtype.FP8 else 0.5)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("layers_to_skip", ["model.layers.0"]),
        ("exclude_layers", ["lm_head"]),
        ("sparsity_config", {"format": "sparse-24-bitmask"}),
    ],
)
def test_a_quantisation_whose_lists_are_not_understood_is_refused_by_its_field(
    field: str, value: object
) -> None:
    found = fault_of(LLAMA | {"quantization_config": {"quant_method": "fp8", field: value}})
    assert found.field.startswith(f"quantization_config.{field}")


def test_what_a_checkpoint_does_not_list_as_quantised_stays_in_16_bits() -> None:
    gptq = {
        "quant_method": "gptq",
        "bits": 4,
        "modules_in_block_to_quantize": [["mlp.up_proj", "mlp.gate_proj"]],
    }
    a = read(LLAMA | {"quantization_config": gptq})
    one, attention = 8 * 1024 * 3072, 8 * 1024 * 64 * (2 * 16 + 2 * 4)
    assert a.layout is not None
    assert a.layout.stored_split_bytes == 2 * one * 0.5 + 2 * (one + attention)


def test_a_checkpoint_may_quantise_kv_alone() -> None:
    kv = {"quant_method": "compressed-tensors", "config_groups": {}, "kv_cache_scheme": {"num_bits": 8}}
    a = read(LLAMA | {"quantization_config": kv})
    assert (a.dtype, a.kv_dtype) == (Dtype.BF16, Dtype.FP8)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"model_type": "minicpm", "dim_model_base": 256, "scale_depth": 1.4}, id="minicpm"),
        pytest.param({"model_type": "qwen2", "dual_chunk_attention_config": {"local_size": 8192}}, id="1m"),
        pytest.param({"model_type": "phi3", "full_attn_mod": 1, "interpolate_factor": 1}, id="phi-4-mini"),
        pytest.param({"model_type": "llama", "num_key_value_groups": 4, "is_llama_config": True}, id="llama"),
        pytest.param(
            {"model_type": "llama", "perceiver_config": {"resampler_n_heads": 16}, "pixel_shuffle_factor": 4},
            id="smolvlm",
        ),
        pytest.param(
            {"model_type": "llama", "attn_temperature_tuning": 4, "floor_scale": 8192, "no_rope_layers": [1]},
            id="llama-4",
        ),
        pytest.param({"model_type": "llama", "mamba_inner_layernorms": True}, id="jamba"),
        pytest.param({"model_type": "llama", "experts_implementation": "eager", "ep_size": 1}, id="deepseek"),
    ],
)  # fmt: skip
def test_what_published_files_hold_beside_the_dimensions_is_no_reason_to_refuse(
    fields: dict[str, Any],
) -> None:
    plain = {name: value for name, value in fields.items() if name == "model_type"}
    assert read(LLAMA | fields).parameters == read(LLAMA | plain).parameters
