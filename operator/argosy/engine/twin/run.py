"""Compiled simulations: one engine, independent engines in a row, and a closed loop.

Owns the calls of `kernel`, whose arrays `packing` makes, and unpacking what comes back. Each simulation
is checked against its namesake in `simulate` request by request. Times differ from the Python
scheduler's by rounding only (a stretch of iterations is added in closed form), so they agree unless an
arrival falls on an iteration's boundary to the last digits.

The first call in a process imports numba (about half a second) and loads the compiled code,
or compiles it where no cache holds it yet (some seconds). The cache is beside the source file
or, where that cannot be written, in the user's cache directory; NUMBA_CACHE_DIR names another
one, which a container with a read-only root file system needs. The compiled code releases the
interpreter's lock: rows may run in threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import ModuleType
from typing import NamedTuple

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
from argosy.engine.step_times import StepTimeSource
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
    NODES_HIGH,
    NODES_LOW,
    NUM_HOLDERS,
    PREFIX_CACHING,
    RING,
    TABLE,
    TOTAL_COLUMNS,
    state_ends,
)
from argosy.engine.twin.packing import Chains, chains_of, joined, packed_tables


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
    cached_prompt_tokens:   found in the prefix cache when a request ran for the first time
    """

    busy_ms: Floats
    num_iterations: Floats
    batch_ms: Floats
    kv_token_ms: Floats
    generated_tokens: Floats
    computed_prompt_tokens: Floats
    num_preemptions: Floats
    cached_prompt_tokens: Floats


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
    lengths = np.empty((5, offsets[-1]), dtype=np.int64)
    stamps_ms = np.full((3, offsets[-1]), np.nan)
    refused = np.empty(offsets[-1], dtype=np.bool_)
    chains = [chains_of(run.requests, run.limits) for run in runs]
    nodes_at = 0
    for run, shared, (low, high) in zip(runs, chains, pairwise(offsets.tolist()), strict=True):
        requests = run.requests
        stamps_ms[0, low:high] = requests.arrivals_s
        lengths[0, low:high] = requests.prompt_tokens
        lengths[1, low:high] = requests.output_tokens
        lengths[2, low:high] = 0 if requests.cached_tokens is None else requests.cached_tokens
        lengths[3, low:high], lengths[4, low:high] = shared.shared, shared.chain_at + nodes_at
        nodes_at += len(shared.nodes)
        refused[low:high] = requests.refused_by(run.limits)
    stamps_ms[0] *= 1e3
    engines = [Engine(run.limits, run.source, shared) for run, shared in zip(runs, chains, strict=True)]
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
    chains = chains_of(served, limits)
    lengths = np.stack(
        (served.prompt_tokens, served.output_tokens, served.cached, chains.shared, chains.chain_at)
    ).astype(np.int64)
    stamps_ms = np.full((3, lengths.shape[1]), np.nan)
    stamps_ms[0] = 0.0
    offsets = np.array([0, lengths.shape[1]], dtype=np.int64)
    _run([Engine(limits, source, chains)], offsets, lengths, stamps_ms, loop.concurrency)
    return closed_times(requests, limits, stamps_ms)


def warm_up() -> None:
    """Load the compiled code, or compile it, now rather than at the first simulation."""
    _kernel()


def _kernel() -> ModuleType:
    from argosy.engine.twin import kernel  # numba: only where something is simulated

    return kernel


class Engine(NamedTuple):
    """What is packed of one engine beside its requests."""

    limits: EngineLimits
    source: StepTimeSource
    chains: Chains


def _run(
    engines: Sequence[Engine],
    offsets: Integers,
    lengths: Integers,
    stamps_ms: Floats,
    concurrency: int = 0,
) -> Floats:
    """Fill in `stamps_ms` (see `kernel`); returns the totals, shape (R, TOTAL_COLUMNS)."""
    tables, places = packed_tables([(engine.limits, engine.source) for engine in engines])
    rows = np.empty((len(engines), ENGINE_COLUMNS), dtype=np.int64)
    memory, num_nodes = 0, 0
    for row, (limits, _, chains), place, (low, high) in zip(
        rows, engines, places, pairwise(offsets.tolist()), strict=True
    ):
        ring = max(BITS, 1 << int(lengths[1, low:high].max(initial=1)).bit_length())
        row[MAX_SEQS], row[MAX_TOKENS] = limits.max_num_seqs, limits.max_num_batched_tokens
        row[KV_BLOCKS], row[BLOCK_SIZE] = limits.kv_blocks, limits.block_size
        row[RING], row[CONCURRENCY] = ring, concurrency
        row[IN_FLIGHT], row[PREFIX_CACHING] = limits.batches_in_flight, limits.prefix_caching
        row[NODES_LOW], row[NODES_HIGH] = num_nodes, num_nodes + len(chains.lengths)
        row[NUM_HOLDERS] = chains.num_holders
        num_nodes += len(chains.lengths)
        row[LOW], row[HIGH] = low, high
        row[TABLE:] = place
        memory = max(memory, state_ends(row)[-1])
    totals = np.zeros((len(engines), TOTAL_COLUMNS))
    nodes = joined(engine.chains.nodes for engine in engines)
    node_lengths = joined(engine.chains.lengths for engine in engines)
    requests = lengths, stamps_ms, nodes, node_lengths
    _kernel().run_row(rows, tables, requests, totals, np.empty(memory, dtype=np.int64))
    return totals
