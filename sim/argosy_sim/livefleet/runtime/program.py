"""Owns how an engine's container becomes a program of this host: words, environment and hook. Pure.

There is no image and no network namespace here. An image's entrypoint is vLLM's server in the virtual
environment that the fleet was given; the pod's address, which every other address of this host can reach,
also stands for the pod's own loopback.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argosy.snapshot.cluster import ENGINE_PORT
from argosy_sim.livefleet.runtime.contract import NotStarted, NotStartedReason

Object = dict[str, Any]

DEFAULT_PORT = 8000
SERVER_MODULE = "vllm.entrypoints.openai.api_server"
_LOOPBACKS = ("127.0.0.1", "localhost")
# What vLLM for CPUs needs to start on its own, without a network; a container's own variables come after.
VLLM_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "2",
    "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_TARGET_DEVICE": "cpu",
}


@dataclass(frozen=True, slots=True)
class Program:
    """What to run. words: absolute program first. port: where its server will listen."""

    words: tuple[str, ...]
    environment: Mapping[str, str]
    port: int


def program_of(container: Object, address: str, pod: Mapping[str, str], python: Path) -> Program | NotStarted:
    """The container's command at the pod's address. python: the interpreter that has vLLM.

    A command that starts with `python` or `vllm serve`, or an image's entrypoint, runs by this interpreter;
    any other program must be one of this host.
    """
    environment = _environment(container, pod)
    if isinstance(environment, NotStarted):
        return environment
    words = [*_program(list(container.get("command") or ()), python), *map(str, container.get("args") or ())]
    port = _given_port(words) or declared_port(container)
    # Last, as vLLM's parser takes the last one: with every address two engines could not have one port.
    words += ["--host", address]
    return Program(tuple(words), VLLM_ENVIRONMENT | environment, port)


def hook_words(hook: Object, address: str, python: Path) -> tuple[str, ...] | None:
    """A preStop hook's command, its pod's loopback replaced by the pod's address; None where it has none."""
    words = list((hook.get("exec") or {}).get("command") or ())
    if not words:
        return None
    return tuple(_at(address, word) for word in _program(words, python))


def words_of(container: Object) -> list[str]:
    """The container's command line: command and arguments."""
    return [*container.get("command", ()), *container.get("args", ())]


def num_gpus(container: Object) -> int:
    """How many GPUs the container asks for."""
    limits = (container.get("resources") or {}).get("limits") or {}
    return int(limits.get("nvidia.com/gpu", 0))


def declared_port(container: Object) -> int:
    """The port of the engine's name; else the first one, else vLLM's own."""
    ports = container.get("ports") or [{"containerPort": DEFAULT_PORT}]
    return int(next((p for p in ports if p.get("name") == ENGINE_PORT), ports[0])["containerPort"])


def _program(command: Sequence[str], python: Path) -> list[str]:
    name = Path(command[0]).name if command else ""
    if not command:
        return [str(python), "-m", SERVER_MODULE]
    if name == "vllm" and command[1:2] == ["serve"]:
        model = ["--model", *command[2:]] if command[2:] and not command[2].startswith("-") else command[2:]
        return [str(python), "-m", SERVER_MODULE, *model]
    if name.startswith("python"):
        return [str(python), *command[1:]]
    return list(command)


def _environment(container: Object, pod: Mapping[str, str]) -> dict[str, str] | NotStarted:
    found: dict[str, str] = {}
    mounts = [mount["mountPath"] for mount in container.get("volumeMounts") or ()]
    for variable in container.get("env") or ():
        name, source = variable["name"], variable.get("valueFrom")
        if source is None:
            value = variable.get("value", "")
            if not value.startswith(tuple(mounts)):  # volumes are not there: HOME stays this host's
                found[name] = value
            continue
        path = (source.get("fieldRef") or {}).get("fieldPath", "")
        if path not in pod:
            kind = path or next(iter(source), "an empty valueFrom")
            return NotStarted(
                NotStartedReason.NO_VALUE,
                f"the variable {name} comes from {kind}, which a simulated node cannot read;"
                f" it knows {', '.join(sorted(pod))}",
            )
        found[name] = pod[path]
    return found


def _given_port(words: Sequence[str]) -> int | None:
    for number, word in enumerate(words):
        flag, has_value, value = word.partition("=")
        if flag == "--port":
            given = value if has_value else next(iter(words[number + 1 :]), "")
            return int(given) if given.isdecimal() else None
    return None


def _at(address: str, word: str) -> str:
    for loopback in _LOOPBACKS:
        word = word.replace(loopback, address)
    return word
