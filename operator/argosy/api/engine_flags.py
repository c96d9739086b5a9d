"""Which flag of `vllm serve` each field sets.

Owns the one table of flags: `manifests` writes a container's arguments from it, the simulated engine
reads them by it, and `engine.reserved` refuses them in a ServedModel's `spec.engine.args`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FlagValue(StrEnum):
    """What follows a flag."""

    WORD = "Word"
    WORDS = "Words"
    INTEGER = "Integer"
    SHARE = "Share"
    """A number above 0 and at most 1."""
    NOTHING = "Nothing"


@dataclass(frozen=True, slots=True)
class EngineFlag:
    """One flag.

    field:      of a variant or of its engine settings; its value follows the flag
    short:      vLLM's short form, or empty
    default_at: values of the field at which the flag is left out: vLLM's default holds
    requires:   a field without which (at 0) the flag is left out too, or empty
    """

    flag: str
    field: str
    value: FlagValue
    short: str = ""
    default_at: tuple[int | None, ...] = ()
    requires: str = ""


ENGINE_FLAGS: tuple[EngineFlag, ...] = (
    EngineFlag("--model", "model_id", FlagValue.WORD),
    EngineFlag("--served-model-name", "served_names", FlagValue.WORDS),
    EngineFlag("--port", "port", FlagValue.INTEGER),
    EngineFlag("--tensor-parallel-size", "tensor_parallel", FlagValue.INTEGER, short="-tp"),
    EngineFlag(
        "--pipeline-parallel-size", "pipeline_parallel", FlagValue.INTEGER, short="-pp", default_at=(1,)
    ),
    EngineFlag("--quantization", "quantization", FlagValue.WORD, short="-q", default_at=(None,)),
    EngineFlag("--kv-cache-dtype", "kv_cache_dtype", FlagValue.WORD, default_at=(None,)),
    EngineFlag("--enable-lora", "max_loras", FlagValue.NOTHING, default_at=(0,)),
    EngineFlag("--max-loras", "max_loras", FlagValue.INTEGER, default_at=(0,)),
    EngineFlag("--max-lora-rank", "max_lora_rank", FlagValue.INTEGER, requires="max_loras"),
    EngineFlag("--max-num-seqs", "max_num_seqs", FlagValue.INTEGER),
    EngineFlag("--max-num-batched-tokens", "max_num_batched_tokens", FlagValue.INTEGER),
    EngineFlag("--max-model-len", "max_model_len", FlagValue.INTEGER),
    EngineFlag("--gpu-memory-utilization", "gpu_memory_utilization", FlagValue.SHARE),
)
"""In the order of the command line. That order is part of the hash in a Deployment's name: another one
would replace every Deployment."""


def flag_of(arg: str) -> str:
    """The flag that an argument sets, as vLLM reads it: `--max_num_seqs=8` is `--max-num-seqs`, and
    `--compilation-config.level` is `--compilation-config`."""
    return arg.split("=")[0].split(".")[0].replace("_", "-")
