"""The command line of an engine that a user runs: which flags `vllm serve` gets.

Owns the reading of a container's command and arguments, by the table of flags in `api.engine_flags`. Input: a
container, as the API server has it, and further arguments. Output: the value of each flag, or what is not
known, in words: a value is never guessed.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from argosy.api.adoption import ADOPT_ARGS
from argosy.api.engine_flags import ENGINE_FLAGS, EngineFlag, FlagValue, flag_of
from argosy.refusals import Refused

_FLAGS: dict[str, EngineFlag] = {
    name: flag for flag in ENGINE_FLAGS for name in (flag.flag, flag.short) if name
}
_SHELLS = ("sh", "bash")
_SHELL_SIGNS = re.compile(r"[;|&<>`$\n]")
_VARIABLE = re.compile(r"\$\(([-._A-Za-z][-._A-Za-z0-9]*)\)")
_LOOPBACK = re.compile(r"127\.[0-9.]+|localhost|\[?::1\]?")
_MODULE = "vllm.entrypoints.openai.api_server"

UNUSABLE = {
    "--config": "holds settings in a file that is not read",
    "--ssl-keyfile": "makes it answer by TLS, and Envoys speak plain HTTP to engines",
    "--ssl-certfile": "makes it answer by TLS, and Envoys speak plain HTTP to engines",
    "--uds": "makes it listen on a socket that Envoys do not reach",
    "--headless": "makes it serve no requests",
}
"""Flags with which an engine cannot be adopted, each with why."""


class Unknown(StrEnum):
    """What is not known of a Deployment, or does not fit."""

    LABEL = "Label"
    COMMAND = "Command"
    ARGUMENT = "Argument"
    MODEL = "Model"
    WORKLOAD_CLASS = "WorkloadClass"
    POOL = "Pool"
    GPUS = "Gpus"


class NotKnown(Refused[Unknown]):
    """Why a Deployment is not adopted, in a sentence without its full stop."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What an engine is started with.

    given:  the words that follow each flag of the table, by the flag
    others: further arguments, as they are
    """

    given: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    others: tuple[str, ...] = ()

    def word(self, flag: str) -> str | None:
        """The value of a flag; None where it is not given."""
        words = self.given.get(flag)
        return None if words is None else " ".join(words)


def command_line(container: Mapping[str, Any], added: str) -> CommandLine | NotKnown:
    """The flags of a container's engine. added: arguments that override them, as a user writes them"""
    words = _serving_words(container)
    if isinstance(words, NotKnown):
        return words
    try:
        more = shlex.split(added)
    except ValueError as error:
        return NotKnown(
            Unknown.ARGUMENT, f"annotation {ADOPT_ARGS}: {added[:64]!r} cannot be split into words ({error})"
        )
    found = _parsed([*words, *more])
    for arg in found.others:
        if (why := UNUSABLE.get(flag_of(arg))) is not None:
            return NotKnown(
                Unknown.ARGUMENT, f"the argument {flag_of(arg)} {why}; an engine without it is needed"
            )
    host = next((value for flag, value in _pairs(found.others) if flag == "--host"), "")
    if _LOOPBACK.fullmatch(host):
        return NotKnown(
            Unknown.ARGUMENT, f"the argument --host is {host}, which Envoys do not reach; 0.0.0.0 is needed"
        )
    return found


def _pairs(others: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each flag with its first value, the last flag first: it is the one that vLLM uses."""
    for word, after in reversed([*zip(others, [*others[1:], ""], strict=False)]):
        if word.startswith("-"):
            yield flag_of(word), word.partition("=")[2] if "=" in word else after


def _serving_words(container: Mapping[str, Any]) -> list[str] | NotKnown:
    """The words after `vllm serve`; all arguments where the image's own command is used."""
    command, args = (_expanded(container, name) for name in ("command", "args"))
    if not command:
        return _with_model(args)
    if command[0].rsplit("/", 1)[-1] in _SHELLS and "-c" in command[1:2]:
        script = " ".join([*command[2:], *args][:1]).replace("\\\n", " ").strip()
        if _SHELL_SIGNS.search(script):
            return NotKnown(
                Unknown.COMMAND,
                "its command is a shell script of several parts, which is not read; a command that only"
                " starts vllm serve is needed",
            )
        try:
            command, args = shlex.split(script), []
        except ValueError as error:
            return NotKnown(Unknown.COMMAND, f"its shell command cannot be split into words ({error})")
    words = [*command, *args]
    words = words[1:] if words[:1] == ["exec"] else words
    if words[:1] and words[0].rsplit("/", 1)[-1] == "vllm" and words[1:2] == ["serve"]:
        return _with_model(words[2:])
    if _MODULE in words[1:3]:
        return words[words.index(_MODULE) + 1 :]
    return NotKnown(Unknown.COMMAND, f"its command is {' '.join(words[:3])!r}; vllm serve is needed")


def _expanded(container: Mapping[str, Any], name: str) -> list[str]:
    """Words with `$(NAME)` replaced as the kubelet does, where the variable's value is in the template."""
    values = {str(e.get("name")): e.get("value") for e in container.get("env") or ()}

    def value(found: re.Match[str]) -> str:
        known = values.get(found[1])
        return found[0] if known is None else str(known)

    return [_VARIABLE.sub(value, str(word)) for word in container.get(name) or ()]


def _with_model(words: Sequence[str]) -> list[str]:
    """`vllm serve` takes the model as its first word."""
    is_model = bool(words) and not words[0].startswith("-")
    return ["--model", *words] if is_model else [*words]


def _parsed(words: Sequence[str]) -> CommandLine:
    """The last one of a flag that is given several times is used, as vLLM does."""
    given: dict[str, tuple[str, ...]] = {}
    others: list[str] = []
    index = 0
    while index < len(words):
        word = words[index]
        values = _values_after(words, index)
        index += 1 + (len(values) if "=" not in word else 0)
        flag = _FLAGS.get(flag_of(word)) if word.startswith("-") else None
        if flag is None:
            others += [word, *(values if "=" not in word else ())]
        elif flag.value is FlagValue.NOTHING:
            given[flag.flag] = ()
        else:
            given[flag.flag] = (word.partition("=")[2],) if "=" in word else tuple(values)
    return CommandLine(given, tuple(others))


def _values_after(words: Sequence[str], index: int) -> list[str]:
    """The words up to the next flag."""
    found: list[str] = []
    for word in words[index + 1 :]:
        if word.startswith("-"):
            break
        found.append(word)
    return found
