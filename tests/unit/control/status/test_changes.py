"""Events: each change of a status is told once, on the object that it concerns."""

from __future__ import annotations

from typing import Any

import pytest
from builders import a_class, a_fleet, a_model, a_pool, some_nodes
from small_fleet import World

from argosy.api.conditions import Condition, ConditionStatus, ConditionType, Reason
from argosy.api.fleet import FleetStatus
from argosy.api.gpupool import GPUPoolStatus, LeavingNode
from argosy.api.workloadclass import WorkloadClassStatus
from argosy.control.decision import StatusUpdate
from argosy.control.status.changes import change_events


def ready(status: ConditionStatus, reason: Reason, message: str = "why") -> tuple[Condition, ...]:
    return (Condition(type=ConditionType.READY.value, status=status, reason=reason.value, message=message),)


def told(before: Any, after: Any, mode: str = "Auto") -> list[tuple[str, str, str]]:
    """Type, reason and message of the events of a class, or of a pool."""
    if isinstance(after, GPUPoolStatus):
        item: Any = a_pool()
        update = StatusUpdate("gpupools", item.key, after)
    else:
        item = a_class()
        update = StatusUpdate("workloadclasses", item.key, after)
    item = item.model_copy(update={"status": before})
    events = change_events(World((), item, a_fleet(mode)).snapshot(), (update,))
    assert {(e.kind, e.key) for e in events} <= {(item.KIND, item.key)}
    return [(e.type, e.reason, e.message) for e in events]


YES, NO = ConditionStatus.TRUE, ConditionStatus.FALSE


def of_class(conditions: tuple[Condition, ...] = (), replicas: int | None = None) -> WorkloadClassStatus:
    return WorkloadClassStatus(conditions=conditions, replicas_ready=replicas)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param(
            of_class(ready(YES, Reason.READY)),
            of_class(ready(NO, Reason.NO_REPLICAS_READY)),
            [("Warning", "NoReplicasReady", "No longer Ready: why")],
            id="a class is no longer served",
        ),
        pytest.param(
            of_class(ready(NO, Reason.NO_REPLICAS_READY)),
            of_class(ready(YES, Reason.READY)),
            [("Normal", "Ready", "Ready again: why")],
            id="it is served again",
        ),
        pytest.param(
            of_class(ready(NO, Reason.LOADING)),
            of_class(ready(NO, Reason.SLO_UNREACHABLE)),
            [("Warning", "SloUnreachable", "Not Ready: why")],
            id="another reason",
        ),
        pytest.param(
            of_class(ready(NO, Reason.NO_NODES, "a")),
            of_class(ready(NO, Reason.NO_NODES, "b")),
            [],
            id="only other words",
        ),
        pytest.param(of_class(), of_class(ready(NO, Reason.LOADING)), [], id="engines of a new class load"),
        pytest.param(of_class(), of_class(ready(YES, Reason.READY)), [], id="a new class that is served"),
        pytest.param(
            of_class(),
            of_class(ready(NO, Reason.MODEL_NOT_FOUND)),
            [("Warning", "ModelNotFound", "Not Ready: why")],
            id="a new class that never will be",
        ),
        pytest.param(
            of_class(ready(YES, Reason.READY), 3),
            of_class(ready(NO, Reason.LOADING), 2),
            [
                ("Warning", "Loading", "No longer Ready: why"),
                ("Warning", "ReplicaLost", "1 replica fewer: 2 take requests now."),
            ],
            id="a replica is lost",
        ),
        pytest.param(
            of_class(ready(YES, Reason.READY), 3),
            of_class(ready(YES, Reason.READY), 2),
            [],
            id="a replica is removed as planned",
        ),
        pytest.param(
            GPUPoolStatus(nodes=3),
            GPUPoolStatus(nodes=1),
            [("Warning", "NodeLost", "2 nodes fewer: 1 match spec.nodeSelector now.")],
            id="a pool loses nodes",
        ),
        pytest.param(
            GPUPoolStatus(nodes=3, gpus_unhealthy=0, gpus_total=6),
            GPUPoolStatus(nodes=3, gpus_unhealthy=2, gpus_total=6),
            [
                (
                    "Warning",
                    "GpusUnusable",
                    "2 GPUs more cannot be used: their nodes were not usable a moment ago; 2 of 6 in all.",
                )
            ],
            id="a node falls silent",
        ),
        pytest.param(GPUPoolStatus(), GPUPoolStatus(nodes=3), [], id="a new pool"),
    ],
)
def test_a_change_is_told_in_a_sentence_on_its_object(
    before: Any, after: Any, expected: list[tuple[str, str, str]]
) -> None:
    assert told(before, after) == expected


def test_a_status_that_stays_tells_nothing() -> None:
    for status in (of_class(ready(NO, Reason.NO_REPLICAS_READY), 1), of_class(ready(YES, Reason.READY), 2)):
        assert told(status, status) == []


LEAVING = LeavingNode(name="n1", reason="the taint karpenter.sh/disrupted", replicas=2)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param((), (LEAVING,), ["2 replicas on it serve until a successor does."], id="announced"),
        pytest.param((LEAVING,), (LEAVING,), [], id="told before"),
        pytest.param(
            (LEAVING,), (LEAVING.model_copy(update={"replicas": 0}),), [], id="its replicas have gone"
        ),
        pytest.param((LEAVING,), (), [], id="withdrawn"),
        pytest.param(
            (LEAVING,),
            (LEAVING.model_copy(update={"reason": "it is cordoned", "replicas": 0}),),
            ["no replica serves on it."],
            id="announced in another way",
        ),
    ],
)
def test_a_leaving_node_is_told_once_for_each_announcement(
    before: tuple[LeavingNode, ...], after: tuple[LeavingNode, ...], expected: list[str]
) -> None:
    found = told(GPUPoolStatus(nodes=2, leaving=before), GPUPoolStatus(nodes=2, leaving=after))
    assert [(kind, reason) for kind, reason, _ in found] == [("Warning", "NodeLeaving")] * len(expected)
    assert [message.partition("; ")[2] for _, _, message in found] == expected
    assert all(message.startswith("Node n1 is leaving: ") for _, _, message in found)


@pytest.mark.parametrize("mode", ["Observe", "Recommend"])
def test_no_successor_is_promised_on_a_leaving_node_where_the_mode_starts_none(mode: str) -> None:
    [(_, _, message)] = told(GPUPoolStatus(nodes=2), GPUPoolStatus(nodes=2, leaving=(LEAVING,)), mode)
    assert message.endswith("; 2 replicas on it serve until it is gone.")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param(4, 2, [], id="former replicas go once the planned ones serve"),
        pytest.param(2, 1, ["1 replica fewer: 1 takes requests now, and it needs 2."], id="one is lost"),
    ],
)
def test_a_replica_is_lost_only_where_fewer_serve_than_the_plan_has(
    before: int, after: int, expected: list[str]
) -> None:
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.settle()
    item = a_class()
    was = item.model_copy(update={"status": of_class(ready(NO, Reason.EXCHANGING), before)})
    world.apply(was)
    update = StatusUpdate("workloadclasses", item.key, of_class(ready(NO, Reason.EXCHANGING), after))
    events = change_events(world.snapshot(), (update,))
    assert [e.message for e in events if e.reason == "ReplicaLost"] == expected


def programmed(status: ConditionStatus, reason: Reason) -> FleetStatus:
    kind = ConditionType.PROGRAMMED.value
    return FleetStatus(conditions=(Condition(type=kind, status=status, reason=reason.value, message="why."),))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param(
            (YES, Reason.PROGRAMMED),
            (ConditionStatus.UNKNOWN, Reason.ENVOY_PENDING),
            [("Normal", "EnvoyPending", "why.")],
            id="a new version is on its way",
        ),
        pytest.param(
            (ConditionStatus.UNKNOWN, Reason.ENVOY_PENDING),
            (ConditionStatus.UNKNOWN, Reason.ENVOY_LATE),
            [("Warning", "EnvoyLate", "Not Programmed: why.")],
            id="it has not come in time",
        ),
        pytest.param(
            (ConditionStatus.UNKNOWN, Reason.ENVOY_LATE),
            (ConditionStatus.UNKNOWN, Reason.ENVOY_LATE),
            [],
            id="each once",
        ),
    ],
)
def test_routes_that_envoys_have_not_acknowledged_are_a_warning_only_when_they_are_late(
    before: Any, after: Any, expected: list[tuple[str, str, str]]
) -> None:
    fleet = a_fleet().model_copy(update={"status": programmed(*before)})
    update = StatusUpdate("fleets", fleet.key, programmed(*after))
    events = change_events(World((), fleet).snapshot(), (update,))
    assert [(e.type, e.reason, e.message) for e in events] == expected
