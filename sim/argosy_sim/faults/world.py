"""The world that cases disturb: a stage, its reader, and the hands that a case has.

Owns how a case reaches the parts (kubectl, signals, operators) and how the world is put back to rest.
Nothing here judges.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from argosy.snapshot.cluster import LABEL_MANAGED_BY, MANAGED_BY
from argosy_sim.controlplane import components
from argosy_sim.controlplane.errors import StartError
from argosy_sim.controlplane.host.ports import LOOPBACK, free_ports
from argosy_sim.controlplane.host.processes import Identity, is_running, send
from argosy_sim.faults.load import Load
from argosy_sim.faults.picture import Picture
from argosy_sim.faults.reading import Reader
from argosy_sim.faults.record import Recorder
from argosy_sim.stage import Say, Stage, StagePlan, on_stage, wait_until_ready

REST_TIMEOUT_S = 150.0
LEADER = "operator-0"
SECOND = "operator-1"
USER_KINDS = "wclass,smodel,gpupool,fleet,routerpolicy"
_POLL_S = 0.5
_BINDINGS = "charts/argosy/files/operator-rbac.yaml"


class NotAtRestError(Exception):
    """The world could not be put back to rest; another one is needed."""


class World:
    """One stage. Made by `world`; `load` and `recorder` are those of the case that runs."""

    def __init__(self, stage: Stage, reader: Reader) -> None:
        self.stage, self.reader = stage, reader
        self.load = Load(stage.gateway_url, {})
        self.recorder = Recorder(reader)

    # --- hands -----------------------------------------------------------------------------------

    async def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """As the administrator; raises `StartError` with kubectl's words."""
        return await asyncio.to_thread(self.stage.kubectl, *arguments, stdin=stdin)

    async def warned(self, *arguments: str) -> str:
        """Run kubectl and return what it prints beside its answer: the API server's warnings."""
        control_plane = self.stage.control_plane
        process = await asyncio.create_subprocess_exec(
            str(control_plane.binaries.kubectl),
            f"--kubeconfig={control_plane.admin_kubeconfig}",
            *arguments,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate()
        return said.decode(errors="replace")

    async def patch(self, kind: str, name: str, spec: dict[str, Any]) -> None:
        """Merge into an object's spec."""
        await self.kubectl("patch", kind, name, "--type=merge", "-p", json.dumps({"spec": spec}))

    async def apply(self, *objects: dict[str, Any]) -> None:
        """Apply objects."""
        await self.kubectl("apply", "-f", "-", stdin="\n---\n".join(map(json.dumps, objects)))

    async def wait(self, until: Callable[[Picture], bool], what: str, timeout_s: float = 60.0) -> Picture:
        """The first picture of that kind; raises `NotAtRestError` where none comes in time."""
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            picture = await self.reader.picture()
            if picture is not None and until(picture):
                return picture
            await asyncio.sleep(_POLL_S)
        raise NotAtRestError(f"{what} did not come within {timeout_s:g} s")

    def signal_fleet(self, number: signal.Signals) -> None:
        """To the process of all kubelets and engines."""
        send(self.stage.processes["live-fleet"].identity, number)

    def signal_api_server(self, number: signal.Signals) -> None:
        """To the API server."""
        process = self.stage.control_plane.state.process(components.API_SERVER)
        if process is not None:
            send(process.identity, number)

    def operator(self, name: str = LEADER) -> Identity:
        """An operator's process; raises KeyError where it was ended."""
        return self.stage.processes[name].identity

    async def kill_operator(self, name: str = LEADER) -> None:
        """End an operator without a chance to finish anything."""
        send(self.operator(name), signal.SIGKILL)
        await self.end_operator(name)

    async def end_operator(self, name: str) -> None:
        """End an operator in order, if it runs."""
        await asyncio.to_thread(self.stage.end, name)
        self.stage.http_addresses.pop(name, None)

    async def start_operator(self, name: str = LEADER, *more: str, is_ready: bool = True) -> None:
        """Start an operator again at its former ADS address."""
        await asyncio.to_thread(self.stage.start_operator, name, self.stage.xds_ports[name], *more)
        if is_ready:
            await wait_until_ready(self.stage)

    async def readyz(self, name: str = LEADER) -> str:
        """What an operator's /readyz says."""
        _, text = await self.reader.text(f"http://{self.stage.http_addresses[name]}/readyz")
        return text

    async def leader(self) -> str:
        """The identity in the Lease; empty where there is none."""
        command = ("get", "lease", "argosy-operator", "-n", "argosy-system", "--ignore-not-found")
        return (await self.kubectl(*command, "-o", "jsonpath={.spec.holderIdentity}")).strip()

    async def pods(self, group: str) -> list[str]:
        """Names of a group's engine pods."""
        picture = await self.wait(lambda _: True, "an answer of the API server")
        return sorted(pod["metadata"]["name"] for pod in picture.pods_of(group))

    # --- rest ------------------------------------------------------------------------------------

    def objects(self) -> list[dict[str, Any]]:
        """The examples as they are at rest on this machine."""
        found = self.stage.plan.objects()
        for item in found:
            if item["kind"] == "Fleet":
                item["spec"]["gateway"] = self.stage.gateway_settings
            if item["kind"] == "ServedModel":
                item["spec"].setdefault("engine", {})["port"] = self.stage.fleet.engine_port
        return found

    async def restore(self) -> None:
        """Take back whatever a case did; raises `NotAtRestError` where the world does not come to rest."""
        self.signal_api_server(signal.SIGCONT)
        self.signal_fleet(signal.SIGCONT)
        await self._restore_operators()
        await self._restore_objects()
        await self._restore_nodes()
        await self.until_at_rest()

    async def until_at_rest(self) -> None:
        """Wait until all is whole and stays so for two looks."""
        await self.wait(Picture.is_at_rest, "rest", REST_TIMEOUT_S)
        await asyncio.sleep(2 * _POLL_S)
        await self.wait(Picture.is_at_rest, "rest", REST_TIMEOUT_S)

    async def _restore_operators(self) -> None:
        for name in set(self.stage.processes) & {LEADER, SECOND}:
            send(self.operator(name), signal.SIGCONT)
        await self.end_operator(SECOND)
        process = self.stage.processes.get(LEADER)
        if process is None or not is_running(process.identity):
            await self.end_operator(LEADER)
            await self.start_operator(is_ready=False)

    async def _restore_objects(self) -> None:
        await asyncio.to_thread(self.stage.install)
        wanted = self.objects()
        names = {(item["kind"], item["metadata"]["name"]) for item in wanted}
        listed = json.loads(await self.kubectl("get", USER_KINDS, "-A", "-o", "json"))["items"]
        for item in listed:
            if (item["kind"], item["metadata"]["name"]) not in names:
                scope = ("-n", item["metadata"]["namespace"]) if "namespace" in item["metadata"] else ()
                await self.kubectl("delete", item["kind"], item["metadata"]["name"], *scope, "--wait=false")
        await self.apply(*wanted)
        # `apply` leaves fields that a patch added: `replace` does not.
        documents = "\n---\n".join(json.dumps(item) for item in wanted)
        await self.kubectl("replace", "-f", "-", stdin=documents)

    async def _restore_nodes(self) -> None:
        for node in json.loads(await self.kubectl("get", "nodes", "-o", "json"))["items"]:
            name, spec = node["metadata"]["name"], node["spec"]
            if spec.get("unschedulable"):
                await self.kubectl("uncordon", name)
            for taint in spec.get("taints", ()):
                if taint["key"].startswith("karpenter.sh/"):
                    await self.kubectl("taint", "node", name, f"{taint['key']}-")


async def delete_all(world: World) -> None:
    """Delete everything: users' objects, plans, and what Argosy made."""
    await world.kubectl("delete", USER_KINDS, "--all", "-A", "--wait=false")
    await world.kubectl("delete", "fplan", "--all", "--wait=false")
    await world.kubectl("delete", "deploy", "-A", "-l", f"{LABEL_MANAGED_BY}={MANAGED_BY}")


async def bind_operator(world: World) -> None:
    """Apply the operator's permissions again."""
    await world.kubectl("apply", "-f", str(world.stage.plan.repository / _BINDINGS))


@asynccontextmanager
async def world(plan: StagePlan, say: Say) -> AsyncIterator[World]:
    """A world at rest for the length of a block; raises `StartError` or `NotAtRestError`."""
    async with on_stage(plan, say, num_operators=2) as stage:
        await asyncio.to_thread(stage.end, SECOND)
        stage.http_addresses.pop(SECOND)
        (port,) = free_ports(1)
        kubectl = [str(stage.control_plane.binaries.kubectl)]
        kubectl += [f"--kubeconfig={stage.control_plane.admin_kubeconfig}", "proxy", f"--port={port}"]
        stage.launch("proxy", kubectl)
        reader = Reader(f"http://{LOOPBACK}:{port}", f"http://{stage.envoy.admin_address}")
        try:
            found = World(stage, reader)
            await found.restore()
            yield found
        finally:
            await reader.close()


REFUSED = (StartError, NotAtRestError, KeyError, OSError, aiohttp.ClientError, subprocess.TimeoutExpired)
"""What ends a case that cannot be carried out."""
