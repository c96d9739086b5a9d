"""Fit the silicon factors of rooflines to measured tables, and judge what is made of them.

Owns the fit, leaving out a GPU or a model, and the held-out errors of the three ways to a profile
that was not measured (roofline, wider group, sibling).

Factors are fitted per kind of weights (as they are stored and multiplied), all tables of the
kind at once: least squares of the logarithm of estimate over table, soft beyond 10 %, with a
wide prior at customary values for what the tables leave open.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from closed_form import GRIDS, TRAINING, closed_form_ms

from argosy.arrays import Floats
from argosy.perf.catalogue import Gpu
from argosy.perf.catalogue.links import gpu_links
from argosy.perf.profile import Profile, ProfileKey, Shape
from argosy.perf.profiles.iterations import Iterations
from argosy.perf.profiles.reshape import MeasuredWidths, are_siblings, scaled_profile, wider_profile
from argosy.perf.profiles.roofline import HeldOut, Kernels, Silicon, SiliconFactors, kernels_of, roofline
from argosy.perf.protocol import OutOfRange
from argosy.snapshot.architecture import Architecture

SOFT, PRIOR_WEIGHT = 0.1, 0.5
# A fold starts where all tables led to, and needs fewer steps.
NUM_STEPS, NUM_FOLD_STEPS = 40, 15
# Where the search starts, and how far it may go. Shares of a peak end at the peak, and begin
# where no kernel is that bad: a kind whose tables say little about a factor (dense products in
# gpt-oss, all of it experts) would bend it to mend another part.
_MS = (1e-5, 1.0)
START: Mapping[str, tuple[float, tuple[float, float]]] = {
    "memory": (0.7, (0.4, 1.0)),
    "expert_memory": (0.6, (0.3, 1.0)),
    "kv_memory": (0.6, (0.05, 1.0)),
    "flops": (0.6, (0.4, 1.0)),
    "expert_flops": (0.4, (0.05, 1.0)),
    "attention_flops": (0.4, (0.05, 1.0)),
    "layer_ms": (0.02, _MS),
    "decode_layer_ms": (0.005, _MS),
    "chunk_layer_ms": (0.005, _MS),
    "passes": (10.0, (1.0, 80.0)),
    "chunk_passes": (2.0, (0.1, 30.0)),
    "sequence_tokens": (20.0, (0.1, 500.0)),
    "spread": (0.7, (0.2, 1.5)),
    "sharpness": (3.0, (1.0, 20.0)),
}


@dataclass(frozen=True)
class Case:
    """One table, with what it was measured on."""

    profile: Profile
    gpu: Gpu
    architecture: Architecture

    def estimate_ms(self, factors: SiliconFactors, asked: Iterations) -> Floats:
        """The roofline's milliseconds, of the iterations' shape."""
        coefficients = roofline(self.gpu, self.architecture, self.profile.key, factors)
        return closed_form_ms(asdict(coefficients), asked)


def fit_silicon(cases: Iterable[Case]) -> tuple[Silicon, dict[Kernels, dict[str, Any]]]:
    """Factors of every kind of weights with their held-out error, and how they were judged."""
    kinds: dict[Kernels, list[Case]] = defaultdict(list)
    for case in cases:
        kinds[kernels_of(case.gpu, case.architecture, case.profile.key.dtype)].append(case)
    factors, report = {}, {}
    for kind, members in kinds.items():
        logs = _fit(members, _start(), NUM_STEPS)
        by_gpu = _held_out(members, lambda case: case.profile.key.gpu, logs)
        by_model = _held_out(members, lambda case: case.profile.key.model, logs)
        in_sample = np.mean([_errors(case, _factors(logs)) for case in members], axis=0)
        # With one GPU or one model of a kind there is nothing to leave out: twice the error of
        # what was fitted then stands for what was not (1.0-2.1 times where both are known).
        judged = [2 * in_sample if error is None else error for error in (by_gpu, by_model)]
        worst = np.max(judged, axis=0)
        factors[kind] = (_factors(logs), HeldOut(*np.round(np.minimum(worst, 1.0), 4).tolist()))
        report[kind] = {
            "tables": len(members),
            "gpus": sorted({case.profile.key.gpu for case in members}),
            "models": sorted({case.profile.key.model for case in members}),
            "inSample": _named(in_sample),
            "leaveOneGpuOut": _named(by_gpu),
            "leaveOneModelOut": _named(by_model),
        }
        print(f"silicon, {kind}: {len(members)} tables, {report[kind]}", flush=True)
    source = "fitted by hack/fit_forms.py to the measured tables"
    return Silicon(factors, source), report


def wider_errors(cases: Iterable[Case]) -> dict[str, Floats]:
    """Median errors (decode, mixed, prefill), shape (3,), of TP 4 and 8 made from the two next narrower
    tables.

    Only where all are measured.
    """
    by_key = {case.profile.key: case for case in cases}
    rows: dict[str, list[Floats]] = defaultdict(list)
    for key, case in by_key.items():
        width = key.shape.tensor_parallel
        narrow, wide = by_key.get(_at(key, width // 4)), by_key.get(_at(key, width // 2))
        if narrow is None or wide is None:
            continue
        link = gpu_links(case.gpu).inside
        made = wider_profile(
            MeasuredWidths(narrow.profile, wide.profile, link), case.architecture, width, link
        )
        assert isinstance(made, Profile)
        rows[f"wider group, TP {width}"].append(_distance(made, case.profile))
    return {name: np.median(errors, axis=0) for name, errors in rows.items()}


def sibling_errors(cases: Iterable[Case], silicon: Silicon) -> dict[str, Floats]:
    """Median errors (decode, mixed, prefill), shape (3,), of tables scaled to a sibling, over all pairs."""
    every = tuple(cases)
    rows = []
    for case in every:
        for other in every:
            same = _elsewhere(case.profile.key, other.profile.key)
            if not same or not are_siblings(case.gpu, other.gpu):
                continue
            made = scaled_profile(case.profile, (case.gpu, other.gpu), case.architecture, silicon)
            assert not isinstance(made, OutOfRange)
            rows.append(_distance(made, other.profile))
    return {f"siblings, {len(rows)} pairs": np.median(rows, axis=0)} if rows else {}


def _at(key: ProfileKey, width: int) -> ProfileKey:
    return ProfileKey(key.gpu, key.model, key.dtype, Shape(width))


def _elsewhere(one: ProfileKey, other: ProfileKey) -> bool:
    same = (one.model, one.dtype, one.shape) == (other.model, other.dtype, other.shape)
    return same and one.gpu != other.gpu


def _distance(made: Profile, measured: Profile) -> Floats:
    """Mean absolute relative errors on the three grids."""
    rows = [grid.step_ms(made.step_times) / grid.step_ms(measured.step_times) - 1.0 for grid in GRIDS]
    return np.array([np.abs(row).mean() for row in rows])


def _held_out(members: Sequence[Case], group: Callable[[Case], str], start: Floats) -> Floats | None:
    """Mean errors over all tables, each by factors fitted without its group."""
    groups = sorted({group(case) for case in members})
    if len(groups) < 2:
        return None
    rows = []
    for left_out in groups:
        rest = [case for case in members if group(case) != left_out]
        factors = _factors(_fit(rest, start, NUM_FOLD_STEPS))
        rows += [_errors(case, factors) for case in members if group(case) == left_out]
    return np.asarray(np.mean(rows, axis=0))


def _errors(case: Case, factors: SiliconFactors) -> list[float]:
    return [
        float(np.abs(case.estimate_ms(factors, grid) / grid.step_ms(case.profile.step_times) - 1.0).mean())
        for grid in GRIDS
    ]


def _fit(members: Sequence[Case], start: Floats, num_steps: int) -> Floats:
    """The logarithms of the factors."""
    from scipy.optimize import least_squares

    asked = Iterations(
        *(
            np.concatenate([getattr(grid, axis) for grid, _ in TRAINING])
            for axis in ("batch", "context", "chunk", "prefix")
        )
    )
    measured = [np.log(asked.step_ms(case.profile.step_times)) for case in members]
    prior = _start()
    limits = np.log(np.array([bounds for _, bounds in START.values()]))

    def residuals(logs: Floats) -> Floats:
        factors = _factors(logs)
        rows = [
            np.log(case.estimate_ms(factors, asked)) - truth
            for case, truth in zip(members, measured, strict=True)
        ]
        return np.concatenate([*rows, PRIOR_WEIGHT * (logs - prior)])

    inside = np.clip(start, limits[:, 0] + 1e-6, limits[:, 1] - 1e-6)
    bounds = (limits[:, 0], limits[:, 1])
    fit = least_squares(residuals, inside, bounds=bounds, loss="soft_l1", f_scale=SOFT, max_nfev=num_steps)
    # Six digits, as they are written.
    return np.log([float(f"{value:.6g}") for value in np.exp(fit.x)])


def _start() -> Floats:
    return np.log(np.array([value for value, _ in START.values()]))


def _factors(logs: Floats) -> SiliconFactors:
    return SiliconFactors(**dict(zip(START, np.exp(logs).tolist(), strict=True)))


def _named(errors: Floats | None) -> dict[str, float] | None:
    if errors is None:
        return None
    return dict(zip(("decode", "mixed", "prefill"), np.round(errors, 4).tolist(), strict=True))
