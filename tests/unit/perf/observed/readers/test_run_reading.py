"""The same three requests in every format that is read, and what each format refuses by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.perf.observed.file import VERSION
from argosy.perf.observed.readers.reading import read_run
from argosy.perf.observed.run import ObservedRun, UnreadableRun, UnreadableRunReason

# Sent after (s), prompt, output, TTFT (s), gaps (s).
REQUESTS = (
    (0.0, 100, 3, 0.050, [0.010, 0.012]),
    (0.5, 700, 1, 0.200, []),
    (2.25, 40, 4, 0.030, [0.010, 0.010, 0.011]),
)
ZERO_S = 1_790_000_000.0
"""Of a wall clock: with nanoseconds, larger than any quantity that a report holds."""

Make = Callable[[], Any]


def argosy() -> str:
    header = {"kind": "ArgosyRun", "version": VERSION, "engine": {"model": "m", "kv_blocks": 900, "tp": 2}}
    lines: list[dict[str, Any]] = [header]
    for number, (at, prompt, output, ttft, gaps) in enumerate(REQUESTS):
        lines.append(
            {
                "id": f"r{number}",
                "outcome": "Completed",
                "due_s": at,
                "sent_s": at + 7.0,
                "first_token_s": at + 7.0 + ttft,
                "last_token_s": at + 7.0 + ttft + sum(gaps),
                "prompt_tokens": prompt,
                "output_tokens": output,
            }
        )
    lines += [
        {"id": "r9", "outcome": "HttpError", "sent_s": 8.0, "error": "status 400"},
        {"end": {"is_complete": True}},
    ]
    return "".join(json.dumps(line) + "\n" for line in lines)


def vllm() -> dict[str, Any]:
    return {
        "model_id": "m",
        "start_times": [5.0 + one[0] for one in REQUESTS] + [9.0],
        "input_lens": [one[1] for one in REQUESTS] + [10],
        "output_lens": [one[2] for one in REQUESTS] + [0],
        "ttfts": [one[3] for one in REQUESTS] + [0.0],
        "itls": [list(one[4]) for one in REQUESTS] + [[]],
        "errors": ["", "", "", "Bad Request"],
    }


def guidellm() -> dict[str, Any]:
    """As 0.4 to 0.8 write it."""
    successful = []
    for at, prompt, output, ttft, gaps in REQUESTS:
        timings = {
            "request_start": ZERO_S + at,
            "first_token_iteration": ZERO_S + at + ttft,
            "last_token_iteration": ZERO_S + at + ttft + sum(gaps),
        }
        successful.append(
            {
                "info": {"timings": timings},
                "input_metrics": {"text_tokens": prompt},
                "output_metrics": {"text_tokens": output},
            }
        )
    errored = [{"request_id": "x", "info": {"error": "status 400"}}]
    requests = {"successful": successful, "errored": errored, "incomplete": []}
    return {"metadata": {"guidellm_version": "0.8.1"}, "benchmarks": [{"requests": requests, "metrics": {}}]}


def guidellm_before() -> dict[str, Any]:
    """As releases until 0.3 write it."""
    successful = [
        {
            "start_time": ZERO_S + at,
            "first_token_time": ZERO_S + at + ttft,
            "last_token_time": ZERO_S + at + ttft + sum(gaps),
            "prompt_tokens": prompt,
            "output_tokens": output,
        }
        for at, prompt, output, ttft, gaps in REQUESTS
    ]
    errored = [{"request_id": "x", "error": "status 400"}]
    return {"benchmarks": [{"requests": {"successful": successful, "errored": errored}, "metrics": {}}]}


def aiperf() -> str:
    lines: list[dict[str, Any]] = []
    for at, prompt, output, ttft, gaps in REQUESTS:
        metrics = {
            "input_sequence_length": {"value": prompt, "unit": "tokens"},
            "output_sequence_length": {"value": output, "unit": "tokens"},
            "time_to_first_token": {"value": ttft * 1e3, "unit": "ms"},
            "request_latency": {"value": ttft + sum(gaps), "unit": "sec"},
        }
        lines.append(
            {"metadata": {"request_start_ns": int((ZERO_S + at) * 1e9)}, "metrics": metrics, "error": None}
        )
    failed = {"metadata": {"request_start_ns": 1}, "metrics": {}, "error": {"code": 400, "message": "bad"}}
    return "".join(json.dumps(line) + "\n" for line in (*lines, failed))


def inference_perf() -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for at, prompt, output, ttft, gaps in REQUESTS:
        times = [3.0 + at + ttft + sum(gaps[:place]) for place in range(output)]
        info = {
            "request_metrics": {"text": {"input_tokens": prompt}},
            "response_metrics": {"output_tokens": output, "output_token_times": times},
        }
        entries.append({"start_time": 3.0 + at, "end_time": times[-1], "info": info, "error": None})
    failed = {
        "start_time": 9.0,
        "end_time": 9.0,
        "info": {},
        "error": {"error_type": "HTTP", "error_msg": "bad"},
    }
    return [*entries, failed]


MAKERS: dict[str, Make] = {
    "argosy perf observe": argosy,
    "vllm bench serve": vllm,
    "guidellm": guidellm,
    "guidellm until 0.3": guidellm_before,
    "aiperf": aiperf,
    "inference-perf": inference_perf,
}


def content_of(made: Any) -> bytes:
    return (made if isinstance(made, str) else json.dumps(made)).encode()


def read(made: Any) -> ObservedRun:
    found = read_run(content_of(made), "file")
    assert isinstance(found, ObservedRun), found
    return found


def refusal(made: Any) -> UnreadableRun:
    found = read_run(content_of(made), "file")
    assert isinstance(found, UnreadableRun), found
    assert found.message.startswith("file: ")
    return found


@pytest.mark.parametrize("tool", MAKERS)
def test_every_tool_s_file_is_the_same_run(tool: str) -> None:
    run = read(MAKERS[tool]())
    assert run.tool == tool.removesuffix(" until 0.3")
    for found, (at, prompt, output, ttft, gaps) in zip(run.requests, REQUESTS, strict=True):
        assert found.sent_s == pytest.approx(at, abs=2e-6)
        assert (found.prompt_tokens, found.output_tokens) == (prompt, output)
        assert found.ttft_ms == pytest.approx(1e3 * ttft, abs=2e-3)
        assert found.e2e_ms == pytest.approx(1e3 * (ttft + sum(gaps)), abs=2e-3)
        mean_ms = None if output == 1 else pytest.approx(1e3 * sum(gaps) / len(gaps), abs=2e-3)
        assert found.itl_ms == mean_ms
    assert len(run.failed) == 1, "kept with its cause"
    assert run.failed[0].cause
    assert not run.is_partial


def test_argosy_s_own_header_tells_of_the_engine() -> None:
    engine = read(argosy()).engine
    assert (engine.model, engine.kv_blocks, engine.tp, engine.gpu) == ("m", 900, 2, None)


@pytest.mark.parametrize("cut", [2, 40, 400])
def test_a_file_that_breaks_off_is_read_and_marked(cut: int) -> None:
    whole = argosy()
    run = read(whole[:-cut])
    assert run.is_partial
    assert 1 <= len(run.requests) <= 3


def edited(make: Make, *changes: tuple[tuple[Any, ...], Any]) -> Any:
    """The file with values at paths replaced; None removes one."""
    made = make()
    for path, value in changes:
        place = made
        for name in path[:-1]:
            place = place[name]
        if value is None:
            del place[path[-1]]
        else:
            place[path[-1]] = value
    return made


def edited_line(make: Callable[[], str], number: int, path: tuple[str, ...], value: Any) -> str:
    lines = make().splitlines()
    lines[number] = json.dumps(edited(lambda: json.loads(lines[number]), (path, value)))
    return "\n".join(lines) + "\n"


TIMINGS = ("benchmarks", 0, "requests", "successful", 1, "info", "timings")
REFUSED: list[tuple[Any, UnreadableRunReason, str]] = [
    ("", UnreadableRunReason.BROKEN, "the file is empty"),
    ({"a": 1}, UnreadableRunReason.UNKNOWN_FORMAT, "no run of single requests that is understood here"),
    (edited_line(argosy, 0, ("version",), 9), UnreadableRunReason.UNKNOWN_VERSION, "version 9 of the format"),
    (edited_line(argosy, 1, ("sent_s",), None), UnreadableRunReason.BAD_VALUE, "line 2: sent_s"),
    (edited_line(argosy, 1, ("first_token_s",), 1.0), UnreadableRunReason.BAD_VALUE, "must ascend"),
    (
        edited_line(argosy, 2, ("prompt_tokens",), 0),
        UnreadableRunReason.BAD_VALUE,
        "line 3: prompt_tokens must be a positive number, got 0",
    ),
    (edited(vllm, (("itls",), None)), UnreadableRunReason.INCOMPLETE, "with --save-detailed"),
    (edited(vllm, (("start_times",), None)), UnreadableRunReason.INCOMPLETE, "use a newer one"),
    (edited(vllm, (("ttfts",), [0.1])), UnreadableRunReason.BAD_VALUE, "one per request each"),
    (edited(vllm, (("ttfts", 1), -0.1)), UnreadableRunReason.BAD_VALUE, "request 2: ttfts"),
    (edited(vllm, (("itls", 0), "x")), UnreadableRunReason.BAD_VALUE, "request 1: itls must be a list"),
    (edited(vllm, (("input_lens", 0), 1.5)), UnreadableRunReason.BAD_VALUE, "request 1: input_lens"),
    (
        edited(guidellm, (("benchmarks",), guidellm()["benchmarks"] * 2)),
        UnreadableRunReason.SEVERAL_RUNS,
        "holds 2 benchmarks",
    ),
    (
        edited(guidellm, (("benchmarks", 0, "requests"), None)),
        UnreadableRunReason.INCOMPLETE,
        "requests.successful is missing",
    ),
    (
        edited(guidellm, ((*TIMINGS, "first_token_iteration"), None)),
        UnreadableRunReason.INCOMPLETE,
        "successful request 2: info.timings.first_token_iteration or first_token_time is missing",
    ),
    (edited(guidellm, ((*TIMINGS, "request_start"), 2e9)), UnreadableRunReason.BAD_VALUE, "must ascend"),
    (
        edited_line(aiperf, 0, ("metrics", "request_latency", "unit"), "fortnights"),
        UnreadableRunReason.BAD_VALUE,
        "metrics.request_latency.unit is 'fortnights'",
    ),
    (
        edited_line(aiperf, 1, ("metrics", "input_sequence_length"), None),
        UnreadableRunReason.INCOMPLETE,
        "metrics.input_sequence_length.value is missing",
    ),
    (
        edited_line(aiperf, 1, ("metrics", "request_latency"), None),
        UnreadableRunReason.INCOMPLETE,
        "metrics.request_latency is missing",
    ),
    (
        edited_line(aiperf, 1, ("metadata", "request_start_ns"), 1.5),
        UnreadableRunReason.BAD_VALUE,
        "line 2: metadata.request_start_ns",
    ),
    ({"experiments": []}, UnreadableRunReason.INCOMPLETE, "genai-perf's profile_export.json"),
    (
        edited(inference_perf, ((0, "info", "response_metrics", "output_token_times"), [])),
        UnreadableRunReason.INCOMPLETE,
        "api.streaming: true",
    ),
    (
        edited(inference_perf, ((1, "start_time"), 99.0)),
        UnreadableRunReason.BAD_VALUE,
        "request 2: start_time and the first and last",
    ),
    (inference_perf()[-1:], UnreadableRunReason.NOTHING_MEASURED, "none of its 1 requests"),
]


@pytest.mark.parametrize(("made", "reason", "words"), REFUSED, ids=[words for _, _, words in REFUSED])
def test_what_cannot_be_a_run_is_refused_by_place_and_field(
    made: Any, reason: UnreadableRunReason, words: str
) -> None:
    found = refusal(made)
    assert words in found.message
    assert found.reason is reason


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(tool=st.sampled_from(sorted(MAKERS)), choice=st.integers(0, 10_000), value=_ANY)
def test_any_value_anywhere_gives_a_run_or_a_refusal(tool: str, choice: int, value: object) -> None:
    made = MAKERS[tool]()
    lines = [json.loads(line) for line in made.splitlines()] if isinstance(made, str) else made
    places = list(_places(lines))
    path = places[choice % len(places)]
    spoilt = edited(lambda: lines, (path, value))
    text = "\n".join(map(json.dumps, spoilt)) if isinstance(made, str) else json.dumps(spoilt)
    assert isinstance(read_run(text.encode(), "file"), ObservedRun | UnreadableRun)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Any:
    """Every path to a value inside."""
    if path:
        yield path
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for name, child in children:
        yield from _places(child, (*path, name))


def test_a_file_that_two_tools_could_have_written_is_refused() -> None:
    """None is taken because it happens to be asked first."""
    both = {"input_lens": [1], "ttfts": [0.1], "start_time": 0.0, "end_time": 1.0, "info": {}}
    found = read_run(json.dumps(both).encode(), "run.json")
    assert isinstance(found, UnreadableRun)
    assert found.reason is UnreadableRunReason.AMBIGUOUS
    assert "vllm bench serve" in found.message
    assert "inference-perf" in found.message
