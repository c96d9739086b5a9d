"""`argosy perf list`: every profile with its origin and its error."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from perf_command import ran, refused, run
from profile_files import a_profile_file

from argosy.perf.catalogue import gpus


def test_every_profile_is_listed_with_its_origin_and_its_error() -> None:
    found = ran("perf", "list", "--json")
    profiles = json.loads(found.stdout)
    assert (found.code, found.stderr) == (0, "")
    origins = Counter(profile["origin"] for profile in profiles)
    assert origins["MeasuredTable"] == origins["FittedForm"] >= 86
    assert {p["gpu"] for p in profiles if p["origin"] == "Roofline"} >= {"L4", "A10G", "T4", "MI300X"}
    assert {p["gpu"] for p in profiles} == {gpu.name for gpu in gpus()}
    assert all(0 < profile["error"] < 1 for profile in profiles)
    assert any(p["gpu"] == "H100" and p["model"] == "llama-3.1-70b" and p["tp"] == 4 for p in profiles)


def test_the_table_has_a_line_for_profiles_that_differ_in_shape_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    code, table = run("list")
    assert code == 0
    assert all(word in table for word in ("MeasuredTable", "FittedForm", "Roofline", "TP1 TP2 TP4 TP8"))
    assert "llama-2-70b those of llama-3.1-70b" in " ".join(table.split())


def test_a_line_of_the_table_has_the_figures_of_the_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    same = {"gpu": "H100", "model": "llama-3.1-8b", "dtype": "bf16", "pp": 1, "origin": "FittedForm"}
    alike = [p for p in json.loads(ran("perf", "list", "--json").stdout) if same.items() <= p.items()]
    shapes = [f"TP{p['tp']}" for p in alike]
    errors = {f"{p['error']:.0%}" for p in alike}
    assert len(errors) > 1, "the line has to choose one of them"
    wanted = ["H100", "llama-3.1-8b", "bf16", *shapes, "FittedForm", f"{max(p['error'] for p in alike):.0%}"]
    assert wanted in [line.split() for line in run("list")[1].splitlines()]


def test_a_given_profile_is_listed_first(tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    file.write_bytes(a_profile_file("llama-3.1-8b", "L40S", slowness=1.0))
    found = ran("perf", "list", "--json", "--profile", str(file))
    assert json.loads(found.stdout)[0]["origin"] == "UserMeasurements"


def test_a_profile_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    error = refused("list", "--profile", str(tmp_path / "absent.json"))
    assert f"--profile: {tmp_path / 'absent.json'} cannot be read" in error["message"]
