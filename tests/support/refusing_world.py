"""A small fleet in a cluster that refuses replicas, as an API server and a scheduler do.

Owns the far side only: a Deployment whose pods are refused has none, and the condition that shows why; a pod
that no node takes carries the scheduler's words.
"""

from __future__ import annotations

from dataclasses import replace

from small_fleet import NVIDIA, World, a_class, a_fleet, a_model, a_pool, some_nodes

from argosy.snapshot.admission.quotas import LimitRangeState, QuotaState
from argosy.snapshot.cluster import DeploymentState, PodState
from argosy.snapshot.fleet import FleetSnapshot

CHEAP, DEAR = "l40s", "h100"


class RefusingWorld(World):
    """Two pools, a cheap and a dear one, and one class.

    refuses:  the API server's words for pods of a pool
    no_node:  the scheduler's words for pods of a pool
    quota:    GPUs that the namespace may have; None: any number
    """

    def __init__(self, rate_per_s: float = 8.0, placement: str = "Argosy") -> None:
        self.refuses: dict[str, str] = {}
        self.no_node: dict[str, str] = {}
        self.quotas: dict[str, QuotaState] = {}
        self.limit_ranges: dict[str, LimitRangeState] = {}
        self.enforced: dict[str, str] = {}
        self.foreign: dict[str, PodState] = {}
        self.is_quota_real = True
        dear = a_pool(DEAR, "H100", priceUsdPerHour=6.0, placement=placement)
        cheap = a_pool(CHEAP, "L40S", placement=placement)
        nodes = [*some_nodes(CHEAP, 4), *some_nodes(DEAR, 2)]
        super().__init__(nodes, a_fleet(), cheap, dear, a_model(), a_class(rate_per_s=rate_per_s))

    def snapshot(self) -> FleetSnapshot:
        found = super().snapshot()
        return replace(
            found,
            quotas=dict(self.quotas),
            limit_ranges=dict(self.limit_ranges),
            enforced=dict(self.enforced),
            pods={**found.pods, **self.foreign},
        )

    def pool_of(self, deployment: DeploymentState) -> str:
        return self.label(deployment.key).partition("/")[0]

    def _scale(self, deployment: DeploymentState) -> None:
        live = [p for p in self.pods.values() if p.deployment == deployment.key and not p.deleting]
        message = self.refuses.get(self.pool_of(deployment)) or self._over_quota(deployment, len(live))
        if deployment.replicas <= len(live) or not message:
            self.deployments[deployment.key] = replace(deployment, pods_refused="", refused_since_s=None)
            super()._scale(self.deployments[deployment.key])
        elif not deployment.pods_refused:
            self.deployments[deployment.key] = replace(
                deployment, pods_refused=message, refused_since_s=self.now_s
            )

    def _over_quota(self, deployment: DeploymentState, there: int) -> str:
        """What the API server says where the next pod would exceed the quota; the pods before it are made."""
        for quota in self.quotas.values() if self.is_quota_real else ():
            most = int(quota.hard[f"requests.{NVIDIA}"])
            held = sum(p.devices.get(NVIDIA, 0) for p in (*self.pods.values(), *self.foreign.values()))
            while held < most and there < deployment.replicas:
                self._create_pod(deployment.key)
                there, held = there + 1, held + 1
            if there < deployment.replicas:
                return (
                    f"pods is forbidden: exceeded quota: {quota.key.name}, requested: requests.{NVIDIA}=1,"
                    f" used: requests.{NVIDIA}={held}, limited: requests.{NVIDIA}={most}"
                )
        return ""

    def _schedule(self, pod: PodState) -> None:
        words = self.no_node.get(self.label(pod.deployment).partition("/")[0])
        if not words:
            return super()._schedule(replace(pod, unschedulable=""))
        since_s = self.now_s if pod.unschedulable_since_s is None else pod.unschedulable_since_s
        self.pods[pod.key] = replace(pod, unschedulable=words, unschedulable_since_s=since_s)
        return None

    def planned(self) -> dict[str, int]:
        """Replicas of the applied plan by pool."""
        return {d.pool: d.replicas for d in self.applied.spec.deployments if d.replicas}
