"""The scheduler against a naive one, and what must hold whatever arrives.

The naive engine is written the way vLLM's loop reads: a list of running sequences, each with
its own counts, blocks taken one sequence after the other. It shares only the step's formula.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from engine_moves import Move, Moves, calmed
from hypothesis import event, given, settings
from hypothesis import strategies as st

from argosy.engine import (
    EngineLimits,
    EngineRequest,
    RejectedRequest,
    Requests,
    Scheduler,
    StepCoefficients,
    simulate,
    step_lookup,
    step_ms,
)

COEFFICIENTS = StepCoefficients(
    6.3, 0.0107, 4.87, 0.0096, 0.1, 4.2e-5, 2.5e-3, 0.1, 5e-4, 8e-7, 0.98, 1.34, 0.046
)


@dataclass(eq=False)
class NaiveSequence:
    request: EngineRequest
    generated: int = 0
    computed: int = 0
    blocks: int = 0
    decodes: bool = False


@dataclass
class NaiveEngine:
    limits: EngineLimits
    running: list[NaiveSequence] = field(default_factory=list)
    waiting: list[NaiveSequence] = field(default_factory=list)
    scheduled: list[tuple[NaiveSequence, int]] = field(default_factory=list)
    preempted: list[int] = field(default_factory=list)

    @property
    def free(self) -> int:
        return self.limits.kv_blocks - sum(sequence.blocks for sequence in self.running)

    def known(self, sequence: NaiveSequence) -> int:
        return sequence.request.prompt_tokens + sequence.generated

    def blocks(self, tokens: int) -> int:
        return -(-tokens // self.limits.block_size)

    def add(self, request: EngineRequest) -> None:
        self.waiting.append(NaiveSequence(request))

    def abort(self, request_id: int) -> None:
        self.running = [s for s in self.running if s.request.id != request_id]
        self.waiting = [s for s in self.waiting if s.request.id != request_id]
        self.scheduled = [(s, n) for s, n in self.scheduled if s.request.id != request_id]

    def start_step(self) -> float | None:
        budget = self.limits.max_num_batched_tokens
        self.scheduled, self.preempted = [], []
        for sequence in list(self.running):
            tokens = min(self.known(sequence) - sequence.computed, budget)
            if sequence in self.running and tokens and self._take(sequence, tokens):
                self.scheduled.append((sequence, tokens))
                budget -= tokens
        while self.waiting and budget and not self.preempted and len(self.running) < self.limits.max_num_seqs:
            sequence = self.waiting[0]
            if self.blocks(self.known(sequence)) > self.free:
                break
            self.running.append(self.waiting.pop(0))
            sequence.computed = min(sequence.request.cached_tokens, sequence.request.prompt_tokens - 1)
            tokens = min(self.known(sequence) - sequence.computed, budget)
            assert self._take(sequence, tokens)
            self.scheduled.append((sequence, tokens))
            budget -= tokens
        if not self.scheduled:
            return None
        decoding = [s for s, _ in self.scheduled if s.decodes]
        chunks = [(n, s.computed) for s, n in self.scheduled if not s.decodes]
        step_times = step_lookup(COEFFICIENTS, self.limits)
        return step_times.step_ms(len(decoding), sum(s.computed for s in decoding), chunks)

    def _take(self, sequence: NaiveSequence, tokens: int) -> bool:
        wanted = self.blocks(sequence.computed + tokens)
        while wanted - sequence.blocks > self.free:
            victim = self.running.pop()
            victim.blocks = victim.computed = 0
            victim.decodes = False
            self.waiting.insert(0, victim)
            self.preempted.append(victim.request.id)
            if victim is sequence:
                return False
        sequence.blocks = wanted
        return True

    def finish_step(self) -> list[int]:
        token_ids = []
        for sequence, tokens in self.scheduled:
            sequence.computed += tokens
            if sequence.computed < self.known(sequence):
                continue
            token_ids.append(sequence.request.id)
            sequence.generated += 1
            sequence.decodes = True
            if sequence.generated == sequence.request.output_tokens:
                self.running.remove(sequence)
        return token_ids


@st.composite
def limits_(draw: st.DrawFn) -> EngineLimits:
    slots = draw(st.integers(1, 6))
    return EngineLimits(
        max_num_seqs=slots,
        max_num_batched_tokens=draw(st.integers(slots, 40)),
        kv_blocks=draw(st.integers(4, 30)),
        block_size=draw(st.sampled_from([1, 3, 4])),
        max_model_len=draw(st.integers(20, 80)),
    )


requests_ = st.tuples(st.integers(1, 60), st.integers(1, 15), st.integers(0, 60))
# What happens before and during each step: requests that come, and the age of one that is aborted.
moves_ = st.lists(st.tuples(st.lists(requests_, max_size=3), st.none() | st.integers(0, 5)), max_size=25)


def request_of(number: int, asked: tuple[int, int, int]) -> EngineRequest:
    prompt, output, cached = asked
    return EngineRequest(number, prompt, output, min(cached, prompt))


@settings(max_examples=300, deadline=None)
@given(limits=limits_(), moves=moves_, calm=st.booleans())
def test_the_scheduler_does_what_the_naive_one_does(
    limits: EngineLimits,
    moves: list[Move[tuple[int, int, int]]],
    calm: bool,
) -> None:
    scheduler, naive = Scheduler(limits, COEFFICIENTS), NaiveEngine(limits)
    playing = Moves(scheduler, naive, request_of, calmed(moves, calm))
    tokens: Counter[int] = Counter()
    admitted: list[int] = []
    while True:
        playing.play()
        begun, duration_ms = scheduler.start_step(), naive.start_step()
        if begun is None:
            assert duration_ms is None
            if not playing.left:
                break
            continue
        assert begun.duration_ms == duration_ms
        assert begun.num_decodes + begun.prefill_tokens <= limits.max_num_batched_tokens
        assert scheduler.num_running <= limits.max_num_seqs
        assert 0 <= scheduler.num_free_blocks == naive.free
        admitted += begun.admitted
        playing.play()
        events = scheduler.finish_step()
        assert list(events.token_ids) == naive.finish_step()
        assert list(events.preempted) == naive.preempted
        assert (scheduler.num_running, scheduler.num_waiting) == (len(naive.running), len(naive.waiting))
        assert scheduler.num_free_blocks == naive.free
        tokens.update(events.token_ids)
        event("preempts" if events.preempted else "plain")
        assert all(tokens[done] == playing.wanted[done] for done in events.finished)

    # No token lost or invented, everything freed, first come first admitted.
    for request_id, output in playing.wanted.items():
        expected = 0 if request_id in playing.refused else output
        is_cut = request_id in playing.aborted and tokens[request_id] < output
        assert tokens[request_id] == expected or is_cut
    assert scheduler.num_free_blocks == limits.kv_blocks
    assert scheduler.kv_usage == 0
    assert admitted == sorted(set(admitted))
    assert scheduler.counters.generation_tokens == sum(tokens.values())


@st.composite
def arrivals_and_lengths(draw: st.DrawFn) -> Requests:
    count = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    arrivals_s = np.cumsum(rng.exponential(draw(st.sampled_from([0.0, 0.005, 0.05, 0.5])), count))
    return Requests(arrivals_s, rng.integers(1, 60, count), rng.integers(1, 30, count))


@settings(max_examples=300, deadline=None)
@given(requests=arrivals_and_lengths(), limits=limits_())
def test_simulating_is_stepping_to_the_last_bit(requests: Requests, limits: EngineLimits) -> None:
    """The fast-forward over pure decoding included: every time equals the naive engine's."""
    times = simulate(requests, limits, COEFFICIENTS)
    naive, scheduler = NaiveEngine(limits), Scheduler(limits, COEFFICIENTS)
    arrivals_ms = requests.arrivals_s * 1e3
    now_ms, following, count = 0.0, 0, len(arrivals_ms)
    stamps: dict[int, list[float]] = {i: [] for i in range(count)}
    while True:
        while following < count and arrivals_ms[following] <= now_ms:
            request = EngineRequest(
                following, int(requests.prompt_tokens[following]), int(requests.output_tokens[following])
            )
            if not isinstance(scheduler.add(request), RejectedRequest):
                naive.waiting.append(NaiveSequence(request))
            following += 1
        duration_ms = naive.start_step()
        if duration_ms is None:
            if following == count:
                break
            now_ms = arrivals_ms[following]
            continue
        now_ms += duration_ms
        for request_id in naive.finish_step():
            stamps[request_id].append(now_ms)
    for request_id, seen in stamps.items():
        assert times.refused[request_id] == (not seen)
        if seen:
            assert times.ttft_ms[request_id] == seen[0] - arrivals_ms[request_id]
            assert times.e2e_ms[request_id] == seen[-1] - arrivals_ms[request_id]
            assert len(seen) == requests.output_tokens[request_id]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rate=st.floats(1, 25), more=st.floats(1.05, 2))
def test_more_load_never_makes_the_first_token_materially_faster(seed: int, rate: float, more: float) -> None:
    rng = np.random.default_rng(seed)
    count = 300
    unit = np.cumsum(rng.exponential(1.0, count))
    prompts, outputs = rng.integers(50, 3000, count), rng.integers(10, 400, count)
    limits = EngineLimits(64, 2048, 20_000, 16, 16_384)

    def ttft_p95_ms(at: float) -> float:
        times = simulate(Requests(unit / at, prompts, outputs), limits, COEFFICIENTS)
        return float(np.quantile(times.ttft_ms, 0.95))

    # A full iteration is the grain: a shifted arrival may just catch one.
    grain_ms = step_ms(COEFFICIENTS, 64, 64 * 1500, ((2048, 0),))
    assert ttft_p95_ms(rate * more) >= ttft_p95_ms(rate) - grain_ms
