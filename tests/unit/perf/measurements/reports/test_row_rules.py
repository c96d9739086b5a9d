"""Rows of sweeps that went wrong: each is kept, marked with a sentence, or left out with its reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from argosy.perf.measurements import (
    ClosedLoopLoad,
    Measurements,
    OpenLoopLoad,
    UnreadableReason,
    UnreadableReport,
    read_measurements,
)


def level(in_flight: int | None = 8, rate: float | str = "inf", **changes: Any) -> dict[str, Any]:
    """A result of vllm bench serve: 200 requests of 900 prompt and 150 output tokens."""
    return {
        "backend": "openai",
        "model_id": "meta-llama/Llama-3.1-8B-Instruct",
        "num_prompts": 200,
        "request_rate": rate,
        "max_concurrency": in_flight,
        "duration": 40.0,
        "completed": 200,
        "failed": 0,
        "total_input_tokens": 180_000,
        "total_output_tokens": 30_000,
        "request_throughput": 5.0,
        "output_throughput": 750.0,
        "mean_ttft_ms": 60.0,
        "median_ttft_ms": 55.0,
        "p99_ttft_ms": 120.0,
        "mean_tpot_ms": 10.0,
        "median_tpot_ms": 10.0,
        "p99_tpot_ms": 11.0,
    } | changes


def found(*levels: dict[str, Any] | str) -> Measurements | UnreadableReport:
    lines = [one if isinstance(one, str) else json.dumps(one) for one in levels]
    return read_measurements("\n".join(lines).encode(), "sweep.jsonl")


def read(*levels: dict[str, Any] | str) -> Measurements:
    report = found(*levels)
    assert isinstance(report, Measurements), report
    return report


def read_json(document: dict[str, Any]) -> Measurements | UnreadableReport:
    return read_measurements(json.dumps(document).encode(), "report.json")


def only_mark(report: Measurements) -> str:
    (row,) = report.rows
    (mark,) = row.marks
    return mark


LEFT_OUT: dict[str, tuple[dict[str, Any] | str, UnreadableReason, str]] = {
    "nothing completed": (
        level(16, completed=0, failed=200),
        UnreadableReason.NOTHING_MEASURED,
        "result 2: no request completed",
    ),
    "most failed": (
        level(16, completed=90, failed=110),
        UnreadableReason.MOST_FAILED,
        "result 2: 110 of 200 requests failed",
    ),
    "most failed, in a release that does not count failures": (
        {name: value for name, value in level(16, completed=4).items() if name != "failed"},
        UnreadableReason.MOST_FAILED,
        "result 2: 196 of 200 requests failed",
    ),
    "a mean that is no number": (
        level(16, mean_ttft_ms=float("nan")),
        UnreadableReason.BAD_VALUE,
        "result 2: mean_ttft_ms must be a positive number, got nan",
    ),
    "percentiles in the wrong order": (
        level(16, p99_tpot_ms=6.0),
        UnreadableReason.CONTRADICTORY,
        "result 2: the p50 of ITL, 10 ms, is larger than its p99, 6 ms",
    ),
    "a warm-up by its label": (
        level(16, label="warm-up"),
        UnreadableReason.WARM_UP,
        "result 2: a warm-up",
    ),
    "a run cut short before the load was there": (
        level(64, num_prompts=640, completed=40, failed=0, duration=3.0, request_throughput=13.0),
        UnreadableReason.CUT_SHORT,
        "result 2: 40 of 640 requests ended after 40 completed requests, of which a steady load needs at "
        "least 64",
    ),
    "no result at all": ({"error": "timeout"}, UnreadableReason.INCOMPLETE, "result 2: backend,"),
    "a line that broke off": ('{"backend": "open', UnreadableReason.BROKEN, "line 2 is no JSON"),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_a_bad_level_in_the_middle_costs_only_itself(case: str) -> None:
    bad, reason, words = LEFT_OUT[case]
    report = read(level(4), bad, level(32))
    assert [row.load for row in report.rows] == [ClosedLoopLoad(4), ClosedLoopLoad(32)]
    (left_out,) = report.left_out
    assert left_out.reason is reason
    assert words in left_out.message


def test_a_sweep_without_a_good_level_is_refused_with_the_reason_of_each() -> None:
    refusal = found(level(4, completed=1, failed=199), level(8, completed=0, failed=200))
    assert isinstance(refusal, UnreadableReport)
    assert refusal.reason is UnreadableReason.NOTHING_MEASURED
    assert "none of the 2 rows can be used" in refusal.message
    assert "result 1: 199 of 200 requests failed" in refusal.message
    assert "result 2: no request completed" in refusal.message


def test_a_short_run_of_the_same_load_before_the_real_one_is_its_warm_up() -> None:
    warm_up = level(8, num_prompts=20, completed=20, total_input_tokens=18_000, total_output_tokens=3_000)
    report = read(warm_up, level(8))
    assert [row.num_requests for row in report.rows] == [200]
    assert "a warm-up" in report.left_out[0].message
    # Measured twice, or at another load, both are levels.
    assert len(read(level(8), level(8)).rows) == len(read(warm_up, level(16)).rows) == 2


MARKED: dict[str, tuple[dict[str, Any], str]] = {
    "some failed": (level(completed=190, failed=10), "10 requests failed and are not in its figures"),
    "few completed": (
        level(1, num_prompts=5, completed=5, total_input_tokens=4_500, total_output_tokens=750),
        "only 5 completed, fewer than 10",
    ),
    "ended early": (level(completed=120), "120 of 200 requests ended; what completed until then is used"),
    "a percentile that is no number": (
        level(p99_ttft_ms=float("nan")),
        "p99_ttft_ms is no number and is left out",
    ),
    "another engine": (level(backend="sglang-oai"), "its backend is sglang-oai, and Argosy runs vLLM"),
}


@pytest.mark.parametrize("case", MARKED)
def test_a_row_of_limited_worth_is_used_with_a_sentence(case: str) -> None:
    result, words = MARKED[case]
    mark = only_mark(read(result))
    assert mark.startswith("the report: ")
    assert words in mark


def test_a_null_percentile_is_a_missing_one() -> None:
    (row,) = read(level(p99_ttft_ms=None)).rows
    assert row.marks == ()
    assert row.ttft is not None
    assert (row.ttft.p99_ms, row.ttft.p50_ms) == (None, 55.0)


def test_a_rate_that_the_client_did_not_keep_is_the_completed_one() -> None:
    report = read(level(None, 50.0))
    assert report.rows[0].load == OpenLoopLoad(5.0)
    assert "50 requests/s were asked for and 5 completed" in only_mark(report)
    assert "the client did not keep the rate, and 5 requests/s are used" in only_mark(report)


def test_an_engine_that_could_not_keep_up_was_sent_the_asked_rate() -> None:
    # 200 requests in 10 s; the last are answered 40 s after the start, as the queue has grown.
    overloaded = level(None, 20.0, mean_ttft_ms=15_000.0, median_ttft_ms=15_000.0, p99_ttft_ms=30_000.0)
    (row,) = read(overloaded).rows
    assert (row.load, row.marks) == (OpenLoopLoad(20.0), ())


def test_a_cap_far_above_what_was_in_flight_did_not_make_the_load() -> None:
    assert read(level(512, 50.0)).rows[0].load == OpenLoopLoad(5.0)
    capped = read(level(8, 50.0))
    assert capped.rows[0].load == ClosedLoopLoad(8)
    assert "the cap of 8 in flight was reached" in only_mark(capped)


def test_a_row_that_cannot_tell_client_from_engine_keeps_the_asked_rate_with_a_mark() -> None:
    table = b"prompt_tokens,output_tokens,requests_per_s,itl_ms,throughput_requests_per_s\n900,150,10,9,6\n"
    report = read_measurements(table, "mine.csv")
    assert isinstance(report, Measurements)
    assert report.rows[0].load == OpenLoopLoad(10.0)
    assert "the asked rate is used" in only_mark(report)


def test_lines_of_a_table_that_cannot_be_read_are_left_out_alone() -> None:
    lines = [
        "prompt_tokens,output_tokens,concurrency,ttft_ms,itl_ms,num_requests,num_failed",
        "900,150,4,40,8,100,0",
        "900,150,8,nan,8.5,100,0",
        "900,150,16,70,9,100,0,7",
        "900,150,32,90,10,100,300",
        "900,150,64,160,13,100,",
    ]
    report = read_measurements("\n".join(lines).encode(), "mine.csv")
    assert isinstance(report, Measurements)
    assert [row.load for row in report.rows] == [ClosedLoopLoad(4), ClosedLoopLoad(64)]
    words = ("line 3: ttft_ms", "line 4 has 8 cells for 7 columns", "line 5: 300 of 400 requests failed")
    for sentence, one in zip(words, report.left_out, strict=True):
        assert sentence in one.message


# --- reports of older releases ----------------------------------------------------------------


def distribution(mean: float) -> dict[str, Any]:
    percentiles = {f"p{p}": mean for p in (25, 75, 90, 95, 99)}
    return {"successful": {"mean": mean, "median": mean, "std_dev": 0.0, "percentiles": percentiles}}


def guidellm_metrics() -> dict[str, Any]:
    return {
        "requests_per_second": distribution(3.0),
        "prompt_token_count": distribution(700.0),
        "output_token_count": distribution(80.0),
        "time_to_first_token_ms": distribution(45.0),
        "inter_token_latency_ms": distribution(9.0),
        "request_latency": distribution(0.76),
    }


def guidellm_0_2(strategy: dict[str, Any], totals: dict[str, int], **limits: Any) -> dict[str, Any]:
    """A benchmark as 0.2 and 0.3 write it: `args` for the configuration, the totals beside the metrics."""
    return {
        "type_": "generative_benchmark",
        "args": {"strategy": strategy, "max_number": None, "max_duration": None} | limits,
        "worker": {"backend_model": "mine/model"},
        "request_totals": totals,
        "metrics": guidellm_metrics(),
        "duration": 30.0,
    }


def test_reports_of_guidellm_0_2_are_read() -> None:
    done = {"successful": 90, "errored": 2, "incomplete": 0, "total": 92}
    cut = {"successful": 90, "errored": 0, "incomplete": 30, "total": 120}
    benchmarks = [
        guidellm_0_2({"type_": "constant", "rate": 3.0}, done, max_duration=30),
        guidellm_0_2({"type_": "concurrent", "streams": 30}, cut, max_duration=30),
        guidellm_0_2({"type_": "concurrent", "streams": 100}, cut, max_duration=300),
        guidellm_0_2({"type_": "throughput", "max_concurrency": None}, done),
    ]
    report = read_json({"benchmarks": benchmarks})
    assert isinstance(report, Measurements)
    assert (report.model, [row.load for row in report.rows]) == (
        "mine/model",
        [OpenLoopLoad(3.0, 0.0), ClosedLoopLoad(30)],
    )
    assert [row.marks for row in report.rows] == [
        ("benchmark 1: 2 requests failed and are not in its figures",),
        (
            "benchmark 2: 30 requests were cut off at the end beside 90 that completed: its figures are "
            "of the shorter ones",
        ),
    ]
    assert "benchmark 3: the run took 30 of 300 s after 90 completed requests" in report.left_out[1].message
    assert "benchmark 4: a throughput level without max_concurrency" in report.left_out[0].message


def test_reports_of_guidellm_0_4_are_read() -> None:
    """A configuration and totals among the metrics, as later; no version of the tool, as before."""
    totals = {"successful": 90, "errored": 0, "incomplete": 0, "total": 90}
    benchmark = {
        "type_": "generative_benchmark",
        "config": {
            "strategy": {"type_": "constant", "rate": 3.0, "worker_count": 4},
            "backend": {"type_": "openai_http", "model": "mine/model"},
        },
        "metrics": guidellm_metrics() | {"request_totals": totals},
    }
    report = read_json({"args": {"profile": "constant", "rate": [3.0]}, "benchmarks": [benchmark]})
    assert isinstance(report, Measurements), report
    (row,) = report.rows
    assert (report.model, row.load, row.num_requests, row.marks) == (
        "mine/model",
        OpenLoopLoad(3.0, 0.0),
        90,
        (),
    )


def aiperf(config: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "request_throughput": {"unit": "requests/sec", "avg": 6.0},
        "request_count": {"unit": "requests", "avg": 60.0},
        "request_latency": {"unit": "ms", "avg": 1240.0},
        "time_to_first_token": {"unit": "ms", "avg": 50.0, "p50": 45.0},
        "inter_token_latency": {"unit": "ms", "avg": 12.0},
        "input_sequence_length": {"unit": "tokens", "avg": 640.0, "std": 30.0},
        "output_sequence_length": {"unit": "tokens", "avg": 100.0, "std": 0.0},
        "input_config": config,
    } | changes


def test_reports_of_aiperf_0_2_and_genai_perf_are_read() -> None:
    loadgen = {
        "endpoint": {"model_names": ["mine/model"]},
        "loadgen": {"concurrency": 8, "request_count": 60},
    }
    rate = {"loadgen": {"request_rate": 6.0, "request_rate_mode": "constant", "concurrency": None}}
    stimulus = {"model_names": ["mine/model"], "perf_analyzer": {"stimulus": {"concurrency": 8}}}
    arguments = {"model": ["mine/model"], "concurrency": None, "request_rate": 6.0}
    for config, load in (
        (loadgen, ClosedLoopLoad(8)),
        (rate, OpenLoopLoad(6.0, 0.0)),
        (stimulus, ClosedLoopLoad(8)),
        (arguments, OpenLoopLoad(6.0)),
    ):
        report = read_json(aiperf(config))
        assert isinstance(report, Measurements), report
        assert (report.rows[0].load, report.rows[0].marks) == (load, ())
        assert report.model in {"mine/model", None}


def test_a_cancelled_run_of_aiperf_is_marked_or_refused_by_what_it_completed() -> None:
    def cancelled(in_flight: int) -> Measurements | UnreadableReport:
        config = {"loadgen": {"concurrency": in_flight, "request_count": 600}}
        return read_json(aiperf(config, was_cancelled=True, error_summary=[{"count": 3}]))

    report = cancelled(8)
    assert isinstance(report, Measurements)
    assert report.rows[0].marks == (
        "the report: 3 requests failed and are not in its figures",
        "the report: the run was cancelled; what completed until then is used",
    )
    refusal = cancelled(80)
    assert isinstance(refusal, UnreadableReport)
    assert refusal.reason is UnreadableReason.CUT_SHORT


def test_results_of_sglang_have_their_own_name_for_the_latency() -> None:
    (row,) = read(level(8, float("inf"), mean_e2e_latency_ms=1550.0, median_e2e_latency_ms=1500.0)).rows
    assert row.load == ClosedLoopLoad(8)
    assert row.e2e is not None
    assert row.e2e.mean_ms == 1550.0
