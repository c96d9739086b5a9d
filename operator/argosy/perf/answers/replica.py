"""One question to the performance model, answered in one value: `argosy perf show MODEL`.

Owns what a replica does at one load (a batch, or a rate). A batch is a closed
loop: so many requests always in flight, their lengths within a tenth of what is asked, simulated
until the start is forgotten. A rate is Poisson, in closed form (`steady_state`). A prefix cache
(`prefix`) and speculative decoding (`speculative`) transform the requests and the engine of either
alike; what comes back is counted in tokens again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from argosy.arrays import Integers
from argosy.checks import not_negative, positive, share
from argosy.engine import ClosedLoop, twin
from argosy.engine.request import EngineRequest, RejectedRequest, admit
from argosy.engine.step_times import step_ms
from argosy.errors import SpecError
from argosy.perf.answers.unanswered import Unanswered, UnansweredReason, unanswered
from argosy.perf.capacity.search import EngineModel
from argosy.perf.capacity.steady_state import Saturated, steady_state
from argosy.perf.catalogue.list_prices import middle_price
from argosy.perf.footprint.work import decode_work
from argosy.perf.library import WantedProfile
from argosy.perf.model import LibraryPerfModel, wanted_profile
from argosy.perf.power.energy import joule_per_token, usd_per_million_tokens
from argosy.perf.power.power import Power, utilisation, working_power
from argosy.perf.profile import Profile
from argosy.perf.profiles.iterations import within
from argosy.perf.protocol import Fits, OutOfRange, OutOfRangeReason, TooLarge
from argosy.perf.tokens.prefix import PrefixReuse, cached_tokens, mix_with_reuse
from argosy.perf.tokens.speculative import Speculation, request_itl_ms, speculative_engine, speculative_mix
from argosy.snapshot import Mix, Slice, Variant

LENGTH_SPREAD = 0.1
TTFT_OF_CLIENTS = (0.95, 1.75)
"""So many times as long as is predicted did the clients of measured runs wait for a first token, on
average over a group (`argosy perf validate`, "TTFT raw": 22 of 26 groups). Prefills at full power run
below the clock of the kernels' benchmark."""
_SEED = 1
_ROUNDS, _LEAST_REQUESTS, _FORGOTTEN_ROUNDS = 20, 240, 4


@dataclass(frozen=True, slots=True)
class ReplicaLoad:
    """What is asked of one replica: lengths in tokens, and a batch or a rate (requests/s).

    cached_share: of every prompt that the prefix cache holds (0-1), before rounding to blocks
    Raises SpecError for what no request and no load can be.
    """

    prompt_tokens: int = 1024
    output_tokens: int = 256
    batch: int | None = None
    requests_per_s: float | None = None
    cached_share: float = 0.0

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
        share(self.cached_share, "--cached")

    @property
    def longest(self) -> tuple[int, int]:
        """Prompt and output tokens of the longest request that is simulated."""
        if self.batch is None:
            return self.prompt_tokens, self.output_tokens
        return _spread(self.prompt_tokens)[1], _spread(self.output_tokens)[1]

    @property
    def mean_context(self) -> float:
        """Tokens in KV of a sequence in the middle of its answer."""
        return self.prompt_tokens + self.output_tokens / 2


@dataclass(frozen=True, slots=True)
class ReplicaQuestion:
    """A load, how tokens are proposed (None: one at a time) and a price (None: of the lists).

    Raises SpecError for a negative price.
    """

    load: ReplicaLoad
    speculation: Speculation | None = None
    price_usd_per_gpu_hour: float | None = None

    def __post_init__(self) -> None:
        if self.price_usd_per_gpu_hour is not None:
            not_negative(self.price_usd_per_gpu_hour, "--price")

    @property
    def verified_tokens(self) -> int:
        """Tokens of a sequence that a decode step computes."""
        return 1 if self.speculation is None else 1 + self.speculation.draft_tokens

    @property
    def tokens_per_step(self) -> float:
        """Tokens that a decode step brings to a sequence of these lengths, in whole steps."""
        gaps = self.load.output_tokens - 1
        if self.speculation is None or gaps == 0:
            return 1.0
        return gaps / (int(self.speculation.num_steps(self.load.output_tokens)) - 1)


@dataclass(frozen=True, slots=True)
class ReplicaAnswer:
    """A replica at one load. Milliseconds, tokens, requests/s, watts of all its GPUs, USD.

    step_ms:  an iteration that only decodes (proposes and verifies), at the mean batch and context
    itl_ms:   mean gap between tokens, prefills of others included; ttft_ms: mean,
              the front end included
    slots:    requests of these lengths that run at once (KV cache and max_num_seqs)
    cached_tokens:   of a prompt of the asked length
    tokens_per_step: that a sequence gets of a decode step; more than one where tokens are proposed
    power, joule_per_token: None for a card of which only the memory is known
    price:    USD per GPU-hour that the cost stands on; None where neither given nor known
    """

    model: str
    gpu: str
    profile: Profile
    cached_tokens: int
    tokens_per_step: float
    mean_batch: float
    step_ms: float
    itl_ms: float
    ttft_ms: float
    requests_per_s: float
    throughput_tokens_per_s: float
    kv_capacity_tokens: int
    slots: int
    power: Power | None
    joule_per_token: float | None
    price_usd_per_gpu_hour: float | None
    usd_per_million_tokens: float | None


@dataclass(frozen=True, slots=True)
class _Flow:
    """What passes through the replica: means."""

    requests_per_s: float
    itl_ms: float
    ttft_ms: float
    batch: float


def answer(
    variant: Variant, question: ReplicaQuestion, model: LibraryPerfModel
) -> ReplicaAnswer | Unanswered:
    """The replica at that load, or why there is no answer."""
    wanted = wanted_profile(variant)
    if isinstance(wanted, OutOfRange):
        return unanswered(wanted)
    room, found, engine = model.fits(variant), model.profile(variant), model.engine(variant)
    for refused in (room, found, engine):
        if isinstance(refused, OutOfRange | TooLarge):
            return unanswered(refused)
    assert isinstance(room, Fits)
    assert isinstance(found, Profile)
    assert isinstance(engine, EngineModel)
    too_long = _too_long(question.load, engine, found)
    if too_long is not None:
        return unanswered(too_long)
    served = _served(engine, question)
    if isinstance(served, Unanswered):
        return served
    flow = _closed(served, question) if question.load.batch is not None else _open(served, question)
    if isinstance(flow, Saturated):
        nearest = tuple(f"--rate {rate}" for rate in flow.nearest)
        return Unanswered(UnansweredReason.SATURATED, flow.message, nearest)
    return _answer(_LookedUp(variant, question, wanted, found, room), flow, served)


@dataclass(frozen=True, slots=True)
class _LookedUp:
    """What was looked up."""

    variant: Variant
    question: ReplicaQuestion
    wanted: WantedProfile
    profile: Profile
    room: Fits


def _answer(known: _LookedUp, flow: _Flow, engine: EngineModel) -> ReplicaAnswer:
    question, wanted = known.question, known.wanted
    load, price = question.load, question.price_usd_per_gpu_hour
    batch = max(1.0, flow.batch)
    step = float(step_ms(engine.step_times, batch, batch * load.mean_context))
    tokens_per_s = flow.requests_per_s * load.output_tokens
    power = _power(known, batch, step)
    paid = middle_price(wanted.gpu.name) if price is None else price
    gpus = wanted.shape.gpus
    return ReplicaAnswer(
        model=known.variant.model_id,
        gpu=wanted.gpu.name,
        profile=known.profile,
        cached_tokens=int(cached_tokens(load.prompt_tokens, _reuse(load, engine))),
        tokens_per_step=question.tokens_per_step,
        mean_batch=flow.batch,
        step_ms=step,
        itl_ms=flow.itl_ms,
        ttft_ms=flow.ttft_ms + known.profile.front_end_ms,
        requests_per_s=flow.requests_per_s,
        throughput_tokens_per_s=tokens_per_s,
        kv_capacity_tokens=known.room.kv_capacity_tokens,
        slots=min(
            known.variant.engine.max_num_seqs,
            known.room.kv_capacity_tokens // (load.prompt_tokens + load.output_tokens),
        ),
        power=power,
        joule_per_token=None
        if power is None
        else joule_per_token(power.watts, step, batch * question.tokens_per_step),
        price_usd_per_gpu_hour=paid,
        usd_per_million_tokens=None if paid is None else usd_per_million_tokens(paid, gpus, tokens_per_s),
    )


def _power(known: _LookedUp, batch: float, step: float) -> Power | None:
    """At the tokens of a step: arithmetic is what makes watts rise with the batch.

    A draft's own work is not counted (it is a few per cent), only the time that it takes.
    """
    wanted, verified = known.wanted, known.question.verified_tokens
    if not wanted.gpu.flops:
        return None
    architecture = replace(wanted.architecture, kv_dtype=wanted.kv_dtype)
    work = decode_work(architecture, wanted.key, batch, known.question.load.mean_context, verified)
    busy = utilisation(work, step, wanted.gpu, wanted.dtype)
    return working_power(wanted.gpu, wanted.key, batch * verified, busy)


def _too_long(load: ReplicaLoad, engine: EngineModel, profile: Profile) -> OutOfRange | None:
    """Why requests of these lengths are beyond the engine, or what its profile was made from."""
    admitted = admit(EngineRequest(0, *load.longest), engine.limits)
    if isinstance(admitted, RejectedRequest):
        return OutOfRange(OutOfRangeReason.CONTEXT_TOO_LONG, admitted.message)
    return within(profile.valid, 0, 0, load.prompt_tokens + load.output_tokens)


def _served(engine: EngineModel, question: ReplicaQuestion) -> EngineModel | Unanswered:
    """The engine, which proposes and verifies where it is asked to; or that a step has no room for it."""
    load, speculation = question.load, question.speculation
    if speculation is None:
        return engine
    limits = engine.limits
    if load.batch is not None:
        # More than these never run, and a step need not be kept free for what they would verify.
        limits = replace(limits, max_num_seqs=min(limits.max_num_seqs, load.batch))
    most = limits.max_num_batched_tokens // limits.max_num_seqs - 1
    if speculation.draft_tokens > most:
        return Unanswered(
            UnansweredReason.INVALID_VALUE,
            f"--draft-tokens: {limits.max_num_seqs} sequences at once of {question.verified_tokens} tokens"
            f" each exceed the {limits.max_num_batched_tokens} tokens of an iteration"
            " (max_num_batched_tokens)",
            (f"--draft-tokens {most}",) if most else (),
        )
    return speculative_engine(replace(engine, limits=limits), speculation)


def _reuse(load: ReplicaLoad, engine: EngineModel) -> PrefixReuse:
    return PrefixReuse(load.cached_share, engine.limits.block_size)


def _as_served(asked: Mix, question: ReplicaQuestion, engine: EngineModel) -> Mix:
    """The same slices in the same order: what is cached of them, and their outputs in steps."""
    mix = mix_with_reuse(asked, _reuse(question.load, engine))
    return mix if question.speculation is None else speculative_mix(mix, question.speculation)


def _closed(engine: EngineModel, question: ReplicaQuestion) -> _Flow:
    """So many requests in flight; the first rounds, in step with each other, do not count."""
    load = question.load
    assert load.batch is not None
    count = max(_LEAST_REQUESTS, _ROUNDS * load.batch)
    rng = np.random.default_rng(_SEED)
    prompts, outputs = (_lengths(mean, count, rng) for mean in (load.prompt_tokens, load.output_tokens))
    found = twin.simulate_loop(
        _loop(_as_served(_equal(prompts, outputs), question, engine), load.batch),
        engine.limits,
        engine.step_times,
    )
    times = found.times
    gaps = times.itl_ms
    if question.speculation is not None:
        gaps = request_itl_ms(times, outputs, question.speculation)
    # In the order of arrival: the first ones are in step with each other, and the last ones have no
    # successors, so that fewer and fewer are in flight.
    judged = slice(min(_FORGOTTEN_ROUNDS * load.batch, count // 2), count - load.batch)
    gaps, ttft_ms = gaps[judged], float(np.mean(times.ttft_ms[judged]))
    itl_ms = float(np.nanmean(gaps)) if np.isfinite(gaps).any() else float("nan")
    e2e_ms = float(np.mean(times.e2e_ms[judged]))
    # Little's law, twice: all requests in flight, and those of them that have their first token.
    rate_per_ms = load.batch / e2e_ms
    return _Flow(1e3 * rate_per_ms, itl_ms, ttft_ms, rate_per_ms * (e2e_ms - ttft_ms))


def _lengths(mean: int, count: int, rng: np.random.Generator) -> Integers:
    shortest, longest = _spread(mean)
    return rng.integers(shortest, longest + 1, count)


def _spread(mean: int) -> tuple[int, int]:
    """The shortest and the longest of lengths with that mean."""
    return math.ceil((1 - LENGTH_SPREAD) * mean), math.floor((1 + LENGTH_SPREAD) * mean)


def _equal(prompts: Integers, outputs: Integers) -> Mix:
    """A slice for each request."""
    weight = 1.0 / len(prompts)
    pairs = zip(prompts.tolist(), outputs.tolist(), strict=True)
    return Mix(tuple(Slice(prompt, output, weight) for prompt, output in pairs))


def _loop(mix: Mix, concurrency: int) -> ClosedLoop:
    """A request for each slice."""
    lengths = [(piece.prompt_tokens, piece.output_tokens, piece.cached_tokens) for piece in mix.slices]
    prompts, outputs, cached = np.array(lengths, dtype=np.int64).T
    return ClosedLoop(prompts, outputs, concurrency, cached)


def _open(engine: EngineModel, question: ReplicaQuestion) -> _Flow | Saturated:
    load = question.load
    assert load.requests_per_s is not None
    asked = Mix((Slice(load.prompt_tokens, load.output_tokens, 1.0),))
    state = steady_state(engine, _as_served(asked, question, engine), load.requests_per_s)
    if isinstance(state, Saturated):
        return state
    itl_ms = state.itl_ms / question.tokens_per_step
    return _Flow(load.requests_per_s, itl_ms, state.ttft_ms, state.mean_batch)
