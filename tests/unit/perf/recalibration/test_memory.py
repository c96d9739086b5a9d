"""What recalibration remembers: its JSON form, damage, and its bound."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from recalibration_windows import KEY, NOW_S, PRIOR, USUAL, fleet, learn, some

from argosy.perf.recalibration.memory import (
    MAX_KEYS,
    CalibrationMemory,
    memory_from_json,
    memory_to_json,
)
from argosy.perf.recalibration.recalibrate import (
    recalibrate,
)


def test_the_memory_survives_json_but_for_lags() -> None:
    memory = fleet(4, {1: 1.35}).memory
    text = json.dumps(memory_to_json(memory), allow_nan=False)
    found, discarded = memory_from_json(json.loads(text))
    assert discarded == ()
    assert found.states[KEY] == replace(memory.states[KEY], lags={})
    assert len(text) < 2000


DAMAGE: dict[str, Any] = {
    "no object": [],
    "null": None,
    "another format": {"version": 1, "calibrations": []},
    "no version": {"calibrations": []},
    "a true version": {"version": True, "calibrations": []},
    "no list": {"version": 2, "calibrations": {}},
}


@pytest.mark.parametrize("document", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_document_is_discarded_with_a_reason(document: object) -> None:
    memory, discarded = memory_from_json(document)
    assert memory == CalibrationMemory()
    assert len(discarded) == 1
    assert discarded[0].message


HEALTH = {"variance": 0.0009, "num_windows": 3, "above": 0.0, "below": 0.0, "drifted_at_s": None}
NAMED = {
    "gpu": "H100",
    "model": "llama-3.1-8b",
    "dtype": "bf16",
    "tensorParallel": 1,
    "pipelineParallel": 1,
    "engineVersion": "v0.24.0",
}

DAMAGED_ENTRIES: dict[str, Mapping[str, Any]] = {
    "a NaN in the information": {"information": [math.nan, 0, 0, 0, 1, 0, 0, 1, 0, 1]},
    "information that is not positive": {"information": [1, 2, 0, 0, 1, 0, 0, 1, 0, 1]},
    "less information than the prior has": {"information": [0.1, 0, 0, 0, 1, 0, 0, 1, 0, 1]},
    "too few numbers": {"information": [1, 0, 0]},
    "an infinite vector": {"vector": [math.inf, 0, 0, 0]},
    "a calibration out of bounds": {"published": [40.0, 1.3, 0.046, 0.0]},
    "a negative scatter": {"health": {**HEALTH, "variance": -1.0}},
    "a negative number of windows": {"health": {**HEALTH, "num_windows": -1}},
    "no health": {"health": None},
    "three numbers of information, of an older version": {
        "information": [1, 0, 0, 1, 0, 1],
        "vector": [0, 0, 0],
    },
    "a calibration of three numbers": {"published": [1.0, 1.3, 0.046]},
    "prefill out of all bounds": {"published": [1.0, 1.3, 0.046, 1e3]},
    "a negative spread of prefill": {"prefillSpread": -0.1},
    "an overlap that is neither true nor false": {"isOverlapped": 1},
    "a row of negative prefill": {"rows": [[9.0, 20.0, -1.0]]},
    "a row of one number": {"rows": [[1.0]]},
    "a row that is text": {"rows": ["ab"]},
    "a digest that is no text": {"priorDigest": 7},
    "an unknown dtype": {"key": {**NAMED, "dtype": "bf17"}},
    "a shape of no GPU": {"key": {**NAMED, "tensorParallel": 0}},
    "a shape that is negative twice": {"key": {**NAMED, "tensorParallel": -1, "pipelineParallel": -1}},
    "no key": {"key": None},
}


@pytest.mark.parametrize("damage", DAMAGED_ENTRIES.values(), ids=DAMAGED_ENTRIES)
def test_a_damaged_entry_is_discarded_and_its_neighbour_kept(damage: Mapping[str, Any]) -> None:
    document = memory_to_json(learn(some(10)).memory)
    good = document["calibrations"][0]
    other = {**good, "key": {**good["key"], "gpu": "H200"}}
    memory, discarded = memory_from_json({**document, "calibrations": [{**good, **damage}, other]})
    assert [key.profile.gpu for key in memory.states] == ["H200"]
    assert [each.what for each in discarded] == ["calibration 0"]


def test_the_memory_is_bounded() -> None:
    memory = CalibrationMemory()
    for i in range(MAX_KEYS + 20):
        key = replace(KEY, engine_version=f"v{i}")
        window = replace(USUAL, key=key, start_s=NOW_S + i - 15.0, end_s=NOW_S + i)
        memory, _ = recalibrate(memory, [window], {key: PRIOR}, window.end_s)
    assert len(memory.states) == MAX_KEYS
    assert {key.engine_version for key in memory.states} == {f"v{i}" for i in range(20, MAX_KEYS + 20)}
