"""Owns the process of one simulated engine in a container: load, serve, drain.

What `kubelet.pod_worker` does for a pod of a simulated node, a real kubelet does around this process: probes,
preStop, restarts. Input: vLLM's arguments, and the environment (`ARGOSY_SIM_GPU`, `ARGOSY_SIM_LOAD_SECONDS`).
Output: a server on every address of the container, and log lines on standard output. SIGTERM lets what runs
finish; how long that may take is the kubelet's decision.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from argosy.errors import ArgosyError, SpecError
from argosy.perf import LibraryPerfModel, shipped_library
from argosy_sim.livefleet.addresses import listen_on
from argosy_sim.livefleet.container.hardware import gpu_product
from argosy_sim.livefleet.vllm.args import BadArgs, VllmArgs, parse_args
from argosy_sim.livefleet.vllm.profiles import CannotStart, Hardware, Profiles
from argosy_sim.livefleet.vllm.server import EVERY_ADDRESS, EngineProfile, VllmServer

LOAD_VARIABLE = "ARGOSY_SIM_LOAD_SECONDS"
DEFAULT_PORT = 8000


@dataclass(frozen=True, slots=True)
class Engine:
    """What this container runs. load_s: seconds until it listens."""

    profile: EngineProfile
    port: int
    load_s: float
    notes: tuple[str, ...] = ()


def main(arguments: Sequence[str]) -> int:
    """Run until SIGTERM; returns the exit code, 1 where the engine cannot start."""
    try:
        engine = engine_of(arguments, os.environ)
        asyncio.run(_run(engine))
    except ArgosyError as error:
        _say(f"ERROR {error}")
        return 1
    return 0


def engine_of(arguments: Sequence[str], environment: Mapping[str, str]) -> Engine:
    """The engine that these arguments ask for. Raises SpecError where vLLM would end at once."""
    args = parse_args(arguments)
    if isinstance(args, BadArgs):
        raise SpecError(args.message)
    # A container sees the GPUs that its pod asked for, which are those that Argosy's arguments need.
    hardware = Hardware(gpu_product(environment, socket.gethostname()), args.world_size)
    profiles = Profiles(LibraryPerfModel(shipped_library(), {}), _load_s(environment))
    profile = profiles.resolve(args, hardware)
    if isinstance(profile, CannotStart):
        raise SpecError(profile.message)
    load_s = profiles.load_s(profile)
    return Engine(profile, args.port or DEFAULT_PORT, load_s, _notes(args, hardware, load_s))


def _notes(args: VllmArgs, hardware: Hardware, load_s: float) -> tuple[str, ...]:
    unused = tuple(f"WARNING the simulated engine has no use for {option}" for option in args.ignored)
    gpus = f"{args.tensor_parallel} x {hardware.gpu_product}"
    return (*unused, f"INFO loading {args.model} on {gpus}, ready in {load_s:.1f} s")


def _load_s(environment: Mapping[str, str]) -> float | None:
    """Seconds that replace the time to load the weights; None where they are not set. Raises SpecError."""
    text = environment.get(LOAD_VARIABLE)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise SpecError(f"{text!r} is no number of seconds from 0 up", LOAD_VARIABLE)
    return seconds


async def _run(engine: Engine) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    for note in engine.notes:
        _say(note)
    try:
        await asyncio.wait_for(ended.wait(), engine.load_s)
    except TimeoutError:
        await _serve(engine, ended)


async def _serve(engine: Engine, ended: asyncio.Event) -> None:
    server = VllmServer(engine.profile, listen_on(EVERY_ADDRESS, engine.port), _say, os.environ)
    server.serve()
    await ended.wait()
    _say("INFO shutting down: waiting for requests to complete")
    await server.drain(lambda: False)
    _say("INFO shut down")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201  (a container's log is its standard output)
