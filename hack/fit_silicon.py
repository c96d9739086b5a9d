"""Fit the silicon factors of rooflines to measured tables, and judge what is made of them.

Owns the fit, leaving out a GPU or families of models, and the held-out errors of the three ways to a
profile that was not measured (roofline, wider group, sibling).

Factors are fitted per kind of weights (as they are stored and multiplied), all tables of the
kind at once: least squares of the logarithm of estimate over table, soft beyond 10 %, with a
wide prior at customary values for what the tables leave open. Then for dense models on each GPU,
to its own tables, held near those of the kind.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from closed_form import GRIDS, SHORT_GRID, TRAINING, closed_form_ms

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
# Of a GPU's own factors, whose prior is those of all. Between 0.5 and 20 the errors on models left out
# differ by less than half a per cent.
OWN_WEIGHT = 5.0
NUM_FOLDS = 5
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
    "expert_width": (300.0, (1.0, 5000.0)),
    "attention_flops": (0.4, (0.05, 1.0)),
    "layer_ms": (0.02, _MS),
    "decode_layer_ms": (0.005, _MS),
    "chunk_layer_ms": (0.005, _MS),
    "norm_layer_ms": (0.02, _MS),
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
    every = list(cases)
    fitted = _fit_all(every, NUM_STEPS, {})
    by_family = fold_errors(every, fitted)
    by_gpu = _without_gpus(every, fitted)
    factors, report = {}, {}
    for base, logs in fitted.items():
        for has_experts in (False, True):
            kind = replace(base, has_experts=has_experts)
            members = [c for c in every if base in _kinds(c) and c.architecture.is_moe == has_experts]
            if not members:
                continue
            in_sample = np.mean([_errors(case, _factors(logs)) for case in members], axis=0)
            left_out = [np.mean(rows[kind], axis=0) for rows in (by_gpu, by_family) if kind in rows]
            # With one GPU or one family of a kind there is nothing to leave out: twice the error of
            # what was fitted then stands for what was not (1.0-2.1 times where both are known).
            worst = np.minimum(np.max(left_out or [2 * in_sample], axis=0), 1.0)
            factors[kind] = (_factors(logs), HeldOut(*np.round(worst[:3], 4).tolist()))
            report[kind] = {
                "tables": len(members),
                "gpus": sorted({case.profile.key.gpu for case in members}),
                "models": sorted({case.profile.key.model for case in members}),
                "inSample": _named(in_sample),
                "heldOutWorst": _named(worst),
            }
            print(f"silicon, {kind}: {len(members)} tables, {report[kind]}", flush=True)
    source = "fitted by hack/fit_forms.py to the measured tables"
    return Silicon(factors, source), report


def family(case: Case) -> str:
    """Which models are left out together: those whose names begin alike."""
    return case.profile.key.model.partition("-")[0]


@dataclass(frozen=True)
class Fold:
    """Tables that factors were fitted to, tables of the families that were left out, and the factors."""

    taught: list[Case]
    left_out: list[Case]
    fitted: dict[Kernels, Floats]

    @property
    def silicon(self) -> Silicon:
        """The factors as rooflines take them; of errors nothing is known."""
        unknown = HeldOut(1.0, 1.0, 1.0)
        return Silicon({kind: (_factors(logs), unknown) for kind, logs in self.fitted.items()}, "a fold")


def folds(cases: Sequence[Case], start: Mapping[Kernels, Floats]) -> Iterator[Fold]:
    """Every table is left out once. Families are dealt in the order of their names: before any fit."""
    families = sorted({family(case) for case in cases})
    for number in range(NUM_FOLDS):
        out = set(families[number::NUM_FOLDS])
        taught = [case for case in cases if family(case) not in out]
        left_out = [case for case in cases if family(case) in out]
        yield Fold(taught, left_out, _fit_all(taught, NUM_FOLD_STEPS, start))


def fold_errors(cases: Sequence[Case], start: Mapping[Kernels, Floats]) -> dict[Kernels, list[Floats]]:
    """Errors of tables left out, by the kind of the factors that they were judged with."""
    errors = defaultdict(list)
    for fold in folds(cases, start):
        for case in fold.left_out:
            nearest = next((kind for kind in _kinds(case) if kind in fold.fitted), None)
            if nearest is not None:
                kind = replace(nearest, has_experts=case.architecture.is_moe)
                errors[kind].append(_errors(case, _factors(fold.fitted[nearest])))
    return errors


def _kinds(case: Case) -> tuple[Kernels, ...]:
    """Whose factors a table takes part in: of this GPU, if the model is dense, and of all."""
    own = replace(kernels_of(case.gpu, case.architecture, case.profile.key.dtype), has_experts=False)
    return (own, replace(own, gpu="")) if own.gpu else (own,)


def _fit_all(cases: Sequence[Case], num_steps: int, start: Mapping[Kernels, Floats]) -> dict[Kernels, Floats]:
    """Logarithms of the factors of all kinds, from `start` where it has them."""
    kinds: dict[Kernels, list[Case]] = defaultdict(list)
    for case in cases:
        for kind in _kinds(case):
            kinds[kind].append(case)
    fitted: dict[Kernels, Floats] = {}
    for kind in sorted(kinds, key=lambda kind: (kind.gpu, str(kind))):  # those of all GPUs come first
        prior, weight = (fitted[replace(kind, gpu="")], OWN_WEIGHT) if kind.gpu else (_start(), PRIOR_WEIGHT)
        search = Search(prior, weight, num_steps)
        fitted[kind] = _fit(kinds[kind], start.get(kind, prior), search)
    return fitted


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


def _without_gpus(cases: Sequence[Case], start: Mapping[Kernels, Floats]) -> dict[Kernels, list[Floats]]:
    """Errors of tables by factors of any GPU that were fitted without theirs, by kind."""
    errors = defaultdict(list)
    for base, logs in start.items():
        members = [case for case in cases if base in _kinds(case)]
        gpus = sorted({case.profile.key.gpu for case in members})
        if base.gpu or len(gpus) < 2:
            continue
        for left_out in gpus:
            rest = [case for case in members if case.profile.key.gpu != left_out]
            factors = _factors(_fit(rest, logs, Search(_start(), PRIOR_WEIGHT, NUM_FOLD_STEPS)))
            for case in members:
                if case.profile.key.gpu == left_out:
                    kind = replace(base, has_experts=case.architecture.is_moe)
                    errors[kind].append(_errors(case, factors))
    return errors


def _errors(case: Case, factors: SiliconFactors) -> Floats:
    """Mean absolute relative errors: decode, mixed, prefill, short chunks."""
    table = case.profile.step_times
    rows = [case.estimate_ms(factors, grid) / grid.step_ms(table) - 1.0 for grid in (*GRIDS, SHORT_GRID)]
    return np.array([np.abs(row).mean() for row in rows])


@dataclass(frozen=True)
class Search:
    """How factors are looked for: logarithms that they are held near, how firmly, and the steps at most."""

    prior: Floats
    weight: float
    num_steps: int


def _fit(members: Sequence[Case], start: Floats, search: Search) -> Floats:
    """The logarithms of the factors."""
    from scipy.optimize import least_squares

    asked = Iterations(
        *(
            np.concatenate([getattr(grid, axis) for grid, _ in TRAINING])
            for axis in ("batch", "context", "chunk", "prefix")
        )
    )
    measured = [np.log(asked.step_ms(case.profile.step_times)) for case in members]
    limits = np.log(np.array([bounds for _, bounds in START.values()]))

    def residuals(logs: Floats) -> Floats:
        factors = _factors(logs)
        rows = [
            np.log(case.estimate_ms(factors, asked)) - truth
            for case, truth in zip(members, measured, strict=True)
        ]
        return np.concatenate([*rows, search.weight * (logs - search.prior)])

    inside = np.clip(start, limits[:, 0] + 1e-6, limits[:, 1] - 1e-6)
    bounds = (limits[:, 0], limits[:, 1])
    steps = search.num_steps
    fit = least_squares(residuals, inside, bounds=bounds, loss="soft_l1", f_scale=SOFT, max_nfev=steps)
    # Six digits, as they are written.
    return np.log([float(f"{value:.6g}") for value in np.exp(fit.x)])


def kind_factors(silicon: Silicon) -> dict[Kernels, Floats]:
    """Logarithms of what was fitted, to start from."""
    return {
        replace(kind, has_experts=False): np.log([getattr(factors, name) for name in START])
        for kind, (factors, _) in silicon.factors.items()
    }


def _start() -> Floats:
    return np.log(np.array([value for value, _ in START.values()]))


def _factors(logs: Floats) -> SiliconFactors:
    return SiliconFactors(**dict(zip(START, np.exp(logs).tolist(), strict=True)))


def _named(errors: Floats) -> dict[str, float]:
    return dict(zip(("decode", "mixed", "prefill", "short"), np.round(errors, 4).tolist(), strict=True))
