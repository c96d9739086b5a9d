"""Reports of benchmarks: whatever stands in one, it gives rows that mean something or a sentence."""

from __future__ import annotations

import json
import math
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import json_values

from argosy.perf.measurements import Measurements, read_measurements

DATA = Path(__file__).parents[2] / "data" / "perf"
REPORTS = {
    "vllm": "vllm/detailed.json",
    "guidellm": "guidellm/constant.json",
    "aiperf": "aiperf/rate8.json",
    "aibrix": "aibrix/profile.json",
    "aibrix lines": "aibrix/benchmark.jsonl",
    "melange": "melange/config_with_lengths.json",
}


def parsed(path: str) -> list[Any]:
    """The objects of a report: one, or one per line."""
    text = (DATA / path).read_text()
    return [json.loads(line) for line in text.splitlines()[:5]] if path.endswith("l") else [json.loads(text)]


def replaced(inner: Any, draw: st.DataObject) -> Any:
    """The same with something else at one place of it, however deep."""
    places = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
    place = draw.draw(st.sampled_from(places))
    has_inside = isinstance(inner[place], dict | list) and len(inner[place]) > 0
    goes_on = has_inside and draw.draw(st.integers(0, 7)) > 0
    other = replaced(inner[place], draw) if goes_on else draw.draw(json_values(max_leaves=4))
    if isinstance(inner, dict):
        return inner | {place: other}
    return [*inner[:place], other, *inner[place + 1 :]]


def numbers(value: Any) -> list[float]:
    """Every number in nested tuples."""
    if isinstance(value, tuple):
        return [number for inner in value for number in numbers(inner)]
    return [value] if isinstance(value, int | float) else []


@pytest.mark.parametrize("tool", REPORTS)
@given(draw=st.data())
def test_no_report_whatever_raises_or_measures_nonsense(tool: str, draw: st.DataObject) -> None:
    report = replaced(parsed(REPORTS[tool]), draw)
    found = read_measurements("\n".join(json.dumps(each) for each in report).encode(), "odd")
    if not isinstance(found, Measurements):
        assert found.message
        return
    for row in found.rows:
        assert all(math.isfinite(number) and number >= 0 for number in numbers(astuple(row)))
        assert min(row.prompt.mean, row.output.mean) > 0
