"""Owns the simulated GPU nodes in the API server: object, status, heartbeats.

A node looks like one on which NVIDIA's operator has run: labels of GPU
feature discovery, `nvidia.com/gpu` in capacity. Its heartbeat is a Lease, renewed every 2 s: the embedded
control plane gives it 8 s, others 40. Every fifth heartbeat repeats the status too, because
after an API server's outage the node controller has set it to Unknown and only a kubelet sets
it back.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from argosy.errors import ArgosyError
from argosy.perf.catalogue import find_gpu
from argosy.perf.protocol import OutOfRange
from argosy_sim.controlplane.host.ports import LOOPBACK
from argosy_sim.livefleet.event_log import EventLog
from argosy_sim.livefleet.kubelet.kube_api import KubeApi, Object
from argosy_sim.livefleet.spec import SIMULATED, TAINT, LiveFleetSpec, NodeGroup

HEARTBEAT_S = 2.0
_STATUS_EVERY = 5
LEASE_NAMESPACE = "kube-node-lease"
_LEASE_SECONDS = 40
_MIB = 1024 * 1024
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class SimulatedNode:
    """One node. `ready_since` (RFC 3339) is empty until it reports that it is Ready, and again once it is
    back from the dead. `host_ip`: where the cluster reaches this host."""

    name: str
    group: NodeGroup
    host_ip: str = LOOPBACK
    is_dead: bool = False
    ready_since: str = ""
    uid: str = ""


def nodes_of(spec: LiveFleetSpec, host_ip: str = LOOPBACK) -> tuple[SimulatedNode, ...]:
    """Return the nodes that a fleet's description names."""
    return tuple(
        SimulatedNode(f"{group.name}-{number}", group, host_ip)
        for group in spec.nodes
        for number in range(group.count)
    )


def node_object(node: SimulatedNode, *, taint: bool) -> Object:
    """Return the Node as it is registered."""
    labels = gpu_labels(node.group) | {
        "kubernetes.io/hostname": node.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "topology.kubernetes.io/zone": node.group.zone,
        "type": SIMULATED,
        **node.group.labels,
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "labels": labels},
        **({"spec": {"taints": [TAINT]}} if taint else {}),
    }


def gpu_labels(group: NodeGroup) -> dict[str, str]:
    """Return the labels of GPU feature discovery and a cloud; no memory for a GPU without a data sheet."""
    product = group.gpu_product
    labels = {
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.product": product,
        "nvidia.com/gpu.count": str(group.gpus),
        "node.kubernetes.io/instance-type": f"sim.{product.removeprefix('NVIDIA-').lower()}.{group.gpus}x",
    }
    gpu = find_gpu(product)
    if not isinstance(gpu, OutOfRange):
        labels["nvidia.com/gpu.memory"] = str(gpu.memory_bytes // _MIB)
    return labels


def node_status(node: SimulatedNode, kubelet_port: int | None, now: str) -> Object:
    """Return the Node's status: room, addresses, conditions."""
    room = {
        "cpu": str(32 * node.group.gpus),
        "memory": f"{256 * node.group.gpus}Gi",
        "ephemeral-storage": "1000Gi",
        "pods": "110",
        "nvidia.com/gpu": str(node.group.gpus),
    }
    status: Object = {
        "capacity": room,
        "allocatable": room,
        "addresses": [
            {"type": "InternalIP", "address": node.host_ip},
            {"type": "Hostname", "address": node.name},
        ],
        "conditions": [
            _condition("Ready", "True", "KubeletReady", (node.ready_since, now)),
            _condition("MemoryPressure", "False", "KubeletHasSufficientMemory", (node.ready_since, now)),
            _condition("DiskPressure", "False", "KubeletHasNoDiskPressure", (node.ready_since, now)),
            _condition("PIDPressure", "False", "KubeletHasSufficientPID", (node.ready_since, now)),
        ],
        "nodeInfo": _node_info(node),
    }
    if kubelet_port is not None:
        status["daemonEndpoints"] = {"kubeletEndpoint": {"Port": kubelet_port}}
    return status


def _condition(kind: str, status: str, reason: str, times: tuple[str, str]) -> Object:
    since, now = times
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": "the simulated kubelet is posting ready status" if kind == "Ready" else "simulated",
        "lastHeartbeatTime": now,
        "lastTransitionTime": since,
    }


def _node_info(node: SimulatedNode) -> Object:
    return {
        "machineID": node.name,
        "systemUUID": node.name,
        "bootID": node.name,
        "kernelVersion": "simulated",
        "osImage": "Argosy simulated node",
        "containerRuntimeVersion": "argosy://0.1",
        "kubeletVersion": "v1.36.3-argosy",
        "kubeProxyVersion": "",
        "operatingSystem": "linux",
        "architecture": "amd64",
    }


def rfc3339(now: dt.datetime, *, micro: bool = False) -> str:
    """Return a time as Kubernetes writes it: `Time`, or `MicroTime`."""
    return now.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")


class Heartbeats:
    """Registers nodes and keeps them Ready until they die."""

    def __init__(self, api: KubeApi, nodes: Sequence[SimulatedNode], kubelet_port: int | None) -> None:
        self._api = api
        self._nodes = list(nodes)
        self._kubelet_port = kubelet_port

    async def register(self, events: EventLog, *, taint: bool) -> None:
        """Create all nodes and report them Ready."""
        for node in self._nodes:
            await self._register(node, events, taint=taint)

    async def add(self, node: SimulatedNode, events: EventLog, *, taint: bool) -> None:
        """Register one more node."""
        await self._register(node, events, taint=taint)
        self._nodes.append(node)

    async def remove(self, node: SimulatedNode) -> None:
        """Delete a node; its Lease goes with it."""
        self._nodes.remove(node)
        await self._api.delete_node(node.name)

    async def _register(self, node: SimulatedNode, events: EventLog, *, taint: bool) -> None:
        node.ready_since = rfc3339(_now())
        created = await self._api.apply_node(node_object(node, taint=taint))
        node.uid = created["metadata"]["uid"]
        # The lease first: a node that is Ready without one is Unknown at the controller's next look.
        await self._api.renew_lease(self._lease(node))
        await self._report(node)
        events.write("node_ready", node=node.name, gpu=node.group.gpu_product, gpus=node.group.gpus)

    async def run(self) -> None:
        """Renew the Lease until cancelled."""
        loop = asyncio.get_running_loop()
        beat, next_s = 0, loop.time()
        while True:
            beat += 1
            alive = [node for node in self._nodes if not node.is_dead]
            await asyncio.gather(*(self._beat(node, with_status=beat % _STATUS_EVERY == 0) for node in alive))
            # A slow API server must not make beats pile up, nor stretch the period.
            next_s = max(next_s + HEARTBEAT_S, loop.time())
            await asyncio.sleep(next_s - loop.time())

    async def _beat(self, node: SimulatedNode, *, with_status: bool) -> None:
        try:
            await self._api.renew_lease(self._lease(node))
            if with_status or not node.ready_since:
                node.ready_since = node.ready_since or rfc3339(_now())
                await self._report(node)
        except ArgosyError as error:
            _log.warning("heartbeat of node %s failed: %s", node.name, error)

    async def _report(self, node: SimulatedNode) -> None:
        status = node_status(node, self._kubelet_port, rfc3339(_now()))
        await self._api.patch_node_status(node.name, status)

    def _lease(self, node: SimulatedNode) -> dict[str, Any]:
        owner = {"apiVersion": "v1", "kind": "Node", "name": node.name, "uid": node.uid}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": node.name, "namespace": LEASE_NAMESPACE, "ownerReferences": [owner]},
            "spec": {
                "holderIdentity": node.name,
                "leaseDurationSeconds": _LEASE_SECONDS,
                "renewTime": rfc3339(_now(), micro=True),
            },
        }


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
