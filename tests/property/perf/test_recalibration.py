"""Online recalibration: what holds for any evidence, any window, any reading and any document."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from recalibration_windows import H100, KEY, NOW_S, USUAL, at_batch, prior_of, shown, traffic
from scipy.optimize import lsq_linear
from strategies import json_values

from argosy.perf.profile import HOST_OVERHEAD, Calibration
from argosy.perf.recalibration.features import Row
from argosy.perf.recalibration.fit import (
    FORGETTING,
    LOWEST,
    NOISE,
    Evidence,
    Observation,
    Start,
    estimate,
    forgotten,
    learnt,
    restarted,
)
from argosy.perf.recalibration.memory import CalibrationMemory, memory_from_json, memory_to_json
from argosy.perf.recalibration.observe import ObservedReplica, WindowMemory, observe
from argosy.perf.recalibration.recalibrate import Updated, confidence, recalibrate
from argosy.perf.recalibration.window import Window
from argosy.snapshot.sample import Sample
from argosy.snapshot.telemetry import CounterReading

PRIORS = {KEY: prior_of(H100)}
TIMES = PRIORS[KEY].step_times
START = Start(HOST_OVERHEAD, prefill_spread=0.004)
BOX = START.bounds

any_number = st.floats(allow_nan=True, allow_infinity=True)
observations = st.builds(
    Observation,
    st.builds(Row, st.floats(0.1, 2000.0), st.floats(1e-3, 2000.0), st.just(0.0) | st.floats(0.0, 8192.0)),
    st.floats(0.1, 5000.0),
    st.floats(0.01, 1.0),
)


def largest(row: Row) -> float:
    """The most information that one observation can bring: with the shortest step time there is."""
    a = np.array([row.silicon_ms, 1.0, row.batch, row.prefill_tokens]) @ START.root
    return float(a @ a) / (NOISE * row.step_ms(LOWEST)) ** 2


def test_the_information_stays_positive_symmetric_and_bounded_over_a_hundred_thousand_updates() -> None:
    """Regimes that starve directions in turn: constant batches, lone prompts, wild residuals."""
    rng = np.random.default_rng(0)
    evidence, bound = Evidence(), 0.0
    for i in range(100_000):
        if i % 500 == 0:
            silicon_ms, batch = rng.uniform(0.5, 400.0), rng.uniform(0.1, 512.0)
        wander = 0.0 if i // 5000 % 2 else 0.3
        row = Row(silicon_ms * math.exp(wander * rng.standard_normal()), batch, rng.choice((0.0, 30.0)))
        # Every fiftieth is wild enough to push the estimate against its bounds.
        scatter = 1.0 if i % 50 == 0 else 0.1
        step_ms = row.step_ms(HOST_OVERHEAD) * math.exp(scatter * rng.standard_normal())
        bound = max(bound, largest(row))
        evidence = learnt(forgotten(evidence, FORGETTING), START, Observation(row, step_ms))
        if i % 100 == 0:
            eigenvalues = np.linalg.eigvalsh(evidence.matrix())
            assert 1.0 - 1e-9 * eigenvalues[3] <= eigenvalues[0]
            assert eigenvalues[3] <= 1.0 + bound / (1.0 - FORGETTING)
            assert evidence.is_sound()
            theta = estimate(evidence, START).values()
            assert np.all(theta >= BOX[0])
            assert np.all(theta <= BOX[1])


@given(st.lists(observations, max_size=12), st.floats(0.0, 1.0))
def test_any_observations_leave_sound_evidence_and_a_bounded_estimate(
    seen: list[Observation], kept: float
) -> None:
    evidence = Evidence()
    for observation in seen:
        evidence = learnt(forgotten(evidence, kept), START, observation)
    assert evidence.is_sound()
    theta = estimate(evidence, START).values()
    assert np.all(np.isfinite(theta))
    assert np.all((theta >= BOX[0]) & (theta <= BOX[1]))
    assert restarted(evidence, START).is_sound()


@given(st.lists(observations, min_size=1, max_size=12))
def test_the_estimate_is_the_bounded_least_squares_solution(seen: list[Observation]) -> None:
    """Judge: scipy's bounded solver on the prior and the observations as rows."""
    evidence = Evidence()
    rows, values = [np.linalg.inv(START.root)], [np.zeros(4)]
    for observation in seen:
        row = observation.row
        expected_ms = row.step_ms(estimate(evidence, START))
        scale = math.sqrt(observation.weight) / (NOISE * expected_ms)
        rows.append(np.array([[row.silicon_ms, 1.0, row.batch, row.prefill_tokens]]) * scale)
        values.append(np.array([observation.step_ms - row.step_ms(HOST_OVERHEAD)]) * scale)
        evidence = learnt(evidence, START, observation)
    a, b = np.vstack(rows), np.concatenate(values)
    # Where windows do not tell, prefill is the prior's and the others are the best for that.
    size = 4 if evidence.knows_prefill else 3
    low, high = ((end - HOST_OVERHEAD.values())[:size] for end in BOX)
    judge = lsq_linear(a[:, :size], b, (low, high), method="bvls", tol=1e-14)
    mine = (estimate(evidence, START).values() - HOST_OVERHEAD.values())[:size]

    def cost(change: np.ndarray[Any, Any]) -> float:
        return float(np.sum((a[:, :size] @ change - b) ** 2))

    assert np.all((mine >= low - 1e-9) & (mine <= high + 1e-9))
    assert cost(mine) <= cost(np.clip(judge.x, low, high)) * (1.0 + 1e-6) + 1e-6


@given(st.floats(0.5, 2.0), st.floats(0.5, 2.5), st.floats(0.02, 0.08), st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_exact_windows_lead_to_the_truth_under_the_loads_they_were_taken_at(
    s: float, c0: float, cb: float, seed: int
) -> None:
    windows = list(traffic(TIMES, Calibration(s, c0, cb), 40, np.random.default_rng(seed), noise=0.0))
    _, reports = recalibrate(CalibrationMemory(), windows, PRIORS, windows[-1].end_s)
    assert [type(report.outcome) for report in reports] == [Updated] * 40
    assert isinstance(reports[-1].outcome, Updated)
    assert abs(reports[-1].outcome.residual) < 0.015


@given(st.permutations(range(8)))
@settings(deadline=None)
def test_windows_of_one_round_teach_the_same_in_any_order(order: list[int]) -> None:
    truth = Calibration(1.2, 2.0, 0.06)
    windows = [shown(at_batch(8.0 + 9.0 * i, 0, f"10.0.0.{i}:8000"), TIMES, truth) for i in range(8)]
    expected = recalibrate(CalibrationMemory(), windows, PRIORS, NOW_S)
    assert recalibrate(CalibrationMemory(), [windows[i] for i in order], PRIORS, NOW_S) == expected


NUMBERS = [f.name for f in fields(Window) if f.type == "float"]


@given(st.dictionaries(st.sampled_from(NUMBERS), any_number, max_size=4), any_number)
def test_no_window_whatever_breaks_the_memory(changes: dict[str, float], now_s: float) -> None:
    window = replace(USUAL, **changes)  # type: ignore[arg-type]
    memory, (report,) = recalibrate(CalibrationMemory(), [window], PRIORS, now_s)
    if isinstance(report.outcome, Updated):
        assert all(math.isfinite(getattr(window, name)) for name in NUMBERS)
        known = confidence(memory, KEY)
        assert known is not None
        assert 0 < known.uncertainty < 1
        assert memory.states[KEY].evidence.is_sound()
    else:
        assert memory == CalibrationMemory()


readings = st.builds(
    CounterReading, *[st.none() | any_number | st.floats(0, 1e6) for _ in fields(CounterReading)]
)


@given(
    st.lists(
        st.tuples(st.none() | readings, st.floats(-100, 100), st.floats(-40, 40), st.booleans()), max_size=8
    )
)
def test_no_reading_whatever_makes_a_window_that_teaches_nonsense(
    rounds: list[tuple[CounterReading | None, float, float, bool]],
) -> None:
    seen, memory, now_s = WindowMemory(), CalibrationMemory(), NOW_S
    for reading, step_s, age_s, is_rolling_out in rounds:
        now_s += step_s
        sample = None if reading is None else Sample(reading, now_s - age_s)
        out = observe(seen, {"r": ObservedReplica(KEY, sample, is_rolling_out)}, now_s)
        seen = out.memory
        memory, reports = recalibrate(memory, out.windows, PRIORS, now_s)
        assert all(window.iterations >= 0 for window in out.windows)
        assert len(reports) == len(out.windows)
    assert all(state.evidence.is_sound() for state in memory.states.values())


@given(st.integers(1, 30), st.floats(0.4, 2.5), st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_a_memory_written_and_read_goes_on_as_if_nothing_had_happened(num: int, s: float, seed: int) -> None:
    windows = list(traffic(TIMES, Calibration(s, 1.5, 0.05), num + 5, np.random.default_rng(seed)))
    memory = CalibrationMemory()
    for window in windows[:num]:
        memory, _ = recalibrate(memory, [window], PRIORS, window.end_s)
    restored, discarded = memory_from_json(json.loads(json.dumps(memory_to_json(memory), allow_nan=False)))
    assert discarded == ()
    for window in windows[num:]:
        memory, _ = recalibrate(memory, [window], PRIORS, window.end_s)
        restored, _ = recalibrate(restored, [window], PRIORS, window.end_s)
    assert memory_to_json(restored) == memory_to_json(memory)


GOOD = memory_to_json(
    recalibrate(CalibrationMemory(), [USUAL], PRIORS, NOW_S)[0],
)


@given(
    json_values(max_leaves=12),
    st.sampled_from([*GOOD["calibrations"][0], "version", "calibrations", "document"]),
)
def test_no_document_whatever_raises(found: Any, place: str) -> None:
    entry = GOOD["calibrations"][0]
    if place == "document":
        document: Any = found
    elif place in GOOD:
        document = {**GOOD, place: found}
    else:
        document = {**GOOD, "calibrations": [{**entry, place: found}]}
    memory, _ = memory_from_json(document)
    for state in memory.states.values():
        assert state.evidence.is_sound()
    recalibrate(memory, [USUAL], PRIORS, NOW_S)
    json.dumps(memory_to_json(memory), allow_nan=False)
