"""Flags that `spec.engine.args` must not hold: those that a field sets, that plans count on or Envoys need.

Owns the table of them, each with what is set instead, and their rules. The flags of fields are those of
`engine_flags`. Only exact flags can be compared by CEL; `vllm_flags` finds shortened ones as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from argosy.api.engine_flags import ENGINE_FLAGS, flag_of
from argosy.api.schema.rule import Rule
from argosy.api.schema.value import camel
from argosy.errors import InvariantError

_SHAPES = "spec.parallelShapes"
_REPLICAS = "more replicas by spec.maxReplicas, each an engine of its own"
_ONE_NODE = "spec.parallelShapes, which splits a replica over GPUs of one node"
_MEMORY = "spec.engine.gpuMemoryUtilization, from which plans count the memory"
_OWN_PATHS = {
    "model_id": "spec.modelId",
    "served_names": "spec.servedNames",
    "tensor_parallel": _SHAPES,
    "pipeline_parallel": _SHAPES,
}

OF_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        name: _OWN_PATHS.get(flag.field, f"spec.engine.{camel(flag.field)}")
        for flag in ENGINE_FLAGS
        for name in (flag.flag, flag.short)
        if name
    }
)
"""Flags that a field sets, each with its path."""

OF_GPUS: Mapping[str, str] = MappingProxyType(
    {
        "--data-parallel-size": _REPLICAS,
        "-dp": _REPLICAS,
        "--data-parallel-size-local": _REPLICAS,
        "-dpl": _REPLICAS,
        "--data-parallel-rank": _REPLICAS,
        "-dpn": _REPLICAS,
        "--data-parallel-start-rank": _REPLICAS,
        "-dpr": _REPLICAS,
        "--data-parallel-address": _REPLICAS,
        "-dpa": _REPLICAS,
        "--data-parallel-rpc-port": _REPLICAS,
        "-dpp": _REPLICAS,
        "--data-parallel-backend": _REPLICAS,
        "-dpb": _REPLICAS,
        "--data-parallel-hybrid-lb": _REPLICAS,
        "-dph": _REPLICAS,
        "--data-parallel-external-lb": _REPLICAS,
        "-dpe": _REPLICAS,
        "--data-parallel-multi-port-external-lb": _REPLICAS,
        "-dpm": _REPLICAS,
        "--data-parallel-supervisor-port": _REPLICAS,
        "--enable-elastic-ep": _REPLICAS,
        "--elastic-ep-max-dp-size": _REPLICAS,
        "--prefill-context-parallel-size": _SHAPES,
        "-pcp": _SHAPES,
        "--decode-context-parallel-size": _SHAPES,
        "-dcp": _SHAPES,
        "--nnodes": _ONE_NODE,
        "-n": _ONE_NODE,
        "--node-rank": _ONE_NODE,
        "-r": _ONE_NODE,
        "--master-addr": _ONE_NODE,
        "--master-port": _ONE_NODE,
        "--headless": _ONE_NODE,
        "--device-ids": _SHAPES,
    }
)
"""Flags that change how many GPUs, engines or nodes a replica is, each with what is used instead."""

_FIELDS_ONLY = "the fields of spec.engine and spec.engine.args, which decisions read"
_PLAIN = "plain HTTP on spec.engine.port, which Envoys and scrapes use"
_OPEN = "Envoy in front of the engines: health checks and scrapes show no key"
_METRICS = "vLLM's metrics, which plans and drains rely on"

OF_PORTS: Mapping[str, str] = MappingProxyType(
    {
        "--config": _FIELDS_ONLY,
        "--host": "every address of the pod, which Envoys and the kubelet reach",
        "--uds": _PLAIN,
        "--grpc": _PLAIN,
        "--grpc-port": _PLAIN,
        "--ssl-keyfile": _PLAIN,
        "--ssl-certfile": _PLAIN,
        "--ssl-ca-certs": _PLAIN,
        "--ssl-cert-reqs": _PLAIN,
        "--ssl-ciphers": _PLAIN,
        "--enable-ssl-refresh": _PLAIN,
        "--api-key": _OPEN,
        "--disable-log-stats": _METRICS,
        "--tokens-only": "the OpenAI API, which classes are made for",
        "--lora-modules": "spec.adapters: engines load and unload those while they run",
    }
)
"""Flags that change where and how an engine is reached, or under which names."""

_SECRETS = ("--api-key",)

OF_MEMORY: Mapping[str, str] = MappingProxyType(
    {
        "--kv-cache-memory-bytes": _MEMORY,
        "--num-gpu-blocks-override": _MEMORY,
        "--mm-ipc-gpu-memory-gb": _MEMORY,
        "--kv-cache-dtype-skip-layers": "spec.engine.kvCacheDtype, which holds for all layers",
        "--device-memory-utilization": _MEMORY,
        "--block-size": _MEMORY,
        "--cpu-offload-gb": _MEMORY,
        "--offload-backend": _MEMORY,
        "--disable-hybrid-kv-cache-manager": _MEMORY,
        "--speculative-config": "--spec-method and --spec-tokens, which load no second model",
        "-sc": "--spec-method and --spec-tokens, which load no second model",
        "--spec-model": "--spec-method and --spec-tokens, which load no second model",
        "--quantization-config": "spec.engine.quantization",
        "--max-num-scheduled-tokens": "spec.engine.maxNumBatchedTokens",
        "--max-num-active-seqs": "spec.engine.maxNumSeqs",
    }
)
"""Flags that change what an engine's memory holds, or how much a step computes."""

RESERVED: Mapping[str, str] = MappingProxyType({**OF_FIELDS, **OF_GPUS, **OF_PORTS, **OF_MEMORY})
"""All of them, each with what is used instead."""


def _listed(flags: Mapping[str, str]) -> str:
    """The flags by what is used instead, without short forms."""
    by_remedy: dict[str, list[str]] = {}
    for flag, remedy in flags.items():
        if flag.startswith("--"):
            by_remedy.setdefault(remedy, []).append(flag)
    return "; ".join(f"{', '.join(names)} ({remedy})" for remedy, names in by_remedy.items())


def _rule(name: str, flags: Mapping[str, str], opening: str) -> Rule:
    # Per argument: the flag as vLLM reads it (without `=value` and `.key`, with `-` for `_`) is none of them.
    listed = ", ".join(f"'{flag}'" for flag in flags)
    return Rule(
        name=f"servedmodel-{name}",
        cel=f"self.args.all(arg, !(arg.split('=')[0].split('.')[0].replace('_', '-') in [{listed}]))",
        message=(
            f"spec.engine.args must not contain {opening}; remove it (in brackets is what is used instead):"
            f" {_listed(flags)}"
        ),
        holds=lambda engine: not any(flag_of(arg) in flags for arg in engine.args),
        field="args",
        found=lambda engine: _in_words(engine.args, flags),
    )


def _in_words(args: Sequence[str], flags: Mapping[str, str]) -> str:
    """About the first of them, with the value that follows it."""
    for arg, after in zip(args, (*args[1:], ""), strict=True):
        if (flag := flag_of(arg)) in flags:
            has_value = after and not after.startswith("-") and "=" not in arg
            return refused_flag(f"{arg} {after}" if has_value else arg, flag)
    raise InvariantError(f"none of {sorted(flags)} is among {args}")


def refused_flag(word: str, flag: str) -> str:
    """Why an argument is refused that is this flag; without its value where that is a secret."""
    word = word.split("=")[0].split(" ")[0] if flag in _SECRETS else word
    meant = "" if word.startswith(flag) else f" is {flag}, which"
    return f"spec.engine.args: {word}{meant} must not be among them; remove it, and use {RESERVED[flag]}"


def args_rules() -> tuple[Rule, ...]:
    """The rules of a value with the field `args`."""
    return (
        _rule("reserved-args", OF_FIELDS, "an argument that a field sets"),
        _rule("args-gpus", OF_GPUS, "an argument that changes the GPUs of a replica"),
        _rule(
            "args-ports",
            OF_PORTS,
            "an argument that changes how engines are reached",
        ),
        _rule(
            "args-memory",
            OF_MEMORY,
            "an argument that changes what is in GPU memory or in a step",
        ),
    )
