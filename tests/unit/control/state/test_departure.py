"""Whose announcements of a node's removal are known, and what is none."""

from __future__ import annotations

from typing import Any

import pytest

from argosy.control.state.departure import ANNOUNCERS, departure, is_candidate, is_declared_dead
from argosy.snapshot.kubernetes import node_state


def a_node(*taints: tuple[str, str], **parts: Any) -> dict[str, Any]:
    """A Node that is ready, with taints of these keys and effects."""
    return {
        "metadata": {"name": "n", **parts.get("metadata", {})},
        "spec": {"taints": [{"key": k, "effect": e} for k, e in taints], **parts.get("spec", {})},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}, *parts.get("conditions", ())],
        },
    }


def vm_event(message: str, status: str = "True") -> dict[str, str]:
    return {"type": "VMEventScheduled", "status": status, "message": message}


@pytest.mark.parametrize("key", ANNOUNCERS)
@pytest.mark.parametrize("effect", ["NoSchedule", "NoExecute"])
def test_a_disruption_taint_announces_the_nodes_removal(key: str, effect: str) -> None:
    assert departure(node_state(a_node((key, effect)))) == f"{ANNOUNCERS[key]} is removing it (taint {key})"


@pytest.mark.parametrize(
    ("node", "why"),
    [
        pytest.param(a_node(), "", id="nothing is announced"),
        pytest.param(a_node(spec={"unschedulable": True}), "it is cordoned", id="cordoned"),
        pytest.param(
            a_node(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}),
            "its Node object is being deleted",
            id="deleted, while a finalizer waits for the drain",
        ),
        pytest.param(
            a_node(conditions=[vm_event("Preempt Scheduled: Mon, 02 Mar 2026 19:01:45 GMT")]),
            "AKS announces: Preempt Scheduled: Mon, 02 Mar 2026 19:01:45 GMT",
            id="a spot machine of AKS is preempted",
        ),
        pytest.param(a_node(conditions=[vm_event("Freeze Scheduled: x")]), "", id="frozen for seconds"),
        pytest.param(a_node(conditions=[vm_event("Preempt", "False")]), "", id="an event that is over"),
        pytest.param(
            a_node(("karpenter.sh/disrupted", "PreferNoSchedule")), "", id="a key with a soft effect"
        ),
        pytest.param(
            a_node(("DeletionCandidateOfClusterAutoscaler", "PreferNoSchedule")), "", id="only a candidate"
        ),
        pytest.param(
            a_node(("kubernetes.azure.com/scalesetpriority", "NoSchedule")), "", id="spot for its whole life"
        ),
        pytest.param(a_node(("node.kubernetes.io/memory-pressure", "NoSchedule")), "", id="it passes"),
    ],
)
def test_what_announces_a_removal_and_what_does_not(node: dict[str, Any], why: str) -> None:
    assert departure(node_state(node)) == why


def test_a_node_that_is_out_of_service_is_dead_though_its_condition_says_ready() -> None:
    states = [node_state(a_node(("node.kubernetes.io/out-of-service", "NoExecute"))), node_state(a_node())]
    assert [(state.ready, is_declared_dead(state)) for state in states] == [(True, True), (True, False)]


def test_the_autoscalers_candidates_are_known() -> None:
    assert is_candidate(node_state(a_node(("DeletionCandidateOfClusterAutoscaler", "PreferNoSchedule"))))
    assert not is_candidate(node_state(a_node()))
