"""`argosy perf replay` and `calibrate`: a file of a run in, errors or a profile out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from observed_runs import LLAMA, Known, Truth, as_file, known, observed, poisson
from perf_command import asked, ran, refused, run

from argosy.perf.observed.run import Engine, ObservedRun

L40S = Engine(model=LLAMA, gpu="L40S")


@pytest.fixture(scope="module")
def before() -> Known:
    return known()


@pytest.fixture(scope="module")
def slower(before: Known) -> ObservedRun:
    """160 requests of an engine that takes a quarter longer."""
    return observed(before, Truth(s=1.25), poisson(160, 3.0, seed=6))


def written(folder: Path, run: ObservedRun, engine: Engine = L40S, *, is_complete: bool = True) -> str:
    file = folder / "run.jsonl"
    file.write_text(as_file(run, engine, is_complete=is_complete))
    return str(file)


def test_a_profile_of_the_first_requests_is_better_on_the_others(slower: ObservedRun, tmp_path: Path) -> None:
    file, out = written(tmp_path, slower), str(tmp_path / "profile.json")
    before = asked("replay", file)
    assert before["measures"]["itl"]["mean"]["error"] < -0.1
    made = asked("calibrate", file, "--first", "100", "--out", out)
    assert made["rest"]["own"]["e2e"]["num_requests"] == 60
    assert abs(made["rest"]["own"]["itl"]["mean"]["error"]) < 0.01
    after = asked("replay", file, "--profile", out)
    assert after["profile"]["key"] == before["profile"]["key"]
    assert abs(after["measures"]["itl"]["mean"]["error"]) < 0.01
    assert asked("show", LLAMA, "--gpu", "L40S", "--profile", out)["profile"]["origin"] == "UserMeasurements"


def test_both_print_what_they_compare(
    slower: ObservedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    file, out = written(tmp_path, slower, is_complete=False), str(tmp_path / "profile.json")
    code, printed = run("replay", file)
    assert code == 0, printed
    assert "160 requests, 0 failed; interrupted: its last requests are missing" in printed
    assert "observed: unknown: " in printed, "160 requests are too few to tell"
    assert "TTFT" in printed
    code, printed = run("calibrate", file, "--out", out)
    assert code == 0, printed
    assert "moved from the prior: s 1 to 1.2" in printed
    assert "fitted to (first 100)" in " ".join(printed.split())
    assert f"argosy perf replay run.jsonl --profile {out}" in printed


def test_an_overloaded_run_ends_with_3(before: Known, tmp_path: Path) -> None:
    run_ = observed(before, Truth(), poisson(600, 40.0, seed=6))
    found = ran("perf", "replay", written(tmp_path, run_), "--json")
    assert found.code == 3, found
    document = json.loads(found.stdout)
    assert document["stationary"]["observed"]["state"] == "Overloaded"
    assert "offer less load" in document["stationary"]["observed"]["message"]


def test_a_profile_that_is_no_better_on_the_others_ends_with_3(before: Known, tmp_path: Path) -> None:
    """The first hundred requests are of an engine that takes twice as long; the others are not."""
    requests = poisson(200, 1.0, seed=6)
    of_engine = [observed(before, truth, requests) for truth in (Truth(s=2.0), Truth())]
    mixed = of_engine[0].requests[:100] + of_engine[1].requests[100:]
    file = written(tmp_path, replace(of_engine[0], requests=mixed))
    found = ran("perf", "calibrate", file, "--out", str(tmp_path / "profile.json"), "--json")
    assert found.code == 3, found
    assert (tmp_path / "profile.json").exists(), "written all the same: the figures are beside it"


def test_what_a_run_does_not_tell_is_asked_for_by_flag(slower: ObservedRun, tmp_path: Path) -> None:
    file = written(tmp_path, slower, Engine())
    assert refused("replay", file)["message"].startswith("--gpu: is needed: run.jsonl does not name it")
    assert "--model: is needed" in refused("replay", file, "--gpu", "L40S")["message"]
    assert asked("replay", file, "--gpu", "L40S", "--model", LLAMA)["num_requests"] == 160


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--tp", "0"), "--tp"),
        (("--vllm", "new"), "--vllm: must be a release of vLLM"),
        (("--max-num-seqs", "0"), "--max-num-seqs"),
        (("--gpu", "H1000"), "of a card that the catalogue does not have, give --gpu-memory"),
        (("--gpu-memory", "80"), "L40S is in the catalogue as L40S: leave it out"),
        (("--model", "unknown/model"), "give that file here by --config"),
        (("--max-model-len", "600"), "longer than the 600 that the engine takes"),
    ],
)
@pytest.mark.parametrize("command", ["replay", "calibrate"])
def test_a_flag_that_cannot_be_used_is_named(
    slower: ObservedRun, tmp_path: Path, command: str, flags: tuple[str, ...], words: str
) -> None:
    assert words in refused(command, written(tmp_path, slower), *flags)["message"]


def test_a_calibration_never_replaces_its_run(slower: ObservedRun, tmp_path: Path) -> None:
    file = written(tmp_path, slower)
    assert "would be replaced" in refused("calibrate", file, "--out", file)["message"]
    assert "--first" in refused("calibrate", file, "--first", "0")["message"]
