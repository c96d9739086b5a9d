"""Compiled simulations: one engine, independent engines in a row, and a closed loop.

Owns packing requests, limits and step times into flat arrays for `kernel`, and unpacking what comes
back. Each simulation is checked against its namesake in `simulate` request by request. Times differ
from the Python scheduler's by rounding only (a stretch of iterations is added in closed form), so
they agree unless an arrival falls on an iteration's boundary to the last digits.

The first call in a process imports numba (about half a second) and loads the compiled code,
or compiles it where no cache holds it yet (some seconds). The cache is beside the source file
or, where that cannot be written, in the user's cache directory; NUMBA_CACHE_DIR names another
one, which a container with a read-only root file system needs. The compiled code releases the
interpreter's lock: rows may run in threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from types import ModuleType

import numpy as np

from argosy.arrays import Floats, Integers
from argosy.engine.request import EngineLimits
from argosy.engine.simulate import (
    ClosedLoop,
    ClosedLoopTimes,
    Requests,
    RequestTimes,
    closed_times,
    loop_requests,
    request_times,
)
from argosy.engine.step_times import StepTimeSource, StepTimesQuestion
from argosy.engine.twin.layout import (
    BITS,
    BLOCK_SIZE,
    CONCURRENCY,
    ENGINE_COLUMNS,
    HIGH,
    IN_FLIGHT,
    KV_BLOCKS,
    LOW,
    MAX_SEQS,
    MAX_TOKENS,
    RING,
    TABLE,
    TOTAL_COLUMNS,
    state_ends,
)


@dataclass(frozen=True, slots=True)
class EngineRun:
    """One engine of a row: the requests that arrive, its limits and its step times."""

    requests: Requests
    limits: EngineLimits
    source: StepTimeSource


@dataclass(frozen=True, slots=True)
class EngineTotals:
    """Sums over the iterations of each engine, shape (R,); t is an iteration's milliseconds.

    busy_ms:                sum of t
    num_iterations
    batch_ms:               sum of B*t, B sequences decoding: batch_ms/busy_ms is the mean batch
    kv_token_ms:            sum of K*t, K the tokens in KV of those, before the iteration
    generated_tokens
    computed_prompt_tokens: in chunks: no cached tokens, recomputation included
    num_preemptions
    """

    busy_ms: Floats
    num_iterations: Floats
    batch_ms: Floats
    kv_token_ms: Floats
    generated_tokens: Floats
    computed_prompt_tokens: Floats
    num_preemptions: Floats


@dataclass(frozen=True, slots=True)
class RowTimes:
    """`times` of all requests, engine after engine; engine r has [offsets[r], offsets[r + 1])."""

    times: RequestTimes
    offsets: Integers
    totals: EngineTotals

    def of_engine(self, index: int) -> RequestTimes:
        """The times of one engine's requests (views)."""
        part = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        times = self.times
        return RequestTimes(times.ttft_ms[part], times.itl_ms[part], times.e2e_ms[part], times.refused[part])


def simulate(requests: Requests, limits: EngineLimits, source: StepTimeSource) -> RequestTimes:
    """As `argosy.engine.simulate`: run one engine until every request is done or refused."""
    return simulate_row((EngineRun(requests, limits, source),)).times


def simulate_row(runs: Sequence[EngineRun]) -> RowTimes:
    """Run independent engines one after the other, each over its own requests."""
    offsets = np.cumsum([0, *(len(run.requests.arrivals_s) for run in runs)], dtype=np.int64)
    lengths = np.empty((3, offsets[-1]), dtype=np.int64)
    stamps_ms = np.full((3, offsets[-1]), np.nan)
    refused = np.empty(offsets[-1], dtype=np.bool_)
    for run, (low, high) in zip(runs, pairwise(offsets.tolist()), strict=True):
        requests = run.requests
        stamps_ms[0, low:high] = requests.arrivals_s
        lengths[0, low:high] = requests.prompt_tokens
        lengths[1, low:high] = requests.output_tokens
        lengths[2, low:high] = 0 if requests.cached_tokens is None else requests.cached_tokens
        refused[low:high] = requests.refused_by(run.limits)
    stamps_ms[0] *= 1e3
    engines = [(run.limits, run.source) for run in runs]
    if refused.any():
        taken = np.flatnonzero(~refused)
        served = np.ascontiguousarray(stamps_ms[:, taken])
        edges = np.searchsorted(taken, offsets)
        totals = _run(engines, edges, np.ascontiguousarray(lengths[:, taken]), served)
        stamps_ms[1:, taken] = served[1:]
    else:
        totals = _run(engines, offsets, lengths, stamps_ms)
    times = request_times(lengths[1], stamps_ms)
    return RowTimes(times, offsets, EngineTotals(*np.ascontiguousarray(totals.T)))


def simulate_loop(loop: ClosedLoop, limits: EngineLimits, source: StepTimeSource) -> ClosedLoopTimes:
    """As `argosy.engine.simulate_loop`: so many requests in flight."""
    requests, served = loop_requests(loop, limits)
    lengths = np.stack((served.prompt_tokens, served.output_tokens, served.cached)).astype(np.int64)
    stamps_ms = np.full(lengths.shape, np.nan)
    stamps_ms[0] = 0.0
    offsets = np.array([0, lengths.shape[1]], dtype=np.int64)
    _run([(limits, source)], offsets, lengths, stamps_ms, loop.concurrency)
    return closed_times(requests, limits, stamps_ms)


def warm_up() -> None:
    """Load the compiled code, or compile it, now rather than at the first simulation."""
    _kernel()


def _kernel() -> ModuleType:
    from argosy.engine.twin import kernel  # numba: only where something is simulated

    return kernel


def _run(
    engines: Sequence[tuple[EngineLimits, StepTimeSource]],
    offsets: Integers,
    lengths: Integers,
    stamps_ms: Floats,
    concurrency: int = 0,
) -> Floats:
    """Fill in `stamps_ms` (see `kernel`); returns the totals, shape (R, TOTAL_COLUMNS)."""
    tables, places = _packed_tables(engines)
    rows = np.empty((len(engines), ENGINE_COLUMNS), dtype=np.int64)
    memory = 0
    for row, (limits, _), place, (low, high) in zip(
        rows, engines, places, pairwise(offsets.tolist()), strict=True
    ):
        ring = max(BITS, 1 << int(lengths[1, low:high].max(initial=1)).bit_length())
        row[MAX_SEQS], row[MAX_TOKENS] = limits.max_num_seqs, limits.max_num_batched_tokens
        row[KV_BLOCKS], row[BLOCK_SIZE] = limits.kv_blocks, limits.block_size
        row[RING], row[CONCURRENCY] = ring, concurrency
        row[IN_FLIGHT] = limits.batches_in_flight
        row[LOW], row[HIGH] = low, high
        row[TABLE:] = place
        memory = max(memory, state_ends(limits.max_num_seqs, ring, limits.block_size)[-1])
    totals = np.zeros((len(engines), TOTAL_COLUMNS))
    _kernel().run_row(rows, tables, (lengths, stamps_ms), totals, np.empty(memory, dtype=np.int64))
    return totals


def _packed_tables(
    engines: Sequence[tuple[EngineLimits, StepTimeSource]],
) -> tuple[Floats, list[Integers]]:
    """Every distinct set of step times once, and for each engine where its arrays are."""
    # Engines mostly share a source, and a table takes longer to hash than to look up.
    distinct = {id(source): source for _, source in engines}
    digests = {number: source.digest() for number, source in distinct.items()}
    known: dict[StepTimesQuestion, Integers] = {}
    parts: list[Floats] = []
    places, end = [], 0
    for limits, source in engines:
        question = StepTimesQuestion(
            digests[id(source)], limits.max_num_batched_tokens, limits.max_num_seqs, source
        )
        if question not in known:
            values, offsets = _packed(question)
            known[question] = offsets + end
            parts.append(values)
            end += len(values)
        places.append(known[question])
    return (np.concatenate(parts) if parts else np.empty(0)), places


@lru_cache(maxsize=256)
def _packed(question: StepTimesQuestion) -> tuple[Floats, Integers]:
    """One engine's step times behind each other, and where each array begins (and the end)."""
    times = question.answer()
    arrays = (
        times.matrix_ms,
        times.context_knots,
        times.decode_ms.ravel(),
        times.decode_slopes.ravel(),
        times.chunk_knots,
        times.prefix_knots,
        times.chunk_ms_per_token.ravel(),
        np.array([times.chunk_ms, times.s, times.c0, times.cb, times.host_ms, times.host_ms_per_sequence]),
    )
    return np.concatenate(arrays), np.cumsum([0, *map(len, arrays)])
