"""Owns the virtual kubelet: which pods are bound to the fleet's nodes, and a worker for each.

Watches all bound pods of the cluster
(a field selector cannot name a set of nodes) and ignores those of other nodes. After an
outage of the API server it lists again, and ends the workers of pods that were deleted meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from argosy.errors import ArgosyError
from argosy_sim.livefleet.errors import UnknownTargetError
from argosy_sim.livefleet.kubelet.kube_api import Object
from argosy_sim.livefleet.kubelet.log_endpoint import FoundLog
from argosy_sim.livefleet.kubelet.nodes import SimulatedNode
from argosy_sim.livefleet.kubelet.pod_worker import PodWorker, ReplicaStatus, Services

_RETRY_S = 0.5
_FINAL_PHASES = ("Succeeded", "Failed")
_log = logging.getLogger(__name__)


class VirtualKubelet:
    """Runs the pods of `nodes`."""

    def __init__(self, nodes: Sequence[SimulatedNode], services: Services) -> None:
        self._nodes = {node.name: node for node in nodes}
        self._services = services
        self._workers: dict[str, PodWorker] = {}
        # Pods of dead nodes whose objects are gone: their sockets stay open, like a dead machine's.
        self._buried: list[PodWorker] = []
        self._is_to_list = asyncio.Event()

    @property
    def nodes(self) -> tuple[SimulatedNode, ...]:
        """All nodes, dead ones too."""
        return tuple(self._nodes.values())

    async def run(self) -> None:
        """Follow the API server until cancelled."""
        while True:
            try:
                await self._follow_until_revival(await self.synchronise())
            except ArgosyError as error:
                _log.warning("the watch on pods ended: %s", error)
                await asyncio.sleep(_RETRY_S)

    async def synchronise(self) -> str:
        """List once: start what is new, end what has gone; returns the version to watch from."""
        pods, version = await self._services.api.list_bound_pods()
        seen = {pod["metadata"]["uid"] for pod in pods}
        for uid in [uid for uid in self._workers if uid not in seen]:
            self._forget(uid)
        for pod in pods:
            self._observe(pod)
        return version

    async def _follow_until_revival(self, version: str) -> None:
        self._is_to_list.clear()
        tasks = [asyncio.ensure_future(each) for each in (self._follow(version), self._is_to_list.wait())]
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
        finally:
            for task in tasks:
                task.cancel()

    async def _follow(self, version: str) -> None:
        while True:
            async for kind, changed in self._services.api.watch_bound_pods(version):
                if kind == "ERROR":  # the version is too old
                    _log.info("listing pods again: %s", changed.get("message"))
                    return
                version = changed["metadata"]["resourceVersion"]
                if kind == "DELETED":
                    self._forget(changed["metadata"]["uid"])
                elif kind != "BOOKMARK":
                    self._observe(changed)

    def _observe(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        node = self._nodes.get(pod["spec"].get("nodeName", ""))
        if node is None or node.is_dead:
            return
        worker = self._workers.get(uid)
        if worker is not None:
            worker.observe(pod)
        elif (pod.get("status") or {}).get("phase") not in _FINAL_PHASES:
            self._workers[uid] = PodWorker(pod, node, self._services)

    def _forget(self, uid: str) -> None:
        worker = self._workers.pop(uid, None)
        if worker is None or not worker.is_alive():
            if worker is not None and worker.node.is_dead:
                self._buried.append(worker)
            return
        worker.vanish()

    # What an autoscaler does.

    @property
    def occupied(self) -> frozenset[str]:
        """Names of the nodes with pods."""
        return frozenset(worker.node.name for worker in self._workers.values())

    def add_node(self, node: SimulatedNode) -> None:
        """Run the pods of one more node."""
        self._nodes[node.name] = node

    def remove_node(self, node: SimulatedNode) -> None:
        """Forget a node."""
        self._nodes.pop(node.name, None)

    # What is done to it on purpose.

    def kill_node(self, name: str) -> list[str]:
        """Let a node fall silent for good; returns its pods. Raises `UnknownTargetError`."""
        node = self._nodes.get(name)
        if node is None:
            raise UnknownTargetError(f"this fleet has no node {name}; it has {', '.join(self._nodes)}")
        if node.is_dead:
            return []
        node.is_dead = True
        self._services.events.write("node_dead", node=name)
        silenced = [worker for worker in self._workers.values() if worker.node is node and worker.is_alive()]
        for worker in silenced:
            worker.silence()
        return [str(worker.name) for worker in silenced]

    def revive_node(self, name: str) -> None:
        """Let a dead node's machine start again: its sockets close, and the pods that it still has start
        anew. Raises `UnknownTargetError`."""
        node = self._nodes.get(name)
        if node is None or not node.is_dead:
            dead = ", ".join(each.name for each in self.nodes if each.is_dead)
            raise UnknownTargetError(f"this fleet has no dead node {name}; dead are: {dead or 'none'}")
        for worker in [*self._workers.values(), *self._buried]:
            if worker.node is node:
                worker.stop()
        self._workers = {uid: each for uid, each in self._workers.items() if each.node is not node}
        self._buried = [each for each in self._buried if each.node is not node]
        node.is_dead, node.ready_since = False, ""
        self._services.events.write("node_back", node=name)
        self._is_to_list.set()

    def crash_pod(self, name: str) -> None:
        """Let the engine of pod `namespace/name` die. Raises `UnknownTargetError`."""
        self._do_to(name, PodWorker.crash)

    def delay_pod(self, name: str, path: str, seconds: float) -> None:
        """Let the engine of a pod be late with the answers of a path. Raises `UnknownTargetError`."""
        self._do_to(name, lambda worker: worker.delay(path, seconds))

    def _do_to(self, name: str, deed: Callable[[PodWorker], bool]) -> None:
        if any(deed(worker) for worker in self._workers.values() if str(worker.name) == name):
            return
        running = [status.pod for status in self.replicas() if status.address]
        raise UnknownTargetError(
            f"no engine runs in pod {name}; engines run in: {', '.join(running) or 'none'}"
        )

    def replicas(self) -> tuple[ReplicaStatus, ...]:
        """Return how every engine is."""
        everyone = (worker.status() for worker in self._workers.values() if not self._has_ended(worker))
        return tuple(status for status in everyone if status is not None)

    @staticmethod
    def _has_ended(worker: PodWorker) -> bool:
        return not worker.is_alive() and not worker.node.is_dead

    def find_log(self, namespace: str, pod: str, container: str) -> FoundLog | None:
        """Return a container's log, None if no such container is known."""
        for worker in self._workers.values():
            if (worker.name.namespace, worker.name.name) == (namespace, pod):
                path = worker.log_of(container)
                if path is not None:
                    return FoundLog(path, worker.is_alive, worker.node.is_dead)
        return None

    def stop(self) -> None:
        """End all servers at once; the pods' objects stay as they are."""
        for worker in (*self._workers.values(), *self._buried):
            worker.stop()
