"""The stage: every real component, started in order and stopped in reverse order.

Owns the processes of one embedded fleet (control plane, live fleet, operator, Envoy), on which the demo
and the table of faults both play. Input: a `StagePlan`. Output: a `Stage`, the handles to them. However
the block ends, no process is left running: children end with this process too.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from argosy.files.manifests.reading import read_objects
from argosy_sim.controlplane.cluster import ControlPlane, running
from argosy_sim.controlplane.errors import StartError
from argosy_sim.controlplane.host.ports import LOOPBACK, free_ports, is_free
from argosy_sim.controlplane.host.processes import Launcher, Process, is_running
from argosy_sim.envoy import EnvoyProcess, EnvoySettings, find_envoy
from argosy_sim.livefleet.launch import ACCOUNT_NAME, ACCOUNT_NAMESPACE, RBAC, Launch, wait_until_up
from argosy_sim.livefleet.spec import DEFAULT_FLEET, LiveFleetSpec, dump_spec
from argosy_sim.livefleet.state import FleetState

Say = Callable[[str], None]

KUBECTL_TIMEOUT_S = 60
READY_TIMEOUT_S = 60.0
STOP_GRACE_S = 8.0
FLEET_UP_S = 30.0
GATEWAY_PORT = 8080
ENVOY_NODE = "demo-envoy"
DEFAULT_ENGINE_PORT = 8000


@dataclass(frozen=True, slots=True)
class Patch:
    """A merge patch (RFC 7386) of one object's spec."""

    kind: str
    name: str
    spec: Mapping[str, Any]


def merged(value: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """`value` with the merge patch applied: null removes, objects merge, all else replaces."""
    result = dict(value)
    for key, change in patch.items():
        if change is None:
            result.pop(key, None)
        elif isinstance(change, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], change)
        else:
            result[key] = change
    return result


@dataclass(frozen=True, slots=True)
class StagePlan:
    """What to start, and with which objects.

    directory: for state and logs; repository: where crds/, charts/ and examples/ are
    patches: what is changed in the examples for this run
    vllm: the folder of the vLLM that pods really run; None for simulated engines
    """

    directory: Path
    repository: Path
    examples: str = "small"
    fleet: LiveFleetSpec = DEFAULT_FLEET
    patches: tuple[Patch, ...] = ()
    vllm: Path | None = None

    def objects(self) -> list[dict[str, Any]]:
        """The example resources as they are applied, machine-dependent ports and addresses apart."""
        folder = self.repository / "examples" / self.examples
        found: list[dict[str, Any]] = [dict(each) for each in read_objects([folder])]
        for patch in self.patches:
            for item in found:
                if (item["kind"], item["metadata"]["name"]) == (patch.kind, patch.name):
                    item["spec"] = merged(item["spec"], patch.spec)
        return found


class Cluster(Protocol):
    """The Kubernetes that the components work with: the embedded one, or another."""

    @property
    def kubectl(self) -> Path:
        """The program."""

    @property
    def admin_kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""

    @property
    def processes(self) -> Sequence[Process]:
        """What of it this stage runs."""

    def service_account_kubeconfig(self, namespace: str, name: str, path: Path) -> Path:
        """Write a ServiceAccount's kubeconfig."""


class Stage:
    """Running components and the handles to them. Made by `on_stage`."""

    def __init__(self, plan: StagePlan, cluster: Cluster, launcher: Launcher) -> None:
        self.plan, self.cluster = plan, cluster
        self._launcher = launcher
        self.processes: dict[str, Process] = {}
        self.fleet: FleetState
        self.envoy: EnvoyProcess
        self.http_addresses: dict[str, str] = {}
        self.xds_ports: dict[str, int] = {}

    @property
    def control_plane(self) -> ControlPlane:
        """The embedded control plane."""
        assert isinstance(self.cluster, ControlPlane)
        return self.cluster

    @property
    def fleet_dir(self) -> Path:
        """The live fleet's state directory."""
        return self.plan.directory / "fleet"

    @cached_property
    def gateway(self) -> tuple[str, int]:
        """Where Envoy takes requests: at the usual port, unless a process listens there on every address."""
        address = self.fleet.network.removesuffix(".0.0/16") + ".255.254"
        return address, GATEWAY_PORT if is_free(GATEWAY_PORT, address) else free_ports(1)[0]

    @property
    def gateway_settings(self) -> dict[str, Any]:
        """The Fleet's spec.gateway on this machine."""
        address, port = self.gateway
        # A judgement asks which replica answered a request.
        return {"address": address, "port": port, "endpointHeader": True}

    @property
    def gateway_url(self) -> str:
        """The gateway as a URL."""
        address, port = self.gateway
        return f"http://{address}:{port}"

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """Run kubectl as the administrator; raises `StartError` with its output where it fails."""
        answer = subprocess.run(
            [
                str(self.cluster.kubectl),
                f"--kubeconfig={self.cluster.admin_kubeconfig}",
                *arguments,
            ],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=KUBECTL_TIMEOUT_S,
        )
        if answer.returncode != 0:
            raise StartError(f"kubectl {' '.join(arguments)} failed: {answer.stderr.strip()}")
        return answer.stdout

    def launch(self, name: str, command: list[str]) -> Process:
        """Start a child that ends with this process; its output goes to logs/NAME.log."""
        process = self._launcher.launch(name, command, self.plan.directory / "logs" / f"{name}.log")
        self.processes[name] = process
        return process

    def end(self, name: str, grace_s: float = STOP_GRACE_S) -> None:
        """End a child started here."""
        process = self.processes.pop(name, None)
        if process is not None:
            self._launcher.end(process, grace_s)

    def installed(self) -> tuple[Path, ...]:
        """What is applied first, in this order: CRDs, roles and accounts, the warnings."""
        files = self.plan.repository / "charts/argosy/files"
        # The warnings' parameters are an object of Argosy's, so the kind must exist.
        crds = self.plan.repository / "crds"
        return crds, files / "operator-rbac.yaml", RBAC, files / "deletion-warnings.yaml"

    def install(self) -> None:
        """Apply CRDs, roles, accounts and the warnings."""
        crds, *roles, warnings = self.installed()
        self.kubectl("apply", "--server-side", "-f", str(crds))
        for file in roles:
            self.kubectl("apply", "-f", str(file))
        self.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        self.kubectl("apply", "-f", str(warnings))

    def start_fleet(self) -> None:
        """Start the live fleet under its own ServiceAccount."""
        kubeconfig = self.cluster.service_account_kubeconfig(
            ACCOUNT_NAMESPACE, ACCOUNT_NAME, self.plan.directory / "fleet.kubeconfig"
        )
        certificates = self.control_plane.state_dir
        launch = Launch(kubeconfig, self.fleet_dir, self.fleet_file(), certificates, vllm=self.plan.vllm)
        self.launch_fleet(launch, FLEET_UP_S)

    def fleet_file(self) -> Path:
        """The fleet's description, written for its process."""
        spec = self.plan.directory / "fleet.yaml"
        spec.write_text(dump_spec(self.plan.fleet))
        return spec

    def launch_fleet(self, launch: Launch, timeout_s: float) -> None:
        """Start the fleet's process and wait for its nodes."""
        process = self.launch("live-fleet", launch.command())
        self.fleet = wait_until_up(
            self.fleet_dir, lambda: is_running(process.identity), process.log, timeout_s
        )

    def start_operator(self, name: str, xds_port: int, *more: str) -> None:
        """Start one operator process under its own ServiceAccount; `more`: further arguments."""
        directory = self.plan.directory
        kubeconfig = self.cluster.service_account_kubeconfig(
            ACCOUNT_NAMESPACE, "argosy-operator", directory / f"{name}.kubeconfig"
        )
        (http_port,) = free_ports(1)
        http_address = f"{LOOPBACK}:{http_port}"
        command = [sys.executable, "-m", "argosy", "operator", "run", "--kubeconfig", str(kubeconfig)]
        command += [
            "--identity",
            name,
            "--xds-address",
            f"{LOOPBACK}:{xds_port}",
            "--http-address",
            http_address,
        ]
        command += ["--state-dir", str(directory / name), *more]
        self.launch(name, command)
        self.http_addresses[name], self.xds_ports[name] = http_address, xds_port

    async def start_envoy(self, xds_ports: Sequence[int]) -> None:
        """Start a real Envoy that knows every operator's ADS address."""
        settings = EnvoySettings(
            node_id=ENVOY_NODE,
            ads_addresses=tuple((LOOPBACK, port) for port in xds_ports),
            directory=self.plan.directory / "envoy",
            binary=find_envoy(),
            concurrency=1,
        )
        self.envoy = await EnvoyProcess.start(settings)

    def apply_examples(self) -> None:
        """Apply the example resources, patched for the ports and addresses of this machine."""
        self.kubectl("apply", "-f", str(self.plan.repository / "examples" / self.plan.examples))
        gateway = {"spec": {"gateway": self.gateway_settings}}
        self.kubectl("patch", "fleet", "default", "--type=merge", "-p", json.dumps(gateway))
        for patch in self.plan.patches:
            self.kubectl(
                "patch", patch.kind, patch.name, "--type=merge", "-p", json.dumps({"spec": patch.spec})
            )
        if self.fleet.engine_port != DEFAULT_ENGINE_PORT:
            engine = json.dumps({"spec": {"engine": {"port": self.fleet.engine_port}}})
            for name in self.kubectl("get", "smodel", "-o", "name").split():
                self.kubectl("patch", name, "--type=merge", "-p", engine)

    def is_alive(self) -> dict[str, bool]:
        """Which of the children run."""
        return {name: is_running(p.identity) for name, p in self.processes.items()}


@asynccontextmanager
async def on_stage(plan: StagePlan, say: Say, num_operators: int = 1) -> AsyncIterator[Stage]:
    """Start every component for the length of a block.

    Raises `StartError` where one does not start.
    """
    plan.directory.mkdir(parents=True, exist_ok=True)
    began_s = time.monotonic()
    async with AsyncExitStack() as stack:
        control_plane = await stack.enter_async_context(running(plan.directory / "control-plane", say=say))
        say(f"control plane ready after {time.monotonic() - began_s:.1f} s")
        launcher = Launcher(os.environ, die_with_parent=True)
        stack.callback(launcher.kill_all)
        stage = Stage(plan, control_plane, launcher)
        stack.callback(stage.end, "live-fleet")
        await play(stage, say, num_operators, stack)
        yield stage


async def play(stage: Stage, say: Say, num_operators: int, stack: AsyncExitStack) -> None:
    """Start everything but the cluster; the stack ends all but the fleet. Raises `StartError`."""
    began_s = time.monotonic()
    await asyncio.to_thread(stage.install)
    await asyncio.to_thread(stage.start_fleet)
    say(f"{sum(g.count for g in stage.plan.fleet.nodes)} GPU nodes in {stage.fleet.network}")
    xds_ports = free_ports(num_operators)
    await stage.start_envoy(xds_ports)
    stack.push_async_callback(stage.envoy.stop)
    await asyncio.to_thread(stage.apply_examples)
    say(f"examples applied {time.monotonic() - began_s:.1f} s later")
    for number, port in enumerate(xds_ports):
        name = f"operator-{number}"
        stage.start_operator(name, port)
        stack.callback(stage.end, name)
    await wait_until_ready(stage)
    say(f"operator ready {time.monotonic() - began_s:.1f} s later")


async def wait_until_ready(stage: Stage) -> None:
    """Wait until every operator has complete caches; raises `StartError` where one has ended."""
    until_s = time.monotonic() + READY_TIMEOUT_S
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1.0)) as session:
        for address in stage.http_addresses.values():
            while not await _answers(session, f"http://{address}/readyz"):
                ended = [name for name, alive in stage.is_alive().items() if not alive]
                if ended or time.monotonic() > until_s:
                    name = ended[0] if ended else "the operator"
                    raise StartError(f"{name} is not ready; the end of its log:\n{_tail(stage, name)}")
                await asyncio.sleep(0.1)


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


def _tail(stage: Stage, name: str) -> str:
    log = stage.plan.directory / "logs" / f"{name}.log"
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else "(no log)"
