"""The live fleet on a real control plane: its process, its ServiceAccount, its nodes and pods.

One fleet for the whole module, with load delays of 0.3 s. Nodes are killed last, and never all:
the node controller evicts nobody when every node of every zone is gone.
"""

from __future__ import annotations

import json
import os
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from subprocess import PIPE, CompletedProcess, Popen, run
from typing import Any

import pytest

from argosy_sim.controlplane.cluster import ControlPlane
from argosy_sim.controlplane.credentials.accounts import Account, service_account_kubeconfig
from argosy_sim.controlplane.host.processes import Ending, Launcher, is_running
from argosy_sim.livefleet.control import crash_pod, delay_pod, fleet_status, kill_node, revive_node
from argosy_sim.livefleet.errors import FleetNotRunningError, UnknownTargetError
from argosy_sim.livefleet.event_log import read_events
from argosy_sim.livefleet.launch import ACCOUNT_NAME, ACCOUNT_NAMESPACE, RBAC, Launch, wait_until_up
from argosy_sim.livefleet.state import FleetLayout, FleetState

Kubectl = Callable[..., CompletedProcess[str]]

NAMESPACE = "fleet-test"
LOAD_S = 0.3
PATIENCE_S = 60.0
"""Far more than anything here takes on two idle cores: a crowded machine may be slow."""
SPEC = f"""
nodes:
  - {{name: vk-l40s, gpuProduct: NVIDIA-L40S, gpus: 2, count: 2, zone: zone-b, labels: {{pool: vk}}}}
  - {{name: vk-h100, gpuProduct: NVIDIA-H100-80GB-HBM3, gpus: 2, count: 1}}
loadSeconds: {LOAD_S}
crashBackOffSeconds: 0.3
"""
CUT = (HTTPException, EOFError, OSError)
MODEL = "meta-llama/Llama-3.1-8B-Instruct"


class Fleet:
    """A running fleet process and what tests ask of it."""

    def __init__(self, state_dir: Path, state: FleetState, kubeconfig: Path, kubectl: Kubectl) -> None:
        self.state_dir = state_dir
        self.state = state
        self.kubeconfig = kubeconfig
        self._kubectl = kubectl

    def run(self, name: str, *args: str, **spec: Any) -> str:
        """Create an engine pod on an L40S node; returns `namespace/name`."""
        port = self.state.engine_port
        default = ("--model", MODEL, "--served-model-name", "chat", "--port", str(port))
        container = {
            "name": "engine",
            "image": "vllm/vllm-openai:v0.24.0",
            "args": list(args or default),
            "ports": [{"containerPort": port}],
            "resources": {"limits": {"nvidia.com/gpu": "1"}},
            **spec.pop("container", {}),
        }
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L40S"},
                "containers": [container],
                **spec,
            },
        }
        self._kubectl("apply", "-f", "-", stdin=json.dumps(pod))
        return f"{NAMESPACE}/{name}"

    def pod(self, name: str) -> dict[str, Any]:
        answer = self._kubectl("-n", NAMESPACE, "get", "pod", name, "-o", "json", check=False)
        return json.loads(answer.stdout) if answer.returncode == 0 else {}

    def until(self, name: str, what: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until a pod is as `what` says, and return it."""
        until_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < until_s:
            pod = self.pod(name)
            if what(pod):
                return pod
            time.sleep(0.1)
        pytest.fail(
            f"pod {name} did not get there in {PATIENCE_S} s: {json.dumps(self.pod(name).get('status'))}"
        )

    def ready(self, name: str) -> str:
        """Wait until a pod is Ready; returns its endpoint."""
        return f"{self.until(name, is_ready)['status']['podIP']}:{self.state.engine_port}"

    def delete(self, name: str, *options: str) -> None:
        self._kubectl("-n", NAMESPACE, "delete", "pod", name, "--wait=false", *options)

    def events(self, name: str, until: str) -> dict[str, dict[str, Any]]:
        """The last event of each kind of a pod, as soon as the last of all is `until`.

        What the API server shows already is written down a moment later.
        """
        until_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < until_s:
            every = read_events(FleetLayout(self.state_dir).events)
            ours = [event for event in every if event.get("pod") == f"{NAMESPACE}/{name}"]
            if ours and ours[-1]["event"] == until:
                return {event["event"]: event for event in ours}
            time.sleep(0.02)
        pytest.fail(f"pod {name} has no event {until} at last: {ours}")


def is_ready(pod: dict[str, Any]) -> bool:
    return condition(pod, "Ready") == "True"


def condition(obj: dict[str, Any], kind: str) -> str | None:
    conditions = obj.get("status", {}).get("conditions", [])
    return next((each["status"] for each in conditions if each["type"] == kind), None)


def engine_status(pod: dict[str, Any]) -> dict[str, Any]:
    statuses = pod.get("status", {}).get("containerStatuses") or [{}]
    found: dict[str, Any] = statuses[0]
    return found


def waiting_message(pod: dict[str, Any]) -> str:
    return str(((engine_status(pod).get("state") or {}).get("waiting") or {}).get("message", ""))


def last_message(pod: dict[str, Any]) -> str:
    return str(engine_status(pod)["lastState"]["terminated"]["message"])


def stream(endpoint: str, num_tokens: int) -> HTTPResponse:
    """Start a streamed answer and return it after its first token."""
    address, port = endpoint.split(":")
    connection = HTTPConnection(address, int(port), timeout=20)
    asked = {"model": "chat", "prompt": "x", "max_tokens": num_tokens, "ignore_eos": True, "stream": True}
    connection.request("POST", "/v1/completions", json.dumps(asked))
    answer = connection.getresponse()
    answer.readline()
    return answer


def socket_of(answer: HTTPResponse) -> socket.socket:
    """The socket under a response: http.client offers no way to it."""
    found: socket.socket = answer.fp.raw._sock  # type: ignore[attr-defined]
    return found


@pytest.fixture(scope="module")
def fleet(
    control_plane: ControlPlane, kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    with running_fleet(control_plane, kubectl, tmp_path_factory.mktemp("fleet")) as fleet:
        yield fleet


@contextmanager
def running_fleet(control_plane: ControlPlane, kubectl: Kubectl, directory: Path) -> Iterator[Fleet]:
    kubectl("create", "namespace", NAMESPACE)
    kubectl("apply", "-f", str(RBAC))
    account = Account(ACCOUNT_NAMESPACE, ACCOUNT_NAME)
    kubeconfig = service_account_kubeconfig(control_plane.admin_kubeconfig, account, directory / "kubeconfig")
    (directory / "spec.yaml").write_text(SPEC)
    state_dir = directory / "state"
    launch = Launch(kubeconfig, state_dir, directory / "spec.yaml", control_plane.state_dir)
    launcher = Launcher(os.environ, die_with_parent=False)
    process = launcher.launch("fleet", launch.command(), directory / "fleet.log")
    try:
        state = wait_until_up(state_dir, lambda: is_running(process.identity), process.log)
        yield Fleet(state_dir, state, kubeconfig, kubectl)
    finally:
        ending = launcher.end(process, 5.0)
        kubectl("delete", "node", "-l", "type=argosy-sim", "--wait=false", check=False)
    assert ending is Ending.TERMINATED
    assert not FleetLayout(state_dir).state.exists()
    with pytest.raises(FleetNotRunningError):
        fleet_status(state_dir)


@pytest.fixture(autouse=True)
def _room_for_the_next_test(request: pytest.FixtureRequest, kubectl: Kubectl) -> Iterator[None]:
    yield
    if "fleet" in request.fixturenames:
        kubectl("-n", NAMESPACE, "delete", "pod", "--all", "--force", "--grace-period=0", "--wait=false")


def test_nodes_are_ready_and_look_like_gpu_nodes(fleet: Fleet, kubectl: Kubectl) -> None:
    node = json.loads(kubectl("get", "node", "vk-l40s-1", "-o", "json").stdout)
    labels = node["metadata"]["labels"]
    assert condition(node, "Ready") == "True"
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "2"
    expected = {
        "nvidia.com/gpu.product": "NVIDIA-L40S",
        "nvidia.com/gpu.count": "2",
        "nvidia.com/gpu.memory": "46068",
        "topology.kubernetes.io/zone": "zone-b",
        "kubernetes.io/hostname": "vk-l40s-1",
        "type": "argosy-sim",
        "pool": "vk",
    }
    assert {name: labels[name] for name in expected} == expected
    assert not [taint for taint in node["spec"].get("taints", []) if "argosy" in taint["key"]]
    renewed = kubectl(
        "-n", "kube-node-lease", "get", "lease", "vk-l40s-1", "-o", "jsonpath={.spec.renewTime}"
    )
    assert renewed.stdout


def test_a_pod_is_ready_after_the_load_delay_and_serves(fleet: Fleet) -> None:
    fleet.run("loads")
    endpoint = fleet.ready("loads")
    pod = fleet.pod("loads")
    events = fleet.events("loads", until="ready")
    with urllib.request.urlopen(f"http://{endpoint}/v1/models", timeout=5) as answer:
        assert [model["id"] for model in json.load(answer)["data"]] == ["chat"]
    assert endpoint.startswith(fleet.state.network.removesuffix("0.0/16"))
    assert events["ready"]["address"] == endpoint
    assert events["ready"]["gpus"] == 1
    waited_s = events["ready"]["at"] - events["bound"]["at"]
    assert LOAD_S <= waited_s < LOAD_S + 1.0
    assert {each["type"] for each in pod["status"]["conditions"]} == {
        *("PodScheduled", "PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready")
    }
    status = engine_status(pod)
    assert (status["ready"], status["started"], status["restartCount"]) == (True, True, 0)
    # Measured 4-9 ms on two busy cores; routable within 1 s of Ready is promised on top of this.
    assert events["ready"]["report_ms"] < 500


def test_kubectl_logs_shows_what_the_engine_said(fleet: Fleet, kubectl: Kubectl) -> None:
    fleet.run("talks")
    fleet.ready("talks")
    whole = kubectl("-n", NAMESPACE, "logs", "talks").stdout.splitlines()
    tail = kubectl("-n", NAMESPACE, "logs", "talks", "--tail=1").stdout.splitlines()
    assert f"INFO loading {MODEL} on 1 x NVIDIA-L40S: 16.1 GB of weights" in whole[0]
    assert tail == whole[-1:]
    assert "Uvicorn running on" in tail[0]


def test_kubectl_exec_is_told_that_a_simulated_pod_has_no_container(
    fleet: Fleet, control_plane: ControlPlane
) -> None:
    fleet.run("silent")
    fleet.ready("silent")
    kubectl = [control_plane.binaries.kubectl, f"--kubeconfig={control_plane.admin_kubeconfig}"]
    asked = [*kubectl, "-n", NAMESPACE, "exec", "silent", "--", "ls"]
    answer = run(asked, capture_output=True, text=True, check=False, timeout=60)
    assert answer.returncode != 0
    assert "this pod is simulated: it has no container for exec; kubectl logs works" in answer.stderr


def test_logs_can_be_followed_to_the_end_of_the_pod(fleet: Fleet, control_plane: ControlPlane) -> None:
    fleet.run("followed")
    fleet.ready("followed")
    kubectl = [control_plane.binaries.kubectl, f"--kubeconfig={control_plane.admin_kubeconfig}"]
    command = [*kubectl, "-n", NAMESPACE, "logs", "-f", "followed"]
    with Popen(command, stdout=PIPE, text=True) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline()  # now it follows
        fleet.delete("followed")
        assert "shut down, 0 requests cut" in follower.stdout.read()
    assert follower.returncode == 0


def test_deletion_drains_what_runs_and_then_removes_the_pod(fleet: Fleet) -> None:
    fleet.run("drains")
    answer = stream(fleet.ready("drains"), num_tokens=100)
    fleet.delete("drains", "--grace-period=20")
    tokens = answer.read().count(b'"text"')
    assert tokens == 99, "all but the one read before"
    fleet.until("drains", lambda pod: not pod)
    events = fleet.events("drains", until="gone")
    assert events["terminating"]["grace_s"] == 20
    assert events["terminating"]["at"] < events["gone"]["at"]


def test_a_pre_stop_hook_keeps_the_engine_serving_new_requests(fleet: Fleet) -> None:
    hook = {"lifecycle": {"preStop": {"exec": {"command": ["drain"]}}}}
    fleet.run("hooked", container=hook)
    endpoint = fleet.ready("hooked")
    fleet.delete("hooked", "--grace-period=20")
    fleet.events("hooked", until="terminating")
    assert stream(endpoint, num_tokens=3).read().count(b'"text"') == 2
    fleet.until("hooked", lambda pod: not pod)
    events = fleet.events("hooked", until="gone")
    assert 2.0 <= events["gone"]["at"] - events["terminating"]["at"] < 4.0


def test_a_grace_period_that_is_too_short_cuts_requests_at_its_end(fleet: Fleet) -> None:
    fleet.run("cut")
    answer = stream(fleet.ready("cut"), num_tokens=1000)
    fleet.delete("cut", "--grace-period=1")
    with pytest.raises(CUT):
        _read_whole(answer)
    fleet.until("cut", lambda pod: not pod)
    events = fleet.events("cut", until="gone")
    assert events["gone"]["at"] - events["terminating"]["at"] >= 0.9


def _read_whole(answer: HTTPResponse) -> None:
    if b"[DONE]" not in answer.read():
        raise EOFError


def test_a_crashed_engine_is_started_again_and_counted(fleet: Fleet) -> None:
    name = fleet.run("crashes")
    first = fleet.ready("crashes")
    running = stream(first, num_tokens=1000)
    crash_pod(fleet.state_dir, name)
    with pytest.raises(CUT):
        _read_whole(running)
    pod = fleet.until("crashes", lambda pod: is_ready(pod) and engine_status(pod)["restartCount"] == 1)
    ended = engine_status(pod)["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "Error")
    events = fleet.events("crashes", until="ready")
    # Back-off and load delay both lie between.
    assert events["ready"]["at"] - events["crashed"]["at"] >= 2 * LOAD_S
    with urllib.request.urlopen(f"http://{fleet.ready('crashes')}/health", timeout=5) as answer:
        assert answer.status == 200


TIMES = {"periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 2}
PROBE = {"httpGet": {"path": "/health", "port": "http"}, **TIMES}


def test_an_engine_that_is_late_with_its_readiness_probe_is_not_ready_until_it_answers_again(
    fleet: Fleet,
) -> None:
    name = fleet.run("late", container={"readinessProbe": PROBE})
    endpoint = fleet.ready("late")
    running = stream(endpoint, num_tokens=1000)
    began_s = time.time()
    delay_pod(fleet.state_dir, name, "/health", 1.5)
    pod = fleet.until("late", lambda pod: not is_ready(pod))
    status = engine_status(pod)
    assert time.time() - began_s >= 2.0, "two answers in a row, each given a second"
    assert (status["ready"], "running" in status["state"], status["restartCount"]) == (False, True, 0)
    delay_pod(fleet.state_dir, name, "/health", 0.0)
    again = engine_status(fleet.until("late", is_ready))
    assert again["state"] == status["state"], "it has run all the time"
    _read_whole(running)


def test_an_engine_that_fails_its_liveness_probe_is_started_again(fleet: Fleet) -> None:
    name = fleet.run("stuck", container={"livenessProbe": PROBE, "startupProbe": PROBE})
    fleet.ready("stuck")
    delay_pod(fleet.state_dir, name, "/health", 30.0)
    pod = fleet.until("stuck", lambda pod: is_ready(pod) and engine_status(pod)["restartCount"] == 1)
    assert "the liveness probe failed, times in a row: 2" in last_message(pod)


def test_an_engine_that_starts_too_late_for_its_startup_probe_is_started_again(fleet: Fleet) -> None:
    fleet.run("slow", container={"startupProbe": {**PROBE, "failureThreshold": 1}})
    pod = fleet.until("slow", lambda pod: engine_status(pod).get("restartCount", 0) >= 1)
    assert "the startup probe failed, times in a row: 1" in last_message(pod)
    fleet.delete("slow")


@pytest.mark.parametrize(
    ("name", "args", "words"),
    [
        ("unknown-model", ("--model", "acme/tiny"), '"acme/tiny" is not in the catalogue'),
        ("bad-args", ("--model", MODEL, "--max-num-seqs", "many"), "expected one whole number"),
        ("too-large", ("--model", "meta-llama/Llama-3.3-70B-Instruct"), "do not fit"),
        ("too-few", ("--model", MODEL, "--tensor-parallel-size", "2"), "World size (2)"),
    ],
    ids=["unknown model", "bad argument", "a model too large for the GPU", "fewer GPUs than ranks"],
)
def test_an_engine_that_cannot_start_says_why(
    fleet: Fleet, kubectl: Kubectl, name: str, args: tuple[str, ...], words: str
) -> None:
    fleet.run(name, *args)
    pod = fleet.until(name, lambda pod: bool(waiting_message(pod)))
    assert engine_status(pod)["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert words in waiting_message(pod)
    assert words in kubectl("-n", NAMESPACE, "logs", name).stdout


def test_a_taken_engine_port_is_said_in_words(fleet: Fleet) -> None:
    with socket.socket() as everywhere:
        everywhere.bind(("0.0.0.0", 0))
        everywhere.listen()
        port = everywhere.getsockname()[1]
        fleet.run("port-taken", "--model", MODEL, "--port", str(port))
        pod = fleet.until("port-taken", lambda pod: "another process listens" in waiting_message(pod))
    assert f"0.0.0.0:{port}" in waiting_message(pod)
    # The port is free again, and so is the way to Ready.
    fleet.until("port-taken", is_ready)


def test_a_foreign_pod_runs_and_does_nothing(fleet: Fleet) -> None:
    other = {"name": "engine", "image": "busybox", "args": ["sleep", "1d"], "resources": {}, "ports": []}
    fleet.run("foreign", container=other)
    pod = fleet.until("foreign", is_ready)
    assert pod["status"]["phase"] == "Running"
    assert f"{NAMESPACE}/foreign" not in [each.pod for each in fleet_status(fleet.state_dir).replicas]
    fleet.delete("foreign")
    fleet.until("foreign", lambda pod: not pod)


def test_the_kubelets_account_may_do_no_more_than_its_work(
    fleet: Fleet, kubectl_as: Callable[[Path], Kubectl]
) -> None:
    as_kubelet = kubectl_as(fleet.kubeconfig)
    for refused in (
        ("get", "secrets", "-A"),
        ("get", "nodes"),
        ("-n", NAMESPACE, "create", "configmap", "mine"),
    ):
        answer = as_kubelet(*refused, check=False)
        assert answer.returncode != 0
        assert f"{ACCOUNT_NAMESPACE}:{ACCOUNT_NAME}" in answer.stderr
        assert "forbidden" in answer.stderr


def test_a_command_for_a_wrong_name_says_which_names_there_are(fleet: Fleet) -> None:
    with pytest.raises(UnknownTargetError, match="no node vk-b200-0; it has vk-l40s-0, vk-l40s-1, vk-h100-0"):
        kill_node(fleet.state_dir, "vk-b200-0")
    with pytest.raises(UnknownTargetError, match="no engine runs in pod a/b"):
        crash_pod(fleet.state_dir, "a/b")


def test_a_second_fleet_in_the_same_directory_is_refused(fleet: Fleet) -> None:
    launcher = Launcher(os.environ, die_with_parent=True)
    log = fleet.state_dir / "second.log"
    second = launcher.launch("second", Launch(fleet.kubeconfig, fleet.state_dir).command(), log)
    with pytest.raises(FleetNotRunningError):
        wait_until_up(fleet.state_dir / "elsewhere", lambda: is_running(second.identity), second.log)
    assert f"a live fleet (pid {fleet.state.process.pid}) runs in" in log.read_text()
    assert FleetLayout(fleet.state_dir).load() == fleet.state
    launcher.end(second, 1.0)


def test_a_dead_node_falls_silent_and_gets_not_ready_while_its_sockets_stay_open(
    fleet: Fleet, kubectl: Kubectl
) -> None:
    there = {"kubernetes.io/hostname": "vk-h100-0"}
    name, kept = fleet.run("doomed", nodeSelector=there), fleet.run("kept", nodeSelector=there)
    endpoint, first = fleet.ready("doomed"), fleet.ready("kept")
    running = stream(endpoint, num_tokens=5000)
    assert set(kill_node(fleet.state_dir, "vk-h100-0")) == {name, kept}
    socket_of(running).settimeout(1.0)
    with pytest.raises(TimeoutError):
        _read_whole(running)
    address, port = endpoint.split(":")
    with socket.create_connection((address, int(port)), timeout=1.0) as newcomer:
        newcomer.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(TimeoutError):
            newcomer.recv(1)
    assert "ready" in fleet.events("doomed", until="silent")
    dead = {node.name for node in fleet_status(fleet.state_dir).nodes if node.is_dead}
    assert dead == {"vk-h100-0"}
    kubectl("wait", "node/vk-h100-0", "--for=condition=Ready=Unknown", f"--timeout={PATIENCE_S:.0f}s")
    kubectl("wait", "node/vk-l40s-0", "--for=condition=Ready=True", "--timeout=1s")
    # Nobody drains there any more: a deleted pod stays, terminating, until the node object goes.
    fleet.delete("doomed")
    time.sleep(1.0)
    assert fleet.pod("doomed")["metadata"]["deletionTimestamp"]
    with pytest.raises(UnknownTargetError, match=r"no dead node vk-l40s-0; dead are: .*vk-h100-0"):
        revive_node(fleet.state_dir, "vk-l40s-0")
    revive_node(fleet.state_dir, "vk-h100-0")
    kubectl("wait", "node/vk-h100-0", "--for=condition=Ready=True", f"--timeout={PATIENCE_S:.0f}s")
    kubectl("-n", NAMESPACE, "wait", "pod/doomed", "--for=delete", f"--timeout={PATIENCE_S:.0f}s")
    fleet.until("kept", lambda pod: is_ready(pod) and not first.startswith(f"{pod['status']['podIP']}:"))
    assert b'"text"' in stream(fleet.ready("kept"), num_tokens=3).read()


def test_an_api_server_that_restarts_stops_no_stream_and_loses_no_pod(
    tmp_path: Path, kubectl_as: Callable[[Path], Kubectl]
) -> None:
    with ControlPlane.start(tmp_path / "plane") as plane:
        kubectl = kubectl_as(plane.admin_kubeconfig)
        with running_fleet(plane, kubectl, tmp_path) as fleet:
            fleet.run("before")
            running = stream(fleet.ready("before"), num_tokens=500)
            fleet.run("meanwhile", nodeSelector={"kubernetes.io/hostname": "vk-l40s-1"})
            plane.restart_api_server()
            fleet.run("after")
            fleet.ready("meanwhile")
            fleet.ready("after")
            assert running.read().count(b'"text"') == 499
            kubectl("wait", "node", "--all", "--for=condition=Ready=True", f"--timeout={PATIENCE_S:.0f}s")
            assert engine_status(fleet.pod("before"))["restartCount"] == 0
