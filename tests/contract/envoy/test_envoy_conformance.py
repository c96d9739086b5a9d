"""Gateway API's rules for HTTP routes on a real Envoy: precedence of matches, and what is tried again."""

from __future__ import annotations

from typing import Any

from conformance_cases import CASES, NO_CLASS, Case

from argosy.route.compile import RouteInputs, compile_routes
from argosy.route.table import OutlierSettings


async def test_requests_belong_to_the_class_that_gateway_api_chooses(world: Any) -> None:
    found, expected = {}, {}
    for parameter in CASES:
        case: Case = parameter.values[0]
        # Without a plan each class refuses its requests by its name: no replicas are needed.
        await world.publish(compile_routes(RouteInputs(world.gateway, None, case.classes())))
        for number, asked in enumerate(case.asked):
            headers = dict(asked.headers)
            answer = await world.ask(asked.path, headers=headers, json_body={"model": asked.model})
            found[parameter.id, number] = (answer.status, answer.json["error"]["message"])
            expected[parameter.id, number] = asked.expected
    assert {at: taker(*answer) for at, answer in found.items()} == expected


def taker(status: int, message: str) -> str:
    """The class that a refusal names: `... so no replica serves n/one.`"""
    return NO_CLASS if status == 404 else message.rstrip(".").split(" ")[-1]


async def test_what_may_succeed_elsewhere_is_tried_again_as_often_as_the_policy_says(
    world: Any, build: Any
) -> None:
    replica = await world.replica("a")
    patient = OutlierSettings(consecutive_errors=1000)
    routes = [build.route("chat", {"c": 1.0}, attempts=2), build.route("once", {"c": 1.0}, attempts=0)]
    await world.publish(world.table(routes, [build.cluster("c", replica, outlier=patient)]))
    tries = {}
    for status in (400, 404, 408, 429, 500, 501, 502, 503, 504):
        for name in ("chat", "once"):
            replica.status, replica.num_requests = status, 0
            answer = await world.ask(headers={"x-class": name})
            assert answer.status == status
            tries[status, name] = replica.num_requests
    again = {502, 503, 504}
    assert tries == {(status, name): 3 if status in again and name == "chat" else 1 for status, name in tries}
