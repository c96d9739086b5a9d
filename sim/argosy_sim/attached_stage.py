"""The stage on a cluster that was there before: kind on this host instead of the embedded control plane.

Owns what is different then. The live fleet is attached to the cluster (`livefleet.host`), operator and Envoy
run on this host as ever. Input: a `StagePlan` and a kubeconfig. Output: a `Stage`. What is made in the
cluster is removed at the end; so that nothing else is, a cluster in which Argosy is installed is refused.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from argosy.errors import SpecError
from argosy_sim.controlplane.binaries import binaries
from argosy_sim.controlplane.credentials import accounts
from argosy_sim.controlplane.credentials.kubeconfig import write_private
from argosy_sim.controlplane.errors import StartError
from argosy_sim.controlplane.host.processes import Launcher, Process
from argosy_sim.livefleet.control import fleet_status
from argosy_sim.livefleet.errors import FleetNotRunningError
from argosy_sim.livefleet.host.routes import require_linux_and_root
from argosy_sim.livefleet.launch import ACCOUNT_NAMESPACE, RBAC, AttachSettings, Launch
from argosy_sim.livefleet.spec import SIMULATED, TAINT
from argosy_sim.stage import Patch, Say, Stage, StagePlan, play

FLEET_UP_S = 120.0
"""Pods of the cluster try to reach this host first."""
FLEET_END_S = 30.0
"""It takes its nodes out of the cluster."""
_DOWN = [sys.executable, "-m", "argosy", "down", "--all", "--yes"]
_DOWN_S = 180.0
_KUBECTL_S = 60.0


class OthersCluster:
    """A cluster that a user's kubeconfig names; `directory` is for a copy of its current context."""

    def __init__(self, kubeconfig: Path, directory: Path, say: Say) -> None:
        found = shutil.which("kubectl")
        self.kubectl = Path(found) if found else binaries(say).kubectl
        self.admin_kubeconfig = directory / "cluster.kubeconfig"
        self.processes: Sequence[Process] = ()
        command = [str(self.kubectl), f"--kubeconfig={kubeconfig}", "config", "view", "--flatten", "--minify"]
        shown = subprocess.run(command, capture_output=True, check=False, timeout=_KUBECTL_S)
        if shown.returncode != 0:
            raise SpecError(f"{kubeconfig}: {shown.stderr.decode().strip()}", "--kubeconfig")
        write_private(self.admin_kubeconfig, shown.stdout)

    def service_account_kubeconfig(self, namespace: str, name: str, path: Path) -> Path:
        """Write a ServiceAccount's kubeconfig; see `accounts`."""
        account = accounts.Account(namespace, name)
        return accounts.service_account_kubeconfig(self.admin_kubeconfig, account, path)


class AttachedStage(Stage):
    """A stage whose nodes are attached to another cluster."""

    def installed(self) -> tuple[Path, ...]:
        """As ever, but for the virtual kubelet's account: the fleet has the user's rights."""
        return tuple(file for file in super().installed() if file != RBAC)

    def start_fleet(self) -> None:
        """Attach the fleet. Raises `FleetNotRunningError` with what refused it."""
        kubeconfig = self.cluster.admin_kubeconfig
        launch = Launch(kubeconfig, self.fleet_dir, self.fleet_file(), attached=AttachSettings())
        self.launch_fleet(launch, FLEET_UP_S)

    def remove_all(self, say: Say) -> None:
        """Remove what this stage has made in the cluster, while its nodes still end their pods."""
        try:
            self._end_pods_of_dead_nodes()
            command = [*_DOWN, "--kubeconfig", str(self.cluster.admin_kubeconfig)]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_DOWN_S)
            if done.returncode != 0:
                say(f"argosy down failed: {done.stderr.strip()}")
        except (StartError, subprocess.TimeoutExpired) as error:
            say(f"replicas may be left in the cluster: {error}; `argosy down --all` removes them")
        try:
            for file in reversed(self.installed()):
                self.kubectl("delete", "--ignore-not-found", "-f", str(file))
            self.kubectl("delete", "namespace", ACCOUNT_NAMESPACE, "--ignore-not-found")
        except (StartError, subprocess.TimeoutExpired) as error:
            say(f"not all was removed from the cluster: {error}; {_REMEDY}")

    def _end_pods_of_dead_nodes(self) -> None:
        """By force: no kubelet ends them; a revived one would start them anew, to be judged as replicas."""
        with suppress(FleetNotRunningError):  # where it was refused, there are none
            for node in fleet_status(self.fleet_dir).nodes:
                if node.is_dead:
                    on_it = f"--field-selector=spec.nodeName={node.name}"
                    self.kubectl("delete", "pods", "--all-namespaces", on_it, "--force", "--grace-period=0")


_REMEDY = (
    "`argosy down --all`, then `kubectl delete -f charts/argosy/files/deletion-warnings.yaml -f"
    " charts/argosy/files/operator-rbac.yaml -f crds/` remove it"
)


def require_bare(stage: Stage) -> None:
    """Raises SpecError where something of Argosy is in the cluster: it would be taken away at the end."""
    crds = [
        name for name in stage.kubectl("get", "crd", "-o", "name").split() if name.endswith(".argosy.dev")
    ]
    namespace = stage.kubectl(
        "get", "namespace", ACCOUNT_NAMESPACE, "--ignore-not-found", "-o", "name"
    ).split()
    if found := [*namespace, *(f"the definition {name.partition('/')[2]}" for name in crds[:1])]:
        raise SpecError(
            f"Argosy is in this cluster already ({', '.join(found)}), without its operator's Deployment;"
            " the demo brings its own and removes it at the end, yours too: name a cluster without it (`kind"
            " create cluster`), or install the chart, whose operator and Envoys it then uses. If an"
            f" earlier demo left it there: {_REMEDY}",
            "--kubeconfig",
        )


def pool_patches(plan: StagePlan) -> tuple[Patch, ...]:
    """The pools take simulated nodes only: the cluster may have GPUs of its own."""
    return tuple(
        Patch(
            "GPUPool",
            item["metadata"]["name"],
            {
                "nodeSelector": {**item["spec"]["nodeSelector"], "type": SIMULATED},
                "tolerations": [{"key": TAINT["key"], "operator": "Exists"}],
            },
        )
        for item in plan.objects()
        if item["kind"] == "GPUPool"
    )


@asynccontextmanager
async def on_attached_stage(plan: StagePlan, kubeconfig: Path, say: Say) -> AsyncIterator[Stage]:
    """Start every component against a cluster that is there, for the length of a block.

    Raises `StartError` where one does not start, SpecError where host or cluster are unfit.
    """
    require_linux_and_root()
    plan.directory.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        cluster = await asyncio.to_thread(OthersCluster, kubeconfig, plan.directory, say)
        launcher = Launcher(os.environ, die_with_parent=True)
        stack.callback(launcher.kill_all)
        stage = AttachedStage(plan, cluster, launcher)
        await asyncio.to_thread(require_bare, stage)
        stack.callback(stage.end, "live-fleet", FLEET_END_S)
        stack.callback(stage.remove_all, say)
        await play(stage, say, 1, stack)
        yield stage
