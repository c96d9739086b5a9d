"""Write what transformers assumes where a config.json leaves a field out.

    python hack/export_transformers_defaults.py DIRECTORY

DIRECTORY holds an unpacked wheel of transformers (pip download --no-deps transformers). Reads the
classes of transformers/models/*/configuration_*.py as text, imports none of them, and writes
operator/argosy/perf/catalogue/reading/transformers_defaults.json: model_type -> field -> value, for
the model types and fields that the reader of a config.json knows. The same input gives the same bytes.
"""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent
FILE = REPOSITORY / "operator" / "argosy" / "perf" / "catalogue" / "reading" / "transformers_defaults.json"
FIELDS = frozenset(
    [
        "attn_layer_offset",
        "attn_layer_period",
        "conv_L_cache",
        "conv_kernel",
        "d_model",
        "decoder_sparse_step",
        "expand",
        "expansion_ratio",
        "expert_layer_offset",
        "expert_layer_period",
        "ffn_dim",
        "first_k_dense_replace",
        "head_dim",
        "hidden_act",
        "hidden_activation",
        "hidden_size",
        "index_head_dim",
        "index_n_heads",
        "interleave_moe_layer_step",
        "intermediate_size",
        "intermediate_size_mlp",
        "kv_lora_rank",
        "linear_conv_kernel_dim",
        "linear_key_head_dim",
        "linear_num_key_heads",
        "linear_num_value_heads",
        "linear_value_head_dim",
        "mamba_d_conv",
        "mamba_d_head",
        "mamba_d_ssm",
        "mamba_d_state",
        "mamba_expand",
        "mamba_head_dim",
        "mamba_n_groups",
        "mamba_n_heads",
        "mamba_num_heads",
        "max_position_embeddings",
        "max_seq_len",
        "max_window_layers",
        "mlp_hidden_act",
        "moe_intermediate_size",
        "moe_k",
        "moe_latent_size",
        "moe_layer_end_index",
        "moe_layer_interval",
        "moe_layer_start_index",
        "moe_num_experts",
        "moe_num_shared_experts",
        "moe_topk",
        "multi_query",
        "n_embd",
        "n_groups",
        "n_head",
        "n_heads",
        "n_layer",
        "n_layers",
        "n_positions",
        "n_routed_experts",
        "n_shared_experts",
        "new_decoder_architecture",
        "num_attention_heads",
        "num_dense_layers",
        "num_experts",
        "num_experts_per_tok",
        "num_hidden_layers",
        "num_key_value_heads",
        "num_local_experts",
        "num_shared_experts",
        "parallel_attn",
        "q_lora_rank",
        "qk_nope_head_dim",
        "qk_rope_head_dim",
        "shared_expert_intermediate_size",
        "shared_intermediate_size",
        "sliding_window",
        "sliding_window_pattern",
        "ssm_state_size",
        "tie_word_embeddings",
        "use_parallel_residual",
        "use_sliding_window",
        "v_head_dim",
        "vocab_size",
    ]
)
MODEL_TYPES = (
    "apertus",
    "arcee",
    "bamba",
    "bloom",
    "cohere",
    "cohere2",
    "dbrx",
    "deepseek_v2",
    "deepseek_v3",
    "dots1",
    "ernie4_5",
    "ernie4_5_moe",
    "exaone4",
    "falcon",
    "falcon_h1",
    "gemma",
    "gemma2",
    "gemma3_text",
    "gemma4_text",
    "glm",
    "glm4",
    "glm4_moe",
    "glm4_moe_lite",
    "glm4v_text",
    "glm_moe_dsa",
    "gpt2",
    "gpt_bigcode",
    "gpt_neox",
    "gpt_oss",
    "gptj",
    "granite",
    "granitemoe",
    "granitemoehybrid",
    "granitemoeshared",
    "hunyuan_v1_dense",
    "hunyuan_v1_moe",
    "internlm3",
    "jamba",
    "lfm2",
    "lfm2_moe",
    "llama",
    "llama4_text",
    "minimax",
    "minimax_m2",
    "ministral",
    "ministral3",
    "mistral",
    "mistral4",
    "mixtral",
    "mpt",
    "nemotron",
    "nemotron_h",
    "olmo",
    "olmo2",
    "olmo3",
    "olmoe",
    "opt",
    "phi",
    "phi3",
    "phimoe",
    "qwen2",
    "qwen2_5_omni_text",
    "qwen2_5_vl_text",
    "qwen2_moe",
    "qwen2_vl_text",
    "qwen3",
    "qwen3_5_moe_text",
    "qwen3_5_text",
    "qwen3_moe",
    "qwen3_next",
    "qwen3_omni_moe_text",
    "qwen3_vl_moe_text",
    "qwen3_vl_text",
    "seed_oss",
    "smollm3",
    "stablelm",
    "starcoder2",
)
# max_position_embeddings and the like may be written as 4096 * 32.
_ARITHMETIC = {ast.Mult: lambda a, b: a * b, ast.Pow: lambda a, b: a**b, ast.Add: lambda a, b: a + b}


def _value(node: ast.expr) -> Any:
    """The literal, or None for what only running the class would tell."""
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        return _ARITHMETIC[type(node.op)](_value(node.left), _value(node.right))
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def _classes(directory: Path) -> dict[str, ast.ClassDef]:
    files = sorted(directory.glob("transformers/models/*/configuration_*.py"))
    if not files:
        sys.exit(f"{directory} holds no transformers/models/*/configuration_*.py")
    trees = (ast.parse(file.read_text("utf-8")) for file in files)
    return {node.name: node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}


def _fields(name: str, classes: dict[str, ast.ClassDef]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if name not in classes:
        return found
    for base in classes[name].bases:
        if isinstance(base, ast.Name):
            found |= _fields(base.id, classes)
    for line in classes[name].body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value:
            found[line.target.id] = _value(line.value)
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
            found[line.targets[0].id] = _value(line.value)
    return found


def document(directory: Path) -> str:
    """The content of the file."""
    classes = _classes(directory)
    by_type = {
        fields["model_type"]: fields
        for fields in (_fields(name, classes) for name in classes)
        if isinstance(fields.get("model_type"), str)
    }
    lines = [
        f"{json.dumps(kind)}: "
        + json.dumps({k: v for k, v in sorted(by_type[kind].items()) if k in FIELDS and v is not None})
        for kind in MODEL_TYPES
        if kind in by_type
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    FILE.write_text(document(Path(sys.argv[1])), "utf-8")
