"""A World in which users run Deployments of their own beside Argosy's.

Owns their Kubernetes side: objects as the API server hands them out, and pods with the names, labels and
owners that its controllers give them. What adopts them is the operator's own `with_adopted`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from small_fleet import NVIDIA, World

from argosy.api.adoption import ADOPT, ADOPT_CLASS
from argosy.control.adoption.adopt import listed_as_adopted, may_be_adopted, with_adopted
from argosy.keys import DeploymentKey
from argosy.rollout import (
    CreateDeployment,
    DeleteDeployment,
    EndProtection,
    MarkVictim,
    ProtectReplicas,
    RestoreDeployment,
    ScaleDeployment,
    Step,
)
from argosy.snapshot import EngineReading, Sample
from argosy.snapshot.cluster import PodState
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.kubernetes import deployment_state, pod_state

KEY = DeploymentKey("default/mine")
ALL_ARGS = (
    "--model=small",
    "--served-model-name=llama",
    "--max-model-len=16384",
    "--max-num-seqs=256",
    "--max-num-batched-tokens=8192",
    "--gpu-memory-utilization=0.9",
)


def a_deployment(
    replicas: int = 2,
    *,
    args: tuple[str, ...] = ALL_ARGS,
    label: str | None = "llama",
    gpus: int = 1,
    **notes: str,
) -> dict[str, Any]:
    """A vLLM Deployment of a user's, as the API server has it. notes: its annotations"""
    labels = {"app": "mine"}
    names = {"workload_class": ADOPT_CLASS}
    return {
        "metadata": {
            "name": KEY.name,
            "namespace": "default",
            "labels": {**labels, **({ADOPT: label} if label is not None else {})},
            "annotations": {names[name]: value for name, value in notes.items()},
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [
                        {
                            "name": "vllm",
                            "image": "vllm/vllm-openai:v0.10.0",
                            "args": list(args),
                            "resources": {"limits": {NVIDIA: str(gpus)}},
                        }
                    ]
                },
            },
        },
    }


def a_users_pod(number: int, node: str, deployment: Mapping[str, Any]) -> dict[str, Any]:
    """A ready pod of it, as the API server has it."""
    template = deployment["spec"]["template"]
    return {
        "metadata": {
            "name": f"mine-5d9c8b7f6-{number:05d}",
            "generateName": "mine-5d9c8b7f6-",
            "namespace": "default",
            "uid": f"mine-{number}",
            "creationTimestamp": "2023-11-14T00:00:00Z",
            "labels": {**template["metadata"]["labels"], "pod-template-hash": "5d9c8b7f6"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "mine-5d9c8b7f6", "controller": True}],
        },
        "spec": {"nodeName": node, **template["spec"]},
        "status": {
            "phase": "Running",
            "podIP": f"10.9.0.{number}",
            "conditions": [{"type": "ContainersReady", "status": "True"}],
            "containerStatuses": [{"name": "vllm", "started": True, "state": {"running": {}}}],
        },
    }


class AdoptedWorld(World):
    """With one Deployment of a user, whose pods run on the nodes that are given."""

    def run_mine(self, deployment: dict[str, Any], *nodes: str) -> None:
        """A user runs it; Kubernetes has started a pod on each node."""
        self.mine, self.busy = deployment, 0
        self.mine_pods = {
            state.key: state
            for number, node in enumerate(nodes, 1)
            for state in (pod_state(a_users_pod(number, node, deployment)),)
        }
        self.written: list[Step] = []

    def label(self, deployment: str) -> str:
        return "mine" if deployment == KEY else super().label(deployment)

    def relabel(self, label: str | None) -> None:
        """The user sets the label, or removes it."""
        self.mine = a_deployment(self.mine["spec"]["replicas"], label=label)

    def snapshot(self) -> FleetSnapshot:
        own = super().snapshot()
        pods = {**own.pods, **self.mine_pods}
        state = deployment_state(self.mine)
        whole = replace(own, pods=pods)
        is_asked = may_be_adopted(state.labels, state.key, listed_as_adopted(whole))
        found = with_adopted(whole, {state.key: state} if is_asked else {})
        its = [p for p in found.engine_pods if p.deployment == KEY and p.ready]
        reading = EngineReading(self.busy, 0, 0.1, 0, 0, 0)
        heard = {p.address: Sample(reading, self.now_s) for p in its if p.node in self.nodes}
        sent = {p.address for p in its if not p.is_marked}
        telemetry = replace(found.telemetry, engines={**found.telemetry.engines, **heard})
        known = {"v1": found.routing.endpoints_by_version["v1"] | sent}
        return replace(found, telemetry=telemetry, routing=replace(found.routing, endpoints_by_version=known))

    def take(self, step: Step) -> None:
        touched = getattr(step, "key", getattr(getattr(step, "workload", None), "key", ""))
        if isinstance(step, MarkVictim) and step.pod in self.mine_pods:
            self.written.append(step)
            pod = self.mine_pods[step.pod]
            self.mine_pods[step.pod] = replace(pod, deletion_cost=step.cost, is_chosen=step.cost != 0)
        elif touched == KEY:
            wrong = CreateDeployment | DeleteDeployment | RestoreDeployment | ProtectReplicas | EndProtection
            assert not isinstance(step, wrong), step
            assert isinstance(step, ScaleDeployment)
            self.written.append(step)
            self.scale_mine(step.replicas)
        else:
            super().take(step)

    def scale_mine(self, replicas: int) -> None:
        """What its ReplicaSet does when the count falls: the lowest deletion cost goes first."""
        self.mine["spec"]["replicas"] = replicas
        by_cost = sorted(self.mine_pods.values(), key=lambda p: (p.deletion_cost, p.key))
        self.mine_pods = {p.key: p for p in by_cost[max(0, len(by_cost) - replicas) :]}

    def serving(self) -> Counter[str]:
        return super().serving() + Counter({KEY: len(self.serving_mine())})

    def serving_mine(self) -> list[PodState]:
        """Its pods to which requests are sent."""
        return [p for p in self.snapshot().engine_pods if p.deployment == KEY and p.ready and not p.is_marked]

    def held(self, node: str) -> int:
        its = (p for p in getattr(self, "mine_pods", {}).values() if p.node == node)
        return super().held(node) + sum(p.devices.get(NVIDIA, 0) for p in its)
