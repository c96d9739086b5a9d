"""Joules and dollars per token, and published energies beside the model's.

Owns the arithmetic from watts (`power`), step times (the profile) and prices (a field of the pool)
to the energy and the cost of a token.

A step of B sequences makes B tokens, so a token takes P * t / B joules. With the KV cache full,
B = KV tokens / context window, while P and t hardly change (the KV bytes read per step stay the
same): doubling the window halves the tokens per watt, the "1/W law" (arXiv 2603.17280).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from argosy.checks import not_negative, positive
from argosy.perf.power.power import FITTED_CURVES


def joule_per_token(power_w: float, step_ms: float, tokens_per_step: float) -> float:
    """Joules of one token, where each step of `step_ms` brings so many (the batch, as a rule).

    Raises SpecError, with the argument, for a value that is not positive.
    """
    step_s = positive(step_ms, "step_ms") / 1e3
    return positive(power_w, "power_w") * step_s / positive(tokens_per_step, "tokens_per_step")


def usd_per_million_tokens(price_usd_per_gpu_hour: float, num_gpus: int, tokens_per_s: float) -> float:
    """Dollars of a million tokens of a replica that is paid for by the hour, busy or not.

    A price of zero is a price (hardware already paid for). Raises SpecError, with the argument, for a
    negative price and for a count or rate that is not positive.
    """
    usd_per_s = not_negative(price_usd_per_gpu_hour, "price_usd_per_gpu_hour") / 3600.0
    return 1e6 * usd_per_s * positive(num_gpus, "num_gpus") / positive(tokens_per_s, "tokens_per_s")


@dataclass(frozen=True, slots=True)
class EnergyFigure:
    """A published figure of decode energy, joules per token."""

    gpu: str
    model: str
    tensor_parallel: int
    batch: int
    joule_per_token: float


REFERENCE_ENERGY: tuple[EnergyFigure, ...] = (
    EnergyFigure("H100", "llama-3.1-8b", 1, 8, 0.455),
    EnergyFigure("H100", "llama-3.1-8b", 1, 64, 0.119),
    EnergyFigure("H100", "llama-3.1-8b", 1, 256, 0.077),
    EnergyFigure("H100", "llama-3.1-70b", 4, 8, 3.76),
    EnergyFigure("H100", "llama-3.1-70b", 4, 64, 0.80),
    EnergyFigure("H100", "llama-3.1-70b", 4, 256, 0.48),
)


@dataclass(frozen=True, slots=True)
class EnergyRow:
    """A published figure beside the model's own.

    difference:      model / figure - 1
    implied_step_ms: the step time that the figure's joules imply at the model's watts
    """

    figure: EnergyFigure
    power_w: float
    step_ms: float
    joule_per_token: float
    difference: float
    implied_step_ms: float


def energy_comparison(step_ms: Callable[[EnergyFigure], float]) -> tuple[EnergyRow, ...]:
    """The published energies beside power x step time / batch, with the step times given.

    Not a test of the model: watts come from the same publication, so all of the difference lies
    in the step time, which theirs was measured with (lengths and engine not stated).
    """
    return tuple(_energy_row(figure, step_ms(figure)) for figure in REFERENCE_ENERGY)


def _energy_row(figure: EnergyFigure, step_ms: float) -> EnergyRow:
    curve = FITTED_CURVES[figure.gpu, figure.model, figure.tensor_parallel]
    power_w = figure.tensor_parallel * curve.watts(figure.batch)
    joules = joule_per_token(power_w, step_ms, figure.batch)
    return EnergyRow(
        figure=figure,
        power_w=power_w,
        step_ms=step_ms,
        joule_per_token=joules,
        difference=joules / figure.joule_per_token - 1.0,
        implied_step_ms=1e3 * figure.joule_per_token * figure.batch / power_w,
    )
