"""What is sent, what is kept of an answer, and what an endpoint tells of its engine."""

from __future__ import annotations

import json

import pytest

from argosy.client.observing import Observation, line_of, planned
from argosy.client.open_loop import ReplayTarget
from argosy.client.planned import CHAT_PATH
from argosy.client.records import Outcome, RequestRecord
from argosy.client.settings import cache_settings
from argosy.perf.observed.run import Engine
from argosy.traces.trace import Trace, TraceRequest

TRACE = Trace("t", (TraceRequest(0.0, 100, 10), TraceRequest(2.0, 30, 5)))


def asked(**changes: object) -> Observation:
    return Observation(ReplayTarget("http://127.0.0.1:1", (), 8), Engine(), **changes)  # type: ignore[arg-type]


def test_a_completion_gets_token_ids_and_a_chat_gets_text() -> None:
    assert [one.as_token_ids for one in planned(TRACE, "m", asked())] == [True, True]
    assert not planned(TRACE, "m", asked(path=CHAT_PATH))[0].as_token_ids, "a chat has no form for ids"
    assert not planned(TRACE, "m", asked(as_text=True))[0].as_token_ids


def test_requests_keep_their_times_and_lengths() -> None:
    found = [(one.arrival_s, one.prompt_tokens, one.output_tokens) for one in planned(TRACE, "m", asked())]
    assert found == [(0.0, 100, 10), (2.0, 30, 5)]


def record(**changes: object) -> RequestRecord:
    """Sent 1 ms late, answered in three tokens."""
    values: dict[str, object] = {
        "id": "000001",
        "class_name": "observed",
        "outcome": Outcome.COMPLETED,
        "arrival_s": 1.0,
        "prompt_tokens": 100,
        "expected_tokens": 3,
        "end_s": 1.2,
        "sent_s": 1.001,
        "first_token_s": 1.1,
        "last_token_s": 1.15,
        "num_tokens": 3,
        "gaps_ms": (10.0, 40.0),
    }
    return RequestRecord(**values | changes)  # type: ignore[arg-type]


def test_gaps_are_summarised_and_the_server_s_own_counts_are_kept() -> None:
    line = line_of(record(counted_prompt_tokens=101, cached_tokens=64))
    assert (line.due_s, line.sent_s, line.first_token_s, line.last_token_s) == (1.0, 1.001, 1.1, 1.15)
    assert (line.prompt_tokens, line.output_tokens, line.cached_tokens) == (101, 3, 64)
    assert (line.gap_p50_ms, line.gap_p99_ms, line.gap_max_ms) == (10.0, 40.0, 40.0)
    assert line_of(record()).prompt_tokens == 100, "as it was sent, where the server did not count"


def test_a_request_that_left_a_moment_before_the_start_was_sent_at_it() -> None:
    assert line_of(record(sent_s=-4e-5)).sent_s == 0.0


def test_what_did_not_happen_is_left_out_of_a_line() -> None:
    failed = record(
        outcome=Outcome.HTTP_ERROR, first_token_s=None, last_token_s=None, gaps_ms=(), error="status 400"
    )
    written = json.loads(line_of(failed).to_json())
    assert written["outcome"] == "HttpError"
    assert written["error"] == "status 400"
    assert not {"first_token_s", "gap_p50_ms", "cached_tokens"} & written.keys()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "# TYPE vllm:cache_config_info gauge\n"
            'vllm:cache_config_info{block_size="16",num_gpu_blocks="900",sliding_window="None"} 1.0\n',
            {"block_size": 16, "num_gpu_blocks": 900},
        ),
        ('vllm:cache_config_info{num_gpu_blocks="0"} 1.0\n', {}),
        ("other 1\n", {}),
        ("vllm:cache_config_info{ 1.0\n", {}),
        ("", {}),
    ],
)
def test_the_cache_is_read_from_the_metrics_and_a_page_without_it_tells_nothing(
    text: str, found: dict[str, int]
) -> None:
    assert cache_settings(text) == found
