"""Fit the step-time coefficients to the tabulated figures and write perf/step_times.json.

Run from the repository's root: `python hack/fit_step_times.py`. The figures below were read
from NVIDIA's silicon tables through aiconfigurator-core 0.12.0 (vLLM 0.24; 0.14 on A100): its
step engine, bfloat16, without any host overhead. The overhead (s, c0, cB) was fitted apart,
on end-to-end measurements on H100, and is written beside the fits, not into them.

The method is maximum a posteriori: Levenberg-Marquardt in the logarithms of the ten
coefficients (so none turns negative and every profile stays monotone), relative residuals,
and a wide prior around the roofline of the GPU. A few rounds weigh each figure by its error
(Lawson's algorithm), since a planner suffers from the worst figure, not from the mean: plain
least squares leaves H100 at batch 64 off by 6.5 %, these rounds end below 5 %. Where there is
no prefill figure (A100, B200 and 70B) the prior decides prefill: it is a roofline estimate,
and the file says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from argosy.engine.coefficients import StepCoefficients
from argosy.engine.step_time import step_ms
from argosy.perf.catalogue import GPUS, MODELS, Gpu, ModelFacts

OUTPUT = Path(__file__).parent.parent / "operator" / "argosy" / "perf" / "step_times.json"
Floats = npt.NDArray[np.float64]

BATCHES = (1, 8, 32, 64, 128, 256)
PROMPTS = (512, 1155, 2048, 4096, 8192)
FITTED = tuple(field.name for field in fields(StepCoefficients))[:10]
HOST_OVERHEAD = {"s": 0.98, "c0": 1.34, "cb": 0.046}
# Weight of a figure (1 % off costs one) against the prior (a factor of 2.7 off costs one).
FIGURE_SIGMA, PRIOR_SIGMA, Q_SIGMA = 0.01, 1.0, 0.25
# After eight rounds the weights concentrate on two figures and the others drift (seen at 20).
NUM_ROUNDS, ERROR_FLOOR = 8, 0.005


@dataclass(frozen=True)
class Figures:
    """What is tabulated for one (GPU, model, TP): (batch, context, ms) and (prompt, ms)."""

    gpu: str
    model: str
    tensor_parallel: int
    decode: tuple[tuple[int, int, float], ...]
    prefill: tuple[tuple[int, float], ...] = ()


def _at_1024(*itl_ms: float) -> tuple[tuple[int, int, float], ...]:
    return tuple((batch, 1024, ms) for batch, ms in zip(BATCHES, itl_ms, strict=True))


def _prompts(*prefill_ms: float) -> tuple[tuple[int, float], ...]:
    return tuple(zip(PROMPTS, prefill_ms, strict=True))


FIGURES = (
    Figures(
        "H100",
        "llama-3-8b",
        1,
        (*_at_1024(6.2, 6.6, 8.3, 10.4, 12.8, 19.6), (8, 4300, 7.9), (32, 4300, 12.6), (64, 4300, 18.4)),
        _prompts(12.0, 25.2, 43.5, 90.1, 199.7),
    ),
    Figures(
        "L40S",
        "llama-3-8b",
        1,
        (*_at_1024(22.0, 23.5, 31.4, 38.3, 53.3, 78.5), (8, 4300, 29.6), (32, 4300, 50.2), (64, 4300, 74.9)),
        _prompts(38.3, 87.6, 144.9, 311.3, 699.8),
    ),
    Figures("A100", "llama-3-8b", 1, _at_1024(11.9, 12.6, 15.6, 17.8, 24.8, 43.7)),
    Figures("B200", "llama-3-8b", 1, _at_1024(3.5, 3.4, 4.2, 4.9, 6.2, 9.2)),
    Figures("H100", "llama-3-70b", 4, _at_1024(14.9, 16.1, 16.9, 19.1, 22.8, 30.5)),
)


def roofline(gpu: Gpu, model: ModelFacts, tensor_parallel: int) -> Floats:
    """The prior: the ten coefficients by arithmetic, at customary efficiencies.

    85 % of the memory bandwidth, 65 % of the dense bfloat16 rate in matrix products and 45 %
    in attention; all-reduces of a TP group at 300 GB/s and 8 us each.
    """
    bytes_per_ms, flops_per_ms = 0.85 * gpu.memory_bytes_per_s / 1e3, 0.65 * gpu.bf16_flops / 1e3
    attention_flops_per_ms = 0.45 * gpu.bf16_flops / 1e3
    reduces = 2 * model.layers if tensor_parallel > 1 else 0
    reduced_bytes = 2 * model.hidden_size * 2 * (tensor_parallel - 1) / tensor_parallel
    matrix_ms = 2 * model.parameters / tensor_parallel / flops_per_ms
    # Two products (scores, values) of two operations each, for every (token, context) pair.
    pair_flops = 4 * model.attention_heads * model.head_dim * model.layers / tensor_parallel
    prior = {
        "wn": model.weight_bytes / tensor_parallel / bytes_per_ms,
        "f": matrix_ms,
        "q": 4.0,
        "c1": 0.05 * matrix_ms + reduces * reduced_bytes / 300e6,
        "a0": 0.1 + reduces * 0.008,
        "a1": model.kv_bytes_per_token(tensor_parallel) / bytes_per_ms,
        "a2": 0.002,
        "b0": 0.1 + reduces * 0.008,
        "b1": 0.02 * matrix_ms,
        "b2": pair_flops / attention_flops_per_ms,
    }
    return np.array([prior[name] for name in FITTED])


def coefficients_of(values: Floats) -> StepCoefficients:
    """Coefficients without host overhead from the ten fitted values."""
    return StepCoefficients(**dict(zip(FITTED, values.tolist(), strict=True)))


def relative_errors(coefficients: StepCoefficients, figures: Figures) -> tuple[Floats, Floats]:
    """Signed relative errors of (decode, prefill) figures."""
    decode = [step_ms(coefficients, b, b * context) / ms - 1 for b, context, ms in figures.decode]
    prefill = [step_ms(coefficients, 0, 0, ((tokens, 0),)) / ms - 1 for tokens, ms in figures.prefill]
    return np.array(decode), np.array(prefill)


def fit(figures: Figures, prior: Floats) -> StepCoefficients:
    """The coefficients of the round with the smallest worst error."""
    sigma = np.array([Q_SIGMA if name == "q" else PRIOR_SIGMA for name in FITTED])
    logs, weights = np.log(prior), np.ones(len(figures.decode) + len(figures.prefill))
    best = (np.inf, logs)
    for _ in range(NUM_ROUNDS):
        logs = _fit_weighted(figures, weights, logs, (np.log(prior), sigma))
        errors = np.abs(_errors(logs, figures))
        best = min(best, (float(errors.max()), logs), key=lambda candidate: candidate[0])
        weights = weights * (errors + ERROR_FLOOR)
        weights *= len(weights) / weights.sum()
    return coefficients_of(np.exp(best[1]))


def _fit_weighted(figures: Figures, weights: Floats, start: Floats, prior: tuple[Floats, Floats]) -> Floats:
    mean, sigma = prior

    def residuals(logs: Floats) -> Floats:
        off = np.sqrt(weights) * _errors(logs, figures) / FIGURE_SIGMA
        return np.concatenate([off, (logs - mean) / sigma])

    return levenberg_marquardt(residuals, start)


def _errors(logs: Floats, figures: Figures) -> Floats:
    return np.concatenate(relative_errors(coefficients_of(np.exp(logs)), figures))


def levenberg_marquardt(residuals: Callable[[Floats], Floats], start: Floats) -> Floats:
    """A least-squares minimum near `start`; numerical derivatives, at most 200 steps."""
    at, damping = start, 1.0
    value = residuals(at)
    for _ in range(200):
        steps = 1e-6 * np.eye(len(at))
        jacobian = np.column_stack([(residuals(at + d) - residuals(at - d)) / 2e-6 for d in steps])
        normal = jacobian.T @ jacobian
        move = np.linalg.solve(normal + damping * np.eye(len(at)), -jacobian.T @ value)
        trial = residuals(at + move)
        if trial @ trial < value @ value:
            at, value, damping = at + move, trial, damping / 3
            if np.abs(move).max() < 1e-8:
                break
        else:
            damping *= 4
            if damping > 1e12:
                break
    return at


def fitted_profile(figures: Figures) -> dict[str, Any]:
    """One entry of the file: coefficients, the figures they were fitted to, and the error."""
    gpu = next(gpu for gpu in GPUS if gpu.name == figures.gpu)
    model = next(model for model in MODELS if model.key == figures.model)
    coefficients = fit(figures, roofline(gpu, model, figures.tensor_parallel))
    decode, prefill = relative_errors(coefficients, figures)
    values = {name: float(f"{value:.6g}") for name, value in asdict(coefficients).items() if name in FITTED}
    return {
        "gpu": figures.gpu,
        "model": figures.model,
        "tensorParallel": figures.tensor_parallel,
        "coefficients": values,
        "decodeFigures": [
            {"batch": batch, "context": context, "milliseconds": ms} for batch, context, ms in figures.decode
        ],
        "prefillFigures": [{"tokens": tokens, "milliseconds": ms} for tokens, ms in figures.prefill],
        "prefillFrom": "figures" if figures.prefill else "roofline estimate",
        "maxRelativeError": {
            "decode": round(float(np.abs(decode).max()), 4),
            "prefill": round(float(np.abs(prefill).max()), 4) if figures.prefill else None,
        },
    }


def document() -> dict[str, Any]:
    """The whole file as a value."""
    return {
        "provenance": "NVIDIA's silicon tables through aiconfigurator-core 0.12.0 (Apache-2.0), step engine, "
        "bfloat16, vLLM 0.24 (A100: 0.14), without host overhead; fitted by hack/fit_step_times.py",
        "units": "milliseconds per token, sequence or iteration; q and s have none",
        "hostOverhead": HOST_OVERHEAD,
        "hostOverheadFrom": "fitted on H100 measurements; used for every GPU",
        "profiles": [fitted_profile(figures) for figures in FIGURES],
    }


def main() -> None:
    """Write the file and print each profile's error."""
    value = document()
    OUTPUT.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    for profile in value["profiles"]:
        errors = profile["maxRelativeError"]
        print(
            f"{profile['gpu']} {profile['model']} TP{profile['tensorParallel']}: max relative error {errors}"
        )


if __name__ == "__main__":
    main()
