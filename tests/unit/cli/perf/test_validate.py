"""`argosy perf validate`: the accuracy tables, as text and as JSON."""

from __future__ import annotations

import json
import re

import pytest
from perf_command import ran, run

from argosy.cli.screens import validation


@pytest.fixture
def few_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """One group that is compared, and one that has no profile."""
    shipped = validation.shipped_measurements().decode().splitlines()
    kept = [*shipped[:2], *(row for row in shipped if "Llama-3.1-70B,h100_sxm" in row)]
    kept += [row for row in shipped if "MiniMax-M2.5,h100_sxm" in row]
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(validation, "shipped_measurements", lambda: "\n".join(kept).encode())


def test_the_tables_of_the_runs_are_printed(few_runs: None) -> None:
    code, output = run("validate")
    assert code == 0
    words = " ".join(output.split())
    assert re.search(r"Llama-3.1-70B fp8 h100_sxm 22 4\.\d% \(\+3\.\d%\)", words)
    assert "no report of MiniMax-M2.5 fp8 h100_sxm 0.18.0: data- and expert-parallel runs" in words
    assert "Closed form against 1276 step tables" in words
    assert "KV tokens, meta-llama/Llama-3.1-8B on H100 TP1, vLLM 0.19.0" in words
    assert words.count("H100 TP4 llama-3.1-70b") == 3


def test_the_document_has_every_table(few_runs: None) -> None:
    found = ran("perf", "validate", "--json")
    document = json.loads(found.stdout)
    assert (found.code, found.stderr) == (0, "")
    assert list(document) == ["groups", "ablation", "forms", "comparisons", "energy"]
    compared = {group["model"].split("/")[-1]: group for group in document["groups"]}
    assert compared["Llama-3.1-70B"]["raw"]["tpot_mape"] == pytest.approx(0.045, abs=0.005)
    assert (compared["MiniMax-M2.5"]["raw"], compared["MiniMax-M2.5"]["calibrated"]) == (None, None)
    assert "data- and expert-parallel" in compared["MiniMax-M2.5"]["why_not"]
    assert document["forms"]["num_profiles"] == 1276
    assert all(abs(each["difference"]) < 1 for each in document["comparisons"])
    assert len(document["energy"]) == 6
