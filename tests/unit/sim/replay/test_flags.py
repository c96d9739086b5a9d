"""The flags of `argosy sim replay`: what they mean, and one sentence for what they cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from argosy.client.flags import checked_path, checked_url, header_pairs, new_file
from argosy.errors import SpecError
from argosy.traces.trace import Trace, TraceRequest
from argosy_sim.replay.flags import lengths_of, paced
from argosy_sim.replay.options import Pace, Source
from argosy_sim.traffic.archetypes import ARCHETYPES
from argosy_sim.traffic.arrivals import RateStep

CHAT = ARCHETYPES["azure-conversation"]
TRACE = Trace("t", (TraceRequest(0.0, 600, 3), TraceRequest(2.0, 50, 4)))


@pytest.fixture
def trace_file(tmp_path: Path) -> Path:
    file = tmp_path / "trace.jsonl"
    lines = ('{"timestamp": 0, "input_length": 9, "output_length": 1}',
             '{"timestamp": 4000, "input_length": 8, "output_length": 2}', "damaged")  # fmt: skip
    file.write_text("\n".join(lines))
    return file


def test_a_trace_is_cut_and_its_bad_lines_are_skipped_on_request(trace_file: Path) -> None:
    found = lengths_of(Source(trace_file, None, skip_bad_lines=True, window="3:"))
    assert isinstance(found, Trace)
    assert [(r.arrival_s, r.prompt_tokens) for r in found.requests] == [(1.0, 8)]
    with pytest.raises(SpecError, match="--skip-bad-lines goes on without them"):
        lengths_of(Source(trace_file, None, skip_bad_lines=False, window=None))


def test_a_rate_makes_a_schedule_and_a_trace_without_one_keeps_its_times() -> None:
    assert paced(CHAT, Pace(4.0, 0.5, 30.0)) == (CHAT, (RateStep(0.0, 30.0, 2.0),))
    assert paced(CHAT, Pace(4.0, 1.0, None)) == (CHAT, (RateStep(0.0, 60.0, 4.0),))
    faster, schedule = paced(TRACE, Pace(None, 2.0, None))
    assert isinstance(faster, Trace)
    assert (faster.arrivals_s, schedule) == ((0.0, 1.0), None)


def test_headers_are_pairs() -> None:
    assert header_pairs(["x-class: chat", "a:b:c"]) == (("x-class", "chat"), ("a", "b:c"))
    assert header_pairs(()) == ()


@pytest.mark.parametrize(
    ("check", "message"),
    [
        pytest.param(lambda: lengths_of(Source(None, None, False, None)), "--trace", id="no lengths"),
        pytest.param(lambda: lengths_of(Source(Path("x"), "y", False, None)), "--trace", id="both"),
        pytest.param(lambda: lengths_of(Source(None, "nothing", False, None)), "--archetype", id="unknown"),
        pytest.param(
            lambda: lengths_of(Source(None, "azure-conversation", False, "0:9")), "--slice", id="no time"
        ),
        pytest.param(lambda: paced(CHAT, Pace(None, 1.0, None)), "--rate", id="an archetype has no rate"),
        pytest.param(lambda: paced(TRACE, Pace(0.0, 1.0, None)), "--rate: .*positive", id="no rate"),
        pytest.param(lambda: paced(TRACE, Pace(1.0, 1.0, float("inf"))), "--duration", id="endless"),
        pytest.param(lambda: checked_path("/v1/embeddings"), "--path", id="another API"),
        pytest.param(lambda: header_pairs(["no colon"]), "--header", id="no colon"),
        pytest.param(lambda: checked_url("localhost:80", "--target"), "--target", id="no scheme"),
        pytest.param(lambda: checked_url("http://[::1", "--target"), "--target", id="no URL"),
        pytest.param(lambda: new_file(Path(__file__)), "--out", id="a file that exists"),
        pytest.param(lambda: new_file(Path("no/such/folder/x")), "--out", id="no folder"),
    ],
)
def test_what_cannot_be_used_names_its_flag(check: Callable[[], object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        check()


@pytest.mark.parametrize("window", ["5", "2:1", "a:b", "-1:2", "100:200"])
def test_a_slice_without_requests_or_sense_is_refused(window: str, trace_file: Path) -> None:
    with pytest.raises(SpecError, match="--slice"):
        lengths_of(Source(trace_file, None, skip_bad_lines=True, window=window))
