"""Owns the fleet's process: start in order, run, stop in order.

Everything runs on one event loop; SIGTERM or SIGINT ends it: the
servers' sockets close, `state.json` is removed, objects in the API server stay as they are. A fleet that is
attached to a cluster that was there before takes its objects with it (`livefleet.host`).
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import logging
import os
import resource
import signal
import ssl
import time
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import uvloop

from argosy.errors import ArgosyError, InvariantError, SpecError
from argosy.perf import LibraryPerfModel, shipped_library
from argosy_sim.controlplane.host.ports import LOOPBACK
from argosy_sim.controlplane.host.processes import identify
from argosy_sim.livefleet.addresses import AddressClaim
from argosy_sim.livefleet.control import ControlServer
from argosy_sim.livefleet.event_log import EventLog
from argosy_sim.livefleet.host.attachment import Attachment, Place
from argosy_sim.livefleet.kubelet.autoscaler import Autoscaler
from argosy_sim.livefleet.kubelet.kube_api import KubeApi
from argosy_sim.livefleet.kubelet.kubelet import VirtualKubelet
from argosy_sim.livefleet.kubelet.log_endpoint import LogEndpoint, ServingCertificate
from argosy_sim.livefleet.kubelet.nodes import Heartbeats, nodes_of
from argosy_sim.livefleet.kubelet.pod_worker import Services
from argosy_sim.livefleet.launch import AttachSettings
from argosy_sim.livefleet.runtime.contract import ContainerRuntime
from argosy_sim.livefleet.runtime.installation import VllmInstallation
from argosy_sim.livefleet.runtime.process import ProcessRuntime
from argosy_sim.livefleet.runtime.simulated import SimulatedRuntime
from argosy_sim.livefleet.spec import DEFAULT_FLEET, TAINT, LiveFleetSpec, load_spec
from argosy_sim.livefleet.state import FleetLayout, FleetState
from argosy_sim.livefleet.vllm.profiles import Profiles

_PR_SET_PDEATHSIG = 1
_log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Run a fleet until a signal; returns the exit code."""
    flags = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        if flags.die_with_parent:
            _die_with_parent()
        _allow_many_sockets()
        spec = load_spec(flags.spec) if flags.spec else DEFAULT_FLEET
        layout = FleetLayout(flags.state_dir.resolve())
        vllm = VllmInstallation(flags.vllm) if flags.vllm else None
        attached = AttachSettings(flags.pod_range, flags.trial_image) if flags.attach else None
        options = FleetOptions(flags.kubeconfig, layout, spec, flags.certificates, attached, vllm)
        uvloop.run(run(options))
    except ArgosyError as error:
        _log.error("%s", error)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m argosy_sim.livefleet",
        description="Run simulated GPU nodes and vLLM engines for an API server, until SIGTERM.",
    )
    parser.add_argument("--kubeconfig", type=Path, required=True, help="of the virtual kubelet's account")
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--spec", type=Path, help="the fleet's description (YAML); a default fleet without")
    parser.add_argument("--certificates", type=Path, help="directory of kubelet.crt, kubelet.key, ca.crt")
    parser.add_argument("--vllm", type=Path, help="the folder of a vLLM, which pods then really run")
    parser.add_argument("--attach", action="store_true", help="to a cluster that is not ours, as root")
    parser.add_argument("--pod-range", help="with --attach: the /16 of the pods; the first free one without")
    parser.add_argument("--trial-image", help="with --attach: what a pod that tries to reach this host runs")
    parser.add_argument("--die-with-parent", action="store_true", help="end when the parent process does")
    return parser


def _die_with_parent() -> None:
    parent = os.getppid()
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise InvariantError(f"prctl(PR_SET_PDEATHSIG) failed: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it died before the request was made
        os.kill(os.getpid(), signal.SIGTERM)


def _allow_many_sockets() -> None:
    # Every stream is a socket; shells often allow 1,024.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """Where a fleet gets its rights from, keeps its state, and what it consists of.

    `attached`: for a cluster that was there before; None for the embedded control plane. `vllm`: what
    the pods really run; None for simulated engines.
    """

    kubeconfig: Path
    layout: FleetLayout
    spec: LiveFleetSpec
    certificates: Path | None
    attached: AttachSettings | None = None
    vllm: VllmInstallation | None = None


async def run(options: FleetOptions) -> None:
    """Run a fleet until SIGTERM or SIGINT; raises an `ArgosyError` if it cannot start."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    options.layout.prepare()
    async with AsyncExitStack() as stack:
        stack.callback(options.layout.clear)
        running = [asyncio.create_task(each.run()) for each in await _start(options, stack)]
        for task in running:  # neither ends but by a bug
            task.add_done_callback(lambda _: ended.set())
        await ended.wait()
        for task in running:
            if task.done():
                task.result()
            task.cancel()
        # What they have sent is answered before objects are removed.
        await asyncio.gather(*running, return_exceptions=True)
    _log.info("the live fleet has ended")


async def _start(
    options: FleetOptions, stack: AsyncExitStack
) -> tuple[Heartbeats, VirtualKubelet, Autoscaler]:
    """Bring everything up in the order of need; the stack takes it down in reverse."""
    started_at_s = time.time()
    layout = options.layout
    api = await KubeApi.connect(options.kubeconfig)
    stack.push_async_callback(api.close)
    place = await _find_place(options, api, stack)
    spec, claim = place.spec, place.claim
    events = stack.enter_context(closing(EventLog(layout.events)))
    runtime = _runtime(options)
    services = Services(api, events, runtime, claim, layout.pods, spec.crash_back_off_seconds)
    kubelet = VirtualKubelet(nodes_of(spec, place.host_ip), services)
    stack.callback(kubelet.stop)
    kubelet_port = await _serve_logs(kubelet, place, stack)
    if options.attached is not None:
        stack.push_async_callback(Attachment(api, layout.directory).detach)
    heartbeats = Heartbeats(api, kubelet.nodes, kubelet_port)
    await heartbeats.register(events, taint=spec.taint)
    await kubelet.synchronise()
    control = ControlServer(layout, kubelet)
    await control.start()
    stack.callback(control.stop)
    process = identify(os.getpid())
    if process is None:
        raise InvariantError("this process cannot find itself in /proc")
    layout.save(FleetState(process, started_at_s, claim.network, claim.engine_port, kubelet_port))
    _log.info(
        "%d nodes are up; pods in %s, engine port %d", len(kubelet.nodes), claim.network, claim.engine_port
    )
    if spec.taint:
        _log.info("GPUPools need the toleration {key: %s, operator: Exists}", TAINT["key"])
    return heartbeats, kubelet, Autoscaler(api, spec, heartbeats, kubelet, events, place.host_ip)


def _runtime(options: FleetOptions) -> ContainerRuntime:
    if options.vllm is not None:
        return ProcessRuntime(options.vllm.python, options.vllm.models)
    perf = LibraryPerfModel(shipped_library(), {})
    return SimulatedRuntime(Profiles(perf, options.spec.load_seconds))


async def _find_place(options: FleetOptions, api: KubeApi, stack: AsyncExitStack) -> Place:
    if options.attached is not None:
        return await Attachment(api, options.layout.directory).attach(options.spec, options.attached, stack)
    claim = stack.enter_context(AddressClaim.claim(options.spec.engine_port))
    folder = options.certificates
    return Place(claim, options.spec, LOOPBACK, ServingCertificate.in_directory(folder) if folder else None)


async def _serve_logs(kubelet: VirtualKubelet, place: Place, stack: AsyncExitStack) -> int | None:
    if place.certificate is None:
        return None
    endpoint = LogEndpoint(kubelet.find_log)
    stack.push_async_callback(endpoint.stop)
    try:
        return await endpoint.start(place.certificate, place.host_ip)
    except (OSError, ssl.SSLError) as error:
        raise SpecError(f"the kubelet's certificate cannot be used: {error}", "--certificates") from error
