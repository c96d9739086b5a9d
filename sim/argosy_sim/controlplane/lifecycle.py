"""Owns `up`, `down` and `status`: what `argosy sim` does with a control plane that outlives the command.

Three separate processes usually call them; all they share is the state directory. They
return data and print nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from argosy_sim.controlplane.cluster import ControlPlane, ControlPlaneOptions, silent
from argosy_sim.controlplane.components import STOP_ORDER
from argosy_sim.controlplane.gobuild import Say
from argosy_sim.controlplane.host.processes import Ending, is_running, resident_bytes
from argosy_sim.controlplane.state import Layout


class Health(StrEnum):
    """How a control plane is."""

    ABSENT = "Absent"
    """Nothing was started here, or it was ended."""
    READY = "Ready"
    """All four components run and the API server says that it is ready."""
    DEGRADED = "Degraded"
    """A component has ended, or the API server is not ready."""
    DEAD = "Dead"
    """All components have ended without `down` (a reboot, a kill)."""


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    """One component. `resident_bytes` is 0 when it is not running."""

    name: str
    pid: int
    is_running: bool
    resident_bytes: int
    log: Path


@dataclass(frozen=True, slots=True)
class Status:
    """A control plane as it is now. `server_url` and `admin_kubeconfig` are None when absent."""

    state_dir: Path
    health: Health
    server_url: str | None = None
    admin_kubeconfig: Path | None = None
    components: tuple[ComponentStatus, ...] = ()

    def document(self) -> dict[str, Any]:
        """The same as what `json.dumps` takes; null for what is absent."""
        return {
            "health": self.health.value,
            "state_dir": str(self.state_dir),
            "server_url": self.server_url,
            "admin_kubeconfig": None if self.admin_kubeconfig is None else str(self.admin_kubeconfig),
            "components": [{**asdict(each), "log": str(each.log)} for each in self.components],
        }


def default_state_dir(environment: Mapping[str, str]) -> Path:
    """Return `$XDG_STATE_HOME/argosy/default`, or the same under `~/.local/state`."""
    root = environment.get("XDG_STATE_HOME")
    return (Path(root) if root else Path.home() / ".local" / "state") / "argosy" / "default"


def up(
    state_dir: Path,
    say: Say = silent,
    api_port: int | None = None,
    end_rest: Callable[[Path], object] | None = None,
) -> Status:
    """Make sure a control plane runs in `state_dir` and outlives this process.

    One that is ready is left alone; what is left of a broken one is ended, and its data
    removed, first: by `end_rest`, for a caller that keeps more in the directory, else by `down`.
    Raises as `ControlPlane.start`.
    """
    before = status(state_dir)
    if before.health is Health.READY:
        say(f"A control plane is already running in {state_dir}.")
        return before
    if before.health is not Health.ABSENT:
        say(f"The control plane in {state_dir} is {before.health.value.lower()}; starting it afresh.")
        (end_rest or down)(state_dir)
    ControlPlane.start(state_dir, ControlPlaneOptions(api_port=api_port, die_with_parent=False), say)
    return status(state_dir)


def down(state_dir: Path) -> Mapping[str, Ending]:
    """End the control plane in `state_dir` and remove its data; the logs stay.

    Returns how each component ended; empty if there was nothing to end. Only processes that the
    state file names by pid and start time are touched.
    """
    if Layout(state_dir.expanduser().resolve()).load() is None:
        return {}
    return ControlPlane.attach(state_dir).stop()


def status(state_dir: Path) -> Status:
    """Return what runs in `state_dir`. Raises `StateDirectoryInUseError` on a foreign `state.json`."""
    layout = Layout(state_dir.expanduser().resolve())
    state = layout.load()
    if state is None:
        return Status(layout.directory, Health.ABSENT)
    parts = tuple(
        ComponentStatus(
            name=process.name,
            pid=process.identity.pid,
            is_running=is_running(process.identity),
            resident_bytes=resident_bytes(process.identity),
            log=process.log,
        )
        for process in state.processes
    )
    return Status(layout.directory, _health(layout, parts), state.server_url, layout.admin_kubeconfig, parts)


def _health(layout: Layout, parts: tuple[ComponentStatus, ...]) -> Health:
    num_running = sum(part.is_running for part in parts)
    if num_running == 0:
        return Health.DEAD
    if num_running == len(STOP_ORDER) and ControlPlane.attach(layout.directory).is_ready():
        return Health.READY
    return Health.DEGRADED
