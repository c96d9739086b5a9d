"""Fit what engines of a version add to silicon, on the calibration half of the measured runs; print it.

Run from the repository's root: `python hack/fit_host.py`. Where the figures stand: `perf/host.py` (the host's
overhead of engines that schedule asynchronously) and `perf/front_end.py`. The hold-out half is not looked at.

    TPOT = f_k * silicon + c0 + cB * C        C requests in flight, in k: one group and tensor-parallel width

f_k is a nuisance, as a table that is off must not pass for the host: log-normal, with a spread of 5 % for the
tables of dense models and 25 % for experts. Errors are relative, the loss is robust. A platform has the front
end that is the median of its groups' calibrations (`validation.calibration`: prefills that are
slower than their table are a parameter of their own there).
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
from argosy.perf.validation.calibration import ValidationCase
from argosy.perf.validation.report import reports
from argosy.perf.validation.runs import parse_runs

_DENSE, _EXPERTS = 0.05, 0.25
_TPOT_SPREAD = 0.06


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
    """`model(parameters, factors)`; sizes: parameters, spread by nuisance, spread of errors."""
    count, spreads, spread = sizes

    def residuals(x: Floats) -> Floats:
        ratio = np.maximum(model(x[:count], np.exp(x[count:])), 1e-3) / measured
        return np.concatenate([np.log(ratio) / spread, x[count:] / spreads])

    found = least_squares(residuals, np.concatenate([np.full(count, 0.1), 0 * spreads]), loss="soft_l1")
    covariance = np.linalg.pinv(found.jac.T @ found.jac)
    ratio = model(found.x[:count], np.exp(found.x[count:])) / measured - 1
    return Fit(found.x[:count], np.sqrt(np.abs(np.diag(covariance)))[:count], float(np.median(np.abs(ratio))))


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


def main() -> None:
    """Print every fit."""
    found = reports(parse_runs(shipped_measurements()), shipped_library())
    by_version: dict[str, list[ValidationCase]] = {}
    front_ends: dict[str, list[float]] = {}
    for group in found:
        version = version_of(group.group.version)
        name = "not known" if version is None else f"{version.major}.{version.minor}"
        by_version.setdefault(name, []).extend(group.known)
        if group.calibration is not None:
            front_ends.setdefault(group.known[0].gpu, []).append(group.calibration.front_end_ms)
    known = [case for name, cases in by_version.items() if name != "not known" for case in cases]
    overlapped = [case for case in known if case.host.batches_in_flight > 1]
    dense = [case for case in known if case.host.batches_in_flight == 1 and _is_dense(case.run.group.model)]
    print("c0 and cB, ms")
    families = [("dense, before 0.14", dense), ("0.14 and later", overlapped)]
    for name, cases in [*sorted(by_version.items()), *families]:
        if cases:
            print(f"  {name} ({len(cases)} runs): {fit_overhead(cases)}")
    print("front end, ms")
    for gpu, values in sorted(front_ends.items()):
        print(f"  {gpu}: {np.median(values):.1f} (median of {len(values)} groups)")


if __name__ == "__main__":
    main()
