"""A real kind cluster as the tests of tests/kind read and use it.

kubectl(...)   its output, or CommandFailedError with what it said
Cluster        what runs, which pod leads, and waiting until all is well
Load           a Job inside the cluster that sends chat requests through Envoy
"""

from __future__ import annotations

import json
import logging
import subprocess
from dataclasses import dataclass
from typing import Any

from waiting import until

from argosy_sim.controlplane.binaries import helm as find_helm

HELM_LIMIT_S = 600.0
SYSTEM = "argosy-system"
_log = logging.getLogger(__name__)
SETTLED_S = 240.0
"""An engine loads for half a minute, and a kind cluster may share its processors."""


class CommandFailedError(OSError):
    """What kubectl or helm said; where a test waits for something, it may still come."""


def kubectl(*arguments: str, stdin: str | None = None, timeout_s: float = 60.0) -> str:
    """Run kubectl; its output. Raises CommandFailedError."""
    return _run(["kubectl", *arguments], stdin, timeout_s)


def helm(*arguments: str) -> str:
    """Run helm in Argosy's namespace; its output. Raises CommandFailedError."""
    return _run([str(find_helm()), "--namespace", SYSTEM, *arguments], None, HELM_LIMIT_S)


def _run(command: list[str], stdin: str | None, timeout_s: float) -> str:
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if done.returncode != 0:
        raise CommandFailedError(f"{' '.join(command)}: {done.stderr}")
    return done.stdout


class Cluster:
    """What the tests read and do."""

    def read(self, *arguments: str) -> list[dict[str, Any]]:
        """The objects that `kubectl get` finds."""
        found: list[dict[str, Any]] = json.loads(kubectl("get", *arguments, "-o", "json"))["items"]
        return found

    def pods(self, component: str) -> list[dict[str, Any]]:
        """Pods of the operator or of Envoy that are not being deleted."""
        found = self.read("pods", "-n", SYSTEM, "-l", f"app.kubernetes.io/component={component}")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def engines(self) -> list[dict[str, Any]]:
        """Pods of engines, with those that are being deleted."""
        return self.read("pods", "-n", "default", "-l", "argosy.dev/model")

    def leader(self) -> str:
        """Name of the pod that leads; empty where none does."""
        leases = self.read("leases", "-n", SYSTEM)
        holders = [lease["spec"].get("holderIdentity") or "" for lease in leases if is_election(lease)]
        names = [pod["metadata"]["name"] for pod in self.pods("operator")]
        return next((name for name in names for holder in holders if name in holder), "")

    def wait_until_settled(self) -> None:
        """Every class is Ready and served by every Envoy, and every replica of operator and Envoy is up."""
        for deployment in ("argosy-operator", "argosy-envoy"):
            wait = f"--timeout={SETTLED_S:.0f}s"
            kubectl(
                "-n", SYSTEM, "rollout", "status", f"deployment/{deployment}", wait, timeout_s=SETTLED_S + 30
            )
        until(self._is_served, "every class Ready and Programmed", SETTLED_S)

    def _is_served(self) -> bool:
        return all(
            {"Ready", "Programmed"} <= true_conditions(wclass)
            for wclass in self.read("workloadclasses", "-A")
        )


def is_election(lease: dict[str, Any]) -> bool:
    """Whether a Lease is the operators' election: the others list Envoys."""
    return not lease["metadata"]["name"].startswith("argosy-envoys-")


def true_conditions(item: dict[str, Any]) -> set[str]:
    """Types of an object's conditions that are True."""
    conditions = (item.get("status") or {}).get("conditions") or []
    return {each["type"] for each in conditions if each["status"] == "True"}


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether a pod is Ready and is to stay."""
    return "Ready" in true_conditions(pod) and "deletionTimestamp" not in pod["metadata"]


@dataclass(frozen=True)
class Load:
    """A Job that sends requests; it fails where one was lost."""

    name: str
    seconds: int

    def sends(self) -> bool:
        """Whether its requests have begun. Fails where it has ended instead, with what it printed."""
        printed = kubectl("-n", SYSTEM, "logs", f"job/{self.name}")
        job = json.loads(kubectl("-n", SYSTEM, "get", "job", self.name, "-o", "json"))
        assert "Failed" not in true_conditions(job), printed
        return "requests over" in printed

    def is_over(self) -> bool:
        """Whether it has sent its last request and has every answer."""
        job = json.loads(kubectl("-n", SYSTEM, "get", "job", self.name, "-o", "json"))
        return bool({"Complete", "Failed"} & true_conditions(job))

    def assert_nothing_lost(self) -> None:
        """Wait for its end. Its summary is printed, for the record of a run."""
        until(self.is_over, f"the end of {self.name}", self.seconds + SETTLED_S)
        job = json.loads(kubectl("-n", SYSTEM, "get", "job", self.name, "-o", "json"))
        summary = kubectl("-n", SYSTEM, "logs", f"job/{self.name}")
        _log.info("%s", summary)
        assert "Complete" in true_conditions(job), summary
