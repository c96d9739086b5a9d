"""What a kubelet does to the pods of the chart's job of certificates, in a control plane that has none.

A `HookPods` ends each well as soon as it is there, so that helm goes on. Where `runs` is set it runs the
pod's command first, as a process with the rights of the pod's account.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from argosy_sim.controlplane.cluster import ControlPlane

SELECTOR = "job-name=argosy-certificates"


class HookPods:
    """A watch on the pods of one namespace, until `close`."""

    def __init__(self, control_plane: ControlPlane, namespace: str, directory: Path) -> None:
        self.runs = False
        self.outputs: list[str] = []
        """What the commands that were run printed."""
        self._control_plane, self._namespace, self._directory = control_plane, namespace, directory
        watch = self._kubectl("get", "pods", "-l", SELECTOR, "--watch", "-o", "name")
        self._process = subprocess.Popen(watch, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the watch."""
        self._process.kill()
        self._process.wait()
        self._thread.join()

    def _follow(self) -> None:
        assert self._process.stdout is not None
        done: set[str] = set()
        for line in self._process.stdout:
            name = line.strip()
            if name not in done:
                done.add(name)
                self._end(name)

    def _end(self, name: str) -> None:
        phase = "Succeeded"
        if self.runs:
            found = subprocess.run(
                self._kubectl("get", name, "-o", "json"), capture_output=True, text=True, check=True
            )
            phase = "Succeeded" if self._run(json.loads(found.stdout)["spec"]) else "Failed"
        status = json.dumps({"status": {"phase": phase}})
        subprocess.run(
            self._kubectl("patch", name, "--subresource=status", "-p", status),
            capture_output=True,
            check=False,
        )

    def _run(self, spec: dict[str, Any]) -> bool:
        account = spec["serviceAccountName"]
        kubeconfig = self._directory / f"{account}.kubeconfig"
        self._control_plane.service_account_kubeconfig(self._namespace, account, kubeconfig)
        found = subprocess.run(
            [sys.executable, "-m", "argosy", *spec["containers"][0]["args"]],
            env={**os.environ, "KUBECONFIG": str(kubeconfig)},
            capture_output=True,
            text=True,
            check=False,
        )
        self.outputs.append(found.stdout + found.stderr)
        return found.returncode == 0

    def _kubectl(self, *arguments: str) -> list[str]:
        program, config = self._control_plane.binaries.kubectl, self._control_plane.admin_kubeconfig
        return [str(program), f"--kubeconfig={config}", "--namespace", self._namespace, *arguments]
