"""Simulated nodes attached to the kind cluster of the current context: Linux and root, as they need.

Beside what `make kind` leaves there: the nodes have names of their own, and only the tests' pods tolerate
them.
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
from kind_cluster import CommandFailedError, kubectl
from waiting import until

from argosy_sim.livefleet.state import FleetLayout, FleetState

TAG = os.environ.get("TAG") or "dev"
NODES = 40
SPEC = f"nodes: [{{name: attached, gpuProduct: NVIDIA-L40S, gpus: 1, count: {NODES}}}]\nloadSeconds: 1\n"
SELECTOR = "type=argosy-sim"
# kube-proxy's Pods on every node of a cluster that may share its processors.
SETTLED_S = 120.0

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to set a route"),
]


class Fleet:
    """One state directory's fleet."""

    def __init__(self, directory: Path, kubeconfig: Path) -> None:
        self.directory, self.kubeconfig = directory, kubeconfig
        self.spec = directory / "spec.yaml"
        self.spec.write_text(SPEC)

    def argosy(self, *words: str, fails: bool = False) -> str:
        command = [sys.executable, "-m", "argosy", "sim", *words, "--state-dir", str(self.directory)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    def start(self, *flags: str, fails: bool = False) -> str:
        words = ["fleet", "--kubeconfig", str(self.kubeconfig), "--spec", str(self.spec), "--detach"]
        return self.argosy(*words, *flags, fails=fails)

    @property
    def state(self) -> FleetState:
        found = FleetLayout(self.directory / "fleet").load()
        assert found is not None
        return found


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text(kubectl("config", "view", "--flatten", "--minify"))
    found = Fleet(tmp_path, kubeconfig)
    yield found
    found.argosy("down")
    kubectl("delete", "pod", "-l", "app=attached-test", "--ignore-not-found", "--now")
    assert (nodes(), routes()) == ([], [])


def nodes() -> list[str]:
    return kubectl("get", "nodes", "-l", SELECTOR, "-o", "name").split()


def routes() -> list[dict[str, str]]:
    command = ["ip", "-json", "route", "show", "table", "all", "proto", "214"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return list(json.loads(shown.strip() or "[]"))


def run(name: str, image: str, command: list[str], **spec: object) -> None:
    """Create a pod of the tests."""
    container = {"name": "c", "image": image, "imagePullPolicy": "Never", "command": command}
    metadata = {"name": name, "labels": {"app": "attached-test"}}
    whole = {"containers": [container], "restartPolicy": "Never", **spec}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": whole}
    kubectl("apply", "-f", "-", stdin=json.dumps(manifest))


def run_engine() -> str:
    """An engine on a simulated node, Ready; its address."""
    tolerations = [{"key": "argosy.dev/simulated", "operator": "Exists"}]
    selector = {"type": "argosy-sim"}
    command = ["vllm", "serve", "--model", "meta-llama/Llama-3.1-8B-Instruct"]
    gpu = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
    container = {"name": "engine", "image": "vllm/vllm-openai:v0.24.0", "command": command, **gpu}
    run("attached-engine", "", [], tolerations=tolerations, nodeSelector=selector, containers=[container])
    kubectl("wait", "--for=condition=Ready", "pod/attached-engine", "--timeout=60s", timeout_s=90.0)
    return kubectl("get", "pod", "attached-engine", "-o", "jsonpath={.status.podIP}")


def daemons_are_available() -> bool:
    [status] = [
        each["status"]
        for each in json.loads(kubectl("get", "ds", "-n", "kube-system", "-o", "json"))["items"]
        if each["metadata"]["name"] == "kube-proxy"
    ]
    is_everywhere = status["desiredNumberScheduled"] >= NODES
    return is_everywhere and status.get("numberAvailable") == status["desiredNumberScheduled"]


def test_a_pod_of_the_cluster_reaches_an_engine_on_a_node_that_only_exists_here(fleet: Fleet) -> None:
    assert "GPUPools the toleration" in fleet.start()
    assert len(nodes()) == NODES
    address = run_engine()
    assert address.startswith(fleet.state.network.removesuffix(".0.0/16"))
    url = f"http://{address}:{fleet.state.engine_port}/v1/models"
    program = f"import urllib.request as r; print(r.urlopen({url!r}, timeout=20).read().decode())"
    run("attached-client", f"argosy-operator:{TAG}", ["python3", "-c", program])
    until(lambda: "Llama-3.1-8B" in kubectl("logs", "attached-client"), "the engine's answer", SETTLED_S)
    assert "Uvicorn running" in kubectl("logs", "attached-engine")
    on = kubectl("get", "pod", "attached-client", "-o", "jsonpath={.spec.nodeName}")
    assert not on.startswith("attached-")
    until(daemons_are_available, "kube-proxy's pods on simulated nodes", SETTLED_S)


def test_what_a_killed_fleet_left_is_gone_after_the_next_ones_end(fleet: Fleet) -> None:
    fleet.start()
    run_engine()
    os.kill(fleet.state.process.pid, signal.SIGKILL)
    assert (len(nodes()), len(routes())) == (NODES, 1)
    fleet.spec.write_text(SPEC.replace(str(NODES), "1"))
    fleet.start()
    assert (len(nodes()), len(routes())) == (1, 1)
    with pytest.raises(CommandFailedError, match="not found"):
        kubectl("get", "pod", "attached-engine")


def test_ranges_and_names_of_the_cluster_are_refused_and_leave_nothing(fleet: Fleet) -> None:
    [service] = kubectl("get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}").split()
    taken = ".".join([*service.split(".")[:2], "0", "0"]) + "/16"
    assert f"--pod-range: {taken} is taken: " in fleet.start("--pod-range", taken, fails=True)
    node = kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    refused = fleet.start("--trial-image", "no.such/image:1", fails=True)
    assert "cannot start with the image no.such/image:1" in refused
    assert kubectl("get", "node", node, "-o", "name").strip() == f"node/{node}"
    assert (nodes(), routes()) == ([], [])
