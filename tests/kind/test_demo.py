"""The demo on the cluster that `make kind` left: its own operator and Envoys, its engines real pods.

The examples go before it and come back after it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kind_cluster import Cluster, kubectl
from waiting import until

ROOT = Path(__file__).parents[2]
LABEL = "argosy.dev/demo=pods"
MADE = "namespaces,nodes,gpool,fleet,clusterroles,clusterrolebindings"
STORY_S = 1500.0
"""Six minutes of acts, with a first plan and a removal on a machine that has other work."""

pytestmark = pytest.mark.timeout(2 * STORY_S)


class Demo:
    """The command, on the cluster of the current context."""

    def __init__(self, directory: Path) -> None:
        self.output = directory / "out"
        kubeconfig = directory / "config"
        kubeconfig.write_text(kubectl("config", "view", "--flatten", "--minify"))
        self.kubeconfig = str(kubeconfig)
        self._command = [sys.executable, "-m", "argosy", "sim", "demo", "--kubeconfig", self.kubeconfig]

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self._command, "--output", str(self.output)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )


@pytest.fixture
def demo(tmp_path: Path, cluster: Cluster) -> Iterator[Demo]:
    found = Demo(tmp_path)
    yield found
    assert left() == []
    done = subprocess.run([ROOT / "hack" / "kind.sh", "fleet"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    cluster.wait_until_settled()


@pytest.fixture
def bare(demo: Demo) -> Demo:
    """Without the examples: as the demo's refusal says, by `argosy down --all`."""
    down = [sys.executable, "-m", "argosy", "down", "--all", "--yes", "--kubeconfig", demo.kubeconfig]
    subprocess.run(down, check=True, capture_output=True, timeout=600)
    return demo


def left() -> list[str]:
    """What carries the demo's label, and cordoned nodes."""
    cordoned = [
        node["metadata"]["name"]
        for node in json.loads(kubectl("get", "nodes", "-o", "json"))["items"]
        if node["spec"].get("unschedulable")
    ]
    return kubectl("get", MADE, "-l", LABEL, "-o", "name").split() + cordoned


def test_beside_the_examples_the_demo_is_refused_and_changes_nothing(demo: Demo) -> None:
    before = kubectl("get", "fleet,gpool,wclass,smodel,rpolicy", "-A", "-o", "name")
    refused = demo.start()
    said, _ = refused.communicate(timeout=120)
    assert refused.returncode == 2
    assert "would take part in the demo" in said
    assert kubectl("get", "fleet,gpool,wclass,smodel,rpolicy", "-A", "-o", "name") == before


def test_ctrl_c_removes_what_the_demo_made_and_the_next_one_tells_its_whole_story(bare: Demo) -> None:
    ended = bare.start()
    until(
        lambda: "pod/" in kubectl("get", "pods", "-n", "argosy-demo", "-o", "name"), "the first pods", 120.0
    )
    ended.send_signal(signal.SIGINT)
    ended.communicate(timeout=400)
    assert left() == []
    assert "argosy-demo" not in kubectl("get", "fplan", "-o", "json")
    told = bare.start()
    said, _ = told.communicate(timeout=STORY_S)
    assert told.returncode in (0, 3), said
    report = json.loads((bare.output / "report.json").read_text())
    kept = {promise["name"]: promise["kept"] for promise in report["promises"]}
    # Latencies depend on what else the machine does: they are reported, and judged by the demo's exit code.
    assert {name for name in ("lost", "checked", "clean_exit", "cost") if not kept[name]} == set(), said
    assert len(report["acts"]) == 4, said
    assert all(act["plans"] for act in report["acts"][1:]), said
    assert any("falls silent" in sentence for sentence in report["not_judged"])
