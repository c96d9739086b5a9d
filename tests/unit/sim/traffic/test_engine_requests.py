"""Traces as engines take them: what prompts share is kept."""

from __future__ import annotations

import numpy as np
import pytest

from argosy.engine import PromptPrefix
from argosy.traces.trace import Trace, TraceRequest
from argosy_sim.traffic.engine_requests import engine_requests


def test_hashes_become_chains_as_far_as_the_prompt_reaches() -> None:
    trace = Trace(
        "made",
        (
            TraceRequest(0.0, 1000, 5, (0, 1)),
            TraceRequest(0.5, 300, 7, (0, 2, 9)),
            TraceRequest(1.0, 2000, 9, (0, 1)),
            TraceRequest(2.0, 40, 11),
        ),
    )

    requests = engine_requests(trace)

    assert requests.prefixes is not None
    assert [requests.prefixes.of(number) for number in range(4)] == [
        PromptPrefix((0, 1), 1000, 512),
        PromptPrefix((0,), 300, 512),
        PromptPrefix((0, 1), 1024, 512),
        None,
    ]
    np.testing.assert_array_equal(requests.output_tokens, [5, 7, 9, 11])
    np.testing.assert_array_equal(requests.arrivals_s, [0.0, 0.5, 1.0, 2.0])


def test_a_trace_without_hashes_shares_nothing() -> None:
    assert engine_requests(Trace("made", (TraceRequest(0.0, 10, 5),))).prefixes is None


def test_a_hash_that_follows_different_ones_is_refused() -> None:
    trace = Trace("made", (TraceRequest(0.0, 1000, 5, (0, 2)), TraceRequest(0.5, 1000, 7, (1, 2))))
    with pytest.raises(ValueError, match="id 2 follows different ids"):
        engine_requests(trace)
