"""The closed form of a step time, fitted to a measured table.

Owns the fit and its error on a stated grid. Input: a `StepTable` on knots. Output: `FittedForm`
(coefficients as in `argosy.engine.coefficients`), which ships in forms.json.

The fit has two stages. First each part by itself, as the source separates exactly: matrix
products by least squares in the logarithms of their coefficients, attention of decoding and of
chunks by non-negative least squares. Then all together on whole iterations, since that is what
an engine takes, and since a constant per iteration can hide in any part. Residuals are
relative and count linearly beyond 1.5 % (soft L1): measured tables have bumps that no smooth
form should chase. Logarithms keep all coefficients positive, hence the form monotone in
tokens, batch and context whatever the table does.

An MoE layer reads the experts that its tokens reach, W + We*(1-(1-p)^n); without that term the
median error of MoE decode is 22 %, with it 5 %. p starts at the share of experts that one token
takes and is fitted, since tokens prefer some experts to others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from argosy.arrays import Floats
from argosy.engine.coefficients import StepCoefficients
from argosy.engine.step_times import StepTable, StepTimeSource
from argosy.perf.profile import ValidRange
from argosy.perf.profiles.forms import FittedForm, FormErrors
from argosy.perf.profiles.iterations import DECODE_GRID, PREFILL_GRID, Iterations, iterations

Residuals = Callable[[dict[str, float]], Floats]

SOFT_ERROR = 0.015
# Logarithms of milliseconds: from a picosecond to three hours.
LOG_LIMITS = (-21.0, 16.0)
SHARPNESS_LIMITS = (1.0, 20.0)
KNEES = (1.5, 3.0, 8.0)
"""Where the search for `q` starts: the residual has several valleys in it."""

# Errors are reported on decode, mixed, prefill and short-chunk grids; the fit sees other points
# (`TRAINING`).
MIXED_GRID = iterations((8, 32, 64, 128, 256), (1024, 4096), (256, 512, 1024, 2048), (0, 1024))
GRIDS = (DECODE_GRID, MIXED_GRID, PREFILL_GRID)
SHORT_GRID = iterations((0,), (0,), (1, 4, 9, 16, 32, 64), (0, 1024))
# Each with the weight of one of its points: the three kinds weigh about the same in all.
TRAINING = (
    (iterations((1, 2, 4, 16, 24, 48, 96, 192, 256), (256, 768, 1536, 3072, 6144, 12288), (0,), (0,)), 1.0),
    (iterations((4, 16, 48, 96, 192), (512, 2048, 8192), (128, 384, 768, 1536, 4096), (0, 2048)), 1.0),
    (iterations((0,), (0,), (128, 256, 384, 768, 1024, 1536, 3072, 6144, 8192), (0,)), 3.0),
    (iterations((0,), (0,), (128, 256, 384, 768, 1024, 1536, 3072, 6144, 8192), (2048,)), 1.0),
    (iterations((0,), (0,), (1, 2, 8, 24, 48, 96), (0, 2048)), 1.0),
)


def evaluate_form(source: StepTimeSource, table: StepTable, valid: ValidRange) -> FormErrors:
    """How far `source` is off `table` on the three grids, as far as they lie in the range."""
    errors = []
    for grid in GRIDS:
        asked = grid.inside(valid)
        errors.append(float(np.mean(np.abs(asked.step_ms(source) / asked.step_ms(table) - 1.0))))
    return FormErrors(*errors)


def fit_form(table: StepTable, valid: ValidRange, expert_share: float = 0.0) -> FittedForm:
    """The closed form nearest to `table` within `valid`.

    expert_share: experts that one token takes over all experts (0-1); 0 for a dense model.
    Calibration (s, c0, cB) is the table's own and not part of the fit. Deterministic.
    """
    silicon = replace(table, s=1.0, c0=0.0, cb=0.0)
    matrix = _fit_matrix(silicon, valid, expert_share)
    start = {**matrix, **_fit_decode(silicon, valid), **_fit_chunk(silicon, valid)}
    values = _fit_together(silicon, valid, start)
    bare = _coefficients(values)
    coefficients = _coefficients(values | {"s": table.s, "c0": table.c0, "cb": table.cb})
    return FittedForm(coefficients, valid, evaluate_form(bare, silicon, valid))


def _coefficients(values: dict[str, float]) -> StepCoefficients:
    """Rounded to six digits, as they are stored: the errors reported are those of the file."""
    return StepCoefficients(**{name: float(f"{value:.6g}") for name, value in values.items()})


def _fit_matrix(table: StepTable, valid: ValidRange, expert_share: float) -> dict[str, float]:
    keep = table.token_knots <= valid.max_tokens
    tokens, measured = table.token_knots[keep], table.matrix_ms[keep]
    slope, first = measured[-1] / tokens[-1], measured[0]
    fits = []
    for knee in KNEES:
        start = {"wn": first, "f": slope, "q": knee, "c1": 0.05 * slope}
        if expert_share:
            start |= {"wn": 0.3 * first, "we": first, "p_expert": expert_share}
        fits.append(_least_squares(lambda v: _matrix_ms(v, tokens) / measured - 1.0, start))
    return min(fits, key=lambda fit: fit[0])[1]


def _fit_decode(table: StepTable, valid: ValidRange) -> dict[str, float]:
    batch, context = np.meshgrid(table.batch_knots, table.context_knots, indexing="ij")
    keep = (batch <= valid.max_batch) & (context <= valid.max_context)
    batch, context, measured = batch[keep], context[keep], table.decode_ms[keep]
    matrix = np.interp(batch, table.token_knots, table.matrix_ms)
    terms = np.stack([np.ones(len(batch)), batch * context, batch], axis=1)
    fitted = _least_deviations(terms, measured, matrix + measured)
    return dict(zip(("a0", "a1", "a2"), fitted, strict=True))


def _fit_chunk(table: StepTable, valid: ValidRange) -> dict[str, float]:
    chunk, prefix = np.meshgrid(table.chunk_knots, table.prefix_knots, indexing="ij")
    keep = (chunk > 0) & (chunk <= valid.max_tokens) & (chunk + prefix <= valid.max_context)
    chunk, prefix, per_token = chunk[keep], prefix[keep], table.chunk_ms_per_token[keep]
    measured = table.chunk_ms + chunk * per_token
    matrix = np.interp(chunk, table.token_knots, table.matrix_ms)
    terms = np.stack([np.ones(len(chunk)), chunk, chunk * (prefix + 0.5 * chunk)], axis=1)
    fitted = _least_deviations(terms, measured, matrix + measured)
    return dict(zip(("b0", "b1", "b2"), fitted, strict=True))


def _fit_together(table: StepTable, valid: ValidRange, start: dict[str, float]) -> dict[str, float]:
    kinds = [(asked.inside(valid), weight) for asked, weight in TRAINING]
    measured = [asked.step_ms(table) for asked, _ in kinds]

    def residuals(values: dict[str, float]) -> Floats:
        return np.concatenate(
            [
                np.sqrt(weight) * (closed_form_ms(values, asked) / truth - 1.0)
                for (asked, weight), truth in zip(kinds, measured, strict=True)
            ]
        )

    return _least_squares(residuals, start)[1]


def _matrix_ms(v: Mapping[str, float], tokens: Floats) -> Floats:
    weights = v["wn"] + v.get("we", 0.0) * (1.0 - (1.0 - v.get("p_expert", 0.0)) ** tokens)
    compute = v["f"] * tokens / weights
    smooth: Floats = weights * (1.0 + compute ** v["q"]) ** (1.0 / v["q"]) + v["c1"] * tokens
    return smooth


def closed_form_ms(v: Mapping[str, float], asked: Iterations) -> Floats:
    """The closed form at iterations, ms, of their shape: the engine's own, for any values on the way to a
    fit.
    """
    batch, chunk = asked.batch, asked.chunk
    decode = (batch > 0) * (v["a0"] + v["a1"] * batch * asked.context + v["a2"] * batch)
    prefill = (chunk > 0) * (v["b0"] + v["b1"] * chunk + v["b2"] * chunk * (asked.prefix + 0.5 * chunk))
    return _matrix_ms(v, batch + chunk) + decode + prefill


def _least_squares(residuals: Residuals, start: dict[str, float]) -> tuple[float, dict[str, float]]:
    """(cost, values) near `start`: least squares in logarithms, soft beyond `SOFT_ERROR`."""
    from scipy.optimize import least_squares

    names = list(start)
    low = np.array([_log_limits(name)[0] for name in names])
    high = np.array([_log_limits(name)[1] for name in names])
    at = np.clip([np.log(max(start[name], 1e-9)) for name in names], low + 1e-6, high - 1e-6)

    def of_logs(logs: Floats) -> Floats:
        return residuals(dict(zip(names, np.exp(logs).tolist(), strict=True)))

    fit = least_squares(of_logs, at, bounds=(low, high), loss="soft_l1", f_scale=SOFT_ERROR, max_nfev=400)
    return float(fit.cost), dict(zip(names, np.exp(fit.x).tolist(), strict=True))


def _log_limits(name: str) -> tuple[float, float]:
    if name == "q":
        return float(np.log(SHARPNESS_LIMITS[0])), float(np.log(SHARPNESS_LIMITS[1]))
    if name == "p_expert":
        return float(np.log(1e-4)), float(np.log(0.9))
    return LOG_LIMITS


def _least_deviations(terms: Floats, measured: Floats, whole: Floats) -> list[float]:
    """Non-negative coefficients with the least absolute deviations, relative to whole iterations."""
    from scipy.optimize import nnls

    weights = np.ones(len(measured))
    for _ in range(15):
        scale = np.sqrt(weights) / whole
        fitted, _ = nnls(terms * scale[:, None], measured * scale)
        weights = 1.0 / np.maximum(np.abs(terms @ fitted - measured) / whole, 0.005)
    result: list[float] = fitted.tolist()
    return result
