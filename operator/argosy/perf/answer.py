"""One question to the performance model, answered in one picture: `argosy perf MODEL`.

Owns what a replica does at one load (a batch, or a rate) and the typed "no". Never prints and
never opens a file. A batch is a closed loop: so many requests always in flight, their lengths
within a tenth of what is asked, simulated until the start is forgotten. A rate is Poisson, in
closed form (`steady_state`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from argosy.engine import twin
from argosy.engine.step_times import step_ms
from argosy.errors import SpecError
from argosy.perf.capacity import Engine
from argosy.perf.energy import joule_per_token, usd_per_million_tokens
from argosy.perf.library import Wanted
from argosy.perf.list_prices import middle_price
from argosy.perf.model import LibraryPerfModel, wanted_profile
from argosy.perf.power import Power, utilisation, working_power
from argosy.perf.profile import Profile
from argosy.perf.protocol import Fits, OutOfRange, TooLarge
from argosy.perf.quantities import not_negative, positive
from argosy.perf.steady_state import Saturated, steady_state
from argosy.perf.work import decode_work
from argosy.snapshot import Mix, Slice, Variant

LENGTH_SPREAD = 0.1
_SEED = 1
_ROUNDS, _LEAST_REQUESTS, _FORGOTTEN_ROUNDS = 20, 240, 4


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of one replica: lengths in tokens, and a batch or a rate (requests/s).

    Raises SpecError for what no request and no load can be.
    """

    prompt_tokens: int = 1024
    output_tokens: int = 256
    batch: int | None = None
    requests_per_s: float | None = None

    def __post_init__(self) -> None:
        positive(self.prompt_tokens, "--prompt")
        positive(self.output_tokens, "--output")
        if (self.batch is None) == (self.requests_per_s is None):
            raise SpecError(
                "give one of both: the requests in flight, or how many arrive per second", "--batch, --rate"
            )
        if self.batch is not None:
            positive(self.batch, "--batch")
        if self.requests_per_s is not None:
            positive(self.requests_per_s, "--rate")

    @property
    def mean_context(self) -> float:
        """Tokens in KV of a sequence in the middle of its answer."""
        return self.prompt_tokens + self.output_tokens / 2


@dataclass(frozen=True, slots=True)
class Answer:
    """A replica at one load. Milliseconds, tokens, requests/s, watts of all its GPUs, USD.

    step_ms:  an iteration that only decodes, at the mean batch and context
    itl_ms:   mean gap between tokens, prefills of others included; ttft_ms: mean
    slots:    requests of these lengths that run at once (KV cache and max_num_seqs)
    price:    USD per GPU-hour that the cost stands on; None where neither given nor known
    """

    model: str
    gpu: str
    profile: Profile
    mean_batch: float
    step_ms: float
    itl_ms: float
    ttft_ms: float
    requests_per_s: float
    throughput_tokens_per_s: float
    kv_capacity_tokens: int
    slots: int
    power: Power
    joule_per_token: float
    price_usd_per_gpu_hour: float | None
    usd_per_million_tokens: float | None


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No answer: why, in a sentence, and which names or values would have one."""

    reason: str
    message: str
    nearest: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Flow:
    """What passes through the replica: means."""

    requests_per_s: float
    itl_ms: float
    ttft_ms: float
    batch: float


def answer(
    variant: Variant, load: Load, model: LibraryPerfModel, price_usd_per_gpu_hour: float | None = None
) -> Answer | Unanswered:
    """The replica at that load, or why there is no answer."""
    if price_usd_per_gpu_hour is not None:
        not_negative(price_usd_per_gpu_hour, "--price")
    wanted = wanted_profile(variant)
    if isinstance(wanted, OutOfRange):
        return _unanswered(wanted)
    room, found, engine = model.fits(variant), model.profile(variant), model.engine(variant)
    for refused in (room, found, engine):
        if isinstance(refused, OutOfRange | TooLarge):
            return _unanswered(refused)
    assert isinstance(room, Fits)
    assert isinstance(found, Profile)
    assert isinstance(engine, Engine)
    flow = _closed(engine, load) if load.batch is not None else _open(engine, load)
    if isinstance(flow, Saturated):
        return Unanswered("Saturated", flow.message, (f"--rate {flow.max_rate_requests_per_s:.3g}",))
    return _answer(_Known(variant, load, wanted, found, room), flow, engine, price_usd_per_gpu_hour)


@dataclass(frozen=True, slots=True)
class _Known:
    """What was looked up."""

    variant: Variant
    load: Load
    wanted: Wanted
    profile: Profile
    room: Fits


def _answer(known: _Known, flow: _Flow, engine: Engine, price: float | None) -> Answer:
    load, wanted = known.load, known.wanted
    batch = max(1.0, flow.batch)
    step = float(step_ms(engine.step_times, batch, batch * load.mean_context))
    architecture = replace(wanted.architecture, kv_dtype=wanted.kv_dtype)
    work = decode_work(architecture, wanted.key, batch, load.mean_context)
    power = working_power(wanted.gpu, wanted.key, batch, utilisation(work, step, wanted.gpu, wanted.dtype))
    tokens_per_s = flow.requests_per_s * load.output_tokens
    paid = middle_price(wanted.gpu.name) if price is None else price
    gpus = wanted.shape.gpus
    return Answer(
        model=known.variant.model_id,
        gpu=wanted.gpu.name,
        profile=known.profile,
        mean_batch=flow.batch,
        step_ms=step,
        itl_ms=flow.itl_ms,
        ttft_ms=flow.ttft_ms,
        requests_per_s=flow.requests_per_s,
        throughput_tokens_per_s=tokens_per_s,
        kv_capacity_tokens=known.room.kv_capacity_tokens,
        slots=min(
            known.variant.engine.max_num_seqs,
            known.room.kv_capacity_tokens // (load.prompt_tokens + load.output_tokens),
        ),
        power=power,
        joule_per_token=joule_per_token(power.watts, step, batch),
        price_usd_per_gpu_hour=paid,
        usd_per_million_tokens=None if paid is None else usd_per_million_tokens(paid, gpus, tokens_per_s),
    )


def _closed(engine: Engine, load: Load) -> _Flow:
    """So many requests in flight; the first rounds, in step with each other, do not count."""
    assert load.batch is not None
    count = max(_LEAST_REQUESTS, _ROUNDS * load.batch)
    rng = np.random.default_rng(_SEED)

    def lengths(mean: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        low, high = math.ceil((1 - LENGTH_SPREAD) * mean), math.floor((1 + LENGTH_SPREAD) * mean)
        return rng.integers(max(1, low), max(1, high) + 1, count)

    found = twin.simulate_closed(
        lengths(load.prompt_tokens),
        lengths(load.output_tokens),
        load.batch,
        engine.limits,
        engine.step_times,
    )
    # In the order of arrival: the first ones are in step with each other, and the last ones have no
    # successors, so that fewer and fewer are in flight.
    judged = slice(min(_FORGOTTEN_ROUNDS * load.batch, count // 2), count - load.batch)
    gaps, ttft_ms = found.times.itl_ms[judged], float(np.mean(found.times.ttft_ms[judged]))
    itl_ms = float(np.nanmean(gaps)) if np.isfinite(gaps).any() else float("nan")
    e2e_ms = float(np.mean(found.times.e2e_ms[judged]))
    # Little's law, twice: all who are in flight, and those of them who have their first token.
    rate_per_ms = load.batch / e2e_ms
    return _Flow(1e3 * rate_per_ms, itl_ms, ttft_ms, rate_per_ms * (e2e_ms - ttft_ms))


def _open(engine: Engine, load: Load) -> _Flow | Saturated:
    assert load.requests_per_s is not None
    mix = Mix((Slice(load.prompt_tokens, load.output_tokens, 1.0),))
    state = steady_state(engine, mix, load.requests_per_s)
    if isinstance(state, Saturated):
        return state
    return _Flow(load.requests_per_s, state.itl_ms, state.ttft_ms, state.mean_batch)


def _unanswered(refused: OutOfRange | TooLarge) -> Unanswered:
    if isinstance(refused, TooLarge):
        return Unanswered("TooLarge", refused.message)
    return Unanswered(str(refused.reason.value), refused.message, refused.nearest)
