"""The part of a step that the silicon tables cannot know, fitted to measured runs.

Owns the five parameters of a `RunCalibration` and their fit. The caller chooses which runs to fit
and keeps the hold-out half away.

    s        a factor on the silicon's step time
    c0, cb   the host: milliseconds per iteration, and per decoding sequence
    prefill  milliseconds per prefill token, of the whole model on one GPU (divided by the ranks):
             matrix products at full power run below the clock of the kernels' benchmark
    front    milliseconds between client and engine (HTTP, tokenizer), in TTFT alone; half an
             iteration is added to it, since a request waits for its output's next step

The fit is maximum a posteriori with a robust loss, in relative errors: priors are the
reference's host overhead with the spread seen between engines, and keep a handful of runs from
saying more than they can.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from argosy.arrays import Floats
from argosy.engine.request import EngineLimits
from argosy.engine.step_times import StepTable, StepTimeSource
from argosy.perf.front_end import front_end_of
from argosy.perf.host import Host
from argosy.perf.profile import Calibration
from argosy.perf.profiles.kv_dtype import KvTypes, with_kv_dtype
from argosy.perf.robust_fit import Loss, Parameter, RobustFit, fit_parameters
from argosy.perf.validation.runs import Predicted, Run, predict

WAIT_SHARE = 0.5
_TPOT_SPREAD, _TTFT_SPREAD = 0.06, 0.15
_LEAST_RATIO = 1e-3


@dataclass(frozen=True, slots=True)
class RunCalibration:
    """See the module. The first three are a recalibration's `Calibration`."""

    s: float
    c0: float
    cb: float
    prefill_ms_per_token: float = 0.0
    front_end_ms: float = 0.0

    def applied(self, table: StepTable, ranks: int, host: Host) -> StepTimeSource:
        """The table as an engine of `ranks` GPUs per stage takes it, beside its host's work."""
        chunk = table.chunk_ms_per_token + self.prefill_ms_per_token / ranks
        seen = Calibration(self.s, self.c0, self.cb)
        return host.overhead.applied_to(replace(table, chunk_ms_per_token=chunk), seen)


def uncalibrated(host: Host, front_end_ms: float) -> RunCalibration:
    """What a user's first plan stands on: the host of the engine's version, the platform's front end."""
    exposed = host.overhead.exposed
    return RunCalibration(exposed.s, exposed.c0, exposed.cb, front_end_ms=front_end_ms)


_PRIOR_FRONT_END_MS = 8.0


@dataclass(frozen=True, slots=True)
class ValidationCase:
    """A run with the engine that is to reproduce it.

    gpu: the catalogue's name; kv_types: of the table's kernels, and of the engine; host: of its version
    """

    run: Run
    limits: EngineLimits
    table: StepTable
    gpu: str
    kv_types: KvTypes
    host: Host

    @property
    def raw(self) -> RunCalibration:
        """Uncalibrated."""
        return uncalibrated(self.host, front_end_of(self.gpu).milliseconds)

    def source(self, calibration: RunCalibration) -> StepTimeSource:
        """The engine's step times."""
        table = calibration.applied(self.table, self.run.shape.tensor_parallel, self.host)
        return with_kv_dtype(table, self.gpu, self.kv_types)

    def predict(self, calibration: RunCalibration) -> Predicted:
        """What the engine makes of the run."""
        found = predict(self.run, self.limits, self.source(calibration))
        front_ms = calibration.front_end_ms
        if front_ms:
            front_ms += WAIT_SHARE * found.tpot_ms
        return Predicted(found.ttft_ms + front_ms, found.tpot_ms)


@dataclass(frozen=True, slots=True)
class Errors:
    """Relative errors over runs, 0-1: mean absolute, and mean (positive: predicted too slow)."""

    num_runs: int
    tpot_mape: float
    tpot_bias: float
    ttft_mape: float
    ttft_bias: float


def errors(cases: Sequence[ValidationCase], calibration: RunCalibration | None = None) -> Errors:
    """Predictions against what was measured; without a calibration as they are (`ValidationCase.raw`)."""
    tpot, ttft = relative_errors(cases, calibration)
    return Errors(
        len(cases),
        float(np.mean(np.abs(tpot))),
        float(np.mean(tpot)),
        float(np.mean(np.abs(ttft))),
        float(np.mean(ttft)),
    )


def relative_errors(
    cases: Sequence[ValidationCase], calibration: RunCalibration | None = None
) -> tuple[Floats, Floats]:
    """(TPOT, TTFT), each of shape (cases,)."""
    found = [(case.predict(calibration or case.raw), case.run) for case in cases]
    tpot = np.array([predicted.tpot_ms / run.tpot_ms - 1 for predicted, run in found])
    ttft = np.array([predicted.ttft_ms / run.ttft_ms - 1 for predicted, run in found])
    return tpot, ttft


@dataclass(frozen=True, slots=True)
class Fitted:
    """A calibration, how far runs and prior are from it (`cost`), and how far it is from the prior."""

    calibration: RunCalibration
    fit: RobustFit

    @property
    def cost(self) -> float:
        """Half the sum of the squares, robust."""
        return self.fit.cost


def calibrate(cases: Sequence[ValidationCase]) -> Fitted:
    """The calibration that these runs of one group ask for; it starts where a user's first plan does.

    `runs.predict` draws a run's requests from the number of its row: the same at every point of the search.
    """
    fit = fit_parameters(residuals_of(cases), parameters_of(cases[0].host), Loss.SOFT, scale=1.0)
    return Fitted(RunCalibration(*fit.values.tolist()), fit)


def residuals_of(cases: Sequence[ValidationCase]) -> Callable[[Floats], Floats]:
    """From the five values to (TPOT, TTFT) of all cases, shape (2 cases,), in units of their spread."""

    def residuals(values: Floats) -> Floats:
        found = relative_errors(cases, RunCalibration(*values.tolist()))
        # On its way the search may ask for a c0 so low that iterations take no time.
        tpot, ttft = (np.log(np.maximum(1.0 + errors, _LEAST_RATIO)) for errors in found)
        return np.concatenate([tpot / _TPOT_SPREAD, ttft / _TTFT_SPREAD])

    return residuals


def parameters_of(host: Host) -> tuple[Parameter, ...]:
    """The five, with their priors. No part takes negative time; only c0 may be negative, as far as the
    table holds some of it already.
    """
    usual = uncalibrated(host, _PRIOR_FRONT_END_MS)
    return (
        Parameter("s", usual.s, 0.10, low=0.1),
        Parameter("c0", usual.c0, 1.5, "ms"),
        Parameter("cb", usual.cb, 0.05, "ms per sequence", low=0.0),
        Parameter("prefill_ms_per_token", usual.prefill_ms_per_token, 0.014, "ms per token", low=0.0),
        Parameter("front_end_ms", usual.front_end_ms, 10.0, "ms", low=0.0),
    )
