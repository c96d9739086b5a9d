"""vLLM's flags by version, and which of them an argument of `spec.engine.args` is.

Owns vllm_flags.json, which `hack/export_vllm_flags.py` writes from vLLM's sources, and the reading of
arguments as vLLM's parser does it: `_` for `-`, `--no-` before a switch, flags shortened as far as they are
unique, `-dp4`, JSON by `--flag.key`. Output: what is wrong with arguments, in a sentence, or what cannot be
judged because the image's version is not in the table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from argosy.api.engine.reserved import RESERVED, refused_flag
from argosy.api.engine_flags import flag_of
from argosy.engine_version import engine_version

_NUMBER = re.compile(r"-\d+(?:\.\d*)?|-\.\d+")
_LEVEL = "-O"
"""vLLM reads `-O3` as `--optimization-level 3`."""
_WIDE_TYPES = ("float", "float32")
_NO = "--no-"


@dataclass(frozen=True, slots=True)
class FlagTable:
    """Flags of `vllm serve`.

    versions: major.minor, oldest first
    spans:    the first and the last that has a flag
    """

    versions: tuple[str, ...]
    spans: dict[str, tuple[str, str]]

    def of(self, version: str | None) -> frozenset[str]:
        """The flags of a version; of None those of any."""
        return frozenset(flag for flag in self.spans if version is None or self.has(flag, version))

    def has(self, flag: str, version: str) -> bool:
        """Whether a version of the table has a flag of the table."""
        first, last = (self.versions.index(each) for each in self.spans[flag])
        return first <= self.versions.index(version) <= last

    def span(self, flag: str) -> str:
        """The versions that have it, in words."""
        first, last = self.spans[flag]
        return f"vLLM {first}" if first == last else f"vLLM {first} to {last}"


@cache
def flag_table() -> FlagTable:
    """The table of the file."""
    document = json.loads(files(__package__).joinpath("vllm_flags.json").read_bytes())
    spans = {flag: (first, last) for flag, (first, last) in document["flags"].items()}
    return FlagTable(tuple(document["versions"]), spans)


def vllm_version(image: str, stated: str | None = None) -> str | None:
    """The engine's version (major.minor), stated or the tag's; None where it is none of the table."""
    found = engine_version(image, stated)
    minor = "" if found is None else f"{found.major}.{found.minor}"
    return minor if minor in flag_table().versions else None


def args_fault(args: tuple[str, ...], image: str, stated: str | None = None) -> str | None:
    """What is wrong with the first argument that vLLM or Argosy would not take; None where nothing is."""
    version = vllm_version(image, stated)
    known = flag_table().of(version)
    if args and not args[0].startswith("-"):
        return (
            f"spec.engine.args: the first word is {args[0]!r}, which vLLM reads as its model; begin with a"
            " flag, and set the model by spec.modelId"
        )
    for word in _flags_in(args):
        meant = _meant(flag_of(word), known)
        reserved = next((flag for flag in meant if flag in RESERVED), None)
        if reserved is not None:
            return refused_flag(word, reserved)
        if not meant and version is not None:
            where = f"spec.engine.image is {image}" if stated is None else f"spec.engine.version is {stated}"
            return _unknown(word, version, where)
    return _wide_type(args, known)


def unjudged_args(args: tuple[str, ...], image: str, stated: str | None = None) -> tuple[str, ...]:
    """Flags that no version of the table has, where the image's version is not known; else none."""
    if vllm_version(image, stated) is not None:
        return ()
    known = flag_table().of(None)
    return tuple(word for word in _flags_in(args) if not _meant(flag_of(word), known))


def _flags_in(args: Iterable[str]) -> Iterator[str]:
    return (word for word in args if word.startswith("-") and word != "--" and not _NUMBER.fullmatch(word))


def _meant(flag: str, known: frozenset[str]) -> tuple[str, ...]:
    """The flags that vLLM's parser may take it for: the exact one, else those that it is the beginning of."""
    if flag in known:
        return (flag,)
    if flag.startswith(_LEVEL):
        return ("--optimization-level",)
    if not flag.startswith("--"):
        return tuple(short for short in (flag[:2],) if short in known)
    plain = f"--{flag.removeprefix(_NO)}" if flag.startswith(_NO) else flag
    if plain in known:
        return (plain,)
    return tuple(sorted(each for each in known if each.startswith((flag, plain)) and len(plain) > len("--")))


def _unknown(word: str, version: str, where: str) -> str:
    flag, table = flag_of(word), flag_table()
    elsewhere = f"; {table.span(flag)} has it" if flag in table.spans else ""
    return (
        f"spec.engine.args: vLLM {version} ({where}) has no flag {word.split('=')[0]}"
        f"{elsewhere}; correct or remove it"
    )


def _wide_type(args: tuple[str, ...], known: frozenset[str]) -> str | None:
    """Weights in 32 bits take twice the memory that plans count."""
    for word, after in zip(args, (*args[1:], ""), strict=False):
        if word.startswith("--") and "--dtype" in _meant(flag_of(word), known):
            value = word.partition("=")[2] if "=" in word else after
            if value in _WIDE_TYPES:
                return (
                    f"spec.engine.args: {word.split('=')[0]} is {value}, with which weights take twice the"
                    " memory that plans count; use bfloat16 or float16, or remove it"
                )
    return None
