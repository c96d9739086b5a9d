"""What the demo declares of a trace, and how it changes the examples for that."""

from __future__ import annotations

from pathlib import Path

import pytest

from argosy.api import InvalidObject, WorkloadClass
from argosy_sim.demo.lengths import lengths_table
from argosy_sim.stage import Patch, StagePlan, merged
from argosy_sim.traffic import Trace, TraceRequest

ROOT = Path(__file__).parents[4]


def a_trace(*lengths: tuple[int, int]) -> Trace:
    return Trace("made up", tuple(TraceRequest(float(i), p, o) for i, (p, o) in enumerate(lengths)))


def test_a_table_keeps_the_means_and_its_weights_are_all_of_the_requests() -> None:
    trace = a_trace(*((100 + 7 * i, 1 + i % 90) for i in range(1000)))
    rows = lengths_table(trace, 1000)
    mean_prompt = sum(r["weight"] * r["promptTokens"] for r in rows)
    mean_output = sum(r["weight"] * r["outputTokens"] for r in rows)
    assert sum(r["weight"] for r in rows) == pytest.approx(1)
    assert mean_prompt == pytest.approx(100 + 7 * 499.5, rel=0.001)
    assert mean_output == pytest.approx(sum(1 + i % 90 for i in range(1000)) / 1000, rel=0.02)
    assert len(rows) <= 64


def test_the_longest_prompts_have_a_row_of_their_own() -> None:
    rows = lengths_table(a_trace(*[(1000, 10)] * 99, (90_000, 10)), 100)
    assert rows[0] == {"promptTokens": 90_000, "outputTokens": 10, "weight": 0.01}


def test_only_what_will_be_sent_is_declared() -> None:
    rows = lengths_table(a_trace((10, 5), (10, 5), (9_000, 5)), 2)
    assert {r["promptTokens"] for r in rows} == {10}


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        pytest.param({"a": None}, {"b": {"c": 1, "d": 2}}, id="null removes"),
        pytest.param({"b": {"c": 5}}, {"a": 0, "b": {"c": 5, "d": 2}}, id="objects merge"),
        pytest.param({"b": [1]}, {"a": 0, "b": [1]}, id="all else replaces"),
    ],
)
def test_a_merge_patch_is_applied_as_the_api_server_does(
    patch: dict[str, object], expected: dict[str, object]
) -> None:
    assert merged({"a": 0, "b": {"c": 1, "d": 2}}, patch) == expected


def test_the_examples_with_a_traces_table_are_valid() -> None:
    table = lengths_table(a_trace((100, 10), (2000, 300)), 2)
    change = Patch("WorkloadClass", "chat", {"traffic": {"lengths": {"archetype": None, "table": table}}})
    plan = StagePlan(Path("nowhere"), ROOT, patches=(change,))
    (chat,) = [o for o in plan.objects() if (o["kind"], o["metadata"]["name"]) == ("WorkloadClass", "chat")]
    found = WorkloadClass.from_object(chat)
    assert not isinstance(found, InvalidObject)
    assert found.spec.traffic.lengths.table is not None
    assert found.spec.traffic.lengths.archetype is None
