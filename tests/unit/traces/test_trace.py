"""Traces: three formats, every malformed line named, slices and scales."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from argosy.traces.trace import (
    MAX_REPORTED_LINES,
    BadTrace,
    BadTraceReason,
    Trace,
    TraceRequest,
    load_trace,
)

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens"
BURST_GPT = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type"
BURST_GPT_OLD = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"


def write(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "requests.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def real_trace(name: str) -> Trace:
    root = Path(__file__).resolve().parents[4]
    folder = Path(os.environ.get("ARGOSY_TRACES") or root.parent / "shared" / "traces")
    if not (folder / name).is_file():
        pytest.skip(f"the real trace {name} is absent; ARGOSY_TRACES may name its folder")
    trace = load_trace(folder / name)
    assert isinstance(trace, Trace)
    return trace


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param(
            (AZURE, "2023-11-16 18:15:46.6805900,374,44", "2023-11-16 18:15:50.9951690,396,109"),
            (TraceRequest(0.0, 374, 44), TraceRequest(4.314579, 396, 109)),
            id="azure 2023 has seven digits of a second",
        ),
        pytest.param(
            (AZURE, "2023-12-31 23:59:59,1,1", "2024-01-01 00:00:01.5+00:00,2,2"),
            (TraceRequest(0.0, 1, 1), TraceRequest(2.5, 2, 2)),
            id="azure 2024 names its time zone, and a year may end",
        ),
        pytest.param(
            (
                BURST_GPT,
                "5,abc,1.2,ChatGPT,472,18,490,Conversation log",
                "45.5,,,GPT-4,1087,230,1317,API log",
            ),
            (TraceRequest(0.0, 472, 18), TraceRequest(40.5, 1087, 230)),
            id="burstgpt with sessions",
        ),
        pytest.param(
            (BURST_GPT_OLD, "5,ChatGPT,472,18,490,Conversation log"),
            (TraceRequest(0.0, 472, 18),),
            id="burstgpt of the first release has two columns less",
        ),
        pytest.param(
            (
                '{"timestamp": 3000, "input_length": 600, "output_length": 5, "hash_ids": [0, 7]}',
                '{"timestamp": 27482, "input_length": 7, "output_length": 1}',
            ),
            (TraceRequest(0.0, 600, 5, (0, 7)), TraceRequest(24.482, 7, 1)),
            id="mooncake counts milliseconds",
        ),
        pytest.param(
            (AZURE, "2023-11-16 18:00:02,2,2", "", "2023-11-16 18:00:00,1,1", "2023-11-16 18:00:02,3,3"),
            (TraceRequest(0.0, 1, 1), TraceRequest(2.0, 2, 2), TraceRequest(2.0, 3, 3)),
            id="out of order is sorted, ties keep the file's order, blank lines do not count",
        ),
        pytest.param(
            (f"\ufeff{AZURE}\r", "2023-11-16 18:00:02,2,2\r"),
            (TraceRequest(0.0, 2, 2),),
            id="windows line ends and a byte order mark",
        ),
    ],
)
def test_a_trace_is_read(tmp_path: Path, lines: tuple[str, ...], expected: tuple[TraceRequest, ...]) -> None:
    trace = load_trace(write(tmp_path, *lines))
    assert isinstance(trace, Trace), trace
    assert trace.requests == expected
    assert trace.skipped.num_lines == 0


GOOD = {
    AZURE: "2023-11-16 18:15:46.6805900,374,44",
    BURST_GPT: "5,1,1,ChatGPT,472,18,490,Conversation log",
    "": '{"timestamp": 0, "input_length": 6, "output_length": 5, "hash_ids": []}',
}


@pytest.mark.parametrize(
    ("header", "line", "reason"),
    [
        (AZURE, "2023-11-16 18:15:46,374", "2 fields, 3 expected"),
        (AZURE, '2023-11-16 18:15:46,"1,374",44', "4 fields, 3 expected"),
        (AZURE, "yesterday,374,44", "TIMESTAMP is 'yesterday', a time expected"),
        (AZURE, "2023-11-31 18:15:46,374,44", "TIMESTAMP is '2023-11-31 18:15:46', a time expected"),
        (AZURE, "2023-11-16 18:15:46,NaN,44", "ContextTokens is 'NaN', a whole number from 1"),
        (AZURE, "2023-11-16 18:15:46,374,-44", "GeneratedTokens is '-44', a whole number"),
        (AZURE, "2023-11-16 18:15:46,374,4.0", "GeneratedTokens is '4.0', a whole number"),
        (AZURE, "2023-11-16 18:15:46,1_000,44", "ContextTokens is '1_000', a whole number"),
        (AZURE, "2023-11-16 18:15:46,374,0", "GeneratedTokens is '0', a whole number"),
        (AZURE, "2023-11-16 18:15:46,99999999999999999999999,4", "ContextTokens is '9999999"),
        (BURST_GPT, "-5,1,1,GPT-4,4,4,8,API log", "Timestamp is '-5', a time expected"),
        (BURST_GPT, "inf,1,1,GPT-4,4,4,8,API log", "Timestamp is 'inf', a time expected"),
        (BURST_GPT, "1e999,1,1,GPT-4,4,4,8,API log", "Timestamp is '1e999', a time expected"),
        (BURST_GPT, "5,1,1,GPT-4,4,0,4,API log", "Response tokens is '0', a whole number"),
        ("", '{"timestamp": 0, "input_len', "no JSON"),
        ("", "[1, 2]", "no JSON object"),
        ("", '{"input_length": 6, "output_length": 5}', "timestamp is missing, a number of milliseconds"),
        ("", '{"timestamp": NaN, "input_length": 6, "output_length": 5}', "timestamp is nan"),
        ("", '{"timestamp": -1, "input_length": 6, "output_length": 5}', "timestamp is -1"),
        ("", '{"timestamp": true, "input_length": 6, "output_length": 5}', "timestamp is True"),
        ("", '{"timestamp": 0, "input_length": 6.5, "output_length": 5}', "input_length is 6.5"),
        ("", '{"timestamp": 0, "input_length": 6, "output_length": "5"}', "output_length is '5'"),
        ("", '{"timestamp": 0, "input_length": 6, "output_length": false}', "output_length is False"),
        ("", '{"timestamp": 0, "input_length": 6, "output_length": 5, "hash_ids": [-1]}', "hash_ids is no"),
        ("", '{"timestamp": 0, "input_length": 6, "output_length": 5, "hash_ids": 3}', "hash_ids is no list"),
    ],
)
def test_a_malformed_line_is_named_with_its_reason(
    tmp_path: Path, header: str, line: str, reason: str
) -> None:
    head = [header] if header else []
    path = write(tmp_path, *head, GOOD[header], line, GOOD[header])
    number = len(head) + 2

    refused = load_trace(path)
    assert isinstance(refused, BadTrace)
    assert [bad.number for bad in refused.bad_lines.lines] == [number]
    assert refused.bad_lines.lines[0].problem.message.startswith(reason)
    assert f"1 of 3 lines are malformed: line {number}: {reason}" in str(refused)

    trace = load_trace(path, skip_bad_lines=True)
    assert isinstance(trace, Trace)
    assert (len(trace.requests), trace.skipped) == (2, refused.bad_lines)


def test_beyond_twenty_malformed_lines_are_counted(tmp_path: Path) -> None:
    refused = load_trace(write(tmp_path, AZURE, GOOD[AZURE], *["?"] * 27))
    assert isinstance(refused, BadTrace)
    assert len(refused.bad_lines.lines) == MAX_REPORTED_LINES
    assert (refused.bad_lines.num_more, refused.bad_lines.num_lines) == (7, 27)
    assert str(refused).endswith("; and 7 more")


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        pytest.param((), "holds no line", id="empty"),
        pytest.param(
            ("when,what", "1,2"), "has an unknown format, it begins with 'when,what'", id="other csv"
        ),
        pytest.param((AZURE,), "holds no usable request", id="a header alone"),
        pytest.param((AZURE, "?"), "holds no usable request", id="nothing but malformed lines"),
        pytest.param(
            (f"{AZURE},ContextTokens", "1,2,3,4"), "has an unknown format", id="a column named twice"
        ),
    ],
)
def test_a_file_without_requests_says_why(tmp_path: Path, lines: tuple[str, ...], reason: str) -> None:
    path = write(tmp_path, *lines)
    refused = load_trace(path, skip_bad_lines=True)
    assert isinstance(refused, BadTrace)
    assert refused.message.startswith(f"{path.name}: {reason}")


def test_a_missing_file_is_an_answer(tmp_path: Path) -> None:
    assert load_trace(tmp_path / "none.csv") == BadTrace(
        BadTraceReason.CANNOT_OPEN, "none.csv: cannot be read: No such file or directory"
    )


TRACE = Trace("t", tuple(TraceRequest(float(t), t + 1, 2 * t + 1) for t in range(5)))


def test_a_window_is_half_open_and_starts_at_zero() -> None:
    assert TRACE.window(1, 3).requests == (TraceRequest(0.0, 2, 3), TraceRequest(1.0, 3, 5))
    assert TRACE.window(10, 20).requests == ()


@pytest.mark.parametrize("bounds", [(3, 3), (4, 1), (-1, 3), (float("nan"), 3), (0, float("nan"))])
def test_a_window_without_extent_is_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="a slice starts at 0"):
        TRACE.window(*bounds)


def test_twice_the_rate_is_half_the_time() -> None:
    assert TRACE.rescaled(2).arrivals_s == (0.0, 0.5, 1.0, 1.5, 2.0)
    with pytest.raises(ValueError, match="a rate factor is a positive number"):
        TRACE.rescaled(float("nan"))


def test_retimed_requests_start_again_after_the_last() -> None:
    moved = Trace("t", TRACE.requests[:2]).retimed([5.0, 6.0, 7.0])
    assert moved.requests == (TraceRequest(5.0, 1, 1), TraceRequest(6.0, 2, 3), TraceRequest(7.0, 1, 1))


@pytest.mark.parametrize(
    ("name", "num_requests", "last_s"),
    [("azure-llm-2023-conv.csv", 19_366, 3501.721937), ("mooncake-conversation.jsonl", 12_031, 3536.999)],
)
def test_the_real_traces_are_read_whole(name: str, num_requests: int, last_s: float) -> None:
    trace = real_trace(name)
    assert len(trace.requests) == num_requests
    assert trace.requests[-1].arrival_s == last_s
