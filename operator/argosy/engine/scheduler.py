"""One vLLM-like engine without a clock: what each iteration computes, and what comes of it.

Owns the queue, the running batch and the KV blocks of one engine, as vLLM's v1 scheduler does:
continuous batching under a token budget, chunked prefill, preemption by recomputation. It holds no
clock: `start_step` says how long the iteration takes, the caller lets that time pass (a virtual
clock, or a real one) and calls `finish_step`. Requests may be added and aborted at any moment, also
between the two.

An iteration serves, in this order and within `max_num_batched_tokens`:
1. every decoding sequence, one token each;
2. the sequence whose prompt is partly computed (there is at most one: a chunk is cut only by
   the budget, and then no request is admitted behind it);
3. waiting requests, first come first served, while slots and KV blocks last.
A sequence whose last prompt token is computed gets its first output token in that iteration.
KV blocks are taken as tokens are computed. Where none is free, the sequence admitted last
loses all of its own and goes back to the head of the queue, where its prompt and what it has
generated so far count as its prompt. An iteration that preempts admits no request. A waiting
request is admitted only when all it has to compute fits into free blocks (vLLM's
`scheduler_reserve_full_isl`, on by default); nothing is reserved for its output.

Cost. Every decoding sequence advances by one token per iteration, so the batch is kept as
aggregates: B, K (KV tokens), the number of sequences per position within a block, and which
ends after which iteration. An iteration costs O(admissions + completions), apart from the
copy of the ids that got a token.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from argosy.engine.request import ADMITTED, Admitted, EngineLimits, EngineRequest, RejectedRequest, admit
from argosy.engine.step_lookup import step_lookup
from argosy.engine.step_times import StepTimeSource
from argosy.errors import InvariantError


class Step(NamedTuple):
    """An iteration that has begun.

    `admitted` are the requests that run for the first time; one that comes back after a
    preemption is not named again.
    """

    duration_ms: float
    num_decodes: int
    prefill_tokens: int
    admitted: tuple[int, ...]


class StepEvents(NamedTuple):
    """What an iteration brought, as request ids.

    token_ids:       each got one token; `first_token_ids` and `finished` are among them
    first_token_ids: the token was their first
    finished:        the token was their last
    preempted:       lost their KV blocks when the iteration began; they wait again
    prompt_tokens:   prompts whose first token came, tokens (as vLLM counts them: when they
                     are complete, cached ones included, recomputation never)
    """

    token_ids: tuple[int, ...]
    first_token_ids: tuple[int, ...]
    finished: tuple[int, ...]
    preempted: tuple[int, ...]
    prompt_tokens: int


@dataclass(slots=True)
class EngineCounters:
    """Totals since the engine's start, named as in vLLM's metrics.

    `iteration_tokens` is the sum of vLLM's histogram `iteration_tokens_total`: prompts
    completed plus tokens generated. `computed_prompt_tokens` is what the iterations really
    computed in chunks: no cached tokens, but recomputation too.
    """

    iterations: int = 0
    iteration_tokens: int = 0
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    computed_prompt_tokens: int = 0
    generation_tokens: int = 0
    preemptions: int = 0
    finished: int = 0


class _Sequence:
    """A request's state.

    While it waits or prefills: `computed` of `target` tokens are in KV, in `blocks` blocks.
    While it decodes only `origin` and `end` count, both in decode steps of the engine: it has
    origin + decode_steps tokens in KV and gets its last token in step `end`.
    """

    __slots__ = ("blocks", "computed", "end", "generated", "has_run", "origin", "request", "target")

    def __init__(self, request: EngineRequest) -> None:
        self.request = request
        self.has_run = False
        self.generated = 0
        self.computed = 0
        self.target = request.prompt_tokens
        self.blocks = 0
        self.origin = 0
        self.end = 0


class Scheduler:
    """One engine. Ids of requests are the caller's and unique among those it holds."""

    def __init__(self, limits: EngineLimits, source: StepTimeSource) -> None:
        self.limits = limits
        self._step_times = step_lookup(source, limits)
        self.counters = EngineCounters()
        self._waiting: deque[_Sequence] = deque()
        self._prefilling: list[_Sequence] = []
        # By id, in the order of admission (a prefill ends before the next one is cut).
        self._decoding: dict[int, _Sequence] = {}
        self._ends: dict[int, list[int]] = {}
        self._num_at_origin = [0] * limits.block_size
        self._decode_steps = 0
        self._kv_tokens = 0
        self._free_blocks = limits.kv_blocks
        self._ids: set[int] = set()
        self._preempted: list[int] = []
        self._in_step = False

    # What vLLM exposes as gauges.

    @property
    def num_running(self) -> int:
        """Sequences that hold a slot."""
        return len(self._decoding) + len(self._prefilling)

    @property
    def num_waiting(self) -> int:
        """Requests in the queue, preempted ones included."""
        return len(self._waiting)

    @property
    def kv_usage(self) -> float:
        """Share (0-1) of the KV blocks in use."""
        return 1.0 - self.num_free_blocks / self.limits.kv_blocks

    @property
    def num_free_blocks(self) -> int:
        """KV blocks that no sequence holds."""
        return self._free_blocks

    @property
    def num_kv_tokens(self) -> int:
        """Tokens in the KV cache of the decoding sequences."""
        return self._kv_tokens

    # Requests in and out.

    def add(self, request: EngineRequest) -> Admitted | RejectedRequest:
        """Queue the request, or say why it can never be served.

        Raises InvariantError where its id is in the engine already.
        """
        answer = admit(request, self.limits)
        if isinstance(answer, RejectedRequest):
            return answer
        if request.id in self._ids:
            raise InvariantError(f"request {request.id} is already in the engine")
        self._ids.add(request.id)
        self._waiting.append(_Sequence(request))
        return ADMITTED

    def abort(self, request_id: int) -> bool:
        """Forget the request and free what it holds; False where it is not (or no longer) here.

        Raises InvariantError where the engine lost a request that it should hold.
        """
        if request_id not in self._ids:
            return False
        self._ids.remove(request_id)
        decoding = self._decoding.get(request_id)
        if decoding is not None:
            self._leave_decoding(decoding)
            return True
        for queue in (self._prefilling, self._waiting):
            for sequence in queue:
                if sequence.request.id == request_id:
                    queue.remove(sequence)
                    self._free_blocks += sequence.blocks
                    return True
        raise InvariantError(f"request {request_id} is neither running nor waiting")

    # One iteration.

    def start_step(self) -> Step | None:
        """Decide the next iteration and take its KV blocks; None where there is nothing to do.

        Raises InvariantError inside a step, and where requests wait although nothing can be computed.
        """
        if self._in_step:
            raise InvariantError("the engine is already in a step")
        if not self._ids:
            return None
        self._preempted = []
        self._take_decode_blocks()
        num_decodes, kv_tokens = len(self._decoding), self.num_kv_tokens
        # From here on the decoding sequences count as one token further.
        self._decode_steps += 1
        self._kv_tokens += num_decodes
        chunks, admitted = self._schedule_prefill(self.limits.max_num_batched_tokens - num_decodes)
        if not num_decodes and not chunks:
            raise InvariantError("requests wait, but the engine can compute nothing")
        self._in_step = True
        prefill_tokens = 0
        for tokens, _ in chunks:
            prefill_tokens += tokens
        self.counters.computed_prompt_tokens += prefill_tokens
        duration = self._step_times.step_ms(num_decodes, kv_tokens, chunks)
        return Step(duration, num_decodes, prefill_tokens, tuple(admitted))

    def finish_step(self) -> StepEvents:
        """End the iteration: which requests got a token, and which are done.

        Raises InvariantError outside a step.
        """
        if not self._in_step:
            raise InvariantError("the engine is in no step")
        self._in_step = False
        token_ids = list(self._decoding)
        finished = list(self._ends.get(self._decode_steps, ()))
        for request_id in finished:
            self._leave_decoding(self._decoding[request_id])
            self._ids.remove(request_id)
        first_token_ids, prompt_tokens = self._finish_prefill(token_ids, finished)
        counters = self.counters
        counters.iterations += 1
        counters.iteration_tokens += prompt_tokens + len(token_ids)
        counters.prompt_tokens += prompt_tokens
        counters.generation_tokens += len(token_ids)
        counters.finished += len(finished)
        return StepEvents(
            tuple(token_ids), tuple(first_token_ids), tuple(finished), tuple(self._preempted), prompt_tokens
        )

    def decode_ahead(self, now_ms: float, until_ms: float) -> float:
        """Whole iterations at once, for a virtual clock: what the clock shows after them.

        Runs iterations that only decode and in which no request ends, is preempted or could be
        admitted, as long as they begin before `until_ms` (the next arrival). Leaves the engine
        exactly as plain steps would, to the last bit of the clock.
        """
        limits, num_decodes = self.limits, len(self._decoding)
        if self._in_step or self._prefilling or not num_decodes or self._could_admit():
            return now_ms
        duration_ms = self._step_times.decode_ms(num_decodes)
        num_at_origin, ends, block_size = self._num_at_origin, self._ends, limits.block_size
        steps, kv_tokens, free_blocks = self._decode_steps, self._kv_tokens, self._free_blocks
        while now_ms < until_ms and steps + 1 not in ends:
            needed = num_at_origin[-steps % block_size]
            if needed > free_blocks:
                break
            free_blocks -= needed
            now_ms += duration_ms(kv_tokens)
            kv_tokens += num_decodes
            steps += 1
        num_steps = steps - self._decode_steps
        self._decode_steps, self._kv_tokens, self._free_blocks = steps, kv_tokens, free_blocks
        self.counters.iterations += num_steps
        self.counters.iteration_tokens += num_steps * num_decodes
        self.counters.generation_tokens += num_steps * num_decodes
        return now_ms

    # Inside.

    def _take_decode_blocks(self) -> None:
        """One more block for each sequence at the end of its last; preempt until there are enough."""
        at_edge = -self._decode_steps % self.limits.block_size
        while self._num_at_origin[at_edge] > self._free_blocks:
            last = self._prefilling[-1] if self._prefilling else next(reversed(self._decoding.values()))
            self._preempt(last)
        self._free_blocks -= self._num_at_origin[at_edge]

    def _preempt(self, sequence: _Sequence) -> None:
        if sequence.request.id in self._decoding:
            sequence.generated = sequence.request.output_tokens - (sequence.end - self._decode_steps)
            self._leave_decoding(sequence)
        else:
            self._prefilling.remove(sequence)
            self._free_blocks += sequence.blocks
        sequence.target = sequence.request.prompt_tokens + sequence.generated
        sequence.computed = sequence.blocks = 0
        self._waiting.appendleft(sequence)
        self._preempted.append(sequence.request.id)
        self.counters.preemptions += 1

    def _schedule_prefill(self, budget: int) -> tuple[list[tuple[int, int]], list[int]]:
        """Chunks as (tokens, prefix), and the requests that run for the first time."""
        chunks: list[tuple[int, int]] = []
        admitted: list[int] = []
        if self._prefilling and budget > 0:
            partial = self._prefilling[0]
            if self._num_new_blocks(partial, budget) > self._free_blocks:
                # It was admitted last, so it is the one to go.
                self._preempt(partial)
            else:
                chunks.append(self._compute(partial, budget))
                budget -= chunks[0][0]
        waiting, limits = self._waiting, self.limits
        while waiting and budget > 0 and not self._preempted and self.num_running < limits.max_num_seqs:
            sequence = waiting[0]
            if not self._has_room_for(sequence):
                break
            waiting.popleft()
            self._prefilling.append(sequence)
            sequence.computed = min(sequence.request.cached_tokens, sequence.request.prompt_tokens - 1)
            chunks.append(self._compute(sequence, budget))
            budget -= chunks[-1][0]
            if not sequence.has_run:
                sequence.has_run = True
                admitted.append(sequence.request.id)
        return chunks, admitted

    def _could_admit(self) -> bool:
        """Whether a batch that only decodes leaves slot, budget and blocks for the first waiting request.

        Blocks are only taken until a sequence ends, so a request without room has none until then.
        """
        limits, num_decodes = self.limits, len(self._decoding)
        if not self._waiting or num_decodes >= min(limits.max_num_seqs, limits.max_num_batched_tokens):
            return False
        return self._has_room_for(self._waiting[0])

    def _has_room_for(self, sequence: _Sequence) -> bool:
        return -(-sequence.target // self.limits.block_size) <= self._free_blocks

    def _num_new_blocks(self, sequence: _Sequence, budget: int) -> int:
        reached = min(sequence.target, sequence.computed + budget)
        return -(-reached // self.limits.block_size) - sequence.blocks

    def _compute(self, sequence: _Sequence, budget: int) -> tuple[int, int]:
        """Take blocks for the next chunk and count it as computed: (tokens, prefix)."""
        blocks = self._num_new_blocks(sequence, budget)
        sequence.blocks += blocks
        self._free_blocks -= blocks
        prefix = sequence.computed
        sequence.computed = min(sequence.target, prefix + budget)
        return sequence.computed - prefix, prefix

    def _finish_prefill(self, token_ids: list[int], finished: list[int]) -> tuple[list[int], int]:
        """Sequences whose prompt is computed get a token; returns (first tokens, prompt tokens)."""
        first_token_ids: list[int] = []
        prompt_tokens = 0
        partial: list[_Sequence] = []
        for sequence in self._prefilling:
            if sequence.computed < sequence.target:
                partial.append(sequence)
                continue
            request = sequence.request
            token_ids.append(request.id)
            sequence.generated += 1
            if sequence.generated == 1:
                first_token_ids.append(request.id)
                prompt_tokens += request.prompt_tokens
                self.counters.cached_prompt_tokens += min(request.cached_tokens, request.prompt_tokens - 1)
            if sequence.generated == request.output_tokens:
                finished.append(request.id)
                self._ids.remove(request.id)
                self._free_blocks += sequence.blocks
            else:
                self._enter_decoding(sequence)
        self._prefilling = partial
        return first_token_ids, prompt_tokens

    def _enter_decoding(self, sequence: _Sequence) -> None:
        request = sequence.request
        sequence.origin = sequence.computed - self._decode_steps
        sequence.end = self._decode_steps + request.output_tokens - sequence.generated
        self._decoding[request.id] = sequence
        self._ends.setdefault(sequence.end, []).append(request.id)
        self._num_at_origin[sequence.origin % self.limits.block_size] += 1
        self._kv_tokens += sequence.computed

    def _leave_decoding(self, sequence: _Sequence) -> None:
        """Take it out of every aggregate and free its blocks."""
        del self._decoding[sequence.request.id]
        ending = self._ends[sequence.end]
        ending.remove(sequence.request.id)
        if not ending:
            del self._ends[sequence.end]
        block_size = self.limits.block_size
        self._num_at_origin[sequence.origin % block_size] -= 1
        tokens = sequence.origin + self._decode_steps
        self._kv_tokens -= tokens
        self._free_blocks += -(-tokens // block_size)
