"""Small classes of one model on one replica: real pods, real routes, counted one by one."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from another_class import another_class
from operator_stage import OperatorStage, names, until, until_equal

FIRST = "tiny-00"


def tiny(number: int) -> dict[str, Any]:
    """A tenth of a request per second, told apart by its header."""
    return another_class(f"tiny-{number:02}", rate_per_s=0.1)


def status_of(stage: OperatorStage, number: int) -> tuple[Any, ...]:
    status = stage.class_of(f"tiny-{number:02}").get("status", {})
    return tuple(status.get(field) for field in ("requestsPerSecond", "replicasReady", "sharingGroup"))


def answered(stage: OperatorStage, number: int) -> bool:
    return not stage.answer(headers={"x-argosy-class": f"tiny-{number:02}"}).error


def num_counted(stage: OperatorStage, number: int) -> int:
    """Requests of a class that Envoy has counted as the class's own."""
    prefix = f"vhost.argosy.route.default_tiny-{number:02}."
    url = f"http://{stage.stage.envoy.admin_address}/stats?format=json&filter={prefix}upstream_rq_completed"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return sum(int(stat["value"]) for stat in json.loads(answer.read())["stats"] if "name" in stat)


def test_ten_small_classes_share_one_replica_and_an_eleventh_restarts_nothing(stage: OperatorStage) -> None:
    ten, eleventh = [tiny(i) for i in range(10)], tiny(10)
    try:
        stage.apply(*ten)
        until_equal(
            {(0.1, 1, FIRST)}, lambda: {status_of(stage, i) for i in range(10)}, "one replica for all of them"
        )
        (pod,) = stage.ready_pods(FIRST)
        assert len(pod["metadata"]["name"]) <= 35
        sets, deployments = stage.replica_sets(), stage.deployments().keys()
        assert [until(lambda i=i: answered(stage, i), f"tiny-{i:02}") for i in range(10)] == [True] * 10

        stage.apply(eleventh)
        until(lambda: answered(stage, 10), "the eleventh to be served")
        stage.delete(ten[0])  # after which the group is named
        until_equal((0.1, 1, FIRST), lambda: status_of(stage, 10), "the eleventh's status")
        until(lambda: FIRST not in str(stage.applied()["spec"]["cells"][0]["name"]), "the first to be gone")
        assert names(stage.ready_pods(FIRST)) == [pod["metadata"]["name"]]
        assert stage.replica_sets() == sets
        assert stage.deployments().keys() == deployments

        before = {i: num_counted(stage, i) for i in (1, 10)}
        for number, requests in ((1, 2), (10, 3)):
            assert all(answered(stage, number) for _ in range(requests))
        until_equal(
            {1: 2, 10: 3},
            lambda: {i: num_counted(stage, i) - before[i] for i in before},
            "each class's requests to be counted as its own",
        )
    finally:
        stage.delete(*ten, eleventh)
