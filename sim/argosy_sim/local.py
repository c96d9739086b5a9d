"""What `argosy sim` runs beside the control plane, in its state directory: the live fleet and an Envoy.

Owns how they are started, in the foreground or detached, and how all of it is ended. Both record their
process, by pid and start time, so that `argosy sim down` finds them whoever started them, and touches no
other. Input: the state directory of a control plane that runs. Output: what runs, as values.

    fleet/      the live fleet's own state and log (`livefleet.state`)
    envoy/      Envoy's bootstrap, its log, and `state.json`
    operator/   for the operator's --state-dir; `down` removes it
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from argosy_sim.controlplane import lifecycle
from argosy_sim.controlplane.cluster import ControlPlane
from argosy_sim.controlplane.credentials.kubeconfig import write_private
from argosy_sim.controlplane.errors import StartError, StateDirectoryInUseError
from argosy_sim.controlplane.host.processes import (
    Ending,
    Identity,
    Launcher,
    end,
    identify,
    is_running,
    launch_orphan,
    resident_bytes,
)
from argosy_sim.livefleet.host.routes import require_linux_and_root
from argosy_sim.livefleet.launch import (
    ACCOUNT_NAME,
    ACCOUNT_NAMESPACE,
    RBAC,
    AttachSettings,
    Launch,
    wait_until_up,
)
from argosy_sim.livefleet.spec import TAINT
from argosy_sim.livefleet.state import FleetLayout, FleetState

if TYPE_CHECKING:
    from argosy_sim.envoy import EnvoySettings, PreparedEnvoy

GRACE_S = 8.0
# An attached fleet takes its nodes out of the cluster.
FLEET_GRACE_S = 30.0
UP_S = 30.0
TOLERATION_NEEDED = (
    f"Its nodes keep other pods off: give GPUPools the toleration {{key: {TAINT['key']}, operator: Exists}}."
)
ATTACHED_UP_S = 120.0
"""With the trial, for which pods have to start."""


@dataclass(frozen=True, slots=True)
class LocalEnvoy:
    """An Envoy that `argosy sim envoy` started; ports are on loopback."""

    process: Identity
    node_id: str
    admin_port: int
    stats_port: int


_ENVOY = TypeAdapter(LocalEnvoy)


def fleet_layout(directory: Path) -> FleetLayout:
    """Where the live fleet of this state directory keeps what it records."""
    return FleetLayout(directory.expanduser().resolve() / "fleet")


def fleet_log(directory: Path) -> Path:
    """The output of a detached fleet."""
    return fleet_layout(directory).directory / "fleet.log"


def envoy_folder(directory: Path) -> Path:
    """Where the Envoy of this state directory has its files."""
    return directory.expanduser().resolve() / "envoy"


def envoy_log(directory: Path) -> Path:
    """The output of a detached Envoy."""
    return envoy_folder(directory) / "envoy.log"


def operator_folder(directory: Path) -> Path:
    """The --state-dir to give to an operator of this control plane."""
    return directory.expanduser().resolve() / "operator"


def companions(directory: Path) -> tuple[lifecycle.ComponentStatus, ...]:
    """The fleet and the Envoy, where they run."""
    fleet, envoy = fleet_layout(directory).load(), load_envoy(directory)
    found = [] if fleet is None else [("live-fleet", fleet.process, fleet_log(directory))]
    if envoy is not None:
        found.append(("envoy", envoy.process, envoy_log(directory)))
    return tuple(
        lifecycle.ComponentStatus(name, process.pid, True, resident_bytes(process), log)
        for name, process, log in found
    )


# --- the live fleet -----------------------------------------------------------------------------


def fleet_command(directory: Path, spec: Path | None, vllm: Path | None = None) -> list[str]:
    """The command of a live fleet, after its account and rights were made. vllm: as in `Launch`.

    It does not end with its parent: `nohup argosy sim fleet &` outlives its shell. Raises as
    `ControlPlane.attach`, `FleetRunningError` where one runs, StartError where kubectl refuses.
    """
    control_plane = ControlPlane.attach(directory)
    fleet_layout(directory).prepare()
    kubectl = [str(control_plane.binaries.kubectl), f"--kubeconfig={control_plane.admin_kubeconfig}"]
    applied = subprocess.run(
        [*kubectl, "apply", "-f", str(RBAC)], capture_output=True, text=True, check=False
    )
    if applied.returncode != 0:
        raise StartError(f"the fleet's account cannot be made: {applied.stderr.strip()}")
    kubeconfig = control_plane.service_account_kubeconfig(
        ACCOUNT_NAMESPACE, ACCOUNT_NAME, directory / "fleet.kubeconfig"
    )
    launch = Launch(kubeconfig, fleet_layout(directory).directory, spec, control_plane.state_dir, vllm=vllm)
    return replace(launch, die_with_parent=False).command()


def attached_fleet_command(
    directory: Path, spec: Path | None, kubeconfig: Path, settings: AttachSettings
) -> list[str]:
    """The command of a live fleet for a cluster that was there before, with the kubeconfig's own rights.

    Raises AttachError where this host cannot, `FleetRunningError` where a fleet runs in the directory.
    """
    require_linux_and_root()
    layout = fleet_layout(directory)
    layout.prepare()
    file = kubeconfig.expanduser().resolve()
    return Launch(file, layout.directory, spec, die_with_parent=False, attached=settings).command()


def start_fleet(directory: Path, command: Sequence[str], timeout_s: float = UP_S) -> FleetState:
    """Start a fleet that outlives this process, and wait for its nodes.

    Raises `FleetNotRunningError`, which names the log, where it ends or is not up in time.
    """
    launcher = Launcher(os.environ, die_with_parent=False)
    process = launcher.launch("live-fleet", command, fleet_log(directory))
    try:
        return wait_until_up(
            fleet_layout(directory).directory, lambda: is_running(process.identity), process.log, timeout_s
        )
    except BaseException:
        launcher.end(process, FLEET_GRACE_S)
        raise


# --- Envoy --------------------------------------------------------------------------------------


def load_envoy(directory: Path) -> LocalEnvoy | None:
    """The Envoy that runs here, None where none does; raises `StateDirectoryInUseError` on a foreign file."""
    path = envoy_folder(directory) / "state.json"
    try:
        found = _ENVOY.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise StateDirectoryInUseError(
            f"{path} was not written by `argosy sim envoy`; use another directory or remove it"
        ) from error
    return found if is_running(found.process) else None


def require_no_envoy(directory: Path) -> None:
    """Raises as `ControlPlane.attach`, and StartError where an Envoy runs here already."""
    ControlPlane.attach(directory)
    running = load_envoy(directory)
    if running is not None:
        raise StartError(
            f"Envoy {running.node_id} (pid {running.process.pid}) runs already; `argosy sim down` ends it"
        )


def become_envoy(settings: EnvoySettings, prepared: PreparedEnvoy) -> None:
    """Replace this process by Envoy, which keeps its pid and start time."""
    identity = identify(os.getpid())
    assert identity is not None
    _save(settings, prepared, identity)
    os.execv(prepared.command[0], prepared.command)  # noqa: S606


def start_envoy(settings: EnvoySettings, prepared: PreparedEnvoy, directory: Path) -> LocalEnvoy:
    """Start an Envoy that outlives this process; raises StartError with its log's end."""
    from argosy_sim.envoy import wait_until_live

    process = launch_orphan(os.environ, "envoy", prepared.command, envoy_log(directory))
    found = _save(settings, prepared, process.identity)
    try:
        wait_until_live(process, prepared.admin_port)
    except BaseException:
        end(process.identity, GRACE_S)
        raise
    return found


def require_gateway(envoy: LocalEnvoy) -> None:
    """End an Envoy that cannot listen where its operator wants it to; raises StartError with the remedy.

    Another process has the gateway's port and would get the requests.
    """
    from argosy_sim.envoy import refused_listener

    if refusal := refused_listener(envoy.admin_port):
        end(envoy.process, GRACE_S)
        raise StartError(
            f"the gateway cannot be opened: {refusal}. End the process that has the port, or set"
            " Fleet/default's spec.gateway to another address and port; then run this again"
        )


def _save(settings: EnvoySettings, prepared: PreparedEnvoy, identity: Identity) -> LocalEnvoy:
    found = LocalEnvoy(identity, settings.node_id, prepared.admin_port, prepared.stats_port)
    write_private(settings.directory / "state.json", _ENVOY.dump_json(found, indent=2))
    return found


# --- the end ------------------------------------------------------------------------------------


def down(directory: Path) -> Mapping[str, Ending]:
    """End Envoy, the fleet and the control plane, in this order; logs stay.

    Returns how each ended, empty if nothing was recorded. Only processes that the state directory
    names by pid and start time are touched. The fleet ends before the API server that it talks to.
    """
    endings: dict[str, Ending] = {}
    envoy, fleet = load_envoy(directory), fleet_layout(directory).load()
    if envoy is not None:
        endings["envoy"] = end(envoy.process, GRACE_S)
    (envoy_folder(directory) / "state.json").unlink(missing_ok=True)
    if fleet is not None:
        endings["live-fleet"] = end(fleet.process, FLEET_GRACE_S)
    endings |= lifecycle.down(directory)
    # Of a fleet that is gone: a new one would be served its routes and believe its revisions.
    shutil.rmtree(operator_folder(directory), ignore_errors=True)
    return endings
