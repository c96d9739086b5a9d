"""Owns vLLM's command line as far as the simulation understands it.

Whether the model is known and fits is `profiles`'s. Input: a container's
arguments. Output: `VllmArgs`, or `BadArgs` with the sentence that a container log shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum

from argosy.api.engine_flags import ENGINE_FLAGS, FlagValue
from argosy.refusals import Refused

# A size may be written as vLLM allows: 16k is 16,000, 16K is 16,384.
_FACTORS = {"k": 1_000, "K": 1_024, "m": 1_000_000, "M": 1_048_576}


@dataclass(frozen=True, slots=True)
class VllmArgs:
    """One engine's arguments. Lengths are tokens; `gpu_memory_utilization` is 0-1.

    `max_cpu_loras`: 0 is as many as `max_loras`. Defaults are vLLM's for a server, but `max_model_len`,
    which there comes from the checkpoint: 16,384 as in a ServedModel. `port` is None where it is not set.
    """

    model: str
    served_names: tuple[str, ...]
    port: int | None = None
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    quantization: str = ""
    kv_cache_dtype: str = ""
    enable_lora: bool = False
    max_loras: int = 1
    max_lora_rank: int = 16
    max_cpu_loras: int = 0
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    max_model_len: int = 16384
    gpu_memory_utilization: float = 0.9
    block_size: int = 16
    enable_prefix_caching: bool = True
    enable_prompt_tokens_details: bool = False
    ignored: tuple[str, ...] = ()

    @property
    def world_size(self) -> int:
        """GPUs of one replica."""
        return self.tensor_parallel * self.pipeline_parallel


class BadArgsReason(StrEnum):
    """Why vLLM's parser, or its scheduler, refuses the arguments."""

    BAD_VALUE = "BadValue"
    MISSING_MODEL = "MissingModel"
    CONTRADICTION = "Contradiction"
    """Two arguments that cannot hold together."""


@dataclass(frozen=True, slots=True)
class BadArgs(Refused[BadArgsReason]):
    """Why the engine would not start: the argument, the value found and the value needed."""


_SIMULATED = frozenset(field.name for field in fields(VllmArgs))


def _fields_by_flag(value: FlagValue) -> dict[str, str]:
    """The flags that the simulation understands; one that changes nothing in it is kept in `ignored`."""
    return {
        flag.flag: flag.field for flag in ENGINE_FLAGS if flag.value is value and flag.field in _SIMULATED
    }


# What Argosy's manifests set, and what a hand-written pod may set besides.
_INTEGERS = _fields_by_flag(FlagValue.INTEGER) | {
    "--block-size": "block_size",
    "--max-cpu-loras": "max_cpu_loras",
}
_SHARES = _fields_by_flag(FlagValue.SHARE)
_WORDS = _fields_by_flag(FlagValue.WORD)
_SWITCHES = {
    f"--{word}{name.replace('_', '-')}": (name, not word)
    for name in ("enable_lora", "enable_prefix_caching", "enable_prompt_tokens_details")
    for word in ("", "no-")
}
_ALIASES = {flag.short: flag.flag for flag in ENGINE_FLAGS if flag.short}


def is_engine(args: Sequence[str]) -> bool:
    """Whether a container with these arguments is a vLLM engine."""
    return any(option == "--model" for option, _ in _options(args))


def parse_args(args: Sequence[str]) -> VllmArgs | BadArgs:
    """Read a command line as vLLM's parser would; options that only vLLM has are kept in `ignored`."""
    values: dict[str, int | float | str] = {}
    names: tuple[str, ...] = ()
    model = ""
    ignored: list[str] = []
    for option, words in _options(args):
        if option == "--model" and len(words) == 1:
            model = words[0]
        elif option == "--served-model-name" and words:
            names = words
        elif option in _INTEGERS:
            number = _positive_integer(words)
            if number is None:
                return _bad_value(option, "one whole number above 0", words)
            values[_INTEGERS[option]] = number
        elif option in _SHARES:
            share = _share(words)
            if share is None:
                return _bad_value(option, "a number in (0, 1]", words)
            values[_SHARES[option]] = share
        elif option in _WORDS and len(words) == 1:
            values[_WORDS[option]] = words[0]
        elif option in _SWITCHES and not words:
            name, is_on = _SWITCHES[option]
            values[name] = is_on
        elif option in ("--model", "--served-model-name"):
            needed = "one name" if option == "--model" else "names"
            return BadArgs(BadArgsReason.BAD_VALUE, f"argument {option}: expected {needed}")
        else:
            ignored.append(" ".join((option, *words)))
    return _checked(model, names or (model,), values, tuple(ignored))


def _checked(
    model: str, names: tuple[str, ...], values: dict[str, int | float | str], ignored: tuple[str, ...]
) -> VllmArgs | BadArgs:
    if not model:
        return BadArgs(BadArgsReason.MISSING_MODEL, "argument --model: expected one name")
    parsed = VllmArgs(model, names, ignored=ignored, **values)  # type: ignore[arg-type]
    if parsed.port is not None and parsed.port > 65535:
        return BadArgs(BadArgsReason.BAD_VALUE, f"argument --port: {parsed.port} is not a port")
    # vLLM's scheduler refuses this too: a step must be able to advance every sequence.
    if parsed.max_num_batched_tokens < parsed.max_num_seqs:
        return BadArgs(
            BadArgsReason.CONTRADICTION,
            f"max_num_batched_tokens ({parsed.max_num_batched_tokens}) must be greater than or equal to "
            f"max_num_seqs ({parsed.max_num_seqs}).",
        )
    return parsed


def _bad_value(option: str, needed: str, words: Sequence[str]) -> BadArgs:
    message = f"argument {option}: expected {needed}, got '{' '.join(words)}'"
    return BadArgs(BadArgsReason.BAD_VALUE, message)


def _options(args: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Group words under the option before them; `--a=b` is `--a b`, `--a_b` is `--a-b`."""
    groups: list[tuple[str, list[str]]] = []
    for word in args:
        if word.startswith("--") or word in _ALIASES:
            option, has_value, value = word.partition("=")
            option = _ALIASES.get(option, option).replace("_", "-")
            groups.append((option, [value] if has_value else []))
        elif groups:
            groups[-1][1].append(word)
        # Words before the first option are `vllm serve` and the like.
    return [(option, tuple(words)) for option, words in groups]


def _positive_integer(words: Sequence[str]) -> int | None:
    if len(words) != 1 or not words[0]:
        return None
    factor = _FACTORS.get(words[0][-1], 1)
    digits = words[0] if factor == 1 else words[0][:-1]
    number = int(digits) * factor if digits.isdecimal() else 0
    return number if number > 0 else None


def _share(words: Sequence[str]) -> float | None:
    try:
        share = float(words[0]) if len(words) == 1 else 0.0
    except ValueError:
        return None
    return share if 0 < share <= 1 else None
