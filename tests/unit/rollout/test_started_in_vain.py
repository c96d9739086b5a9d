"""Replicas that a superseded plan has started and that have never served go at once; no others do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import a_pod

from argosy.keys import DeploymentKey, GroupName
from argosy.rollout import RolloutInputs, ScaleDeployment, Step, Target, rollout_steps
from argosy.snapshot.cluster import DeploymentState, PodState

OLD, NEW, GROUP = DeploymentKey("default/old"), DeploymentKey("default/new"), GroupName("default/chat")


def steps(planned_old: int, *states: str) -> list[Step]:
    """Of the former Deployment, whose pods are in these states, while a replica of the new one loads."""
    pods = [_in_state(a_pod(f"old-{i}", deployment=OLD), state) for i, state in enumerate(states)]
    counts = {OLD: len(states), NEW: 1}
    inputs = RolloutInputs(
        targets=(Target(NEW, GROUP, 1, None), Target(OLD, GROUP, planned_old, None)),
        deployments={key: DeploymentState(key, count) for key, count in counts.items()},
        pods=(*pods, a_pod("new-0", deployment=NEW, ready=False)),
        lost=frozenset(p.key for p, state in zip(pods, states, strict=True) if state == "lost"),
    )
    return list(rollout_steps(inputs))


def _in_state(pod: PodState, state: str) -> PodState:
    match state:
        case "loading":
            return replace(pod, ready=False)
        case "busy":
            return replace(pod, ready=False, started=True)
        case "crashed":
            return replace(pod, ready=False, restarts=1)
    return pod


@pytest.mark.parametrize(
    ("planned", "states", "left"),
    [
        pytest.param(0, ("serving", "loading", "loading"), 1, id="all that load go"),
        pytest.param(0, ("loading", "loading"), 0, id="also where none serves"),
        pytest.param(2, ("serving", "loading", "loading"), 2, id="but for the planned ones"),
        pytest.param(0, ("serving", "lost", "loading"), 2, id="a lost one still counts for Kubernetes"),
        pytest.param(1, ("lost", "loading"), None, id="the successor of a lost one stays"),
        pytest.param(0, ("serving", "serving"), None, id="those that serve stay"),
        pytest.param(0, ("busy", "loading"), None, id="beside a busy one none: Kubernetes might remove that"),
        pytest.param(0, ("crashed", "loading"), None, id="beside one that crashed none"),
    ],
)
def test_what_only_loads_and_no_plan_wants_goes_at_once(
    planned: int, states: tuple[str, ...], left: int | None
) -> None:
    assert steps(planned, *states) == ([] if left is None else [ScaleDeployment(OLD, left)])
