"""What an engine settles to under a steady load, in closed form: for screening, not for promises.

Owns mean ITL, mean TTFT, batch, KV use and the limits of one engine under Poisson arrivals of a
mix, without simulating anything. `search` answers percentiles. Past a limit the answer is
`Saturated`. Input: an `EngineModel`, mixes, rates; output: arrays, one row per mix.

Method. Let y requests arrive during an iteration of mean duration tau. By Little's law
B = y E[Lout - 1] sequences decode, over K = y E[(Lout - 1)(Lin + Lout/2)] tokens, and an
iteration prefills y E[Lin] tokens on average. All three depend on y alone, so tau(y) is explicit
and the rate y / tau(y) is inverted by bisection; every limit is a largest y, hence a rate too:

    slots   y E[Lout - 1] <= max_num_seqs        token budget   y E[Lin + Lout - 1] <= budget
    KV      y E[(Lout - 1)(Lin + Lout/2 + half a block)] <= KV tokens

Two things are finer than the reference's mean field, because step times are convex in tokens.
A decoding request sees itself beside B others (so a lone one is exact). And prompts do not come
spread out: a share p of the iterations carries whole prompts, the rest carries none,
tau = (1 - p) t(no prefill) + p E[t(prefill)], with p = 1 - exp(-y) or what the budget forces.

TTFT = residual of the running iteration, if any (x 1/(1 - rho) for prompts that queue for the budget: M/G/1),
plus the iterations of the request's own chunks, shared with requests that came during the same iteration;
with two batches in flight a mean iteration more beside sequences that decode. Exact for a lone request, and
for prefill alone with prompts of a full budget (M/D/1). The accuracy elsewhere is measured and held in
tests/unit/perf/capacity/test_steady_state.py. Not modelled: waiting for a slot or KV blocks that are free on
average but not always. Where those are the limit, mean TTFT is too short beyond some 60 % of it (at 80 % by a
quarter to three quarters with 64 slots), and with prompts of many outputs' worth of work ITL is up to a third
too short there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from argosy.arrays import Booleans, Floats
from argosy.errors import SpecError
from argosy.perf.capacity.mean_iteration import MeanIteration, chunk_attention_ms, lengths_of
from argosy.perf.capacity.search import EngineModel
from argosy.refusals import Refused
from argosy.snapshot import Mix

_BISECTIONS = 50
_JUST_BELOW = 0.99
"""Of the largest rate: with three digits, that is below it."""


class Limit(StrEnum):
    """What a steady state runs into first."""

    SLOTS = "Slots"
    KV_CACHE = "KvCache"
    BUDGET = "TokenBudget"
    """All tokens that an iteration may compute: the engine's arithmetic is exhausted."""


LIMITS = tuple(Limit)
"""The order of the limits' axis in arrays."""


@dataclass(frozen=True, slots=True)
class SteadyState:
    """Where the engine settles.

    itl_ms:         mean over requests of the mean gap; NaN where all outputs are one token
    ttft_ms:        mean time to first token
    utilisation:    rate / largest rate (0-1)
    mean_batch:     decoding sequences, on average over time
    max_rate_requests_per_s: the rate at which `limit` is reached
    """

    itl_ms: float
    ttft_ms: float
    utilisation: float
    mean_batch: float
    max_rate_requests_per_s: float
    limit: Limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Saturated(Refused[Limit]):
    """There is no steady state: queues grow forever. There is one below the largest rate.

    reason:  the limit that is reached first
    nearest: a rate just below it, requests/s
    """

    max_rate_requests_per_s: float


@dataclass(frozen=True, slots=True)
class SteadyStates:
    """`SteadyState` of many loads: arrays of one shape (loads,); NaN where `saturated`.

    mean_kv_tokens: in the KV blocks of the decoding sequences, on average over time
    max_rates_requests_per_s: shape (loads, 3), the rate at which each of `LIMITS` is reached
    """

    itl_ms: Floats
    ttft_ms: Floats
    mean_batch: Floats
    mean_kv_tokens: Floats
    max_rates_requests_per_s: Floats
    saturated: Booleans

    @property
    def max_rate_requests_per_s(self) -> Floats:
        """The rate at which the first limit is reached, shape (loads,)."""
        rates: Floats = self.max_rates_requests_per_s.min(axis=1)
        return rates

    @property
    def limit(self) -> tuple[Limit, ...]:
        """The first limit of each load."""
        return tuple(LIMITS[i] for i in self.max_rates_requests_per_s.argmin(axis=1))


@dataclass(frozen=True, slots=True)
class Offered:
    """What is offered: one mix and one rate per row.

    Raises SpecError for rates that are not positive, or not one per mix.
    """

    mixes: Sequence[Mix]
    requests_per_s: Sequence[float] | Floats

    def __post_init__(self) -> None:
        rates = np.asarray(self.requests_per_s, dtype=np.float64)
        if rates.shape != (len(self.mixes),):
            raise SpecError(f"one rate per mix is needed, got {rates.shape} for {len(self.mixes)}", "rate")
        if not np.all(np.isfinite(rates) & (rates > 0)):
            raise SpecError("a rate is a positive, finite number of requests/s", "rate")


def steady_state(engine: EngineModel, mix: Mix, requests_per_s: float) -> SteadyState | Saturated:
    """The steady state of one load, or which limit it exceeds."""
    states = steady_states(engine, Offered((mix,), (requests_per_s,)))
    limit, max_rate = states.limit[0], float(states.max_rate_requests_per_s[0])
    if states.saturated[0]:
        return Saturated(
            limit,
            f"{requests_per_s:g} requests/s exceed the {_LIMIT_NAMES[limit]}: "
            f"the engine settles only below {max_rate:.3g} requests/s",
            (f"{_JUST_BELOW * max_rate:.3g}",),
            max_rate_requests_per_s=max_rate,
        )
    return SteadyState(
        itl_ms=float(states.itl_ms[0]),
        ttft_ms=float(states.ttft_ms[0]),
        utilisation=requests_per_s / max_rate,
        mean_batch=float(states.mean_batch[0]),
        max_rate_requests_per_s=max_rate,
        limit=limit,
    )


def steady_states(engine: EngineModel, offered: Offered) -> SteadyStates:
    """The steady states of many loads on one engine, in one vectorised bisection."""
    rates_per_ms = np.asarray(offered.requests_per_s, dtype=np.float64) / 1e3
    lengths = lengths_of(offered.mixes, engine.limits)
    arrays = engine.step_times.step_times(engine.limits.max_num_batched_tokens, engine.limits.max_num_seqs)
    field = MeanIteration(engine.limits, arrays, lengths, chunk_attention_ms(engine.limits, arrays, lengths))
    largest = field.largest_arrivals()
    max_rates = np.stack([y / field.iteration_ms(y) for y in largest.T], axis=1)
    low, high = np.zeros_like(rates_per_ms), largest.min(axis=1)
    saturated = rates_per_ms >= max_rates.min(axis=1)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        below = middle < rates_per_ms * field.iteration_ms(middle)
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    arrivals = (low + high) / 2
    settled = np.where(saturated, np.nan, 1.0)
    itl_ms, ttft_ms = field.times_ms(arrivals, rates_per_ms)
    return SteadyStates(
        itl_ms=itl_ms * settled,
        ttft_ms=ttft_ms * settled,
        mean_batch=arrivals * lengths.decodes * settled,
        mean_kv_tokens=arrivals * lengths.kv_steps * settled,
        max_rates_requests_per_s=1e3 * max_rates,
        saturated=saturated,
    )


_LIMIT_NAMES = {
    Limit.SLOTS: "engine's slots (max_num_seqs)",
    Limit.KV_CACHE: "KV cache",
    Limit.BUDGET: "engine's token budget (max_num_batched_tokens)",
}
