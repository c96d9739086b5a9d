"""ReplicaSets that no Deployment owns: which is adopted again, which goes, and which waits."""

from __future__ import annotations

import pytest

from argosy.keys import DeploymentKey, GroupName, NamespacedName
from argosy.rollout import AdoptReplicaSet, DeleteReplicaSet, RolloutInputs, Target, replica_set_steps
from argosy.snapshot.cluster import LABEL_GROUP, DeploymentState, ReplicaSetState

KEY, LACKING = DeploymentKey("default/d"), {"argosy.dev/deployment": "d"}
GROUP = GroupName("default/chat")


def a_replica_set(lacking: dict[str, str]) -> ReplicaSetState:
    labels = {**LACKING, LABEL_GROUP: "chat"}
    return ReplicaSetState(NamespacedName("default/d-1"), "u", KEY, labels, lacking)


def inputs(*, exists: bool, planned: int = 0, missing_of: str = "") -> RolloutInputs:
    targets = [Target(KEY, GROUP, planned, None)] if exists or planned else []
    if missing_of:
        targets.append(Target(DeploymentKey("default/new"), GroupName(missing_of), 1, None))
    return RolloutInputs(tuple(targets), {KEY: DeploymentState(KEY, planned)} if exists else {}, ())


ADOPTED, DELETED = (
    (AdoptReplicaSet(NamespacedName("default/d-1"), LACKING),),
    (DeleteReplicaSet(NamespacedName("default/d-1")),),
)


@pytest.mark.parametrize(
    ("lacking", "given", "expected"),
    [
        pytest.param(LACKING, inputs(exists=True, planned=2), ADOPTED, id="released by its Deployment"),
        pytest.param(
            LACKING, inputs(exists=True), ADOPTED, id="its Deployment is emptied: it empties it too"
        ),
        pytest.param(LACKING, inputs(exists=False, planned=2), ADOPTED, id="its Deployment is made again"),
        pytest.param({}, inputs(exists=True, planned=2), (), id="Kubernetes adopts it by itself"),
        pytest.param({}, inputs(exists=False), DELETED, id="nothing is planned for it"),
        pytest.param({}, inputs(exists=False, missing_of="default/chat"), (), id="its successors load"),
        pytest.param({}, inputs(exists=False, missing_of="default/batch"), DELETED, id="another group loads"),
    ],
)
def test_what_becomes_of_a_replica_set_without_a_deployment(
    lacking: dict[str, str], given: RolloutInputs, expected: tuple[object, ...]
) -> None:
    assert replica_set_steps([a_replica_set(lacking)], given) == expected
