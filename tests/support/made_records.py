"""Records with given latencies, for tests of measures."""

from __future__ import annotations

from argosy.client.records import Outcome, RequestRecord


def answered(ttft_ms: float, itl_ms: float, num_tokens: int = 11) -> RequestRecord:
    last_s = 10 + (ttft_ms + itl_ms * (num_tokens - 1)) / 1000
    return RequestRecord(
        id="chat-000000",
        class_name="chat",
        outcome=Outcome.COMPLETED,
        arrival_s=9.5,
        prompt_tokens=100,
        expected_tokens=num_tokens,
        end_s=last_s + 0.25,
        sent_s=10.0,
        header_s=10.1,
        first_token_s=10 + ttft_ms / 1000,
        last_token_s=last_s,
        dispatch_lag_s=0.5,
        num_tokens=num_tokens,
        status=200,
        attempts=2,
        endpoint="127.1.0.3:8000",
        max_gap_s=itl_ms / 1000,
        gaps_ms=(itl_ms,) * (num_tokens - 1),
    )


def lost(outcome: Outcome = Outcome.BROKEN) -> RequestRecord:
    return RequestRecord(
        "chat-000001", "chat", outcome, 1.0, 100, 11, 3.0, 1.0, header_s=1.1, first_token_s=1.2
    )
