"""Building a surface: the engine simulated at every node and load of the grid.

Owns the measurement: saturation, waits and gaps, and the fits that turn them into tables. Input: an
`EngineModel`, settings; output: a `Surface`. Picklable in and out, so that a caller may build
several in processes of its own.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from argosy.arrays import Floats
from argosy.engine.simulate import Requests, RequestTimes
from argosy.engine.step_times import step_ms
from argosy.engine.twin import simulate
from argosy.errors import InvariantError
from argosy.perf.capacity.search import EngineModel, least_overload, saturation_of
from argosy.perf.capacity.surfaces import grid
from argosy.perf.capacity.surfaces.surface import (
    LONE_PROMPT_TOKENS,
    ROOT,
    WAIT_FLOOR,
    Surface,
    SurfaceSettings,
    surface_key,
)

_UNBOUNDED = 10**9
# Requests are binned by their decode steps for the fits: enough bins for a line, enough in each.
_BINS = 8


def build_surface(engine: EngineModel, settings: SurfaceSettings) -> Surface:
    """Simulate the grid (seconds of computing)."""
    lone = _lone_ttft_ms(engine)
    unit_ms = float(lone[0])
    tables = _Tables(unit_ms)
    for node in grid.nodes():
        requests = grid.node_requests(
            node, engine.limits.longest_request, settings.num_requests, settings.seed
        )
        if requests is not None:
            tables.measure(node, engine, requests, settings)
    cost_ms = tables.fit_cost()
    return Surface(
        key=surface_key(engine, settings),
        limits=engine.limits,
        unit_ms=unit_ms,
        cost_ms=cost_ms.astype(np.float32),
        lone_ttft_ms=lone.astype(np.float32),
        speed_ms=speed_ms(engine).astype(np.float32),
        dispersion=tables.dispersion.astype(np.float32),
        log_saturation=tables.log_saturation.astype(np.float32),
        wait_roots=tables.wait_roots.astype(np.float32),
        gap_roots=tables.gap_roots.astype(np.float32),
    )


class _Tables:
    """The arrays of a surface while they fill up."""

    def __init__(self, unit_ms: float) -> None:
        loads, levels, steps = len(grid.LOADS), len(grid.LEVELS), len(grid.DECODE_STEPS)
        self._unit_ms = unit_ms
        self.dispersion = np.full(grid.NUM_NODES, np.nan)
        self.log_saturation = np.full(grid.NUM_NODES, np.nan)
        self.wait_roots = np.full((grid.NUM_NODES, loads, levels), np.nan)
        self.gap_roots = np.full((grid.NUM_NODES, loads, steps, levels), np.nan)
        self._basis = np.full((grid.NUM_NODES, 5), np.nan)
        self._saturation_per_ms = np.full(grid.NUM_NODES, np.nan)

    def measure(
        self, node: grid.Node, engine: EngineModel, requests: grid.NodeRequests, settings: SurfaceSettings
    ) -> None:
        """One node at all loads."""
        lone = _times(engine, requests, requests.lone_arrivals_s)
        saturation = _saturation_per_s(engine, requests)
        judged, steps = settings.judged, (requests.output_tokens - 1)[settings.judged].astype(np.float64)
        waits, gaps = [], []
        for load in grid.LOADS:
            times = lone
            if load > 0:
                times = _times(engine, requests, requests.unit_arrivals / (load * saturation))
            waits.append(np.quantile((times.ttft_ms - lone.ttft_ms)[judged], grid.LEVELS))
            gaps.append(_gap_quantiles(times.itl_ms[judged], steps))
        # Enforce monotonicity in load: running maximum over the sampling noise.
        wait = np.maximum.accumulate(np.maximum(waits, 0.0), axis=0)
        gap = np.maximum.accumulate(gaps, axis=0)
        self.wait_roots[node.index] = (wait / self._unit_ms + WAIT_FLOOR) ** ROOT
        self.gap_roots[node.index] = (gap / self._unit_ms) ** ROOT
        weights = np.full(len(requests.unit_arrivals), 1 / len(requests.unit_arrivals))
        lengths = requests.prompt_tokens, requests.output_tokens, np.zeros_like(requests.prompt_tokens)
        moments = grid.moments(lengths, weights)
        self.dispersion[node.index] = moments.dispersion
        self._basis[node.index] = moments.cost_basis(engine.limits)
        self._saturation_per_ms[node.index] = saturation / 1e3

    def fit_cost(self) -> Floats:
        """Milliseconds per unit of each cost, shape (costs,), none negative; keeps what they leave per node.

        Raises InvariantError where no node of the grid could be measured.
        """
        known = np.isfinite(self._saturation_per_ms)
        if not known.any():
            raise InvariantError("no node of the grid fits into the engine's context")
        cost = _non_negative(self._basis[known] * self._saturation_per_ms[known, None], np.ones(known.sum()))
        self.log_saturation = np.log(self._saturation_per_ms * (self._basis @ cost))
        return cost


def _times(engine: EngineModel, requests: grid.NodeRequests, arrivals_s: Floats) -> RequestTimes:
    offered = Requests(arrivals_s, requests.prompt_tokens, requests.output_tokens)
    return simulate(offered, engine.limits, engine.step_times)


def _saturation_per_s(engine: EngineModel, requests: grid.NodeRequests) -> float:
    """Of the node's draw, repeated where the batch is large."""
    count = len(requests.unit_arrivals)
    repeats = -(-least_overload(engine.limits) // count)
    shifts = count * np.arange(repeats, dtype=np.float64)[:, None]
    many = Requests(
        (requests.unit_arrivals + shifts).ravel(),
        np.tile(requests.prompt_tokens, repeats),
        np.tile(requests.output_tokens, repeats),
    )
    return saturation_of(engine, many)


def _gap_quantiles(itl_ms: Floats, steps: Floats) -> Floats:
    """Quantiles of the mean gap given the decode steps, shape (decode steps, levels).

    The mean over n gaps has mean m + c/n (the echo of the own prompt) and variance a + b/n (slow
    swings of the load, and single iterations), both fitted; what is left, in units of the
    deviation, has quantiles of its own for the shorter and for the longer half of the requests.
    """
    decodes = steps > 0
    steps, itl_ms = steps[decodes], itl_ms[decodes]
    inverse = 1 / steps
    edges = np.unique(np.quantile(steps, np.linspace(0, 1, _BINS + 1)))
    bins = np.clip(np.searchsorted(edges, steps, side="right") - 1, 0, max(len(edges) - 2, 0))
    mean = _line(bins, inverse, itl_ms)
    left = itl_ms - mean[0] - mean[1] * inverse
    variance = _line(bins, inverse, left**2)
    left /= np.sqrt(variance[0] + variance[1] * inverse + 1e-12)
    at = np.array(grid.DECODE_STEPS)
    shape = _quantiles_by_length(np.log(steps), left, np.log(at))
    deviation = np.sqrt(variance[0] + variance[1] / at)
    quantiles = (mean[0] + mean[1] / at)[:, None] + deviation[:, None] * shape
    # No gap is shorter than the shortest seen.
    bounded: Floats = np.maximum.accumulate(np.maximum(quantiles, itl_ms.min()), axis=1)
    return bounded


def _quantiles_by_length(log_steps: Floats, values: Floats, at: Floats) -> Floats:
    """Quantiles of the shorter and the longer half, interpolated to `at`: shape (at, levels)."""
    short = log_steps <= np.median(log_steps)
    halves = (short, ~short) if not short.all() else (short, short)
    low, high = (np.quantile(values[half], grid.LEVELS) for half in halves)
    centre, apart = log_steps[halves[0]].mean(), np.ptp([log_steps[half].mean() for half in halves])
    share = np.clip((at - centre) / max(apart, 1e-9), 0.0, 1.0)[:, None]
    between: Floats = low + share * (high - low)
    return between


def _line(bins: np.ndarray[tuple[int], np.dtype[np.intp]], inverse: Floats, values: Floats) -> Floats:
    """(a, b) >= 0 of values = a + b * inverse, over the means of bins, relative to their size."""
    count = np.bincount(bins)
    some = count > 0
    x, y = (np.bincount(bins, of)[some] / count[some] for of in (inverse, values))
    weights = np.sqrt(count[some]) / np.maximum(y, 1e-12)
    return _non_negative(np.stack([weights, weights * x], axis=1), weights * y)


def _non_negative(matrix: Floats, target: Floats) -> Floats:
    """Least squares without negative coefficients."""
    from scipy.optimize import nnls  # only where a surface is built

    solution: Floats = nnls(matrix, target)[0]
    return solution


def _lone_ttft_ms(engine: EngineModel) -> Floats:
    """TTFT of prompts on LONE_PROMPT_TOKENS, each alone, whatever the context limit."""
    count = len(LONE_PROMPT_TOKENS)
    limits = replace(engine.limits, kv_blocks=_UNBOUNDED, max_model_len=_UNBOUNDED)
    prompts = np.array(LONE_PROMPT_TOKENS, dtype=np.int64)
    requests = grid.NodeRequests(np.arange(count, dtype=np.float64), prompts, np.ones_like(prompts))
    return _times(EngineModel(limits, engine.step_times), requests, requests.lone_arrivals_s).ttft_ms


def speed_ms(engine: EngineModel) -> Floats:
    """Step times (ms) on a fixed grid of batches, contexts and chunks, shape (points,).

    An engine that is faster everywhere is smaller in all of them.
    """
    limits = engine.limits
    arrays = engine.step_times.step_times(limits.max_num_batched_tokens, limits.max_num_seqs)
    shares = np.array([0.0, 0.01, 0.05, 0.2, 0.5, 1.0])
    batch = np.unique(np.round(shares * limits.max_num_seqs))
    chunk = np.unique(np.round(shares * (limits.max_num_batched_tokens - limits.max_num_seqs)))
    context = np.array([64.0, 1024.0, 4096.0, 16384.0])
    b, c, k = (axis.ravel() for axis in np.meshgrid(batch, chunk, context, indexing="ij"))
    b, c, k = (axis[b + c > 0] for axis in (b, c, k))
    speed: Floats = step_ms(arrays, b, b * k, np.stack([c, k], axis=-1)[:, None, :])
    return speed
