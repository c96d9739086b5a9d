"""A `World` in which an autoscaler brings nodes for pods that find no room, as Karpenter does.

Owns the fake of the autoscaler: `delay_s` after a pod was first marked as unschedulable it registers a node,
at most `most` of them, and takes one away that has been empty for `idle_s`. It looks at no gated pod.
"""

from __future__ import annotations

from dataclasses import replace

from builders import a_node
from small_fleet import World

from argosy.api import CustomResource
from argosy.rollout import ReleasePod, Step
from argosy.snapshot.cluster import NodeState, PodState


class AutoscaledWorld(World):
    """Starts without nodes; `delay_s=None`: none ever comes."""

    def __init__(
        self, *objects: CustomResource, delay_s: float | None, most: int = 4, pool: str = "l40s"
    ) -> None:
        super().__init__([], *objects)
        self.delay_s, self.most, self.pool = delay_s, most, pool
        self.idle_s = 120.0
        self.num_came = 0
        self._empty_since_s: dict[str, float] = {}

    def take(self, step: Step) -> None:
        if isinstance(step, ReleasePod):
            assert self.pods[step.pod].gated
            self.pods[step.pod] = replace(self.pods[step.pod], gated=False)
        else:
            super().take(step)

    def reconcile(self) -> None:
        super().reconcile()
        waiting = [p for p in self.pods.values() if self._asks(p)]
        if waiting and len(self._own()) < self.most:
            self._bring()
            super().reconcile()
        for node in self._own():
            since_s = self._empty_since_s.setdefault(node.name, self.now_s)
            if self.held(node.name):
                del self._empty_since_s[node.name]
            elif self.now_s - since_s >= self.idle_s:
                del self.nodes[node.name], self._empty_since_s[node.name]

    def _asks(self, pod: PodState) -> bool:
        since_s = pod.unschedulable_since_s
        is_seen = not (pod.gated or pod.node or pod.deleting or pod.assigned_node)
        if self.delay_s is None or since_s is None or not is_seen:
            return False
        return pod.labels["argosy.dev/pool"] == self.pool and self.now_s - since_s >= self.delay_s

    def _own(self) -> list[NodeState]:
        return [n for n in self.nodes.values() if n.name.startswith(f"{self.pool}-came")]

    def _bring(self) -> None:
        name = f"{self.pool}-came-{self.num_came}"
        self.num_came += 1
        self.nodes[name] = replace(a_node(name, self.pool), created_s=self.now_s)
