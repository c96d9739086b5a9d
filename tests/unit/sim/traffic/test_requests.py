"""Offered requests as arrays."""

from __future__ import annotations

import numpy as np
import pytest

from argosy.traces.trace import Trace, TraceRequest
from argosy_sim.traffic.archetypes import ARCHETYPES
from argosy_sim.traffic.arrivals import RateStep
from argosy_sim.traffic.requests import offered_requests

CHAT = ARCHETYPES["azure-conversation"]
MINUTE = (RateStep(0, 60, 2.0),)


def test_an_archetypes_requests_are_aligned_arrays_with_the_rate_of_the_schedule() -> None:
    offered = offered_requests(CHAT, (RateStep(0, 1000, 4.0),), 1, "chat")
    assert len(offered) == pytest.approx(4000, rel=0.05)
    assert (
        len(offered.prompt_tokens) == len(offered.output_tokens) == len(offered.prefix_blocks) == len(offered)
    )
    assert (np.diff(offered.arrival_s) >= 0).all()
    assert offered.prompt_tokens.dtype == offered.output_tokens.dtype == np.int64


def test_seed_and_name_determine_the_requests() -> None:
    one, same = (offered_requests(CHAT, MINUTE, 1, "chat") for _ in range(2))
    assert one.arrival_s.tolist() == same.arrival_s.tolist()
    assert one.prompt_tokens.tolist() == same.prompt_tokens.tolist()
    for other in (offered_requests(CHAT, MINUTE, 2, "chat"), offered_requests(CHAT, MINUTE, 1, "batch")):
        assert set(one.arrival_s).isdisjoint(other.arrival_s)


def test_a_trace_repeats_in_its_order_at_the_rate_of_the_schedule() -> None:
    trace = Trace("t", (TraceRequest(0.0, 600, 3, (1, 2)), TraceRequest(2.0, 50, 4)))
    own = offered_requests(trace, None, 0, "t")
    assert (own.arrival_s.tolist(), own.prompt_tokens.tolist()) == ([0.0, 2.0], [600, 50])
    paced = offered_requests(trace, (RateStep(0, 2, 2.0),), 0, "t")
    assert paced.arrival_s.tolist() == [0.25, 0.75, 1.25, 1.75]
    assert paced.output_tokens.tolist() == [3, 4, 3, 4]
    assert paced.prefix_blocks == ((1, 2), (), (1, 2), ())


def test_a_trace_without_requests_offers_none() -> None:
    assert len(offered_requests(Trace("t", ()), None, 0, "t")) == 0
    assert len(offered_requests(Trace("t", ()), MINUTE, 0, "t")) == 0


def test_an_archetype_without_a_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="chat: an archetype has no times of its own, it needs a schedule"):
        offered_requests(CHAT, None, 0, "chat")
