"""Planned requests: classes' loads merged by time, streams that stay apart."""

from __future__ import annotations

from itertools import pairwise

import pytest

from argosy.traces.trace import Trace, TraceRequest
from argosy_sim.replay.load import ClassLoad, plan_load
from argosy_sim.traffic.archetypes import ARCHETYPES
from argosy_sim.traffic.arrivals import RateStep

CHAT = ARCHETYPES["azure-conversation"]


def test_classes_of_one_seed_are_merged_by_time_and_do_not_arrive_in_step() -> None:
    schedule = (RateStep(0, 60, 2.0),)
    chat = ClassLoad("chat", "m", CHAT, schedule, seed=1, headers=(("x-class", "chat"),))
    batch = ClassLoad("batch", "m", CHAT, schedule, seed=1, path="/v1/completions")
    planned = plan_load([chat, batch])

    assert all(a.arrival_s <= b.arrival_s for a, b in pairwise(planned))
    assert len({request.id for request in planned}) == len(planned)
    by_class = {
        name: [request for request in planned if request.class_name == name] for name in ("chat", "batch")
    }
    assert by_class["chat"] == list(plan_load([chat]))  # whatever the other class does
    assert {r.arrival_s for r in by_class["chat"]}.isdisjoint(r.arrival_s for r in by_class["batch"])
    assert (by_class["chat"][0].headers, by_class["batch"][0].path) == (
        (("x-class", "chat"),),
        "/v1/completions",
    )
    assert by_class["chat"][0].id == "chat-000000"


def test_a_trace_brings_lengths_times_and_prefixes() -> None:
    trace = Trace("t", (TraceRequest(0.0, 600, 3, (1, 2)), TraceRequest(2.0, 50, 4)))
    (first, second) = plan_load([ClassLoad("chat", "m", trace)])
    assert (first.arrival_s, first.prompt_tokens, first.output_tokens) == (0.0, 600, 3)
    assert (second.arrival_s, first.prefix_blocks) == (2.0, (1, 2))

    paced = plan_load([ClassLoad("chat", "m", trace, (RateStep(0, 2, 2.0),))])
    assert [request.arrival_s for request in paced] == [0.25, 0.75, 1.25, 1.75]
    assert [request.prompt_tokens for request in paced] == [600, 50, 600, 50]


def test_an_archetype_without_a_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a schedule"):
        ClassLoad("chat", "m", CHAT)
