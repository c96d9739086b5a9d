"""From measured rows to a profile: a known step time, moved as far as the rows say.

Owns which factors of the step time are free, what the result is worth, and when there is none.
`least_squares` solves. Input: reports, and a question with the prior. Output: `FittedProfile |
CannotFit`.

Which factors are free follows from what the rows can tell apart:
    s          always
    compute    with two TTFTs: prefill is what shows it; and with them what client, network and
               HTTP server add to each, which is in no step time
    c0, cb     three rows over a threefold range of load: a batch of one size cannot tell the
               host's part from the GPU's
    attention  eight rows over a twofold range of contexts as well
The uncertainty is the leave-one-out error: each row predicted from the others (linearised at
the solution). Fewer than three rows have none to speak of and keep the prior's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from argosy.arrays import Floats
from argosy.engine.host import HostBeside
from argosy.engine.step_times import StepTable, StepTimeSource, step_ms
from argosy.perf.measurements.fitted import (
    ROWS_TO_LEAVE_ONE_OUT,
    CannotFit,
    CannotFitReason,
    Covered,
    FitError,
    FitProvenance,
    FitQuestion,
    FittedProfile,
    QuantityError,
)
from argosy.perf.measurements.least_squares import FRONT_END, FitProblem, Solution, left_out, solve
from argosy.perf.measurements.plausibility import is_plausible
from argosy.perf.measurements.rows import ClosedLoopLoad, Measurement, Measurements, OpenLoopLoad
from argosy.perf.measurements.scaled import scaled, tabulated
from argosy.perf.measurements.trial import Quantity, Trial, trial_of
from argosy.perf.profile import Origin, Profile
from argosy.perf.robust_fit import RobustFit

_TTFTS_FOR_COMPUTE = 2
_ROWS_FOR_HOST = 3
_LOADS_FOR_HOST = 3.0
_ROWS_FOR_ATTENTION = 8
_CONTEXTS_FOR_ATTENTION = 2.0
_LEAST_UNCERTAINTY = 0.01
# A latency this many times shorter than a lone request's was not measured on a stream.
_TOO_SHORT = 20.0
_DIGITS = 7
_DECIMALS = 5


def prior_table(prior: Profile) -> StepTable:
    """What a fit moves: a table of the prior's step times up to the largest iteration that it answers for."""
    return tabulated(_beside_nothing(prior), prior.valid.max_tokens, prior.valid.max_batch)


def _beside_nothing(prior: Profile) -> StepTimeSource:
    """Without work beside the GPU: reports show iterations, not what is hidden in them."""
    source = prior.step_times.exposed if isinstance(prior.step_times, HostBeside) else prior.step_times
    if isinstance(source, StepTable):
        return source
    times = source.step_times(prior.valid.max_tokens, prior.valid.max_batch)
    return replace(times, host_ms=0.0, host_ms_per_sequence=0.0)


def fit_profile(reports: Sequence[Measurements], question: FitQuestion) -> FittedProfile | CannotFit:
    """The profile that these reports measured, or why they cannot give one."""
    valid = question.prior.valid
    table = prior_table(question.prior)
    compared = _compared(reports, question, table)
    if isinstance(compared, CannotFit):
        return compared
    trials = tuple(trial for one in compared for trial in one.trials)
    problem = FitProblem(trials, question.limits, table, _free(trials))
    solution = solve(problem)
    factors, front_end_ms = problem.factors(solution.at), round(problem.front_end_ms(solution.at), 3)
    if not is_plausible(factors.s, question.prior.origin):
        return implausible(factors.s, question)
    step_times = rounded(scaled(table, factors))
    uncertainty = _uncertainty(problem, solution, question.prior.uncertainty)
    source = _source(reports, trials)
    return FittedProfile(
        profile=Profile(
            question.key, Origin.USER, step_times, valid, uncertainty, source, front_end_ms=front_end_ms
        ),
        factors=factors,
        fitted=problem.free,
        front_end_ms=front_end_ms,
        error=fit_error(problem, problem.predict(step_times, front_end_ms)),
        prior_error=fit_error(problem, problem.predict(table, 0.0)),
        prior_source=question.prior.source,
        covered=_covered(trials),
        files=tuple(_provenance(one) for one in compared),
        on_date=question.on_date,
        notes=(
            *(note for one in compared for note in one.notes),
            *_far_from_computed(factors.s, question),
            *not_settled(solution.fit),
        ),
        moves=solution.fit.moves,
    )


@dataclass(frozen=True, slots=True)
class _ReportTrials:
    """What a report gives to the fit: its rows that can be compared, and why the others cannot."""

    report: Measurements
    trials: tuple[Trial, ...]
    left_out: tuple[CannotFit, ...]

    @property
    def notes(self) -> Iterator[str]:
        """Of the report, of the rows that are used, and of those that are not."""
        marks = (f"marked: {mark}" for trial in self.trials for mark in trial.measurement.marks)
        left_out = (f"left out: {one.message}" for one in (*self.report.left_out, *self.left_out))
        return (f"{self.report.name}: {note}" for note in (*self.report.notes, *marks, *left_out))


def _compared(
    reports: Sequence[Measurements], question: FitQuestion, table: StepTable
) -> tuple[_ReportTrials, ...] | CannotFit:
    """The rows that can be compared, or why they make no fit."""
    rows = [row for report in reports for row in report.rows]
    if not rows:
        return CannotFit(CannotFitReason.NO_ROWS, "there is no measured row; give a report with one")
    gpus = sorted({row.gpu for row in rows if row.gpu is not None})
    if len(gpus) > 1:
        message = f"the rows are of several GPUs ({', '.join(gpus)}): choose one"
        return CannotFit(CannotFitReason.SEVERAL_GPUS, message, tuple(gpus))
    found = tuple(_of_report(report, question, table) for report in reports)
    if any(one.trials for one in found):
        return found
    left_out = [fault for one in found for fault in one.left_out]
    if len(left_out) == 1 or all(one.reason is CannotFitReason.NOTHING_COMPARABLE for one in left_out):
        return left_out[0]
    sentences = "; ".join(dict.fromkeys(one.message for one in left_out))
    return CannotFit(left_out[0].reason, f"none of the {len(rows)} rows can be used: {sentences}")


def _of_report(report: Measurements, question: FitQuestion, table: StepTable) -> _ReportTrials:
    trials: list[Trial] = []
    left_out: list[CannotFit] = []
    for row in report.rows:
        trial = trial_of(row, question.limits)
        if trial is None:
            fault: CannotFit | None = _nothing_to_compare(row)
        else:
            fault = _too_long(trial, question) or _too_short(trial, table)
        if fault is not None:
            left_out.append(fault)
        elif trial is not None:
            trials.append(trial)
    return _ReportTrials(report, tuple(trials), tuple(left_out))


def _nothing_to_compare(row: Measurement) -> CannotFit:
    message = (
        f"{row.where} has no TTFT, ITL or end-to-end latency and no throughput under a fixed number of "
        "requests in flight: an offered rate alone says nothing about the engine"
    )
    return CannotFit(CannotFitReason.NOTHING_COMPARABLE, message)


def _too_long(trial: Trial, question: FitQuestion) -> CannotFit | None:
    most = question.limits.longest_request
    if trial.longest <= most:
        return None
    message = (
        f"{trial.measurement.where}: requests of {trial.longest} tokens are longer than the {most} "
        "that the engine takes; were the model, the GPU and max_model_len (--max-model-len) these?"
    )
    return CannotFit(CannotFitReason.BEYOND_LIMITS, message)


def _too_short(trial: Trial, table: StepTable) -> CannotFit | None:
    """A tool that does not stream reports a TTFT or an ITL of next to nothing."""
    prompt = trial.measurement.prompt.mean
    alone = {
        Quantity.TTFT: step_ms(table, 0, 0, [(prompt, 0)]),
        Quantity.ITL: step_ms(table, 1, prompt),
    }
    for one in trial.observed:
        if one.quantity in alone and one.value < alone[one.quantity] / _TOO_SHORT:
            message = (
                f"{trial.measurement.where}: {one.quantity} of {one.value:.3g} ms, where a lone request "
                f"takes about {alone[one.quantity]:.3g} ms: were the answers streamed?"
            )
            return CannotFit(CannotFitReason.IMPLAUSIBLE, message)
    return None


def _free(trials: Sequence[Trial]) -> tuple[str, ...]:
    """The factors that these rows can tell apart."""
    free = ["s"]
    num_ttfts = sum(one.quantity is Quantity.TTFT for trial in trials for one in trial.observed)
    if num_ttfts >= _TTFTS_FOR_COMPUTE:
        free += ["compute", FRONT_END]
    loads = [_load(trial) for trial in trials]
    if len(trials) >= _ROWS_FOR_HOST and max(loads) >= _LOADS_FOR_HOST * min(loads):
        free += ["c0", "cb"]
        contexts = [_context(trial.measurement) for trial in trials]
        if len(trials) >= _ROWS_FOR_ATTENTION and max(contexts) >= _CONTEXTS_FOR_ATTENTION * min(contexts):
            free.append("attention")
    return tuple(free)


def _context(row: Measurement) -> float:
    return row.prompt.mean + row.output.mean / 2


def _load(trial: Trial) -> float:
    """Requests in flight; for a rate, what Little's law makes of the latency (1 s where unknown)."""
    row = trial.measurement
    if not isinstance(row.load, OpenLoopLoad):
        return float(trial.concurrency)
    itl_ms = row.itl.mean_ms if row.itl is not None else None
    e2e_ms = row.e2e.mean_ms if row.e2e is not None else None
    return row.load.requests_per_s * (e2e_ms or (itl_ms or 0.0) * row.output.mean or 1e3) / 1e3


def _uncertainty(problem: FitProblem, solution: Solution, prior: float) -> float:
    """Each row predicted from the others; of the quantity that says most about a step."""
    if len(problem.trials) < ROWS_TO_LEAVE_ONE_OUT:
        return max(prior, _LEAST_UNCERTAINTY)
    errors = left_out(problem, solution)
    kinds = [one.quantity for _, one in problem.observed]
    best = next(quantity for quantity in Quantity if quantity in kinds)
    squares = [error**2 for error, kind in zip(errors.tolist(), kinds, strict=True) if kind is best]
    return max(round(float(np.sqrt(np.mean(squares))), _DECIMALS), _LEAST_UNCERTAINTY)


def fit_error(problem: FitProblem, predicted: Floats) -> FitError:
    """Of predictions, shape (O,), against what was measured."""
    found: dict[Quantity, list[float]] = {quantity: [] for quantity in Quantity}
    for (_, one), value in zip(problem.observed, predicted.tolist(), strict=True):
        found[one.quantity].append(value / one.value - 1)
    by_kind = {quantity: _quantity_error(errors) for quantity, errors in found.items()}
    return FitError(
        itl=by_kind[Quantity.ITL],
        ttft=by_kind[Quantity.TTFT],
        e2e=by_kind[Quantity.E2E],
        throughput=by_kind[Quantity.THROUGHPUT],
    )


def _quantity_error(errors: Sequence[float]) -> QuantityError | None:
    if not errors:
        return None
    mean_absolute, bias = float(np.mean(np.abs(errors))), float(np.mean(errors))
    return QuantityError(len(errors), round(mean_absolute, _DECIMALS), round(bias, _DECIMALS))


def _covered(trials: Sequence[Trial]) -> Covered:
    rows = [trial.measurement for trial in trials]
    concurrency = [row.load.concurrency for row in rows if isinstance(row.load, ClosedLoopLoad)]
    rates = [row.load.requests_per_s for row in rows if isinstance(row.load, OpenLoopLoad)]
    prompts, outputs = (
        [round(row.prompt.mean, 1) for row in rows],
        [round(row.output.mean, 1) for row in rows],
    )
    return Covered(
        prompt_tokens=(min(prompts), max(prompts)),
        output_tokens=(min(outputs), max(outputs)),
        concurrency=(min(concurrency), max(concurrency)) if concurrency else None,
        requests_per_s=(min(rates), max(rates)) if rates else None,
    )


def _provenance(one: _ReportTrials) -> FitProvenance:
    report = one.report
    return FitProvenance(
        report.name,
        report.sha256,
        str(report.tool),
        report.tool_version,
        num_rows=len(one.trials),
        num_marked=sum(bool(trial.measurement.marks) for trial in one.trials),
        num_left_out=len(report.left_out) + len(one.left_out),
    )


def _source(reports: Sequence[Measurements], trials: Sequence[Trial]) -> str:
    """In a sentence, as `argosy perf list` shows it."""
    tools = dict.fromkeys(
        f"{report.tool} {report.tool_version}" if report.tool_version else str(report.tool)
        for report in reports
    )
    rows = f"{len(trials)} row" + ("s" if len(trials) > 1 else "")
    return (
        f"user's measurements: {rows} of {', '.join(report.name for report in reports)} ({', '.join(tools)})"
    )


def _far_from_computed(s: float, question: FitQuestion) -> tuple[str, ...]:
    """A remark on a profile that is far from what was computed, and not so far that it is refused."""
    if is_plausible(s):
        return ()
    return (
        f"the engine that was measured is {_how_far(s)} than what the data sheet of {question.prior.key.gpu}"
        " gives; check model, GPU, number type and parallel shape",
    )


def not_settled(fit: RobustFit) -> tuple[str, ...]:
    """Remarks on a search that ended at the edge of what it may choose, or before its end."""
    stopped = tuple(
        f"{move.name} stopped at its {move.at_bound} bound ({move.value:.3g}): the rows ask for one beyond it"
        for move in fit.at_bounds
    )
    if fit.has_converged:
        return stopped
    return (*stopped, f"the search had not converged after {fit.num_simulated} simulations")


def _how_far(s: float) -> str:
    return f"{s:.1f} times slower" if s > 1 else f"{1 / s:.1f} times faster"


def implausible(s: float, question: FitQuestion) -> CannotFit:
    """The refusal of a fit that is `s` times as slow as its prior."""
    message = (
        f"the engine that was measured is {_how_far(s)} than {question.prior.key}: are model, GPU, number"
        " type and parallel shape those of the measurements?"
    )
    return CannotFit(CannotFitReason.IMPLAUSIBLE, message)


def rounded(table: StepTable) -> StepTable:
    """To seven digits, which is what a file of it holds."""
    return StepTable(**{field.name: _significant(getattr(table, field.name)) for field in fields(table)})


def _significant(value: Floats | float) -> Any:
    if isinstance(value, float | int):
        return float(f"{value:.{_DIGITS}g}")
    digits = [float(f"{one:.{_DIGITS}g}") for one in value.ravel().tolist()]
    return np.array(digits).reshape(value.shape)
