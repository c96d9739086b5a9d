"""Envoys that have left: which of them a removal still waits for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from small_fleet import World, a_class, a_fleet, a_model, a_pool, some_nodes

from argosy.control.state.removable import still_sending
from argosy.control.state.routable import PATIENCE_S

VICTIM, OTHER = "10.9.9.1:8000", "10.9.9.2:8000"


@pytest.mark.parametrize(
    ("left_s", "endpoints", "is_waited_for"),
    [
        pytest.param(5.0, {}, True, id="what it may have is not known"),
        pytest.param(5.0, {"b": frozenset((VICTIM, OTHER))}, True, id="it may have the victim"),
        pytest.param(5.0, {"b": frozenset((OTHER,))}, False, id="it had acknowledged the removal"),
        pytest.param(PATIENCE_S, {"b": frozenset((VICTIM,))}, False, id="it left long ago"),
    ],
)
def test_an_envoy_that_left_holds_up_only_what_it_may_still_send_requests_to(
    left_s: float, endpoints: Mapping[str, frozenset[str]], is_waited_for: bool
) -> None:
    world = World(some_nodes("l40s", 4), a_fleet(), a_pool(), a_model(), a_class())
    world.settle()
    snapshot = world.snapshot()
    pod = replace(snapshot.engine_pods[0], ip="10.9.9.1", port=8000)
    routing = replace(snapshot.routing, gone_at_s={"b": snapshot.now_s - left_s}, gone_endpoints=endpoints)
    found = list(still_sending(replace(snapshot, routing=routing), [pod], frozenset()))
    assert [why for _, why in found] == (
        ["Envoy b is not connected any more and may still send requests to it"] if is_waited_for else []
    )
