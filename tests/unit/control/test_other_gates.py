"""Pods that Kueue or another client holds back by a scheduling gate of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_fleet import World, a_class, a_fleet, a_model, a_pool, condition, some_nodes

KUEUE_GATE = "kueue.x-k8s.io/admission"


class QueuedWorld(World):
    """In which every new pod carries another client's gate until that removes it."""

    gate, queue = KUEUE_GATE, {"kueue.x-k8s.io/queue-name": "inference"}

    def _create_pod(self, deployment):  # type: ignore[no-untyped-def]
        pod = super()._create_pod(deployment)
        self.pods[pod.key] = replace(pod, other_gates=(self.gate,), labels={**pod.labels, **self.queue})
        return self.pods[pod.key]

    def _schedule(self, pod):  # type: ignore[no-untyped-def]
        if not pod.other_gates:
            super()._schedule(pod)

    def admit(self) -> None:
        """The other client removes its gate from every pod."""
        self.pods = {key: replace(pod, other_gates=()) for key, pod in self.pods.items()}


def a_world() -> QueuedWorld:
    return QueuedWorld(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())


def test_argosy_removes_its_own_gate_and_a_queued_pod_is_waited_for_and_not_replaced() -> None:
    world = a_world()
    world.run(1200.0, period_s=60.0)
    assert [(pod.gated, pod.other_gates) for pod in world.pods.values()] == [(False, (KUEUE_GATE,))] * 2
    assert world._num_pods == 2
    found = condition(world.decisions[-1], "default/chat")
    assert (found["status"], found["reason"]) == ("False", "PodsGated")
    assert "0 of 2 replicas serve; 2 wait with their GPUs reserved" in found["message"]
    assert "Kueue removes it once LocalQueue inference admits the pod" in found["message"]
    world.admit()
    world.settle()
    assert condition(world.decisions[-1], "default/chat")["status"] == "True"


def test_replicas_of_others_go_only_once_queued_ones_serve() -> None:
    world = a_world()
    world.run(2.0)
    world.admit()
    world.settle()
    before = set(world.pods)
    world.apply(a_model(engine={"maxNumSeqs": 128}))
    world.run(60.0, period_s=20.0)
    assert before <= set(world.pods)
    assert sum(world.serving().values()) == 2
    found = condition(world.decisions[-1], "default/chat")
    assert found["reason"] == "PodsGated"
    assert "2 replicas of the former plan serve until all do. Of the planned ones 2 wait" in found["message"]
    world.admit()
    world.settle()
    assert before.isdisjoint(world.pods)


@pytest.mark.parametrize("gate", ["example.com/check"])
def test_another_clients_gate_is_named(gate: str) -> None:
    world = a_world()
    world.gate = gate
    world.run(3.0)
    found = condition(world.decisions[-1], "default/chat")
    assert f"for the scheduling gate {gate}: the client that set it has to remove it" in found["message"]
