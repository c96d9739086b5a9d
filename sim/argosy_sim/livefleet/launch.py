"""Owns what a parent needs to run a fleet: its command line, its rights, and whether it is up.

Starting the process is the caller's, which has its own way to keep children.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from argosy_sim.livefleet.errors import FleetNotRunningError
from argosy_sim.livefleet.state import FleetLayout, FleetState

# To be applied by an administrator before the fleet starts; the account it names is the fleet's.
RBAC = Path(__file__).with_name("rbac.yaml")
ACCOUNT_NAMESPACE = "argosy-system"
ACCOUNT_NAME = "argosy-virtual-kubelet"
_POLL_S = 0.05
_ERROR = " ERROR "


@dataclass(frozen=True, slots=True)
class AttachSettings:
    """What the user chose of a fleet that is attached to a cluster which was there before.

    `pod_range`: the /16 of the pods. `trial_image`: what the pods run that try to reach this host. None: the
    fleet finds one.
    """

    pod_range: str | None = None
    trial_image: str | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """How a fleet is started.

    `spec`: a description's file, None for the default fleet. `certificates`: a directory with kubelet.crt,
    kubelet.key and ca.crt (a control plane's state directory), None for no `kubectl logs`. `attached`: for a
    cluster that was there before. `vllm`: the folder of the vLLM that pods really run, None for simulated
    engines.
    """

    kubeconfig: Path
    state_dir: Path
    spec: Path | None = None
    certificates: Path | None = None
    die_with_parent: bool = True
    attached: AttachSettings | None = None
    vllm: Path | None = None

    def command(self) -> list[str]:
        """Return the program and its arguments."""
        command = [sys.executable, "-m", "argosy_sim.livefleet"]
        command += ["--kubeconfig", str(self.kubeconfig), "--state-dir", str(self.state_dir)]
        if self.spec is not None:
            command += ["--spec", str(self.spec)]
        if self.certificates is not None:
            command += ["--certificates", str(self.certificates)]
        if self.vllm is not None:
            command += ["--vllm", str(self.vllm)]
        if self.attached is not None:
            command += self._attach(self.attached)
        return [*command, "--die-with-parent"] if self.die_with_parent else command

    @staticmethod
    def _attach(settings: AttachSettings) -> list[str]:
        chosen = {"--pod-range": settings.pod_range, "--trial-image": settings.trial_image}
        return ["--attach", *(word for flag, value in chosen.items() if value for word in (flag, value))]


def wait_until_up(
    state_dir: Path, is_alive: Callable[[], bool], log: Path, timeout_s: float = 30.0
) -> FleetState:
    """Wait until the fleet's nodes are Ready and pods are followed.

    `is_alive` says whether its process still runs. Raises `FleetNotRunningError`, which names its `log` and
    the last error in it, if it has ended, or takes longer.
    """
    layout = FleetLayout(state_dir)
    until_s = time.monotonic() + timeout_s
    while time.monotonic() < until_s:
        state = layout.load()
        if state is not None:
            return state
        if not is_alive():
            raise FleetNotRunningError(f"the live fleet ended before it was up; {_cause(log)}")
        time.sleep(_POLL_S)
    raise FleetNotRunningError(f"the live fleet was not up after {timeout_s:g} s; the cause is in {log}")


def _cause(log: Path) -> str:
    """Why the fleet ended, as its log has it, or where to look."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    said = [line.partition(_ERROR)[2] for line in lines if _ERROR in line]
    return f"{said[-1]} ({log})" if said else f"the cause is in {log}"
