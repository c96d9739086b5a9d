"""Owns engines that are simulated in this process.

Input: a container's arguments and its node's GPU. Output: a `VllmServer` at the pod's address after the time
that its weights take to load, or the sentence with which vLLM would end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from argosy.addresses import written
from argosy_sim.livefleet.addresses import listen_on
from argosy_sim.livefleet.errors import EnginePortTakenError
from argosy_sim.livefleet.runtime.contract import (
    Engine,
    EngineStart,
    EngineUse,
    NotStarted,
    NotStartedReason,
    Object,
)
from argosy_sim.livefleet.runtime.program import declared_port, num_gpus, words_of
from argosy_sim.livefleet.vllm.args import BadArgs, VllmArgs, parse_args
from argosy_sim.livefleet.vllm.profiles import CannotStart, Hardware, Profiles
from argosy_sim.livefleet.vllm.server import EngineProfile, VllmServer

# A preStop hook as the engine pods have it polls until the engine is idle, but first lets
# proxies hear of the deletion.
DRAIN_HOOK_MIN_S = 2.0
_DRAIN_POLL_S = 0.05


class SimulatedRuntime:
    """Runs every engine on the event loop, as `profiles` knows its hardware."""

    def __init__(self, profiles: Profiles) -> None:
        self._profiles = profiles

    def start(self, start: EngineStart) -> Engine | NotStarted:
        """Return the engine, or why vLLM would end at once."""
        args = parse_args(words_of(start.container))
        if isinstance(args, BadArgs):
            return NotStarted(NotStartedReason.BAD_COMMAND, args.message)
        profile = self._profiles.resolve(args, Hardware(start.gpu, num_gpus(start.container)))
        if isinstance(profile, CannotStart):
            return NotStarted(NotStartedReason.CANNOT_RUN, profile.message)
        return SimulatedEngine(start, args, profile, self._profiles.load_s(profile))


class SimulatedEngine:
    """One engine: loads for `load_s` seconds, then serves."""

    def __init__(self, start: EngineStart, args: VllmArgs, profile: EngineProfile, load_s: float) -> None:
        self._start = start
        self._args = args
        self._profile = profile
        self._load_s = load_s
        self._port = args.port or declared_port(start.container)
        self._server: VllmServer | None = None

    @property
    def endpoint(self) -> str:
        """Where it listens once it has loaded."""
        return written(self._start.address, self._port)

    @property
    def use(self) -> EngineUse:
        """What the scheduler holds."""
        if self._server is None:
            return EngineUse(0, 0, 0)
        load = self._server.driver.load
        return EngineUse(load.num_running, load.num_waiting, self._server.num_tokens)

    @property
    def load_s(self) -> float:
        """Seconds for image and weights together."""
        return self._load_s

    async def load(self) -> NotStarted | None:
        """Wait as long as loading takes, then listen."""
        self._announce()
        await asyncio.sleep(self._load_s)
        self._start.say(f"INFO GPU KV cache size: {self._profile.limits.kv_tokens:,} tokens")
        try:
            listener = listen_on(self._start.address, self._port)
        except EnginePortTakenError as error:
            return NotStarted(NotStartedReason.PORT_TAKEN, str(error))
        given = self._start.container.get("env") or ()
        environment = {each["name"]: each.get("value", "") for each in given}
        self._server = VllmServer(self._profile, listener, self._start.say, environment)
        self._server.serve()
        return None

    def _announce(self) -> None:
        for option in self._args.ignored:
            self._start.say(f"WARNING the simulated engine has no use for {option}")
        self._start.say(
            f"INFO loading {self._args.model} on {self._args.tensor_parallel} x {self._start.gpu}: "
            f"{self._profile.weight_bytes / 1e9:.1f} GB of weights, ready in {self._load_s:.1f} s"
            " (image pull included)"
        )

    async def pre_stop(self, hook: Object, is_over: Callable[[], bool]) -> None:
        """Serve until idle, as Argosy's hook waits."""
        loop, server = asyncio.get_running_loop(), self._server
        if server is None:
            return
        self._start.say("INFO preStop: serving until idle")
        earliest_s = loop.time() + DRAIN_HOOK_MIN_S
        while not is_over() and (loop.time() < earliest_s or server.driver.num_requests):  # noqa: ASYNC110
            await asyncio.sleep(_DRAIN_POLL_S)  # the grace period may be cut meanwhile

    async def terminate(self, is_over: Callable[[], bool]) -> int:
        """Finish what runs, accept nothing more; returns how many requests were cut."""
        if self._server is None:
            return 0
        self._start.say("INFO shutting down: waiting for requests to complete")
        num_cut = await self._server.drain(is_over)
        self._start.say(f"INFO shut down, {num_cut} requests cut")
        return num_cut

    def kill(self) -> None:
        """Die at once."""
        if self._server is not None:
            self._server.crash()

    def freeze(self) -> None:
        """Be a dead machine."""
        if self._server is not None:
            self._server.silence()

    def delay(self, path: str, seconds: float) -> bool:
        """Be late with the answers of a path from now on."""
        if self._server is None:
            return False
        self._server.delay(path, seconds)
        return True
