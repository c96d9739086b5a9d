"""Reports of benchmark tools as neutral rows: the real ones, and what is refused by name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from argosy.perf.measurements import (
    UNDERSTOOD,
    ClosedLoopLoad,
    Latency,
    Measurement,
    Measurements,
    OfferedLoad,
    OpenLoopLoad,
    SaturatingLoad,
    TokenLengths,
    Tool,
    UnreadableReason,
    UnreadableReport,
    read_measurements,
)

DATA = Path(__file__).parents[4] / "data" / "perf"
MODEL = "meta-llama/Llama-3.1-8B-Instruct"


def read(path: str) -> Measurements:
    found = read_measurements((DATA / path).read_bytes(), path)
    assert isinstance(found, Measurements), found
    return found


def refused(content: str | bytes) -> UnreadableReport:
    found = read_measurements(content if isinstance(content, bytes) else content.encode(), "mine")
    assert isinstance(found, UnreadableReport), found
    return found


def edited(path: str, **changes: Any) -> str:
    """A report with some of its top-level fields replaced."""
    return json.dumps(json.loads((DATA / path).read_text()) | changes)


def edited_at(path: str, place: tuple[str | int, ...], value: Any) -> str:
    """A report with the value at one place of it replaced."""
    report = json.loads((DATA / path).read_text())
    inner = report
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    return json.dumps(report)


def rounded(latency: Latency | None) -> tuple[float | None, ...] | None:
    if latency is None:
        return None
    values = (latency.mean_ms, latency.p50_ms, latency.p90_ms, latency.p95_ms, latency.p99_ms)
    return tuple(None if value is None else round(value, 2) for value in values)


def means(row: Measurement) -> tuple[float | None, ...]:
    """Prompt, output, TTFT, ITL, tokens/s, requests/s."""
    latencies = [None if latency is None else latency.mean_ms for latency in (row.ttft, row.itl)]
    values = (row.prompt.mean, row.output.mean, *latencies, row.output_tokens_per_s, row.requests_per_s)
    return tuple(None if value is None else round(value, 2) for value in values)


# The real reports.


def test_vllm_bench_gives_a_row_per_run() -> None:
    report = read("vllm/c16.json")
    assert (report.tool, report.model, report.gpu, len(report.rows)) == (Tool.VLLM_BENCH, MODEL, None, 1)
    (row,) = report.rows
    assert row.load == ClosedLoopLoad(16)
    assert means(row) == (517.96, 128.58, 52.69, 9.48, 1541.86, 11.99)
    assert rounded(row.ttft) == (52.69, 25.73, None, None, 192.29)
    assert rounded(row.itl) == (9.48, 9.57, None, None, 9.94)
    assert (row.e2e, row.num_requests) == (None, 96)


def test_lengths_of_vllm_bench_are_known_in_detail_or_from_the_spread_of_latencies() -> None:
    (detailed,) = read("vllm/detailed.json").rows
    assert (detailed.prompt.mean, detailed.output.mean) == (519.0625, 64.90625)
    assert (detailed.prompt.std, detailed.output.std) == pytest.approx((58.051, 7.670), abs=0.001)
    # Drawn uniformly from 128 +- 20 %: 14.8 is what that has.
    (plain,) = read("vllm/c16.json").rows
    assert plain.prompt.std is None
    assert plain.output.std == pytest.approx(14.78, abs=0.01)


def test_what_is_no_length_and_no_latency_says_nothing_of_their_spread() -> None:
    for changes in ({"input_lens": [0, 0]}, {"latencies": [10**400, 1.0, 2.0]}):
        found = read_measurements(edited("vllm/c16.json", **changes).encode(), "odd")
        assert isinstance(found, Measurements)
        assert (found.rows[0].prompt.std, round(found.rows[0].prompt.mean, 2)) == (None, 517.96)


def test_a_rate_asked_of_vllm_bench_is_an_open_loop() -> None:
    (row,) = read("vllm/rate10.json").rows
    assert row.load == OpenLoopLoad(10.0, gap_cv=1.0)
    assert rounded(row.e2e) == (859.97, 857.23, 1000.34, 1015.83, 1033.1)
    assert rounded(row.ttft) == (25.71, 25.31, 32.27, 36.53, 39.1)


def test_appended_results_are_rows_of_one_report() -> None:
    report = read("vllm/sweep.jsonl")
    assert [row.load for row in report.rows] == [
        ClosedLoopLoad(4),
        ClosedLoopLoad(16),
        ClosedLoopLoad(48),
        ClosedLoopLoad(32),
    ]
    assert [means(row)[:4] for row in report.rows] == [
        (1057.88, 95.44, 46.93, 8.41),
        (1038.58, 96.7, 111.53, 11.23),
        (1032.27, 97.28, 222.02, 19.53),
        (258.63, 193.65, 64.78, 10.17),
    ]
    assert [row.where for row in report.rows] == ["result 1", "result 2", "result 3", "result 4"]


@pytest.mark.parametrize(
    ("completed_per_s", "load"),
    [(5.0, ClosedLoopLoad(4)), (9.5, OpenLoopLoad(10.0))],
    ids=["held back", "kept"],
)
def test_a_cap_that_holds_a_rate_back_makes_a_closed_loop(completed_per_s: float, load: OfferedLoad) -> None:
    report = edited("vllm/rate10.json", max_concurrency=4, request_throughput=completed_per_s)
    found = read_measurements(report.encode(), "capped")
    assert isinstance(found, Measurements)
    assert found.rows[0].load == load


def test_requests_sent_all_at_once_are_as_many_in_flight() -> None:
    found = read_measurements(edited("vllm/c16.json", max_concurrency=None).encode(), "burst")
    assert isinstance(found, Measurements)
    assert found.rows[0].load == ClosedLoopLoad(96)


def test_guidellm_gives_a_row_per_benchmark() -> None:
    report = read("guidellm/concurrent.json")
    assert (report.tool, report.tool_version, report.model) == (Tool.GUIDELLM, "0.8.1", MODEL)
    assert [row.load for row in report.rows] == [ClosedLoopLoad(4), ClosedLoopLoad(16), ClosedLoopLoad(40)]
    assert [round(row.prompt.std or 0, 1) for row in report.rows] == [59.1, 58.4, 62.9]
    assert [means(row)[2:4] for row in report.rows] == [(22.61, 8.09), (43.43, 9.74), (114.03, 12.69)]
    assert [row.num_requests for row in report.rows] == [96, 96, 96]
    assert report.notes == ()


def test_a_constant_rate_of_guidellm_has_even_gaps() -> None:
    (row,) = read("guidellm/constant.json").rows
    assert row.load == OpenLoopLoad(8.0, gap_cv=0.0)
    assert means(row)[2:4] == (23.13, 8.51)
    assert row.e2e is not None
    assert round(row.e2e.mean_ms or 0) == 867


def test_poisson_load_of_several_guidellm_workers_is_noted() -> None:
    report = json.loads((DATA / "guidellm/constant.json").read_text())
    report["benchmarks"][0]["config"]["strategy"]["type_"] = "poisson"
    found = read_measurements(json.dumps(report).encode(), "poisson")
    assert isinstance(found, Measurements)
    assert found.rows[0].load == OpenLoopLoad(8.0, gap_cv=1.0)
    assert "10 workers drew the same gaps" in found.rows[0].marks[0]


def test_aiperf_gives_its_row_with_the_load_of_its_configuration() -> None:
    reports = [read(f"aiperf/{name}.json") for name in ("c4", "c16", "c40", "rate8")]
    assert {(one.tool, one.tool_version, one.model) for one in reports} == {(Tool.AIPERF, "0.13.0", MODEL)}
    loads: list[OfferedLoad] = [ClosedLoopLoad(4), ClosedLoopLoad(16), ClosedLoopLoad(40), OpenLoopLoad(8.0)]
    assert [one.rows[0].load for one in reports] == loads
    assert [means(one.rows[0])[:4] for one in reports] == [
        (497.04, 98.54, 24.1, 8.08),
        (506.83, 97.89, 65.59, 9.67),
        (514.57, 96.83, 82.97, 13.17),
        (509.52, 97.1, 21.43, 8.6),
    ]
    assert [one.rows[0].num_requests for one in reports] == [24, 96, 240, 80]


def test_the_csv_of_aiperf_says_the_same_but_not_the_load() -> None:
    from_csv, from_json = read("aiperf/c16.csv"), read("aiperf/c16.json")
    assert means(from_csv.rows[0]) == means(from_json.rows[0])
    assert rounded(from_csv.rows[0].ttft) == rounded(from_json.rows[0].ttft)
    assert from_csv.rows[0].load == ClosedLoopLoad(16)
    assert "does not say which load" in from_csv.notes[0]


def test_a_csv_of_aiperf_with_hardly_any_load_had_one_request_in_flight() -> None:
    busy = (DATA / "aiperf/c16.csv").read_text()
    idle = re.sub(r"(?m)^(Effective Concurrency(?:,[^,]*){8}),16.00", r"\1,0.30", busy)
    found = read_measurements(idle.encode(), "idle")
    assert isinstance(found, Measurements)
    assert "0.3 requests in flight" in found.notes[0]
    assert found.rows[0].load == ClosedLoopLoad(1)


def test_a_table_of_ones_own_has_a_row_per_line() -> None:
    report = read("csv/runs.csv")
    assert (report.tool, len(report.rows)) == (Tool.CSV, 6)
    assert means(report.rows[1]) == (518.0, 128.6, 52.69, 9.48, 1541.9, None)
    assert (report.rows[1].load, report.rows[1].num_requests) == (ClosedLoopLoad(16), 96)
    assert report.rows[1].where == "line 4"


def test_lines_of_aibrix_make_a_row_per_run() -> None:
    report = read("aibrix/benchmark.jsonl")
    assert (report.tool, report.model, len(report.rows)) == (Tool.AIBRIX, MODEL, 18)
    first = report.rows[0]
    assert (first.prompt, first.output, first.load) == (
        TokenLengths(128, 0),
        TokenLengths(32, 0),
        OpenLoopLoad(2.0),
    )
    assert means(first)[2:] == (11.6, 7.73, 62.17, 1.94)
    assert rounded(first.e2e) == (260.22, 257.62, 272.79, None, 280.35)


def test_a_run_that_was_not_streamed_has_no_first_token() -> None:
    lines = [json.loads(line) for line in (DATA / "aibrix/benchmark.jsonl").read_text().splitlines()[:5]]
    for line in lines:
        if line["metric"] == "TPOT":
            line |= {"mean": 0.0, "P50": 0.0, "P90": 0.0, "P99": 0.0}
    found = read_measurements("\n".join(map(json.dumps, lines)).encode(), "whole answers")
    assert isinstance(found, Measurements)
    assert (found.rows[0].ttft, found.rows[0].itl) == (None, None)
    assert found.rows[0].e2e is not None


def test_a_profile_of_aibrix_has_a_row_per_cell() -> None:
    report = read("aibrix/profile.json")
    assert (report.tool, report.gpu) == (Tool.AIBRIX, "simulated-llama-3-1-8b-h100")
    lengths = [(row.prompt.mean, row.output.mean) for row in report.rows]
    assert lengths == [(128, 32), (512, 32), (1024, 32), (128, 128), (512, 128), (1024, 128)]
    assert report.rows[2].load == OpenLoopLoad(14.411488631210636)
    assert (rounded(report.rows[2].e2e), rounded(report.rows[2].ttft)) == (
        (370.72, None, None, None, None),
        (37.27, None, None, None, None),
    )


def test_the_summary_of_the_profiling_script_is_a_row() -> None:
    report = read("melange/512-96-8-48.txt")
    (row,) = report.rows
    assert (report.tool, report.model, row.load) == (Tool.MELANGE, MODEL, OpenLoopLoad(8.0))
    assert means(row) == (512, 96, 19.08, 8.4, 635.58, 6.62)
    assert rounded(row.e2e) == (830.0, 829.59, 843.38, None, 857.67)


def test_a_table_of_melange_has_a_row_per_gpu_and_cell() -> None:
    report = read("melange/config_with_lengths.json")
    assert (report.tool, report.gpus, len(report.rows)) == (Tool.MELANGE, ("H100", "L40S", "A100"), 11)
    l40s = report.of_gpu("L40S").rows
    assert [(row.prompt.mean, row.output.mean, row.requests_per_s) for row in l40s] == [
        (256, 64, 31.32),
        (256, 256, 12.54),
        (1024, 64, 10.03),
    ]
    assert {row.load for row in l40s} == {SaturatingLoad()}
    assert "gpu_info L40S, tputs[1][1]: no throughput, left out" in report.notes


# What is refused.


def test_the_tables_of_melange_need_their_lengths() -> None:
    fault = refused((DATA / "melange/config.json").read_text())
    assert fault.reason is UnreadableReason.INCOMPLETE
    assert '"prompt_tokens": [...] (one per row)' in fault.message


def test_an_unknown_file_is_told_what_is_understood() -> None:
    fault = refused('{"latency": 3}')
    assert (fault.reason, fault.name) == (UnreadableReason.UNKNOWN_FORMAT, "mine")
    assert all(words in fault.message for words in UNDERSTOOD)


def test_a_file_that_could_be_two_things_is_refused() -> None:
    report = json.loads((DATA / "aiperf/c4.json").read_text())
    report |= json.loads((DATA / "vllm/c4.json").read_text())
    fault = refused(json.dumps(report))
    assert fault.reason is UnreadableReason.AMBIGUOUS
    assert "vllm bench" in fault.message
    assert "aiperf" in fault.message


HEADER = "prompt_tokens,output_tokens,concurrency,ttft_ms,itl_ms"
HALF_A_STREAM = {"type_": "concurrent", "streams": 0.5}

REFUSALS: dict[str, tuple[str | bytes, UnreadableReason, str]] = {
    "nothing at all": ("", UnreadableReason.BROKEN, "the file is empty"),
    "no text": (b"\xff\xfe\x00x", UnreadableReason.BROKEN, "not UTF-8"),
    "a report cut off": ('{"metadata": {"guid', UnreadableReason.BROKEN, "broken JSON"),
    "a second line that is no JSON": ('{"a": 1}\n{"b"', UnreadableReason.BROKEN, "line 2 is no JSON"),
    "brackets without end": ("[" * 100_000, UnreadableReason.BROKEN, "nested too deeply"),
    "brackets without end in the second line": (
        '{"a": 1}\n' + "[" * 100_000,
        UnreadableReason.BROKEN,
        "nested too deeply",
    ),
    "a cell without end": (
        f"{HEADER}\n{'1' * 200_000},128,4,20,8",
        UnreadableReason.BROKEN,
        "line 2 is no line of a table",
    ),
    "a table without lines": (HEADER, UnreadableReason.NOTHING_MEASURED, "no line"),
    "a NaN": (f"{HEADER}\n512,128,4,nan,8", UnreadableReason.BAD_VALUE, "line 2: ttft_ms must be a positive"),
    "an infinity": (f"{HEADER}\n512,128,4,20,inf", UnreadableReason.BAD_VALUE, "line 2: itl_ms"),
    "a negative time": (
        f"{HEADER}\n512,128,4,20,-8",
        UnreadableReason.BAD_VALUE,
        "itl_ms must be a positive",
    ),
    "a zero": (f"{HEADER}\n512,128,4,0,8", UnreadableReason.BAD_VALUE, "line 2: ttft_ms must be a positive"),
    "a word": (f"{HEADER}\n512,128,4,fast,8", UnreadableReason.BAD_VALUE, "got 'fast'"),
    "half a request": (
        f"{HEADER}\n512,128,1.5,20,8",
        UnreadableReason.BAD_VALUE,
        "concurrency must be a whole",
    ),
    "no length": (f"{HEADER}\n512,,4,20,8", UnreadableReason.INCOMPLETE, "line 2: output_tokens is missing"),
    "no load": (f"{HEADER}\n512,128,,20,8", UnreadableReason.INCOMPLETE, "exactly one of concurrency"),
    "two loads": (
        f"{HEADER},requests_per_s\n512,128,4,20,8,2",
        UnreadableReason.INCOMPLETE,
        "exactly one of concurrency and requests_per_s",
    ),
    "a cell too many": (f"{HEADER}\n512,128,4,20,8,9", UnreadableReason.BROKEN, "6 cells for 5 columns"),
    "a column in seconds": (
        "prompt_tokens,output_tokens,concurrency,ttft_s\n512,128,4,0.02",
        UnreadableReason.INCOMPLETE,
        "column ttft_s is not understood (did you mean ttft_ms?)",
    ),
    "a column twice": (
        "prompt_tokens,output_tokens,concurrency,itl_ms,tpot_ms\n512,128,4,8,8",
        UnreadableReason.AMBIGUOUS,
        "twice: itl_ms",
    ),
    "vllm: nothing completed": (
        edited("vllm/c4.json", completed=0),
        UnreadableReason.NOTHING_MEASURED,
        "no request completed",
    ),
    "vllm: NaN": (
        edited("vllm/c4.json", mean_ttft_ms=float("nan")),
        UnreadableReason.BAD_VALUE,
        "the report: mean_ttft_ms must be a positive number, got nan",
    ),
    "vllm: a number beyond every benchmark": (
        edited("vllm/c4.json", mean_ttft_ms=1e300),
        UnreadableReason.BAD_VALUE,
        "the report: mean_ttft_ms must be a positive number below 1e+15, got 1e+300",
    ),
    "vllm: a number too large for one": (
        edited("vllm/c4.json", total_input_tokens=10**400),
        UnreadableReason.BAD_VALUE,
        "total_input_tokens",
    ),
    "vllm: a rate that is none": (
        edited("vllm/rate10.json", request_rate=-1),
        UnreadableReason.BAD_VALUE,
        "request_rate",
    ),
    "guidellm: half a stream": (
        edited_at("guidellm/constant.json", ("benchmarks", 0, "config", "strategy"), HALF_A_STREAM),
        UnreadableReason.BAD_VALUE,
        "benchmark 1, config.strategy: streams must be a whole number, got 0.5",
    ),
    "guidellm: no benchmark": (
        edited("guidellm/constant.json", benchmarks=[]),
        UnreadableReason.NOTHING_MEASURED,
        "no benchmark",
    ),
    "guidellm: another format": (
        edited("guidellm/constant.json", benchmarks=[{"metrics": {}}]),
        UnreadableReason.INCOMPLETE,
        "request_totals is missing: another format than guidellm 0.2's to 0.8's",
    ),
    "aiperf: no load": (
        edited("aiperf/c4.json", input_config={}),
        UnreadableReason.INCOMPLETE,
        "names 0 measured phases",
    ),
    "aiperf: half a request in flight": (
        edited_at("aiperf/c4.json", ("input_config", "phases", 0, "concurrency"), 0.5),
        UnreadableReason.BAD_VALUE,
        "concurrency must be a whole number, got 0.5",
    ),
    "aibrix: a list for a length": (
        json.dumps(
            {"metric": "E2E", "input_tokens": [8], "output_tokens": 8, "request_rate": 1, "samples": 9}
        ),
        UnreadableReason.BAD_VALUE,
        "input_tokens must be a positive number, got [8]",
    ),
    "aiperf: a latency in seconds": (
        edited_at("aiperf/c4.json", ("inter_token_latency", "unit"), "sec"),
        UnreadableReason.BAD_VALUE,
        "inter_token_latency.unit is 'sec'",
    ),
    "aiperf: a negative latency": (
        edited("aiperf/c4.json", inter_token_latency={"unit": "ms", "avg": -8.0}),
        UnreadableReason.BAD_VALUE,
        "the report, inter_token_latency: avg",
    ),
    "aibrix: a ragged table": (
        edited("aibrix/profile.json", tputs=[[1.0], [2.0, 3.0]]),
        UnreadableReason.BROKEN,
        "tputs must have 2 rows of 3 numbers",
    ),
    "aibrix: a negative throughput": (
        edited("aibrix/profile.json", tputs=[[1.0, -2.0, 3.0], [1.0, 2.0, 3.0]]),
        UnreadableReason.BAD_VALUE,
        "tputs[0][1]: throughput must be zero or a positive number, got -2.0",
    ),
    "aibrix: nothing sustained": (
        edited("aibrix/profile.json", tputs=[[0.0] * 3] * 2),
        UnreadableReason.NOTHING_MEASURED,
        "every throughput in the table is zero",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_is_no_measurement_is_refused_by_name(case: str) -> None:
    content, reason, words = REFUSALS[case]
    fault = refused(content)
    assert fault.reason is reason
    assert words in fault.message


def test_what_a_table_does_not_know_is_none_and_never_zero() -> None:
    found = read_measurements(b"prompt_tokens;output_tokens;requests_per_s;rack\n512;128;2;a7", "short")
    assert isinstance(found, Measurements)
    (row,) = found.rows
    assert (row.ttft, row.itl, row.e2e, row.output_tokens_per_s, row.num_requests) == (None,) * 5
    assert row.load == OpenLoopLoad(2.0)
    assert found.notes == ("columns without a meaning here: rack",)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"], ids=["Unix", "Windows", "an old Macintosh"])
def test_a_table_as_a_spreadsheet_saves_it_has_empty_columns_and_its_own_line_ends(line_end: str) -> None:
    table = line_end.join(["prompt_tokens,output_tokens,concurrency,itl_ms,,", "512,128,4,8,,", ",,,,,"])
    found = read_measurements(table.encode(), "saved")
    assert isinstance(found, Measurements)
    assert (len(found.rows), found.notes) == (1, ())
    assert found.rows[0].itl == Latency(mean_ms=8.0)


def test_a_table_may_call_itl_tpot_and_give_percentiles_only() -> None:
    found = read_measurements(b"Prompt_Tokens,output_tokens,concurrency,TPOT_p95_ms\n512,128,4,9.5\n", "p95")
    assert isinstance(found, Measurements)
    assert found.rows[0].itl == Latency(p95_ms=9.5)
