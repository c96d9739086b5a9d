"""`argosy perf observe`: flags that cannot be used are named before anything is sent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from perf_command import refused, run

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    file = tmp_path / "trace.jsonl"
    lines = [{"timestamp": 0, "input_length": 10, "output_length": 5}] * 2
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--qps", "0"), "--qps: must be a positive number, got 0"),
        (("--speed", "nan"), "--speed: must be a positive number"),
        (("--duration", "-1"), "--duration: must be a positive number"),
        (("--qps", "2", "--speed", "2"), "--speed: has no effect beside --qps"),
        (("--qps", "2"), "has all requests at one instant"),
        (("--max-requests", "0"), "--max-requests: must be at least 1, got 0"),
        (("--max-in-flight", "0"), "--max-in-flight: must be at least 1, got 0"),
        (("--timeout", "inf"), "--timeout: must be a positive number of seconds"),
        (("--tp", "0"), "--tp: must be at least 1, got 0"),
        (("--gpu", "H1000"), "H1000"),
        (("--path", "/v1/embeddings"), "--path: a path that ends in /completions expected"),
        (("--header", "nonsense"), "--header: NAME:VALUE expected"),
        ((), "URL: http://127.0.0.1:9 does not answer"),
    ],
)
def test_a_flag_that_cannot_be_used_is_named(
    trace: Path, tmp_path: Path, flags: tuple[str, ...], words: str
) -> None:
    out = tmp_path / "run.jsonl"
    code, printed = run("observe", NOWHERE, "--trace", str(trace), "--out", str(out), *flags)
    assert code == 2, printed
    assert words in printed
    assert not out.exists()


def test_files_and_urls_that_cannot_be_used_are_named(trace: Path, tmp_path: Path) -> None:
    to = ("--out", str(tmp_path / "run.jsonl"))
    assert "missing.csv" in refused("observe", NOWHERE, "--trace", "missing.csv", *to)["message"]
    error = refused("observe", "ftp://x", "--trace", str(trace), *to)
    assert error["message"] == "URL: a URL as http://HOST:PORT expected, got 'ftp://x'"
    error = refused("observe", NOWHERE, "--trace", str(trace), "--out", str(trace))
    assert error["message"] == f"--out: {trace} exists already"
