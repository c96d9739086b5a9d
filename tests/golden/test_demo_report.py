"""The report of a known run, word by word, and its JSON key by key.

A change of format shows as a difference. To write the files anew after a wanted one:
`PYTHONPATH=tests/support python tests/golden/test_demo_report.py`
"""

from __future__ import annotations

import json
from pathlib import Path

from demo_evidence import good_evidence
from rich.console import Console

from argosy_sim.demo.judgement.judge import judge
from argosy_sim.demo.presentation import summary, terminal

FOLDER = Path(__file__).parent
JSON_FILE, TEXT_FILE = FOLDER / "demo_report.json", FOLDER / "demo_report.txt"

ACT = {
    "name", "start_s", "end_s", "offered", "completed", "lost", "lost_in_flight", "retried", "cost_usd",
    "static_peak_cost_usd", "classes", "plans", "first_request_on_new_replica_s", "recovery_s",
}  # fmt: skip
CLASS = {
    "ttft_ms", "itl_ms", "e2e_ms", "attainment", "attainment_ci95", "recovery_attainment", "stationarity",
}  # fmt: skip
PLAN = {"revision", "at_s", "replicas", "shares", "reasons"}
PROMISE = {"name", "kept", "measured", "bound"}


def as_json() -> str:
    return json.dumps(summary.report(judge(good_evidence())), indent=2, allow_nan=False) + "\n"


def as_text() -> str:
    console = Console(width=100, color_system=None, force_terminal=False)
    with console.capture() as capture:
        terminal.show(good_evidence(), judge(good_evidence()), console)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def test_the_json_report_has_exactly_the_keys_of_the_specification() -> None:
    report = json.loads(as_json())
    assert set(report) == {"acts", "promises", "trace"}
    assert [act["name"] for act in report["acts"]] == ["steady", "burst", "node dies", "price change"]
    for act in report["acts"]:
        assert set(act) == ACT
        assert set(act["classes"]) == {"chat", "batch"}
        for of_class in act["classes"].values():
            assert set(of_class) == CLASS
            for latency in ("ttft_ms", "itl_ms", "e2e_ms"):
                assert set(of_class[latency]) == {"p50", "p95", "p99"}
            low, high = of_class["attainment_ci95"]
            assert low <= of_class["attainment"] <= high
        for plan in act["plans"]:
            assert set(plan) == PLAN
    for promise in report["promises"]:
        assert set(promise) == PROMISE


def test_the_json_report_is_the_known_one() -> None:
    assert as_json() == JSON_FILE.read_text(encoding="utf-8")


def test_the_terminal_report_is_the_known_one() -> None:
    assert as_text() == TEXT_FILE.read_text(encoding="utf-8")


if __name__ == "__main__":
    JSON_FILE.write_text(as_json(), encoding="utf-8")
    TEXT_FILE.write_text(as_text(), encoding="utf-8")
