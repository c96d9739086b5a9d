"""Owns the commands to a running fleet: one line of JSON there, one line back, over a Unix socket.

The kubelet carries them out. The functions are for other processes (the demo, tests):

    kill_node(state_dir, "l40s-0")      falls silent for good; returns its pods
    crash_pod(state_dir, "prod/chat-1") its engine dies and is started again
    delay_pod(state_dir, "prod/chat-1", "/health", 8.0) it is late with these answers; 0.0: no more
    fleet_status(state_dir)             replicas, requests, CPU seconds, memory

All raise `FleetNotRunningError` where no fleet answers, `UnknownTargetError` for a wrong name.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from argosy_sim.livefleet.errors import FleetNotRunningError, UnknownTargetError
from argosy_sim.livefleet.kubelet.kubelet import VirtualKubelet
from argosy_sim.livefleet.kubelet.pod_worker import ReplicaStatus
from argosy_sim.livefleet.state import FleetLayout

_TIMEOUT_S = 10.0
_MAX_LINE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node."""

    name: str
    gpu_product: str
    gpus: int
    is_dead: bool


@dataclass(frozen=True, slots=True)
class LiveFleetStatus:
    """The fleet now. `cpu_s` is used since its start, `resident_bytes` is memory now."""

    nodes: tuple[NodeStatus, ...]
    replicas: tuple[ReplicaStatus, ...]
    cpu_s: float
    resident_bytes: int


_STATUS = TypeAdapter(LiveFleetStatus)


def kill_node(state_dir: Path, node: str) -> tuple[str, ...]:
    """Let a node die: heartbeats stop, its sockets neither answer nor close. Returns its pods."""
    return tuple(_ask(state_dir, "kill_node", node))


def revive_node(state_dir: Path, node: str) -> None:
    """Let a dead node's machine start again, with the pods that it still has."""
    _ask(state_dir, "revive_node", node)


def crash_pod(state_dir: Path, pod: str) -> None:
    """Let the engine of pod `namespace/name` die at once; it is started again after a back-off."""
    _ask(state_dir, "crash_pod", pod)


def delay_pod(state_dir: Path, pod: str, path: str, seconds: float) -> None:
    """Let the engine of pod `namespace/name` be so late with every answer of `path`; 0: no more."""
    _ask(state_dir, "delay_pod", pod, path=path, seconds=seconds)


def fleet_status(state_dir: Path) -> LiveFleetStatus:
    """Return how the fleet is."""
    return _STATUS.validate_python(_ask(state_dir, "status", ""))


def _ask(state_dir: Path, command: str, target: str, **more: str | float) -> Any:
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TIMEOUT_S)
            with _short(state_dir) as directory:
                connection.connect(f"{directory}/{FleetLayout(state_dir).socket.name}")
            connection.sendall(json.dumps({"command": command, "target": target, **more}).encode() + b"\n")
            line = connection.makefile("rb").readline()
        answer = json.loads(line)
    except (OSError, ValueError) as error:
        raise FleetNotRunningError(f"no live fleet answers in {state_dir}: {error}") from error
    if "error" in answer:
        raise UnknownTargetError(answer["error"])
    return answer["result"]


@contextmanager
def _short(directory: Path) -> Iterator[str]:
    """A name for a directory that fits into a socket address (108 bytes), however deep it is."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


class ControlServer:
    """Answers commands for one kubelet."""

    def __init__(self, layout: FleetLayout, kubelet: VirtualKubelet) -> None:
        self._layout = layout
        self._kubelet = kubelet
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen on the control socket, for this user alone."""
        listener = socket.socket(socket.AF_UNIX)
        with _short(self._layout.directory) as directory:
            listener.bind(f"{directory}/{self._layout.socket.name}")
        self._layout.socket.chmod(0o600)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=_MAX_LINE_BYTES)

    def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            question = json.loads(await reader.readline())
            answer = {"result": self._obey(question["command"], question["target"], question)}
        except UnknownTargetError as error:
            answer = {"error": str(error)}
        except (ValueError, KeyError, TypeError) as error:
            answer = {"error": f"not a command: {error!r}"}
        writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()

    def _obey(self, command: str, target: str, question: Mapping[str, Any]) -> Any:
        match command:
            case "kill_node":
                return self._kubelet.kill_node(target)
            case "revive_node":
                return self._kubelet.revive_node(target)
            case "crash_pod":
                return self._kubelet.crash_pod(target)
            case "delay_pod":
                return self._kubelet.delay_pod(target, question["path"], question["seconds"])
            case "status":
                return asdict(self._status())
        raise ValueError(command)

    def _status(self) -> LiveFleetStatus:
        used = resource.getrusage(resource.RUSAGE_SELF)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return LiveFleetStatus(
            nodes=tuple(
                NodeStatus(node.name, node.group.gpu_product, node.group.gpus, node.is_dead)
                for node in self._kubelet.nodes
            ),
            replicas=self._kubelet.replicas(),
            cpu_s=used.ru_utime + used.ru_stime,
            resident_bytes=pages * os.sysconf("SC_PAGE_SIZE"),
        )
