"""The engine's prefix cache against vLLM's block pool, written block by block.

The naive engine has blocks with a hash and a count of uses, a free list in the order in which blocks are
taken, and a map of hashes, as `v1/core/block_pool.py` and `kv_cache_manager.py` have. It shares only
the step's formula.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from engine_moves import Move, Moves, calmed
from hypothesis import event, given, settings
from hypothesis import strategies as st

from argosy.engine import (
    EngineLimits,
    EngineRequest,
    PromptPrefix,
    Scheduler,
    StepCoefficients,
    step_lookup,
)

COEFFICIENTS = StepCoefficients(
    6.3, 0.0107, 4.87, 0.0096, 0.1, 4.2e-5, 2.5e-3, 0.1, 5e-4, 8e-7, 0.98, 1.34, 0.046
)


@dataclass(eq=False)
class Block:
    holds: Any = None
    uses: int = 0


@dataclass(eq=False)
class NaiveSequence:
    request: EngineRequest
    contents: tuple[Any, ...]
    generated: int = 0
    computed: int = 0
    decodes: bool = False
    blocks: list[Block] = field(default_factory=list)

    @property
    def known(self) -> int:
        return self.request.prompt_tokens + self.generated

    def content(self, place: int) -> Any:
        return self.contents[place] if place < len(self.contents) else ("own", self.request.id, place)


class NaiveEngine:
    """One batch in flight."""

    def __init__(self, limits: EngineLimits) -> None:
        self.limits = limits
        self.free = [Block() for _ in range(limits.kv_blocks)]
        self.by_content: dict[Any, Block] = {}
        self.running: list[NaiveSequence] = []
        self.waiting: list[NaiveSequence] = []
        self.scheduled: list[tuple[NaiveSequence, int]] = []
        self.preempted: list[int] = []
        self.num_found = 0

    def add(self, request: EngineRequest) -> None:
        prefix = request.prefix
        contents: tuple[Any, ...] = ()
        if prefix is not None:
            # The last token is always computed, so its block is not looked for.
            count = min(prefix.tokens, request.prompt_tokens - 1) // self.limits.block_size
            each = prefix.tokens_each // self.limits.block_size or 1 << 30
            contents = tuple(("shared", prefix.ids[place // each], place % each) for place in range(count))
        self.waiting.append(NaiveSequence(request, contents))

    def abort(self, request_id: int) -> None:
        for sequence in [s for s in self.running if s.request.id == request_id]:
            self.running.remove(sequence)
            self._release(sequence)
        self.waiting = [s for s in self.waiting if s.request.id != request_id]
        self.scheduled = [(s, n) for s, n in self.scheduled if s.request.id != request_id]

    def start_step(self) -> float | None:
        budget = self.limits.max_num_batched_tokens
        self.scheduled, self.preempted = [], []
        for sequence in list(self.running):
            tokens = min(sequence.known - sequence.computed, budget)
            if sequence in self.running and tokens and self._take(sequence, tokens):
                self.scheduled.append((sequence, tokens))
                budget -= tokens
        while self.waiting and budget and not self.preempted and len(self.running) < self.limits.max_num_seqs:
            sequence = self.waiting[0]
            found = self._found(sequence)
            room = -(-sequence.known // self.limits.block_size) - len(found)
            if room + sum(block.uses == 0 for block in found) > len(self.free):
                break
            self.running.append(self.waiting.pop(0))
            for block in found:
                if not block.uses:
                    self.free.remove(block)
                block.uses += 1
            sequence.blocks = found
            sequence.computed = len(found) * self.limits.block_size
            self.num_found += len(found)
            tokens = min(sequence.known - sequence.computed, budget)
            assert self._take(sequence, tokens)
            self.scheduled.append((sequence, tokens))
            budget -= tokens
        if not self.scheduled:
            return None
        decoding = [s for s, _ in self.scheduled if s.decodes]
        chunks = [(n, s.computed) for s, n in self.scheduled if not s.decodes]
        step_times = step_lookup(COEFFICIENTS, self.limits)
        return step_times.step_ms(len(decoding), sum(s.computed for s in decoding), chunks)

    def finish_step(self) -> list[int]:
        token_ids = []
        for sequence, tokens in self.scheduled:
            sequence.computed += tokens
            if sequence.computed < sequence.known:
                continue
            token_ids.append(sequence.request.id)
            sequence.generated += 1
            sequence.decodes = True
            if sequence.generated == sequence.request.output_tokens:
                self.running.remove(sequence)
                self._release(sequence)
        return token_ids

    def _found(self, sequence: NaiveSequence) -> list[Block]:
        found = []
        for place in range((sequence.known - 1) // self.limits.block_size):
            block = self.by_content.get(sequence.content(place))
            if block is None:
                break
            found.append(block)
        return found

    def _take(self, sequence: NaiveSequence, tokens: int) -> bool:
        reached = sequence.computed + tokens
        wanted = -(-reached // self.limits.block_size)
        while wanted - len(sequence.blocks) > len(self.free):
            victim = self.running.pop()
            self._release(victim)
            victim.computed, victim.decodes = 0, False
            self.waiting.insert(0, victim)
            self.preempted.append(victim.request.id)
            if victim is sequence:
                return False
        while len(sequence.blocks) < wanted:
            block = self.free.pop(0)
            if block.holds is not None:
                del self.by_content[block.holds]
            block.holds, block.uses = None, 1
            sequence.blocks.append(block)
        for place in range(reached // self.limits.block_size):
            block = sequence.blocks[place]
            if block.holds is None:
                block.holds = sequence.content(place)
                assert block.holds not in self.by_content, "no two blocks hold the same"
                self.by_content[block.holds] = block
        return True

    def _release(self, sequence: NaiveSequence) -> None:
        for block in reversed(sequence.blocks):
            block.uses -= 1
            if not block.uses:
                # What is not full cannot be found: it is taken first.
                self.free.insert(len(self.free) if block.holds else 0, block)
        sequence.blocks = []


@st.composite
def limits_(draw: st.DrawFn, batches_in_flight: int = 1) -> EngineLimits:
    slots = draw(st.integers(1, 6))
    return EngineLimits(
        max_num_seqs=slots,
        max_num_batched_tokens=draw(st.integers(slots, 40)),
        kv_blocks=draw(st.integers(8, 40)),
        block_size=draw(st.sampled_from([1, 2, 4])),
        max_model_len=draw(st.integers(20, 80)),
        batches_in_flight=batches_in_flight,
        prefix_caching=True,
    )


@st.composite
def prefixes_(draw: st.DrawFn, prompt: int) -> PromptPrefix | None:
    """A group, a chain in a small tree of hashes, or none."""
    kind = draw(st.sampled_from(["none", "group", "group", "chain"]))
    tokens = draw(st.integers(1, prompt))
    if kind == "none":
        return None
    if kind == "group":
        return PromptPrefix((draw(st.integers(0, 2)),), tokens)
    ids = [100 + draw(st.integers(0, 1))]
    while len(ids) * 8 < tokens:
        ids.append(ids[-1] * 2 + draw(st.integers(0, 1)))
    return PromptPrefix(tuple(ids), tokens, 8)


@st.composite
def requests_(draw: st.DrawFn) -> Asked:
    prompt = draw(st.integers(1, 60))
    return prompt, draw(st.integers(1, 15)), draw(prefixes_(prompt))


Asked = tuple[int, int, PromptPrefix | None]


def request_of(number: int, asked: Asked) -> EngineRequest:
    prompt, output, prefix = asked
    return EngineRequest(number, prompt, output, prefix=prefix)


moves_ = st.lists(st.tuples(st.lists(requests_(), max_size=4), st.none() | st.integers(0, 5)), max_size=20)


@settings(max_examples=300, deadline=None)
@given(limits=limits_(), moves=moves_, calm=st.booleans())
def test_blocks_are_shared_found_and_taken_as_in_a_block_pool(
    limits: EngineLimits, moves: list[Move[Asked]], calm: bool
) -> None:
    scheduler, naive = Scheduler(limits, COEFFICIENTS), NaiveEngine(limits)
    playing = Moves(scheduler, naive, request_of, calmed(moves, calm))
    tokens: Counter[int] = Counter()
    while True:
        playing.play()
        begun, duration_ms = scheduler.start_step(), naive.start_step()
        if begun is None:
            assert duration_ms is None
            if not playing.left:
                break
            continue
        assert begun.duration_ms == duration_ms
        assert scheduler.num_free_blocks == len(naive.free)
        playing.play()
        events = scheduler.finish_step()
        assert list(events.token_ids) == naive.finish_step()
        assert list(events.preempted) == naive.preempted
        assert scheduler.num_free_blocks == len(naive.free)
        tokens.update(events.token_ids)
        event("preempts" if events.preempted else "plain")
    event("finds" if naive.num_found else "finds nothing")
    cut = playing.refused | playing.aborted
    assert all(tokens[each] == output for each, output in playing.wanted.items() if each not in cut)
    assert scheduler.num_free_blocks == limits.kv_blocks
    assert scheduler.kv_usage == 0
