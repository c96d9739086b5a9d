"""Helm in tests: the chart of this checkout rendered, installed, upgraded.

Owns how helm is called. Input: arguments and values. Output: what helm prints, or the objects it renders.
Each `Helm` keeps its own home, so that no setting of the machine's user counts.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
CHART = REPOSITORY / "charts" / "argosy"
VALUES = REPOSITORY / "tests" / "data" / "chart"
NAMESPACE = "argosy-system"
TIMEOUT_S = 120.0
OTHERS_CRDS = REPOSITORY / "tests" / "data" / "kubernetes" / "crds"
"""Definitions of the Prometheus Operator's and cert-manager's kinds, which the chart uses where they are."""
MONITORING_KINDS = ("ServiceMonitor", "PodMonitor", "PrometheusRule")
WITH_MONITORING = tuple(
    word for kind in MONITORING_KINDS for word in ("--api-versions", f"monitoring.coreos.com/v1/{kind}")
)
WITH_CERT_MANAGER = ("--api-versions", "cert-manager.io/v1/Certificate")
"""Flags for `helm template`: as if the cluster had these kinds."""

Object = dict[str, Any]


class Helm:
    """helm with a home of its own, and the cluster of a kubeconfig where one is given."""

    def __init__(self, program: Path, home: Path, kubeconfig: Path | None = None) -> None:
        self.program, self.home, self.kubeconfig = program, home, kubeconfig
        self._rendered: dict[tuple[str, ...], list[Object]] = {}

    @property
    def environment(self) -> Mapping[str, str]:
        """What helm is started with."""
        config = str(self.kubeconfig or self.home / "no-cluster")
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), "KUBECONFIG": config}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run helm, whatever becomes of it."""
        return subprocess.run(
            [str(self.program), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )

    def said(self, *arguments: str) -> str:
        """Its standard output; fails the test with helm's words where it fails."""
        answer = self.run(*arguments)
        assert answer.returncode == 0, f"helm {' '.join(arguments)}: {answer.stdout}{answer.stderr}"
        return answer.stdout

    def refusal(self, *arguments: str) -> str:
        """Its words where it has to fail."""
        answer = self.run(*arguments)
        assert answer.returncode != 0, f"helm {' '.join(arguments)} succeeded: {answer.stdout}"
        return answer.stderr

    def rendered(self, *arguments: str, chart: Path = CHART, namespace: str = NAMESPACE) -> list[Object]:
        """The objects of a chart, rendered once for the same arguments: not to be changed."""
        command = ("template", "argosy", str(chart), "--namespace", namespace, *arguments)
        if command not in self._rendered:
            loaded = yaml.load_all(self.said(*command), Loader=yaml.CSafeLoader)
            self._rendered[command] = [each for each in loaded if each is not None]
        return self._rendered[command]


def values(name: str) -> tuple[str, ...]:
    """The flag for a file of tests/data/chart; none for `default`."""
    return () if name == "default" else ("--values", str(VALUES / f"{name}.yaml"))


def named(objects: list[Object], kind: str, name: str) -> Object:
    """The object of this kind and name."""
    [found] = [o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name)]
    return found


def pod_templates(objects: list[Object]) -> dict[str, Object]:
    """Every pod that the objects make, by kind and name: its metadata and spec."""
    found = {}
    for each in objects:
        key = f"{each['kind']}/{each['metadata']['name']}"
        if each["kind"] == "Pod":
            found[key] = {"metadata": {"labels": each["metadata"].get("labels", {})}, "spec": each["spec"]}
        elif "template" in each.get("spec", {}):
            found[key] = each["spec"]["template"]
    return found
