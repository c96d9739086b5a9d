"""Joules, grams of CO2 and dollars per token.

Owns the arithmetic from watts, step times and prices to what a token costs. Never decides what
a replica draws (`power`) nor how long a step takes (the profile): both come in. Prices and grid
intensities are the user's: a price is a field of the pool, an intensity a series in time.

A step of B sequences makes B tokens, so a token takes P * t / B joules. With the KV cache full,
B = KV tokens / context window, while P and t hardly change (the KV bytes read per step stay the
same): doubling the window halves the tokens per watt, the "1/W law" (arXiv 2603.17280).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from argosy.checks import not_negative, positive
from argosy.errors import SpecError
from argosy.perf.power.power import FITTED_CURVES

_JOULE_PER_KWH = 3.6e6


def joule_per_token(power_w: float, step_ms: float, tokens_per_step: float) -> float:
    """Joules of one token, where each step of `step_ms` brings so many (the batch, as a rule)."""
    step_s = positive(step_ms, "step_ms") / 1e3
    return positive(power_w, "power_w") * step_s / positive(tokens_per_step, "tokens_per_step")


def tokens_per_watt(tokens_per_s: float, power_w: float) -> float:
    """Tokens per second and watt, which is tokens per joule."""
    return positive(tokens_per_s, "tokens_per_s") / positive(power_w, "power_w")


def carbon_g(energy_joule: float, pue: float, grid_g_per_kwh: float) -> float:
    """gCO2e (location-based) of what GPUs drew, the data centre's overhead (PUE) on top."""
    if not 1.0 <= pue < math.inf:
        raise SpecError(f"total power over the machines' own is at least 1, got {pue}", "pue")
    kwh = not_negative(energy_joule, "energy_joule") / _JOULE_PER_KWH
    return kwh * pue * not_negative(grid_g_per_kwh, "grid_g_per_kwh")


def usd_per_million_tokens(price_usd_per_gpu_hour: float, num_gpus: int, tokens_per_s: float) -> float:
    """Dollars of a million tokens of a replica that is paid for by the hour, busy or not.

    A price of zero is a price (hardware already paid for).
    """
    usd_per_s = not_negative(price_usd_per_gpu_hour, "price_usd_per_gpu_hour") / 3600.0
    return 1e6 * usd_per_s * positive(num_gpus, "num_gpus") / positive(tokens_per_s, "tokens_per_s")


@dataclass(frozen=True, slots=True)
class DecodingReplica:
    """What of a replica decides its tokens per watt with full memory.

    kv_capacity_tokens, max_num_seqs: what bounds its batch
    step_ms: milliseconds of a decode step, by batch and context
    power_w: watts of all its GPUs, by batch and context
    """

    kv_capacity_tokens: int
    max_num_seqs: int
    step_ms: Callable[[int, int], float]
    power_w: Callable[[int, int], float]


@dataclass(frozen=True, slots=True)
class WindowEfficiency:
    """One context window: how many sequences of it fit, and the tokens per watt (0 where none fits)."""

    window_tokens: int
    batch: int
    tokens_per_watt: float


def efficiency_by_window(replica: DecodingReplica, windows: Iterable[int]) -> tuple[WindowEfficiency, ...]:
    """Tokens per watt where every sequence fills its context window and memory is full."""
    return tuple(_at_window(replica, window) for window in windows)


def _at_window(replica: DecodingReplica, window: int) -> WindowEfficiency:
    positive(window, "window_tokens")
    batch = min(replica.max_num_seqs, replica.kv_capacity_tokens // window)
    if batch == 0:
        return WindowEfficiency(window, 0, 0.0)
    tokens_per_s = 1e3 * batch / positive(replica.step_ms(batch, window), "step_ms")
    return WindowEfficiency(window, batch, tokens_per_watt(tokens_per_s, replica.power_w(batch, window)))


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
