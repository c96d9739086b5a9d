"""A stage for the operator's contract tests: every real component once, shared by many tests.

Owns the processes, how a test reads the world (plain HTTP through `kubectl proxy`, a millisecond
each) and how it is put back to rest afterwards. Never decides what is right: tests do.

At rest: one operator runs and leads, class chat has two replicas on L40S that placement chose nodes for,
class scholar one on four H100 that the scheduler chose, and Envoy serves both.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import yaml
from api_calls import AUDITED
from background_load import Answer, Ask, BackgroundLoad, ask_once
from stage_rest import watched
from waiting import PATIENCE_S, until
from waiting import until_equal as until_equal

from argosy.api import Fleet, FleetPlan, GPUPool, RouterPolicy, ServedModel, WorkloadClass
from argosy.xds.hop import TCP_PREFIX
from argosy.xds.waiting import ANY_PREFIX, WAITING_LISTENER, WAITING_PREFIX
from argosy_sim.controlplane.cluster import ControlPlane
from argosy_sim.controlplane.errors import StartError
from argosy_sim.controlplane.host.ports import LOOPBACK, free_ports
from argosy_sim.controlplane.host.processes import Launcher, Process, is_running, send
from argosy_sim.livefleet.event_log import read_events
from argosy_sim.livefleet.launch import ACCOUNT_NAMESPACE
from argosy_sim.livefleet.spec import LiveFleetSpec, NodeGroup
from argosy_sim.stage import Stage, StagePlan

Object = dict[str, Any]
Say = Callable[[str], None]

REPOSITORY = Path(__file__).parents[2]
WORLD = REPOSITORY / "tests" / "data" / "operator_world"
FLEET = LiveFleetSpec(
    nodes=(
        NodeGroup(name="l40s", gpu_product="NVIDIA-L40S", gpus=2, count=3),
        NodeGroup(name="h100", gpu_product="NVIDIA-H100-80GB-HBM3", gpus=4, count=2),
        # None at rest: one comes for a pod that finds no room.
        NodeGroup(name="h200", gpu_product="NVIDIA-H200", gpus=1, count=0, most=1, empty_seconds=1.0),
    ),
    load_seconds=0.5,
)
ANSWER_TIMEOUT_S = 10.0
"""For one HTTP answer of a process of the test that is alive."""

OURS = "/apis/argosy.dev/v1alpha1"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/argosy-system/leases/argosy-operator"
_PODS = "/api/v1/namespaces/default/pods?labelSelector=app.kubernetes.io/managed-by%3Dargosy"
_DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
PLURALS = {
    kind.KIND: kind.PLURAL for kind in (Fleet, FleetPlan, GPUPool, RouterPolicy, ServedModel, WorkloadClass)
}
USER_KINDS = ("fleets", "gpupools", "servedmodels", "workloadclasses", "routerpolicies")


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator process that a test started."""

    name: str
    process: Process
    http_address: str

    @property
    def is_running(self) -> bool:
        return is_running(self.process.identity)

    def is_ready(self) -> bool:
        try:
            return bool(self._get("readyz"))
        except OSError:
            return False

    def metrics(self) -> list[str]:
        """The lines of /metrics."""
        return self._get("metrics").splitlines()

    def metric(self, name: str) -> float:
        """A metric's value (`name` with its labels), 0 where it is not shown."""
        rows = (line.rpartition(" ") for line in self.metrics())
        return next((float(value) for shown, _, value in rows if shown == name), 0.0)

    def _get(self, path: str) -> str:
        """Raises HTTPError for any other status than 200."""
        url = f"http://{self.http_address}/{path}"
        with urllib.request.urlopen(url, timeout=ANSWER_TIMEOUT_S) as answer:
            return str(answer.read().decode())

    def num_decisions(self) -> float:
        """How many iterations of the planning loop it has carried out."""
        return self.metric('argosy_iterations_total{outcome="decided"}')

    def kill(self) -> None:
        """End it without a chance to finish anything."""
        send(self.process.identity, signal.SIGKILL)
        until(lambda: not self.is_running, f"{self.name} to end")

    def terminate(self) -> float:
        """End it as Kubernetes would; returns how many seconds it took."""
        began_s = time.monotonic()
        send(self.process.identity, signal.SIGTERM)
        until(lambda: not self.is_running, f"{self.name} to end")
        return time.monotonic() - began_s


class OperatorStage:
    """The shared stage. Made by `start`, ended by `close`."""

    def __init__(self, stage: Stage, stack: ExitStack) -> None:
        self.stage = stage
        self._stack = stack
        self.xds_ports: dict[str, int] = {}
        self.operators: dict[str, Operator] = {}
        self.proxy = ""
        self._had_outage = False

    @classmethod
    def start(cls, directory: Path, plan: StagePlan | None = None) -> OperatorStage:
        """Everything up and at rest; takes about 15 s. plan: another world, which need not be at rest."""
        with ExitStack() as stack:
            control_plane = stack.enter_context(ControlPlane.start(directory / "control-plane", AUDITED))
            launcher = Launcher(os.environ, die_with_parent=True)
            stack.callback(launcher.kill_all)
            own = StagePlan(directory, REPOSITORY, examples=str(WORLD), fleet=FLEET)
            found = cls(Stage(plan or own, control_plane, launcher), stack)
            found._put_on()
            if plan is None:
                found.until_at_rest()
            found._stack = stack.pop_all()
        return found

    def close(self) -> None:
        """End everything in order."""
        for name in tuple(self.operators):
            self.end_operator(name)
        self._stack.close()

    def _put_on(self) -> None:
        stage, ports = self.stage, free_ports(3)
        stage.install()
        self.proxy = f"http://{LOOPBACK}:{ports[2]}"
        kubectl = [str(stage.control_plane.binaries.kubectl)]
        kubectl += [f"--kubeconfig={stage.control_plane.admin_kubeconfig}", "proxy", f"--port={ports[2]}"]
        stage.launch("proxy", kubectl)
        stage.start_fleet()
        self._stack.callback(stage.end, "live-fleet")
        self.xds_ports = {"operator-0": ports[0], "operator-1": ports[1]}
        _run(stage.start_envoy(ports[:2]))
        self._stack.callback(lambda: _run(stage.envoy.stop()))
        stage.apply_examples()
        self.start_operator("operator-0")

    # --- operators -------------------------------------------------------------------------------

    def start_operator(self, name: str, *flags: str, ready: bool = True) -> Operator:
        """Start an operator as its own ServiceAccount; a namesake must have ended before."""
        (http_port,) = free_ports(1)
        address = f"{LOOPBACK}:{http_port}"
        command = [sys.executable, "-m", "argosy", "operator", "run", "--identity", name]
        command += ["--kubeconfig", str(self.operator_kubeconfig(name)), "--http-address", address]
        command += ["--xds-address", f"{LOOPBACK}:{self.xds_ports[name]}"]
        command += ["--state-dir", str(self.state_dir(name)), *flags]
        operator = Operator(name, self.stage.launch(name, command), address)
        self.operators[name] = operator
        if ready:
            until(operator.is_ready, f"{name} to be ready")
        return operator

    def end_operator(self, name: str) -> None:
        """End an operator, if it still runs, and forget it."""
        self.operators.pop(name, None)
        self.stage.end(name)

    @property
    def leader(self) -> Operator:
        """The operator that holds the Lease and runs."""
        return self.operators[self.holder()]

    def start_standby(self) -> Operator:
        """A second operator beside the leader."""
        (name,) = self.xds_ports.keys() - {self.holder()}
        return self.start_operator(name)

    def operator_kubeconfig(self, name: str) -> Path:
        """The operator's own kubeconfig; made once, so that it can be started while the API is away."""
        path = self.stage.plan.directory / f"{name}.kubeconfig"
        if not path.exists():
            self.stage.control_plane.service_account_kubeconfig(ACCOUNT_NAMESPACE, "argosy-operator", path)
        return path

    def state_dir(self, name: str) -> Path:
        return self.stage.plan.directory / name

    def log(self, name: str) -> str:
        return (self.stage.plan.directory / "logs" / f"{name}.log").read_text(errors="replace")

    def holder(self) -> str:
        """Who holds the Lease."""
        return str((self.read(LEASE).get("spec") or {}).get("holderIdentity", ""))

    # --- the API server --------------------------------------------------------------------------

    def kill_api_server(self) -> None:
        """End the API server as a crash does."""
        self._had_outage = True
        self.stage.control_plane.kill_api_server()

    def start_api_server(self) -> None:
        """Start it again on the same port and data; its own clients find back in their own time."""
        self.stage.control_plane.start_api_server()

    def restore_etcd(self, backup: Path) -> None:
        """Put etcd's data of an earlier moment back (`ControlPlane.take_backup`)."""
        self._had_outage = True
        self.stage.control_plane.restore_backup(backup)

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """As the administrator; fails the test with kubectl's words."""
        return self.stage.kubectl(*arguments, stdin=stdin)

    def apply(self, *objects: Mapping[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", stdin="\n---\n".join(json.dumps(o) for o in objects))

    def patch(self, kind: str, name: str, **spec: Any) -> None:
        """Change fields of an object's spec."""
        self.kubectl("patch", kind, name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def read(self, path: str) -> Object:
        """One GET of the API server; an object that is not there is an empty one.

        As any client of Kubernetes does, it asks again where it is asked to (429): an API server that has
        just started answers so for a moment.
        """
        give_up_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                with urllib.request.urlopen(f"{self.proxy}{path}", timeout=ANSWER_TIMEOUT_S) as answer:
                    return dict(json.loads(answer.read()))
            except urllib.error.HTTPError as error:
                if error.code == HTTPStatus.NOT_FOUND:
                    return {}
                if error.code != HTTPStatus.TOO_MANY_REQUESTS or time.monotonic() > give_up_s:
                    raise
                time.sleep(float(error.headers.get("Retry-After") or 1.0))

    def items(self, path: str) -> list[Object]:
        return list(self.read(path).get("items", ()))

    def plans(self) -> list[Object]:
        """All FleetPlans by revision."""
        return sorted(self.items(f"{OURS}/fleetplans"), key=lambda p: int(p["spec"]["revision"]))

    def applied(self) -> Object:
        """The applied FleetPlan, {} where none is."""
        applied = [p for p in self.plans() if condition(p, "Applied").get("status") == "True"]
        return applied[-1] if applied else {}

    def deployments(self) -> dict[str, Object]:
        return {d["metadata"]["name"]: d for d in self.items(_DEPLOYMENTS)}

    def pods(self, workload_class: str, pool: str = "") -> list[Object]:
        """A class's engine pods that are not on their way out, by name."""
        return sorted(
            (
                pod
                for pod in self.items(_PODS)
                if pod["metadata"]["labels"]["argosy.dev/sharing-group"] == workload_class
                and pod["metadata"]["labels"]["argosy.dev/pool"].startswith(pool)
                and "deletionTimestamp" not in pod["metadata"]
            ),
            key=lambda pod: str(pod["metadata"]["name"]),
        )

    def ready_pods(self, workload_class: str, pool: str = "") -> list[Object]:
        return [pod for pod in self.pods(workload_class, pool) if is_ready(pod)]

    def replica_sets(self) -> list[str]:
        """Names of all ReplicaSets, which end in their pod template's hash."""
        return sorted(names(self.items("/apis/apps/v1/namespaces/default/replicasets")))

    def again(self, item: Mapping[str, Any]) -> Object:
        """An object of Argosy's as it is now, {} where it is gone."""
        metadata, plural = item["metadata"], PLURALS[item["kind"]]
        scope = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
        return self.read(f"{OURS}{scope}/{plural}/{metadata['name']}")

    def delete(self, *items: Mapping[str, Any]) -> None:
        """Delete objects without waiting for their ends."""
        manifests = "\n---\n".join(json.dumps(item) for item in items)
        self.kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", stdin=manifests)

    def class_of(self, name: str, namespace: str = "default") -> Object:
        return self.read(f"{OURS}/namespaces/{namespace}/workloadclasses/{name}")

    def events(self) -> list[Object]:
        """What happened on the live fleet's nodes, to the millisecond."""
        return read_events(self.stage.fleet_dir / "events.jsonl")

    def first_at(self, event: str, pods: list[str]) -> float:
        """When the first of these pods had this event (Unix seconds)."""
        return min(self._at(event, pods))

    def last_at(self, event: str, pods: list[str]) -> float:
        """When the last of these pods had this event (Unix seconds)."""
        return max(self._at(event, pods))

    def _at(self, event: str, pods: list[str]) -> list[float]:
        keys = {f"default/{pod}" for pod in pods}
        return [float(e["at"]) for e in self.events() if e["event"] == event and e.get("pod") in keys]

    # --- Envoy -----------------------------------------------------------------------------------

    def ask(self, **fields: Any) -> Ask:
        return Ask(url=self.stage.gateway_url, **fields)

    def load(self, rate_per_s: float = 4.0, **fields: Any) -> BackgroundLoad:
        return BackgroundLoad(self.ask(**fields), rate_per_s)

    def answer(self, **fields: Any) -> Answer:
        return ask_once(self.ask(**fields))

    def envoy_versions(self) -> dict[str, str]:
        """The version of every kind of resource that Envoy serves."""
        found: dict[str, str] = {}
        for config in self._envoy_says("config_dump?include_eds")["configs"]:
            kind = config["@type"].rsplit(".", 1)[-1]
            rows = [row for key, rows in config.items() if key.startswith("dynamic_") for row in rows]
            # Of clusters and listeners each has the version that changed it last; the kind's is on top.
            versions = [config.get("version_info"), *(row.get("version_info") for row in rows)]
            if version := next((v for v in versions if v), ""):
                found[kind] = version
        return found

    def envoy_endpoints(self) -> dict[str, bool]:
        """Whether Envoy counts an engine healthy, by its pod's key; those on their way out too."""
        clusters = self._envoy_says("clusters?format=json").get("cluster_statuses", ())
        # TCP clusters also have engines that are not ready; those of waiting requests have all once more.
        others = (TCP_PREFIX, WAITING_PREFIX, ANY_PREFIX)
        http = [cluster for cluster in clusters if not cluster["name"].startswith(others)]
        hosts = [host for cluster in http for host in cluster.get("host_statuses", ())]
        healthy = {"eds_health_status": "HEALTHY"}
        named = [host for host in hosts if host.get("hostname", WAITING_LISTENER) != WAITING_LISTENER]
        return {host["hostname"]: host["health_status"] == healthy for host in named}

    def _envoy_says(self, path: str) -> Object:
        url = f"http://{self.stage.envoy.admin_address}/{path}"
        with urllib.request.urlopen(url, timeout=ANSWER_TIMEOUT_S) as answer:
            return dict(json.loads(answer.read()))

    def kill_envoy(self) -> None:
        """End Envoy as a crash does."""
        _run(self.stage.envoy.kill())

    def restart_envoy(self) -> None:
        """Start the killed Envoy's program again: same bootstrap, same admin port."""
        settings, envoy = self.stage.envoy.settings, self.stage.envoy
        command = [str(settings.binary), "--config-path", str(settings.directory / "bootstrap.yaml")]
        command += ["--concurrency", str(settings.concurrency), "--log-level", "warning"]
        envoy.process = self.stage.launch("envoy", [*command, "--use-dynamic-base-id"])

    # --- rest ------------------------------------------------------------------------------------

    def until_observed(self, path: str) -> None:
        """Wait until the operator has decided on an object as it is now; its watches tell it late."""
        until(lambda: is_observed(self.read(path)), f"a status for the present {path}")

    def until_at_rest(self) -> None:
        """Wait until the world is as this module's docstring says, and the operator knows it."""
        is_at_rest, last = watched(self)
        try:
            until(is_at_rest, "the stage to be at rest", 2 * PATIENCE_S)
        except AssertionError as error:
            raise AssertionError(f"{error}; {last()}") from None

    def restore(self) -> None:
        """Take back whatever a test did."""
        if not self.stage.control_plane.is_ready():
            self.start_api_server()
        if not self.stage.envoy.is_running:
            self.restart_envoy()
        if self._had_outage:
            self._until_controllers_are_back()
        alive = [name for name, operator in self.operators.items() if operator.is_running]
        kept = self.holder() if self.holder() in alive else next(iter(alive), "")
        for name in self.operators.keys() - {kept}:
            self.end_operator(name)
        if not kept:
            self.start_operator("operator-0")
        for node in self.items("/api/v1/nodes"):
            if node["spec"].get("unschedulable"):
                self.kubectl("uncordon", node["metadata"]["name"])
            if any(taint["key"].startswith("karpenter.sh/") for taint in node["spec"].get("taints", ())):
                self.kubectl("taint", "node", node["metadata"]["name"], "karpenter.sh/disrupted-")
        try:
            self.apply_world("replace", "--save-config")  # unlike apply, it removes fields that a test set
        except StartError:  # an object is gone
            self.apply_world()
        self.until_at_rest()

    def apply_world(self, *verb: str) -> None:
        """Apply the tests' objects, with the gateway of this stage.

        A Fleet without one listens on port 8080 of every address: the Envoys of two stages would then get
        each other's requests.
        """
        texts = [file.read_text() for file in sorted(WORLD.glob("*.yaml"))]
        items = [item for text in texts for item in yaml.safe_load_all(text) if item]
        for item in items:
            if item["kind"] == Fleet.KIND:
                item["spec"]["gateway"] = self.stage.gateway_settings
        world = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        self.stage.kubectl(*(verb or ("apply",)), "-f", "-", stdin=world)

    def _until_controllers_are_back(self) -> None:
        """Kubernetes' controllers watch again only after a pause, each for itself; a Deployment tells."""
        container = {"name": "none", "image": "none"}
        template = {
            "metadata": {"labels": {"app": "probe"}},
            "spec": {"containers": [container], "nodeSelector": {"no": "where"}},
        }
        probe = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "probe", "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"app": "probe"}}, "template": template},
        }
        self.apply(probe)

        def is_made() -> bool:
            return bool(self.deployments()["probe"]["status"].get("replicas") == 1)

        # A minute after a second outage that follows the first at once.
        until(is_made, "the controllers' return", 2 * PATIENCE_S)
        self.delete(probe)
        until(lambda: "probe" not in self.deployments(), "the probe to go")
        self._had_outage = False

    def engine_pods(self) -> list[Object]:
        """All of Argosy's pods, those on their way out too."""
        return self.items(_PODS)

    def unobserved(self) -> list[str]:
        """Users' objects with a change that is still to be decided on."""
        found = [item for kind in USER_KINDS for item in self.items(f"{OURS}/{kind}")]
        return [f"{i['kind']} {i['metadata']['name']}" for i in found if not is_observed(i)]


def condition(item: Mapping[str, Any], kind: str) -> Object:
    """An object's condition, {} where it has none."""
    rows = (item.get("status") or {}).get("conditions") or ()
    return next((dict(row) for row in rows if row["type"] == kind), {})


def is_ready(item: Mapping[str, Any]) -> bool:
    return condition(item, "Ready").get("status") == "True"


def is_observed(item: Mapping[str, Any]) -> bool:
    """Whether an object's status is about its present spec."""
    return bool((item.get("status") or {}).get("observedGeneration") == item["metadata"]["generation"])


def contents(versions: Mapping[str, str]) -> dict[str, str]:
    """Versions without the revision in front: a new Envoy is sent the newest, an old one keeps its own."""
    return {kind: version.partition("-")[2] for kind, version in versions.items()}


def names(objects: list[Object]) -> list[str]:
    return [str(o["metadata"]["name"]) for o in objects]


def _run(awaited: Any) -> None:
    """Await something from a fixture, leaving the thread's event loop as it is."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(awaited)
