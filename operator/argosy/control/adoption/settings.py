"""From an engine's command line to what a variant knows of it.

Owns which flags must be given: those whose default differs between versions of vLLM, GPUs or checkpoints.
Input: a `CommandLine`. Output: the model, its names, the parallel shape and `EngineSettings`, or what is not
known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from argosy.api.adoption import ADOPT_ARGS
from argosy.api.servedmodel import Engine, ParallelShape
from argosy.control.adoption.command_line import CommandLine, NotKnown, Unknown
from argosy.snapshot import EngineSettings

REQUIRED = {
    "--max-model-len": "max_model_len",
    "--max-num-seqs": "max_num_seqs",
    "--max-num-batched-tokens": "max_num_batched_tokens",
    "--gpu-memory-utilization": "gpu_memory_utilization",
}
"""Flags with the field that each sets; what vLLM takes without them is in its log only."""
_EXAMPLES = {
    "--max-model-len": "16384",
    "--max-num-seqs": "256",
    "--max-num-batched-tokens": "8192",
    "--gpu-memory-utilization": "0.9",
}
_DEFAULT_PORT = 8000
_PORT = re.compile("[0-9]{1,5}")
_SUFFIXED = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([kKmMgG])")
"""As vLLM reads `--max-model-len 32k` (32000), `32K` (32768) and `25.6k`; before K, M and G only integers."""
_POWERS = {"k": 1, "m": 2, "g": 3}
_DEFAULT_LORAS = 1
_FP8 = ("fp8", "fp8_e4m3")


@dataclass(frozen=True, slots=True)
class Running:
    """What an engine runs. served_names: values of a request's model field that it answers to."""

    model_id: str
    served_names: tuple[str, ...]
    shape: ParallelShape
    engine: EngineSettings


def port_of(line: CommandLine) -> int:
    """The port that it serves on; vLLM's default where none is given, or none that can be read."""
    word = line.word("--port") or ""
    return int(word) if _PORT.fullmatch(word) else _DEFAULT_PORT


def engine_of(line: CommandLine, image: str) -> Running | NotKnown:
    """What an engine with these flags and this image runs."""
    model_id = line.word("--model")
    if model_id is None:
        return NotKnown(Unknown.MODEL, "its command line names no model; --model is needed")
    missing = [flag for flag in REQUIRED if line.word(flag) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        example = " ".join(f"{flag}={_EXAMPLES[flag]}" for flag in missing)
        return NotKnown(
            Unknown.ARGUMENT,
            f"{', '.join(missing)} {verb} not among its arguments, and vLLM's default depends on its version,"
            " the GPU and the checkpoint; give what the engines run with (their log prints it) by the"
            f" annotation {ADOPT_ARGS} of the Deployment, such as {example!r}",
        )
    try:
        shape = ParallelShape.model_validate(
            _given(
                line,
                {"--tensor-parallel-size": "tensorParallel", "--pipeline-parallel-size": "pipelineParallel"},
            )
            | ({} if line.word("--tensor-parallel-size") else {"tensorParallel": 1})
        )
        engine = Engine.model_validate(_engine_fields(line, image))
    except ValidationError as error:
        return NotKnown(Unknown.ARGUMENT, _in_words(error))
    names = tuple(line.given.get("--served-model-name", ())) or (model_id,)
    return Running(model_id, names, shape, replace(EngineSettings.of(engine), args=line.others))


def _engine_fields(line: CommandLine, image: str) -> dict[str, Any]:
    fields: dict[str, Any] = {"image": image, "port": _DEFAULT_PORT}
    fields |= _given(line, {"--port": "port", **{flag: _camel(name) for flag, name in REQUIRED.items()}})
    fields |= _number_types(line)
    if "--enable-lora" in line.given:
        fields["maxLoras"] = _number(line.word("--max-loras") or str(_DEFAULT_LORAS))
        if (rank := line.word("--max-lora-rank")) is not None:
            fields["maxLoraRank"] = _number(rank)
    return fields


def _number_types(line: CommandLine) -> dict[str, str]:
    """Of weights and KV cache, where they are not the checkpoint's."""
    found: dict[str, str] = {}
    if (weights := line.word("--quantization")) not in (None, "None"):
        found["quantization"] = str(weights)
    if (kv := line.word("--kv-cache-dtype")) not in (None, "auto"):
        found["kvCacheDtype"] = "fp8" if kv in _FP8 else str(kv)
    return found


def _given(line: CommandLine, names: dict[str, str]) -> dict[str, Any]:
    return {name: _number(word) for flag, name in names.items() if (word := line.word(flag)) is not None}


def _number(word: str) -> int | float | str:
    """A word as a number where it is one, also with a suffix; else itself, which the schema refuses."""
    if (found := _SUFFIXED.fullmatch(word)) is not None:
        digits, suffix = found.groups()
        if suffix.islower():
            return int(float(digits) * 1000 ** _POWERS[suffix])
        return int(digits) * 1024 ** _POWERS[suffix.lower()] if digits.isdecimal() else word
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


_FLAG_OF_FIELD = {
    **{_camel(name): flag for flag, name in REQUIRED.items()},
    "tensorParallel": "--tensor-parallel-size",
    "pipelineParallel": "--pipeline-parallel-size",
    "quantization": "--quantization",
    "kvCacheDtype": "--kv-cache-dtype",
    "maxLoras": "--max-loras",
    "maxLoraRank": "--max-lora-rank",
    "port": "--port",
}


def _in_words(error: ValidationError) -> str:
    """The first value that a ServedModel could not have either."""
    first = error.errors()[0]
    field = str(first["loc"][0]) if first["loc"] else ""
    flag = _FLAG_OF_FIELD.get(field, field or "its arguments")
    return f"{flag} has the value {first['input']!r}, with which engines are not planned: {first['msg']}"
