"""Owns the stand-in of a cloud's autoscaler: nodes come for pods without room, and go when they are empty.

As Karpenter and cluster-autoscaler do, it looks at pods that the scheduler has marked as unschedulable, and
at no gated one. A node comes `bring_seconds` after the first such pod was seen, and goes once no pod was
bound to it for `empty_seconds`. Groups without `most` are left alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from argosy.errors import ArgosyError
from argosy_sim.livefleet.event_log import EventLog
from argosy_sim.livefleet.kubelet.kube_api import KubeApi, Object
from argosy_sim.livefleet.kubelet.kubelet import VirtualKubelet
from argosy_sim.livefleet.kubelet.nodes import Heartbeats, SimulatedNode, node_object
from argosy_sim.livefleet.spec import LiveFleetSpec, NodeGroup

LOOK_S = 0.5
GPU = "nvidia.com/gpu"
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Autoscaler:
    """Brings nodes of the groups that have `most`, and takes them away."""

    api: KubeApi
    spec: LiveFleetSpec
    heartbeats: Heartbeats
    kubelet: VirtualKubelet
    events: EventLog
    host_ip: str
    _seen_s: dict[str, float] = field(default_factory=dict)
    _empty_since_s: dict[str, float] = field(default_factory=dict)

    @property
    def groups(self) -> tuple[NodeGroup, ...]:
        """The groups whose number of nodes it sets."""
        return tuple(group for group in self.spec.nodes if group.most is not None)

    async def run(self) -> None:
        """Look until cancelled; without a group that it may change it only waits for that."""
        if not self.groups:
            await asyncio.Event().wait()
        while True:
            try:
                await self._look(asyncio.get_running_loop().time())
            except ArgosyError as error:
                _log.warning("the autoscaler could not look at pods: %s", error)
            await asyncio.sleep(LOOK_S)

    async def _look(self, now_s: float) -> None:
        waiting = [pod for pod in await self.api.list_unbound_pods() if is_unschedulable(pod)]
        self._seen_s = {_uid(pod): self._seen_s.get(_uid(pod), now_s) for pod in waiting}
        for group in self.groups:
            asking = [
                pod
                for pod in waiting
                if now_s - self._seen_s[_uid(pod)] >= group.bring_seconds and fits(pod, group)
            ]
            own = [node for node in self.kubelet.nodes if node.group == group]
            empty = [node for node in own if node.name not in self.kubelet.occupied]
            if sum(map(_gpus, asking)) > group.gpus * len(empty) and len(own) < (group.most or 0):
                await self._bring(group, {node.name for node in own})
            gone = [] if asking else self._gone(group, empty, now_s)
            for node in gone[: max(0, len(own) - group.count)]:
                await self._remove(node)

    def _gone(self, group: NodeGroup, empty: Iterable[SimulatedNode], now_s: float) -> list[SimulatedNode]:
        """Those of a group that have been empty for long enough."""
        by_name = {node.name: node for node in empty}
        for name in [name for name in self._empty_since_s if name not in by_name]:
            if name.rpartition("-")[0] == group.name:
                del self._empty_since_s[name]
        since_s = {name: self._empty_since_s.setdefault(name, now_s) for name in by_name}
        return [node for name, node in by_name.items() if now_s - since_s[name] >= group.empty_seconds]

    async def _bring(self, group: NodeGroup, taken: set[str]) -> None:
        names = (f"{group.name}-{number}" for number in range(len(taken) + 1))
        node = SimulatedNode(next(name for name in names if name not in taken), group, self.host_ip)
        # Before it is registered: a pod that is bound to it at once has to be seen.
        self.kubelet.add_node(node)
        await self.heartbeats.add(node, self.events, taint=self.spec.taint)

    async def _remove(self, node: SimulatedNode) -> None:
        self._empty_since_s.pop(node.name, None)
        await self.heartbeats.remove(node)
        self.kubelet.remove_node(node)
        self.events.write("node_removed", node=node.name)


def is_unschedulable(pod: Object) -> bool:
    """Whether the scheduler finds no node for a pod; a gated one it has not looked at."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    found: Object = next((c for c in conditions if c.get("type") == "PodScheduled"), {})
    return found.get("reason") == "Unschedulable" and "deletionTimestamp" not in pod["metadata"]


def fits(pod: Object, group: NodeGroup) -> bool:
    """Whether a new node of the group would take a pod."""
    labels = node_object(SimulatedNode(f"{group.name}-new", group), taint=False)["metadata"]["labels"]
    selector = pod["spec"].get("nodeSelector") or {}
    return selector.items() <= labels.items() and 0 < _gpus(pod) <= group.gpus


def _gpus(pod: Object) -> int:
    limits = ((c.get("resources") or {}).get("limits") or {} for c in pod["spec"]["containers"])
    return sum(int(each.get(GPU, 0)) for each in limits)


def _uid(pod: Object) -> str:
    return str(pod["metadata"]["uid"])
