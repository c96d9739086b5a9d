"""The search for calibrations against a second method, on smooth functions, jumps and simulated engines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from perf_engines import H100_8B
from scipy.optimize import least_squares, minimize

from argosy.arrays import Floats
from argosy.engine import ClosedLoop, EngineLimits, twin
from argosy.engine.step_times import StepTimeSource
from argosy.errors import SpecError
from argosy.perf import shipped_library
from argosy.perf.host import SYNCHRONOUS, Host
from argosy.perf.measurements.least_squares import FitProblem
from argosy.perf.measurements.rows import ClosedLoopLoad, Latency, Measurement, TokenLengths
from argosy.perf.measurements.scaled import tabulated
from argosy.perf.measurements.trial import trial_of
from argosy.perf.robust_fit import ROUGH_STEPS, Bound, Loss, Parameter, Residuals, fit_parameters, robust_cost
from argosy.perf.shipped import shipped_measurements
from argosy.perf.validation.calibration import (
    RunCalibration,
    ValidationCase,
    calibrate,
    parameters_of,
    residuals_of,
)
from argosy.perf.validation.report import Unstated, case
from argosy.perf.validation.runs import parse_runs
from argosy.snapshot import Dtype


def second_method(
    residuals: Residuals, parameters: Sequence[Parameter], loss: Loss, scale: float
) -> tuple[Floats, float]:
    """Where Nelder and Mead, without derivatives, find the least cost: moves in spreads, and that cost."""
    priors, spreads = (np.array([getattr(one, name) for one in parameters]) for name in ("prior", "spread"))
    low, high = (np.array([getattr(one, name) for one in parameters]) for name in ("low", "high"))

    def cost(moves: Floats) -> float:
        values = np.clip(priors + moves * spreads, low, high)
        return robust_cost(np.concatenate([residuals(values), (values - priors) / spreads]), loss, scale)

    count = len(parameters)
    corners = np.vstack([np.zeros(count), np.eye(count)])
    options = {"initial_simplex": corners, "xatol": 1e-3, "fatol": 1e-5, "maxfev": 1500, "adaptive": True}
    found = minimize(cost, np.zeros(count), method="Nelder-Mead", options=options)
    # Its simplex may collapse early: once more from there.
    again = minimize(
        cost, found.x, method="Nelder-Mead", options={**options, "initial_simplex": found.x + corners}
    )
    moves: Floats = (np.clip(priors + again.x * spreads, low, high) - priors) / spreads
    return moves, float(again.fun)


LINE = (Parameter("slope", 0.0, 0.5), Parameter("level", 0.0, 2.0, "ms"))


def line(rounding: float = 0.0, outlier: float = 0.0) -> Residuals:
    """Of a line with slope 0.7 and level 3 through 30 points; shown in steps of `rounding`."""
    at = np.linspace(0.0, 5.0, 30)
    measured = 0.7 * at + 3.0
    measured[7] += outlier

    def residuals(values: Floats) -> Floats:
        shown = values[0] * at + values[1]
        shown = np.round(shown / rounding) * rounding if rounding else shown
        return np.asarray((shown - measured) / 0.1)

    return residuals


@pytest.mark.parametrize("loss", Loss)
@pytest.mark.parametrize("outlier", [0.0, 30.0])
def test_a_smooth_optimum_is_that_of_a_search_without_derivatives(loss: Loss, outlier: float) -> None:
    found = fit_parameters(line(outlier=outlier), LINE, loss, 2.5)
    moves, cost = second_method(line(outlier=outlier), LINE, loss, 2.5)
    assert [one.spreads for one in found.moves] == pytest.approx(moves, abs=0.01)
    assert found.cost == pytest.approx(cost, rel=1e-3)
    assert found.values == pytest.approx([0.7, 3.0], abs=0.05)


def test_a_function_of_jumps_is_descended_where_scipys_own_step_sees_none() -> None:
    residuals = line(rounding=0.05)

    def all_residuals(at: Floats) -> Floats:
        return np.concatenate([residuals(at), at / [0.5, 2.0]])

    stuck = least_squares(all_residuals, np.zeros(2), loss="huber", f_scale=2.5)
    relative = least_squares(all_residuals, np.zeros(2), loss="huber", f_scale=2.5, diff_step=1e-9)
    for one in (stuck, relative):
        assert np.abs(one.x).max() < 0.05, "the test needs a function that the usual step does not see"
    found = fit_parameters(residuals, LINE)
    moves, cost = second_method(residuals, LINE, Loss.HUBER, 2.5)
    assert found.values == pytest.approx([0.7, 3.0], abs=0.1)
    assert found.cost <= 1.05 * cost
    assert [one.spreads for one in found.moves] == pytest.approx(moves, abs=0.1)
    assert found.start_cost > 10 * found.cost


def test_coarse_steps_first_pass_wide_jumps() -> None:
    residuals = line(rounding=1.5)
    fine = fit_parameters(residuals, LINE, steps=(0.02,))
    both = fit_parameters(residuals, LINE, steps=ROUGH_STEPS)
    assert both.cost < 0.6 * fine.cost
    assert both.cost <= 1.1 * second_method(residuals, LINE, Loss.HUBER, 2.5)[1]


def test_a_fit_that_finds_nothing_better_stays_at_the_prior() -> None:
    found = fit_parameters(lambda values: np.full(5, 2.0) + 0.0 * values.sum(), LINE)
    assert found.values == pytest.approx([0.0, 0.0])
    assert found.cost == found.start_cost
    assert [one.spreads for one in found.moves] == [0.0, 0.0]


@pytest.mark.parametrize(("target", "bound"), [(-5.0, Bound.LOW), (50.0, Bound.HIGH), (2.0, None)])
def test_a_parameter_at_an_end_of_its_range_is_named(target: float, bound: Bound | None) -> None:
    level = Parameter("level", 1.0, 2.0, "ms", low=0.0, high=9.0)
    found = fit_parameters(lambda values: np.full(40, (values[0] - target) / 0.1), [level])
    (move,) = found.moves
    assert move.at_bound is bound
    assert found.at_bounds == (() if bound is None else (move,))
    assert ("stopped at its" in str(move)) == (bound is not None)
    assert 0.0 <= found.values[0] <= 9.0


def test_a_move_is_in_its_unit_and_in_spreads() -> None:
    factor = Parameter("s", 0.0, 0.3, is_logarithm=True)
    found = fit_parameters(lambda values: np.full(200, (values[0] - math.log(1.5)) / 0.01), [factor])
    (move,) = found.moves
    assert (move.prior, move.value) == (1.0, pytest.approx(1.5, rel=1e-3))
    assert move.spreads == pytest.approx(math.log(1.5) / 0.3, rel=1e-3)
    assert str(move) == "s 1 to 1.5 (+1.4 spreads)"
    assert (
        str(replace(move, name="c0", unit="ms", prior=1.34, value=2.5)) == "c0 1.34 to 2.5 ms (+1.4 spreads)"
    )


@pytest.mark.parametrize("steps", [(), (0.0,), (0.1, -1.0), (math.nan,)])
def test_a_step_that_is_none_is_refused(steps: tuple[float, ...]) -> None:
    with pytest.raises(SpecError, match="above 0"):
        fit_parameters(line(), LINE, steps=steps)


@pytest.mark.parametrize(
    ("prior", "spread", "low", "high"),
    [(0.0, 0.0, -1.0, 1.0), (0.0, math.inf, -1.0, 1.0), (2.0, 1.0, -1.0, 1.0), (math.nan, 1.0, -1.0, 1.0)],
)
def test_a_prior_out_of_its_range_or_without_a_spread_is_refused(
    prior: float, spread: float, low: float, high: float
) -> None:
    with pytest.raises(SpecError):
        Parameter("x", prior, spread, low=low, high=high)


def test_no_parameter_is_refused() -> None:
    with pytest.raises(SpecError, match="at least one"):
        fit_parameters(line(), [])


def test_runs_are_calibrated_to_the_optimum_of_the_second_method() -> None:
    runs = parse_runs(shipped_measurements())
    mine = [run for run in runs if "Llama-3.1-70B" in run.group.model and run.group.system == "h100_sxm"]
    short = sorted((run for run in mine if run.is_sharded_only), key=lambda run: run.concurrency)[:5]
    cases = [case(run, Unstated(Dtype.BF16, Host(SYNCHRONOUS, 1, "")), shipped_library()) for run in short]
    known = [_as_if(found) for found in cases if isinstance(found, ValidationCase)]
    assert len(known) == 5
    found = calibrate(known).fit
    moves, cost = second_method(residuals_of(known), parameters_of(known[0].host), Loss.SOFT, 1.0)
    assert found.cost <= 1.02 * cost
    assert [one.spreads for one in found.moves] == pytest.approx(moves, abs=0.25)
    assert max(abs(one.spreads) for one in found.moves) > 0.7
    assert found.start_cost > 5 * found.cost
    assert residuals_of(known)(found.values) == pytest.approx(found.residuals), "the same draw at every point"


def _as_if(known: ValidationCase) -> ValidationCase:
    """The case as an engine would have shown it whose parts are all slower than the prior's."""
    seen = known.predict(RunCalibration(1.15, 3.0, 0.08, 0.02, 12.0))
    return replace(known, run=replace(known.run, ttft_ms=seen.ttft_ms, tpot_ms=seen.tpot_ms))


def test_reports_are_fitted_to_the_optimum_of_the_second_method() -> None:
    limits = EngineLimits(256, 8192, 27023, 16, 16384)
    slower = replace(H100_8B, s=1.3 * H100_8B.s, c0=3.0)
    rows = [
        _measured(slower, limits, prompt, 128, in_flight)
        for prompt, in_flight in ((512, 1), (512, 8), (2048, 24))
    ]
    trials = tuple(trial for row in rows if (trial := trial_of(row, limits)) is not None)
    problem = FitProblem(trials, limits, tabulated(H100_8B, 8192, 256), ("s", "compute", "c0", "cb"))

    def residuals(at: Floats) -> Floats:
        return problem.errors(at) / problem.noise

    found = fit_parameters(residuals, problem.parameters, Loss.HUBER, 2.5)
    moves, cost = second_method(residuals, problem.parameters, Loss.HUBER, 2.5)
    assert found.cost <= 1.02 * cost + 0.01
    assert [one.spreads for one in found.moves] == pytest.approx(moves, abs=0.25)
    assert found.cost < 0.02 * found.start_cost


def _measured(
    truth: StepTimeSource, limits: EngineLimits, prompt: int, output: int, in_flight: int
) -> Measurement:
    """What a closed loop on an engine of this truth shows."""
    count = 10 * in_flight + 20
    loop = ClosedLoop(np.full(count, prompt), np.full(count, output), in_flight)
    times = twin.simulate_loop(loop, limits, truth).times
    return Measurement(
        where="row 1",
        prompt=TokenLengths(float(prompt), 0.0),
        output=TokenLengths(float(output), 0.0),
        load=ClosedLoopLoad(in_flight),
        num_requests=count,
        itl=Latency(mean_ms=float(np.nanmean(times.itl_ms))),
        ttft=Latency(mean_ms=float(times.ttft_ms.mean())),
    )
