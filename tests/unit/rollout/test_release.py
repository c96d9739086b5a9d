"""Which gated pods are let go without a node, so that an autoscaler sees them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import a_pending_pod

from argosy.rollout import PlacePod, ReleasePod, describe, release_for_nodes
from argosy.snapshot.cluster import PodState


def waiting(name: str, created_s: float = 0.0, *, gated: bool = True) -> PodState:
    return replace(a_pending_pod(gated=gated, created_s=created_s), name=name)


@pytest.mark.parametrize(
    ("awaited", "pods", "expected"),
    [
        pytest.param(0, [waiting("a")], [], id="none waits for a node to come"),
        pytest.param(2, [waiting("b", 2.0), waiting("a", 1.0)], ["a", "b"], id="the oldest first"),
        pytest.param(1, [waiting("b", 2.0), waiting("a", 1.0)], ["a"], id="no more than wait"),
        pytest.param(1, [waiting("a"), waiting("b", gated=False)], [], id="another waits already"),
        pytest.param(2, [waiting("placed"), waiting("b")], ["b"], id="one has a place already"),
    ],
)
def test_as_many_gated_pods_are_released_as_nodes_are_to_come_for(
    awaited: int, pods: list[PodState], expected: list[str]
) -> None:
    placed = (PlacePod("default/placed", "n"),)
    steps = release_for_nodes({"default/d": awaited}, pods, placed)
    assert steps == tuple(ReleasePod(f"default/{name}") for name in expected)


def test_a_release_is_described() -> None:
    assert describe(ReleasePod("default/a")) == "let pod default/a wait for a node that an autoscaler brings"
