"""Owns what the virtual kubelet asks of a container runtime.

`kubelet.pod_worker` owns the pod's life: probes, reports, back-off, grace. A runtime turns the engine's
container into something that listens at the pod's address, and ends it in the ways a machine can.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from argosy.refusals import Refused

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class EngineStart:
    """One start of an engine's container.

    container: as the pod has it. address: the pod's. pod: its name, namespace and node, as the fields that
    `valueFrom` may name. gpu: the product of the node's GPUs. say: takes a line of the container's log.
    died: called with an exit code and a sentence once the engine has ended by itself.
    """

    container: Object
    address: str
    pod: Mapping[str, str]
    gpu: str
    say: Callable[[str], None]
    died: Callable[[int, str], None]


class NotStartedReason(StrEnum):
    """Why a container has no engine."""

    BAD_COMMAND = "BadCommand"
    """Its arguments, or its program."""
    CANNOT_RUN = "CannotRun"
    """What it asks for does not run on its hardware."""
    NO_VALUE = "NoValue"
    """A variable's source cannot be read here."""
    PORT_TAKEN = "PortTaken"


@dataclass(frozen=True, slots=True)
class NotStarted(Refused[NotStartedReason]):
    """The container ended at once, or could not be made: the sentence that its status shows."""


@dataclass(frozen=True, slots=True)
class EngineUse:
    """What an engine does now; None where the runtime cannot tell."""

    num_running: int | None = None
    num_waiting: int | None = None
    num_tokens: int | None = None


class Engine(Protocol):
    """An engine's container that was started. `endpoint`: `address:port`, whether or not it listens yet."""

    @property
    def endpoint(self) -> str:
        """Where it listens once it serves."""

    @property
    def use(self) -> EngineUse:
        """What it does now."""

    @property
    def load_s(self) -> float | None:
        """Seconds until it listens; None where only the engine knows."""

    async def load(self) -> NotStarted | None:
        """Return once it listens, or will in its own time; may be cancelled."""

    async def pre_stop(self, hook: Object, is_over: Callable[[], bool]) -> None:
        """Run the container's preStop hook to its end, or until `is_over`."""

    async def terminate(self, is_over: Callable[[], bool]) -> int | None:
        """End it as SIGTERM does, by force once `is_over`; returns how many requests were cut, if known."""

    def kill(self) -> None:
        """End it at once, with what it serves. Nothing happens where it has ended."""

    def freeze(self) -> None:
        """Its machine is dead: sockets stay as they are, nothing moves any more."""

    def delay(self, path: str, seconds: float) -> bool:
        """Be late with the answers of a path; False where this runtime cannot."""


class ContainerRuntime(Protocol):
    """Starts engines' containers."""

    def start(self, start: EngineStart) -> Engine | NotStarted:
        """Start one; must be called in a running event loop."""
