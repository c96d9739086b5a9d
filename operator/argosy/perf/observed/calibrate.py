"""From a run's first requests to a profile, judged on the rest of the run.

Owns what is fitted to what: the parts of a known step time (`measurements.least_squares`), moved until the
simulated engine shows the first requests' ITL and TTFT. The whole run is simulated each time, for those that
come later slow the first ones down, and the requests that are compared are the same ones for every step time
(common random numbers), so the objective has no chance in it. The rest is never fitted: it judges. Input: a
run and a question with the prior. Output: `Calibrated | CannotFit`.

A single request's TTFT depends on where in an iteration it came; so it counts little by itself, and a hundred
of them tell. Step times are those of an engine with as many batches in flight as the question's limits have.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from argosy.arrays import Booleans, Floats
from argosy.engine import twin
from argosy.engine.request import EngineLimits
from argosy.engine.step_times import StepTable, StepTimeSource
from argosy.perf.capacity.search import EngineModel
from argosy.perf.measurements.fit import fit_error, implausible, not_settled, prior_table, rounded
from argosy.perf.measurements.fitted import (
    CannotFit,
    CannotFitReason,
    Covered,
    FitProvenance,
    FitQuestion,
    FittedProfile,
)
from argosy.perf.measurements.least_squares import FRONT_END, FitProblem, solve
from argosy.perf.measurements.plausibility import is_plausible
from argosy.perf.measurements.scaled import scaled
from argosy.perf.measurements.trial import ObservedStatistic, Quantity
from argosy.perf.observed.replay import CannotReplay, Comparison, Measure, Replay, latencies_of, replayed
from argosy.perf.observed.run import ObservedRun
from argosy.perf.profile import Origin, Profile
from argosy.perf.robust_fit import STEP

LEAST_REQUESTS = 20
"""Fewer single requests say less about six parts of a step time than the prior does."""

_FREE = ("s", "compute", "attention", "c0", "cb", FRONT_END)
# Relative: a request's mean gap holds the prefills that fell into it, its TTFT a part of an iteration.
_NOISE = {Quantity.ITL: 0.02, Quantity.TTFT: 0.1}
_LEAST_UNCERTAINTY = 0.01
# Spreads of the prior on either side of a derivative: a single request's times jump where it meets another
# iteration.
_COARSE_FIRST = (1.0, 0.5, 0.2, STEP)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A profile, and how well it predicts what it was fitted to and what it was not.

    num_first:          requests that it was fitted to
    first, rest:        this profile on those and on the others (none where there are no others)
    prior_first, prior_rest: the prior on the same requests
    """

    fitted: FittedProfile
    num_first: int
    first: tuple[Comparison, ...]
    rest: tuple[Comparison, ...]
    prior_first: tuple[Comparison, ...]
    prior_rest: tuple[Comparison, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _FirstRequests:
    """The first requests of a run as what a fit compares; both measures of each, one after the other.

    where: requests whose ITL (row 0) and TTFT (row 1) are compared, shape (2, N)
    """

    run: ObservedRun
    where: Booleans

    @property
    def observed(self) -> tuple[ObservedStatistic, ...]:
        seen = latencies_of(self.run)
        itl, ttft = seen.itl_ms[self.where[0]].tolist(), seen.ttft_ms[self.where[1]].tolist()
        return (
            *(ObservedStatistic(Quantity.ITL, value) for value in itl),
            *(ObservedStatistic(Quantity.TTFT, value) for value in ttft),
        )

    @property
    def noise(self) -> tuple[float, ...]:
        return tuple(_NOISE[one.quantity] for one in self.observed)

    def predict(self, limits: EngineLimits, source: StepTimeSource) -> Floats:
        times = twin.simulate(self.run.as_requests(), limits, source)
        return np.concatenate([times.itl_ms[self.where[0]], times.ttft_ms[self.where[1]]])


def calibrated(
    run: ObservedRun, question: FitQuestion, prior: EngineModel, num_first: int
) -> Calibrated | CannotFit | CannotReplay:
    """A profile fitted to the first requests; `prior` is the engine that the model expects so far."""
    before = replayed(run, prior)
    if isinstance(before, CannotReplay):
        return before
    where = _compared(run, num_first)
    if where.any(axis=0).sum() < LEAST_REQUESTS:
        message = (
            f"{run.name}: {where.any(axis=0).sum()} of the first {num_first} requests have a TTFT or an ITL, "
            f"{LEAST_REQUESTS} are needed; observe more, with streamed answers"
        )
        return CannotFit(CannotFitReason.NO_ROWS, message)
    problem = FitProblem((_FirstRequests(run, where),), question.limits, prior_table(question.prior), _FREE)
    solution = solve(problem, _COARSE_FIRST)
    factors, front_end_ms = problem.factors(solution.at), round(problem.front_end_ms(solution.at), 3)
    if _is_of_same_gpu(question) and not is_plausible(factors.s, question.prior.origin):
        return implausible(factors.s, question)
    table = rounded(scaled(problem.table, factors))
    after = replayed(run, EngineModel(question.limits, table, front_end_ms))
    if isinstance(after, CannotReplay):
        return after
    first, rest = slice(0, num_first), slice(num_first, None)
    judged = after.comparisons(rest) if len(run.requests) > num_first else ()
    profile = _profile(run, question, table, front_end_ms)
    return Calibrated(
        fitted=FittedProfile(
            profile=replace(profile, uncertainty=_uncertainty(judged, question.prior.uncertainty)),
            factors=factors,
            fitted=_FREE,
            front_end_ms=front_end_ms,
            error=fit_error(problem, problem.predict(table, front_end_ms)),
            prior_error=fit_error(problem, problem.predict(problem.table, 0.0)),
            prior_source=question.prior.source,
            covered=_covered(run, num_first),
            files=(_provenance(run, num_first),),
            on_date=question.on_date,
            notes=(*run.notes, *not_settled(solution.fit)),
            moves=solution.fit.moves,
        ),
        num_first=num_first,
        first=after.comparisons(first),
        rest=judged,
        prior_first=before.comparisons(first),
        prior_rest=_of_rest(before, judged, rest),
    )


def _is_of_same_gpu(question: FitQuestion) -> bool:
    """Of a GPU that the catalogue does not have nothing is known that a run could contradict."""
    return question.prior.key.gpu == question.key.gpu


def _of_rest(before: Replay, judged: tuple[Comparison, ...], rest: slice) -> tuple[Comparison, ...]:
    return before.comparisons(rest) if judged else ()


def _compared(run: ObservedRun, num_first: int) -> Booleans:
    """Of which requests ITL and TTFT are compared, shape (2, N)."""
    seen = latencies_of(run)
    is_first = np.arange(len(run.requests)) < num_first
    rows: Booleans = np.stack(
        [is_first & np.isfinite(values) & (values > 0) for values in (seen.itl_ms, seen.ttft_ms)]
    )
    return rows


def _profile(run: ObservedRun, question: FitQuestion, table: StepTable, front_end_ms: float) -> Profile:
    source = f"user's measurements: requests of {run.name} ({run.tool})"
    prior = question.prior
    return Profile(
        question.key,
        Origin.USER,
        table,
        prior.valid,
        prior.uncertainty,
        source,
        front_end_ms,
        question.limits.batches_in_flight,
    )


def _uncertainty(judged: tuple[Comparison, ...], prior: float) -> float:
    """The error of the mean ITL (else E2E) on the requests that were not fitted; without any, the prior's."""
    found = {one.measure: abs(one.of("mean").error) for one in judged}
    error = found.get(Measure.ITL, found.get(Measure.E2E, prior))
    return max(round(error, 5), _LEAST_UNCERTAINTY)


def _covered(run: ObservedRun, num_first: int) -> Covered:
    first = run.requests[:num_first]
    prompts, outputs = [one.prompt_tokens for one in first], [one.output_tokens for one in first]
    span_s = first[-1].sent_s - first[0].sent_s
    rate = round((len(first) - 1) / span_s, 3) if span_s > 0 else None
    return Covered(
        prompt_tokens=(float(min(prompts)), float(max(prompts))),
        output_tokens=(float(min(outputs)), float(max(outputs))),
        concurrency=None,
        requests_per_s=None if rate is None else (rate, rate),
    )


def _provenance(run: ObservedRun, num_first: int) -> FitProvenance:
    used = min(num_first, len(run.requests))
    return FitProvenance(
        run.name,
        run.sha256,
        run.tool,
        run.tool_version,
        num_rows=used,
        num_left_out=len(run.requests) - used + len(run.failed),
    )
