"""Fit what engines of a version add to silicon, on the calibration half of the measured runs; print it.

Run from the repository's root: `python hack/fit_host.py`. Where the figures stand: `perf/host.py` (the host's
overhead of engines that schedule asynchronously) and `perf/front_end.py`. The hold-out half is not looked at.

    TPOT = f_k * silicon + c0 + cB * C        C requests in flight, in k: one group and tensor-parallel width
    TTFT = a_k * engine + half a gap + front  the platform's front end

f_k and a_k are nuisances, as a table that is off must not pass for the host: log-normal, with a spread of 5 %
for the tables of dense models, 25 % for experts, and 50 % for prefills. Errors are relative, the loss is robust.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from argosy.arrays import Floats
from argosy.engine_version import version_of
from argosy.perf import shipped_library
from argosy.perf.catalogue import find_model
from argosy.perf.protocol import OutOfRange
from argosy.perf.shipped import shipped_measurements
from argosy.perf.validation.calibration import WAIT_SHARE, ValidationCase
from argosy.perf.validation.report import reports
from argosy.perf.validation.runs import parse_runs

_DENSE, _EXPERTS, _PREFILL = 0.05, 0.25, 0.5
_TPOT_SPREAD, _TTFT_SPREAD = 0.06, 0.15


@dataclass(frozen=True, slots=True)
class Fit:
    """Parameters with their standard errors, and the median relative errors of what was fitted."""

    values: Floats
    errors: Floats
    off: float

    def __str__(self) -> str:
        pairs = zip(self.values, self.errors, strict=True)
        return ", ".join(f"{v:.4g} +- {e:.2g}" for v, e in pairs) + f" (median error {self.off:.1%})"


def fit(measured: Floats, model: Callable[[Floats, Floats], Floats], sizes: tuple[int, Floats, float]) -> Fit:
    """`model(parameters, factor of each nuisance)`; sizes: parameters, spread by nuisance, spread of errors."""
    count, spreads, spread = sizes

    def residuals(x: Floats) -> Floats:
        ratio = np.maximum(model(x[:count], np.exp(x[count:])), 1e-3) / measured
        return np.concatenate([np.log(ratio) / spread, x[count:] / spreads])

    found = least_squares(residuals, np.concatenate([np.full(count, 0.1), 0 * spreads]), loss="soft_l1")
    covariance = np.linalg.inv(found.jac.T @ found.jac)
    ratio = model(found.x[:count], np.exp(found.x[count:])) / measured - 1
    return Fit(found.x[:count], np.sqrt(np.diag(covariance))[:count], float(np.median(np.abs(ratio))))


def nuisances(cases: Sequence[ValidationCase]) -> tuple[np.ndarray[tuple[int], np.dtype[np.intp]], Floats]:
    """Which nuisance each run has, and the spread of each in decode."""
    keys = [(case.run.group, case.run.shape) for case in cases]
    names = sorted(set(keys))
    spreads = [_DENSE if _is_dense(group.model) else _EXPERTS for group, _ in names]
    return np.array([names.index(key) for key in keys]), np.array(spreads)


def _is_dense(model: str) -> bool:
    found = find_model(model)
    return not isinstance(found, OutOfRange) and not found.architecture.is_moe


def fit_overhead(cases: Sequence[ValidationCase]) -> Fit:
    """c0 and cB, milliseconds, on top of the silicon that the raw profile has."""
    which, spreads = nuisances(cases)
    raw = np.array([case.predict(case.raw).tpot_ms for case in cases])
    in_flight = np.array([float(case.run.concurrency) for case in cases])
    exposed = [case.host.overhead.exposed for case in cases]
    silicon = raw - np.array([e.c0 for e in exposed]) - np.array([e.cb for e in exposed]) * in_flight
    measured = np.array([case.run.tpot_ms for case in cases])
    return fit(
        measured, lambda x, f: f[which] * silicon + x[0] + x[1] * in_flight, (2, spreads, _TPOT_SPREAD)
    )


def fit_front_end(cases: Sequence[ValidationCase]) -> Fit:
    """The front end, milliseconds."""
    which, spreads = nuisances(cases)
    own = [case.raw.front_end_ms + WAIT_SHARE * case.run.tpot_ms for case in cases]
    engine = np.array([case.predict(case.raw).ttft_ms for case in cases]) - np.array(own)
    measured = np.array([case.run.ttft_ms - WAIT_SHARE * case.run.tpot_ms for case in cases])
    sizes = (1, np.full(len(spreads), _PREFILL), _TTFT_SPREAD)
    return fit(measured, lambda x, a: a[which] * engine + x[0], sizes)


def main() -> None:
    """Print every fit."""
    found = reports(parse_runs(shipped_measurements()), shipped_library())
    stated: dict[str, list[ValidationCase]] = {}
    by_gpu: dict[str, list[ValidationCase]] = {}
    for group in found:
        version = version_of(group.group.version)
        name = "not known" if version is None else f"{version.major}.{version.minor}"
        stated.setdefault(name, []).extend(group.known)
        for case in group.known:
            by_gpu.setdefault(case.gpu, []).append(case)
    overlapped = [
        c for name, cs in stated.items() if name != "not known" for c in cs if c.host.batches_in_flight > 1
    ]
    waiting = [
        c for name, cs in stated.items() if name != "not known" for c in cs if c.host.batches_in_flight == 1
    ]
    print("c0 and cB, ms")
    for name, cases in [*sorted(stated.items()), ("before 0.14", waiting), ("0.14 and later", overlapped)]:
        if cases:
            print(f"  {name:>15} ({len(cases)} runs): {fit_overhead(cases)}")
    dense = [case for case in waiting if _is_dense(case.run.group.model)]
    print(f"  {'dense, before':>15} ({len(dense)} runs): {fit_overhead(dense)}")
    print("front end, ms")
    for gpu, cases in sorted(by_gpu.items()):
        print(f"  {gpu:>15} ({len(cases)} runs): {fit_front_end(cases)}")


if __name__ == "__main__":
    main()
