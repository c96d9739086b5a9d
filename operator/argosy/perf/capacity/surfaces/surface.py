"""Capacity surfaces: what a request meets at an engine, tabulated once for all mixes and SLOs.

Owns the value `Surface`, what identifies it, and how far its answers can be trusted. `build`
measures it, `store` turns it into bytes.

Idea. Whether a request keeps its SLO depends on what it brings (its lengths) and on what it meets:
a wait W before its prompt is computed, and a mean gap G between its tokens. W hardly depends on
the request's own lengths, and G only through the number n of its decode steps (a short answer
averages over fewer iterations). So a surface keeps, per node of mean lengths and per load,

    quantiles of  W = TTFT - TTFT of the same prompt alone,   and of  G given n = 4, 32, 256, 2048,

and a mix is put together from its own slices:

    TTFT = alone(prompt) + W      ITL = G(n)      E2E = alone(prompt) + W + n G(n).

That is exact in the lengths, where a table of percentiles per mean length would need the whole
distribution as further axes. Loads are shares of the saturation rate, so tables of unlike
engines and lengths have one shape; the saturation rate itself is a sum of five costs per request
(fitted per engine) times a factor per node. Between nodes and loads times are interpolated as
sixteenth roots (nearly in logarithms) along the logarithms of the mean lengths, and along the
dispersion of prompts in (cv^2)^0.7, where waits are nearly straight.

Order. At every node quantiles never fall with the load and never cross, so the answers are
monotone in the bound, in the percentile and in the load by construction. An engine k times as
fast in every iteration gives exactly k times the rate for bounds k times as tight (same draws,
same shares). Between engines of which one is faster everywhere but not by one factor, no such
law holds even for the simulator (a shorter iteration may meet an arrival at a worse moment);
`search` repairs it by lowering the slower one.

Error: RELATIVE_ERROR, measured against direct simulation (bench/perf_capacity.py) on mixes that
the grid does not hold: archetype tables, their length bands, bimodal, correlated and constant
lengths. Most of it is on the careful side.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import astuple, dataclass

import numpy as np

from argosy.arrays import Singles
from argosy.engine.request import EngineLimits
from argosy.errors import SpecError
from argosy.perf.capacity.search import EngineModel
from argosy.perf.capacity.surfaces import grid

# Part of every key: raise it when the scheduler, the grid or the method changes the tables.
METHOD_VERSION = 2

RELATIVE_ERROR = 0.10
"""Of a capacity from a surface: 90 % of the answers are nearer to the simulator's than this share."""


@dataclass(frozen=True, slots=True)
class SurfaceSettings:
    """How a surface is measured; see `CapacitySettings` for the shares.

    Raises SpecError for fewer than 100 requests and for shares outside [0, 0.5).
    """

    seed: int = 1
    num_requests: int = 4000
    warm_up: float = 0.1
    cool_down: float = 0.05

    def __post_init__(self) -> None:
        if self.num_requests < 100:
            raise SpecError(
                f"a percentile needs at least 100 requests, got {self.num_requests}", "num_requests"
            )
        for name in ("warm_up", "cool_down"):
            if not 0 <= getattr(self, name) < 0.5:
                raise SpecError(f"a share lies in [0, 0.5), got {getattr(self, name)}", name)

    @property
    def judged(self) -> slice:
        """The requests that count."""
        return slice(int(self.warm_up * self.num_requests), int((1 - self.cool_down) * self.num_requests))


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """The tables of one engine. Arrays over nodes are NaN where the lengths do not fit.

    key:              what it was made from (`surface_key`)
    limits:           the engine's
    unit_ms:          the lone step; waits and gaps are multiples of it
    cost_ms:          shape (5,), milliseconds per unit of `Moments.cost_basis`
    lone_ttft_ms:     shape (knots,), TTFT of a prompt alone, on LONE_PROMPT_TOKENS
    speed_ms:         shape (probes,), step times that tell which engine is faster
    dispersion:       shape (nodes,), squared coefficient of variation of the prompts drawn
    log_saturation:   shape (nodes,), of saturation x cost
    wait_roots:       shape (nodes, loads, levels), (W/unit + WAIT_FLOOR)^(1/16)
    gap_roots:        shape (nodes, loads, decode steps, levels), (G/unit)^(1/16)
    """

    key: str
    limits: EngineLimits
    unit_ms: float
    cost_ms: Singles
    lone_ttft_ms: Singles
    speed_ms: Singles
    dispersion: Singles
    log_saturation: Singles
    wait_roots: Singles
    gap_roots: Singles


ROOT = 1 / 16
"""Between nodes, times are interpolated as roots: nearly geometric (a factor of 3 is halved 1 % too
high), and four squarings bring them back, where exponentials would take most of a warm answer."""

WAIT_FLOOR = 0.02
"""Of a unit: keeps no wait from making all waits around it small."""

LONE_PROMPT_TOKENS: tuple[int, ...] = tuple(
    int(tokens) for tokens in np.unique(np.round(np.geomspace(1, 131072, 96)))
)
"""Lengths for which a prompt's TTFT alone is kept; mixes with a longer one are simulated."""


def surface_key(engine: EngineModel, settings: SurfaceSettings) -> str:
    """A hash (64 hexadecimal digits) of all that a surface depends on."""
    axes = (
        grid.PROMPT_TOKENS,
        grid.OUTPUT_TOKENS,
        grid.PROMPT_CV,
        grid.LOADS,
        grid.LEVELS,
        grid.DECODE_STEPS,
    )
    content = [METHOD_VERSION, engine.step_times.digest(), astuple(engine.limits), astuple(settings), axes]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
