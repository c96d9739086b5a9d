"""A fleet small enough for a table of stories, and the Kubernetes around it.

Fakes of the far side only: `World` does what the API server, the Deployment controller, the scheduler,
the kubelets and the node controller do, in virtual seconds. What decides is always the real `control.step`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from builders import NVIDIA, R, a_class, a_fleet, a_model, a_node, a_pool, parsed, some_nodes
from fake_perf import FakePerf, StrictPerf
from remembered import settle_once, uneventful_s
from restarted import is_restarted
from rotation import ensure_unused, in_order_of_removal, withdrawn
from solved_once import solve_once

from argosy.api import (
    CustomResource,
    Fleet,
    FleetPlan,
    GPUPool,
    InvalidObject,
    RouterPolicy,
    ServedModel,
    WorkloadClass,
)
from argosy.api.crd.resource import status_body
from argosy.api.workloadclass import WorkloadClassStatus
from argosy.control.cells import RouteCells
from argosy.control.decision import Decision, StatusUpdate
from argosy.control.memory import ControlMemory, TrafficMemory
from argosy.control.recheck import changed_since
from argosy.control.step import StepSettings, step
from argosy.keys import DeploymentKey
from argosy.manifests import deployment_manifest, deployment_name, pod_template
from argosy.rollout import (
    CreateDeployment,
    DeleteDeployment,
    DeletePod,
    EndProtection,
    MarkVictim,
    PlacePod,
    ProtectReplicas,
    ScaleDeployment,
    Step,
)
from argosy.snapshot import EngineReading, Sample, TelemetryReading
from argosy.snapshot.adapters.record import lora_limits
from argosy.snapshot.cluster import LABEL_DEPLOYMENT, DeploymentState, NodeState, PodState
from argosy.snapshot.fleet import EnvoyState, FleetSnapshot, ProfileFileKey, RoutingView
from argosy.snapshot.kubernetes import deployment_state
from argosy.snapshot.seen import ObjectRef, Seen

__all__ = [  # with builders that stories need beside a World
    "LOAD_S",
    "NVIDIA",
    "START_S",
    "FakePerf",
    "World",
    "a_class",
    "a_fleet",
    "a_model",
    "a_node",
    "a_pool",
    "condition",
    "parsed",
    "some_nodes",
    "status_of",
    "verdict",
]

START_S = 1_700_000_000.0
LOAD_S = 18.0
DRAIN_S = 10.0


class World:
    """Objects, and a Kubernetes that acts on them. Start with `World(nodes, *objects)`."""

    def __init__(self, nodes: Iterable[NodeState], *objects: CustomResource) -> None:
        self.now_s = START_S
        self.nodes = {n.name: n for n in nodes}
        self.objects: dict[tuple[type[CustomResource], str], CustomResource] = {}
        self.deleted: set[ObjectRef] = set()
        self.parting: dict[ObjectRef, float] = {}
        """When the grace of each deleted object ends, which is kept until then (seconds since the epoch)."""
        self.seen, self.ending = Seen(), dict[str, float]()
        self.apply(*objects)
        self.pods: dict[str, PodState] = {}
        self.deployments: dict[str, DeploymentState] = {}
        self.protected: dict[DeploymentKey, int] = {}
        self.plans: tuple[FleetPlan, ...] = ()
        self.silent: set[str] = set()
        self.unknown: set[str] = set()
        self.dead_nodes: set[str] = set()
        self.is_deaf = False
        self.perf = FakePerf()
        self.profile_files: dict[ProfileFileKey, bytes] = {}
        self.unread_profiles: dict[ProfileFileKey, str] = {}
        self.decisions: list[Decision] = []
        self.serving_over_time: list[int] = []
        self.broken_deployments: set[str] = set()
        self.is_envoy_frozen = False
        self.memory = ControlMemory()
        self.cells: RouteCells | None = None
        self._templates: dict[str, dict[str, Any]] = {}
        self._gone_at_s: dict[str, float] = {}
        self._bound_at_s: dict[str, float] = {}
        self._silent_since_s: dict[str, float] = {}
        self._num_pods = 0
        self._withdrawn: frozenset[str] = frozenset()

    # What users do.

    def apply(self, *objects: CustomResource) -> None:
        for item in objects:
            self.objects[type(item), item.key] = item
            self.deleted.discard(ObjectRef(type(item).PLURAL, item.key))
            self.parting.pop(ObjectRef(type(item).PLURAL, item.key), None)

    def delete(self, kind: type[CustomResource], key: str) -> None:
        del self.objects[kind, key]
        self.deleted.add(ObjectRef(kind.PLURAL, key))

    def delete_with_grace(self, kind: type[CustomResource], key: str) -> None:
        """As the operator's store sees it: the object is kept until its grace has ended."""
        grace_s = self.snapshot().fleet_spec.deletion_grace_seconds
        self.parting[ObjectRef(kind.PLURAL, key)] = self.now_s + grace_s

    def _end_graces(self) -> None:
        for (kind, key), ref in [(each, ObjectRef(each[0].PLURAL, each[1])) for each in self.objects]:
            if self.parting.get(ref, self.now_s + 1.0) <= self.now_s:
                del self.parting[ref]
                self.delete(kind, key)

    def kill_node(self, name: str) -> None:
        """Its engines fall silent at once; 40 s later its condition reports it."""
        self.dead_nodes.add(name)
        for pod in self.pods.values():
            if pod.node == name:
                self.silence(pod.key)

    def awaken(self, key: str) -> None:
        """It answers again."""
        self.silent.discard(key)
        self._silent_since_s.pop(key, None)

    def silence(self, key: str) -> None:
        self.silent.add(key)
        self._silent_since_s[key] = self.now_s

    # What the operator sees and does.

    def of(self, kind: type[R]) -> dict[str, R]:
        return {k: o for (cls, k), o in self.objects.items() if cls is kind and isinstance(o, kind)}

    def snapshot(self) -> FleetSnapshot:
        asked = [p for p in self.pods.values() if p.address and p.ready and not self.is_deaf]
        heard_at_s = {p.address: self._silent_since_s.get(p.key, self.now_s) for p in asked}
        return FleetSnapshot(
            now_s=self.now_s,
            fleet=self.of(Fleet).get("default"),
            pools=self.of(GPUPool),
            models=self.of(ServedModel),
            classes=self.of(WorkloadClass),
            policies=self.of(RouterPolicy),
            plans=self.plans,
            nodes=dict(self.nodes),
            pods=dict(self.pods),
            deployments=dict(self.deployments),
            protected=dict(self.protected),
            ending=dict(self.ending),
            telemetry=TelemetryReading(
                engines={
                    a: Sample(EngineReading(1, 0, 0.1, 0, 0, 0), at_s) for a, at_s in heard_at_s.items()
                },
                unanswered_since_s={
                    self.pods[k].address: since for k, since in self._silent_since_s.items() if k in self.pods
                },
            ),
            routing=self._routing(),
            profile_files=dict(self.profile_files),
            unread_profiles=dict(self.unread_profiles),
            seen=replace(self.seen, deleted=frozenset(self.deleted), parting=dict(self.parting)),
            monotonic_s=self.now_s - START_S,
        )

    def _routing(self) -> RoutingView:
        """One Envoy, which has acknowledged every ready pod but the withdrawn and the `unknown` ones."""
        without = self.unknown | self._withdrawn
        pods = [p for p in self.pods.values() if p.ready and p.deployment and p.key not in without]
        known = frozenset(p.address for p in pods)
        edge = EnvoyState("edge", "v1", endpoints_version="v1", endpoints_since_s=START_S - 60.0)
        return RoutingView("v1", (edge,), {"v1": known})

    def decide(self, trigger: str = "a test") -> Decision:
        """One decision, not carried out."""
        settings = StepSettings(trigger, plan_time_limit_s=None, cells=self.cells)
        decision = step(self.snapshot(), self.memory, settings, self.perf, solve_once)
        assert decision.alarm == "", decision.alarm
        self.memory = self.memory.with_planning(decision.memory)
        self.decisions.append(decision)
        return decision

    def act(self, trigger: str = "a test") -> Decision:
        """One decision, carried out; Kubernetes then does its part for no time at all."""
        decision = self.decide(trigger)
        self._carry_out(decision)
        self.reconcile()
        return decision

    def run(self, seconds: float, period_s: float = 1.0) -> None:
        """Decide every `period_s` while time passes."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self._end_graces()
            self.act()
            self.now_s += period_s
            self.reconcile()
            self.serving_over_time.append(sum(self.serving().values()))

    def rest(self) -> None:
        """Settle, and let the stabilisation window of the last revision pass: the next change is obeyed."""
        self.settle()
        self.now_s += self.snapshot().fleet_spec.stabilization_seconds

    def settle(self, limit_s: float = 1200.0) -> None:
        """Run until nothing is decided, no removal waits, nothing loads and nothing drains."""
        if type(self.perf) in (FakePerf, StrictPerf):
            settle_once(self, limit_s, self._run_until_settled)
        else:
            self._run_until_settled(limit_s)

    def _run_until_settled(self, limit_s: float) -> None:
        end_s = self.now_s + limit_s
        while self.now_s < end_s:
            self._end_graces()
            decision = self.act()
            waits = decision.waiting or decision.memory.awaited_s
            calm = not decision.steps and decision.new_plan is None and not waits and not self.parting
            if calm and not any(p.deleting or not p.ready for p in self.pods.values()):
                return
            seconds = uneventful_s(self, LOAD_S) if calm and decision.waits_until_s is None else 1
            self.serving_over_time += [sum(self.serving().values())] * (seconds - 1)
            self.now_s += seconds
            self.reconcile()
            self.serving_over_time.append(sum(self.serving().values()))
        raise AssertionError(f"not settled after {limit_s} s: {self.decisions[-1]}")

    # What a test looks at.

    def serving(self) -> Counter[str]:
        """Replicas that get requests and answer them, by Deployment."""
        out = self.silent | self._withdrawn
        return Counter(
            p.deployment for p in self.pods.values() if p.ready and not p.deleting and p.key not in out
        )

    def replicas(self) -> dict[str, int]:
        """Counts by pool and sharing group: `l40s/chat`."""
        found: Counter[str] = Counter()
        for deployment in self.deployments.values():
            found[self.label(deployment.key)] += deployment.replicas
        return {name: n for name, n in sorted(found.items()) if n}

    def label(self, deployment: str) -> str:
        labels = self._templates[deployment]["metadata"]["labels"]
        return f"{labels['argosy.dev/pool']}/{labels['argosy.dev/sharing-group']}"

    def template_of(self, deployment: str) -> dict[str, Any]:
        """The pod template that a Deployment was created with."""
        return self._templates[deployment]

    @property
    def applied(self) -> FleetPlan:
        plan = self.snapshot().applied_plan
        assert plan is not None
        return plan

    def pods_of(self, label: str) -> list[PodState]:
        return [p for _, p in sorted(self.pods.items()) if p.deployment and self.label(p.deployment) == label]

    def pods_of_class(self, key: str) -> list[PodState]:
        """Engine pods whose Deployment the applied plan lists for a class's sharing groups."""
        groups = {c.sharing_group for c in self.applied.spec.cells if c.workload_class == key}
        names = {d.name for d in self.applied.spec.deployments if d.sharing_group in groups}
        return [p for _, p in sorted(self.pods.items()) if p.deployment in names]

    # What Kubernetes does.

    def _carry_out(self, decision: Decision) -> None:
        self.publish(decision)
        for planned in decision.steps:
            assert changed_since(planned, self.snapshot()) == ""
            self.take(planned.step)

    def publish(self, decision: Decision) -> None:
        """The new revision, and what becomes of all plans, in the order in which they are written."""
        plans = {p.key: p for p in self.plans}
        if decision.new_plan is not None:
            assert decision.new_plan.key not in plans
            plans[decision.new_plan.key] = decision.new_plan
        reported = [each for each in decision.statuses if each.kind == FleetPlan.PLURAL]
        for update in (*decision.life.statuses, *reported):
            body = plans[update.key].to_object()
            body["status"] = {**body.get("status", {}), **status_body(update.status)}
            plans[update.key] = stored(FleetPlan, body)
        for key in decision.life.expired:
            del plans[key]
        self.plans = tuple(plans.values())
        for update in decision.statuses:
            if isinstance(update.status, WorkloadClassStatus):
                self._note_interruption(update.key, update.status)

    def _note_interruption(self, key: str, status: WorkloadClassStatus) -> None:
        """The one field of a class's status that decisions read."""
        item = self.of(WorkloadClass)[key]
        noted = item.status.model_copy(update={"interrupted_since": status.interrupted_since})
        self.objects[WorkloadClass, key] = item.model_copy(update={"status": noted})

    def take(self, step: Step) -> None:
        """What the API server makes of one step."""
        match step:
            case CreateDeployment(workload, count):
                assert workload.key not in self.deployments
                self._templates[workload.key] = pod_template(workload)
                assert workload.key.endswith(deployment_name(workload))
                self.deployments[workload.key] = deployment_state(deployment_manifest(workload, count))
                self.protected[workload.key] = count
            case ScaleDeployment(key, count):
                ensure_unused(self, key, count)
                self.deployments[key] = replace(self.deployments[key], replicas=count)
            case DeleteDeployment(key):
                assert not any(p.deployment == key for p in self.pods.values())
                del self.deployments[key]
                del self.protected[key]
            case MarkVictim(pod, cost):
                self.pods[pod] = replace(self.pods[pod], deletion_cost=cost)
            case PlacePod(pod, node):
                assert self.pods[pod].gated
                self.pods[pod] = replace(self.pods[pod], gated=False, assigned_node=node)
            case DeletePod(pod):
                self.delete_pod(pod)
            case ProtectReplicas(key, least):
                assert key in self.deployments
                self.protected[key] = least
            case EndProtection(key):
                del self.protected[key]

    def reconcile(self) -> None:
        """Deployments, scheduler, kubelets and Envoy catch up with the instant that it is now."""
        if not self.is_envoy_frozen:
            self._withdrawn = withdrawn(self.snapshot())
        self._end_pods()
        for deployment in list(self.deployments.values()):
            self._scale(deployment)
        for pod in sorted(self.pods.values(), key=lambda p: (p.created_s, p.key)):
            if not pod.gated and not pod.node and not pod.deleting:
                self._schedule(pod)
        for pod in list(self.pods.values()):
            bound_at_s = self._bound_at_s.get(pod.key, self.now_s)
            is_loaded = self.now_s - bound_at_s >= LOAD_S
            broken = pod.deployment in self.broken_deployments
            if is_loaded and not pod.ready and not broken and pod.node not in self.dead_nodes:
                self.pods[pod.key] = replace(pod, ready=True, ready_since_s=self.now_s, phase="Running")

    def _end_pods(self) -> None:
        for key, at_s in list(self._gone_at_s.items()):
            if at_s <= self.now_s:
                self.pods.pop(key, None)
                del self._gone_at_s[key]

    def _scale(self, deployment: DeploymentState) -> None:
        live = in_order_of_removal(self.pods, deployment.key)
        if deployment.replicas and is_restarted(deployment, self._templates[deployment.key]):
            surge = next((p for p in live if p.gated), None) or self._create_pod(deployment.key)
            live = [p for p in live if p.key != surge.key]
        for _ in range(deployment.replicas - len(live)):
            self._create_pod(deployment.key)
        for pod in live[: max(0, len(live) - deployment.replicas)]:
            self.delete_pod(pod.key)

    def delete_pod(self, key: str) -> None:
        """Gone at once where it never ran, after a drain where it did, never from a dead node."""
        pod = self.pods[key]
        self.pods[key] = replace(pod, deleting=True)
        if not pod.node:
            self._gone_at_s[key] = self.now_s
            self.pods.pop(key)
        elif pod.node not in self.dead_nodes:
            self._gone_at_s[key] = self.now_s + DRAIN_S

    def release_pod(self, key: str) -> None:
        """Someone removes the label by which its ReplicaSet selects it."""
        pod = self.pods[key]
        self.pods[key] = replace(
            pod,
            deployment=DeploymentKey(),
            origin=pod.deployment,
            lacking=(LABEL_DEPLOYMENT,),
            labels={name: value for name, value in pod.labels.items() if name != LABEL_DEPLOYMENT},
        )

    def _create_pod(self, deployment: DeploymentKey) -> PodState:
        template = self._templates[deployment]
        name, engine = deployment.name, template["spec"]["containers"][0]
        limits = engine["resources"]["limits"]
        self._num_pods += 1
        pod = PodState(
            namespace=deployment.namespace,
            name=f"{name}-{self._num_pods:04d}",
            uid=f"uid-{self._num_pods}",
            deployment=deployment,
            node="",
            phase="Pending",
            ready=False,
            deleting=False,
            gated="schedulingGates" in template["spec"],
            devices={resource: int(count) for resource, count in limits.items() if "/" in resource},
            ip=f"10.0.{self._num_pods // 250}.{self._num_pods % 250}",
            port=8000,
            created_s=self.now_s,
            labels=template["metadata"]["labels"],
            loras=lora_limits(engine.get("args", ())),
        )
        self.pods[pod.key] = pod
        return pod

    def _schedule(self, pod: PodState) -> None:
        selector = self._templates[pod.deployment]["spec"]["nodeSelector"].items()
        able = [
            n
            for n in self.nodes.values()
            if n.ready
            and not n.unschedulable
            and not any(taint.effect == "NoSchedule" for taint in n.taints)
            and n.name not in self.dead_nodes
            and selector <= n.labels.items()
            and pod.assigned_node in ("", n.name)
            and n.allocatable[NVIDIA] - self.held(n.name) >= pod.devices[NVIDIA]
        ]
        if able:
            node = min(able, key=lambda n: (self.held(n.name), n.name)).name
            self.pods[pod.key] = replace(pod, node=node, unschedulable_since_s=None)
            self._bound_at_s[pod.key] = self.now_s
        elif pod.unschedulable_since_s is None:
            self.pods[pod.key] = replace(pod, unschedulable_since_s=self.now_s)

    def held(self, node: str) -> int:
        return sum(p.devices.get(NVIDIA, 0) for p in self.pods.values() if p.node == node and p.is_active)


def stored(kind: type[R], body: Mapping[str, Any]) -> R:
    """An object as the API server would hand it out again."""
    found = kind.from_object(body)
    assert not isinstance(found, InvalidObject), found
    return found


def steps_of(decision: Decision) -> list[Step]:
    """The steps without what they rely on."""
    return [planned.step for planned in decision.steps]


def started(at_s: float) -> ControlMemory:
    """What a process remembers that started at this instant and has measured nothing."""
    return ControlMemory(TrafficMemory(started_s=at_s))


def body_of(decision: Decision, key: str, kind: str = "workloadclasses") -> dict[str, Any]:
    """An object's new status as it is written."""
    return status_body(status_of(decision, key, kind).status)


def status_of(decision: Decision, key: str, kind: str = "workloadclasses") -> StatusUpdate:
    return next(s for s in decision.statuses if s.key == key and s.kind == kind)


def condition(
    decision: Decision, key: str, kind: str = "workloadclasses", type: str = "Ready"
) -> dict[str, str]:
    """One condition of an object's new status."""
    found: dict[str, str] = next(c for c in body_of(decision, key, kind)["conditions"] if c["type"] == type)
    return found


def verdict(
    decision: Decision, key: str, kind: str = "workloadclasses", type: str = "Ready"
) -> tuple[str, str]:
    """Status and reason of one condition."""
    found = condition(decision, key, kind, type)
    return found["status"], found["reason"]
