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

With prefix caching a request runs with the leading blocks that it finds, and needs room only for those
that no running sequence holds; what is shared is held once. `prefix_cache` has the rules.

Batches in flight. With one, a batch is decided when the one before it has ended. With two
(asynchronous scheduling: `EngineCore.step_with_batch_queue` and `AsyncScheduler` of vLLM 0.14 to
0.32), `start_step` begins the batch that was decided earlier and decides the next one, which
therefore knows the arrivals and the completions up to that moment only. A sequence whose last token
is being computed is not in the next batch, but holds its slot and blocks until `finish_step`; it may
be preempted meanwhile and still gets its token. A decision that finds nothing to compute takes no
time: the next one follows at the end of the running iteration, and on an idle engine at once. A
sequence that ends by a stop token is computed once more by vLLM, which learns of the end too late;
here every output's length is known beforehand.

Cost. Every decoding sequence advances by one token per iteration, so the batch is kept as
aggregates: B, K (KV tokens), the number of sequences per position within a block, and which
ends after which iteration. An iteration costs O(admissions + completions), apart from the
copy of the ids that got a token.
"""

from __future__ import annotations

from collections import deque

from argosy.engine.batches import Batch, EngineCounters, Sequence, Step, StepEvents
from argosy.engine.prefix_cache import PrefixCache
from argosy.engine.prefixes import Key
from argosy.engine.request import ADMITTED, Admitted, EngineLimits, EngineRequest, RejectedRequest, admit
from argosy.engine.step_lookup import step_lookup
from argosy.engine.step_times import StepTimeSource
from argosy.errors import InvariantError


class Scheduler:
    """One engine. Ids of requests are the caller's and unique among those it holds."""

    def __init__(self, limits: EngineLimits, source: StepTimeSource) -> None:
        self.limits = limits
        self._step_times = step_lookup(source, limits)
        self.counters = EngineCounters()
        self._waiting: deque[Sequence] = deque()
        self._prefilling: list[Sequence] = []
        # By id, in the order of `age` (a prefill ends before the next one is cut).
        self._decoding: dict[int, Sequence] = {}
        # Their last token is being computed, by id.
        self._ending: dict[int, Sequence] = {}
        self._ends: dict[int, list[int]] = {}
        self._num_at_origin = [0] * limits.block_size
        self._decode_steps = 0
        self._kv_tokens = 0
        self._free_blocks = limits.kv_blocks
        self._cache = PrefixCache(limits.kv_blocks) if limits.prefix_caching else None
        self._ids: set[int] = set()
        self._age = 0
        # Preempted by decisions whose batch has not been made yet.
        self._preempted: list[int] = []
        self._running: Batch | None = None
        self._decided: Batch | None = None

    # What vLLM exposes as gauges.

    @property
    def num_running(self) -> int:
        """Sequences that hold a slot."""
        return len(self._decoding) + len(self._prefilling) + len(self._ending)

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

    # Requests in and out.

    def add(self, request: EngineRequest) -> Admitted | RejectedRequest:
        """Queue the request, or say why it can never be served.

        Raises InvariantError where its id is in the engine already, and ValueError for a chain of hashes
        whose parts are no whole blocks.
        """
        answer = admit(request, self.limits)
        if isinstance(answer, RejectedRequest):
            return answer
        if request.id in self._ids:
            raise InvariantError(f"request {request.id} is already in the engine")
        shared: tuple[Key, ...] = ()
        if self._cache is not None and request.prefix is not None:
            shared = request.prefix.blocks(self.limits.block_size, request.prompt_tokens)
        self._ids.add(request.id)
        self._waiting.append(Sequence(request, shared))
        return ADMITTED

    def abort(self, request_id: int) -> bool:
        """Forget the request and free what it holds; False where it is not (or no longer) here.

        Raises InvariantError where the engine lost a request that it should hold.
        """
        if request_id not in self._ids:
            return False
        self._ids.remove(request_id)
        is_ending = False
        for batch in (self._running, self._decided):
            if batch is not None:
                is_ending = is_ending or batch.ends(request_id)
                batch.aborted.add(request_id)
        decoding = self._decoding.get(request_id)
        if decoding is not None:
            self._leave_decoding(decoding)
            self._give_back(decoding)
            return True
        if is_ending:
            # It may have been preempted since, and then holds nothing.
            self._end_early(request_id)
            return True
        for queue in (self._prefilling, self._waiting):
            for sequence in queue:
                if sequence.request.id == request_id:
                    queue.remove(sequence)
                    self._give_back(sequence)
                    return True
        raise InvariantError(f"request {request_id} is neither running nor waiting")

    # One iteration.

    def start_step(self) -> Step | None:
        """Begin the next iteration, and decide the one after it where two batches are in flight.

        None where there is nothing to do. Raises InvariantError inside a step, and where requests wait
        although nothing can be computed.
        """
        if self._running is not None:
            raise InvariantError("the engine is already in a step")
        admitted: list[Sequence] = []
        batch = self._decided or self._decide(admitted)
        if batch is None:
            if self._ids:
                raise InvariantError("requests wait, but the engine can compute nothing")
            return None
        self._running = batch
        self._decided = self._decide(admitted) if self.limits.batches_in_flight > 1 else None
        return Step(
            batch.duration_ms,
            batch.num_decodes,
            batch.kv_tokens,
            batch.prefill_tokens,
            tuple(sequence.request.id for sequence in admitted),
            tuple(sequence.cached for sequence in admitted),
        )

    def finish_step(self) -> StepEvents:
        """End the iteration: which requests got a token, and which are done.

        Raises InvariantError outside a step.
        """
        batch = self._running
        if batch is None:
            raise InvariantError("the engine is in no step")
        self._running = None
        aborted, token_ids, first_tokens = batch.aborted, batch.token_ids, batch.first_tokens
        if aborted:
            token_ids = [each for each in token_ids if each not in aborted]
            first_tokens = [each for each in first_tokens if each.request.id not in aborted]
        finished = [each.request.id for each in batch.ending if each.request.id not in aborted]
        for request_id in finished:
            self._ids.remove(request_id)
        for sequence in batch.ending:
            self._release(sequence, has_ended=True)
        prompt_tokens = sum(sequence.request.prompt_tokens for sequence in first_tokens)
        cached_tokens = sum(sequence.cached for sequence in first_tokens)
        counters = self.counters
        counters.iterations += 1
        counters.iteration_tokens += prompt_tokens - cached_tokens + len(token_ids)
        counters.prompt_tokens += prompt_tokens
        counters.cached_prompt_tokens += cached_tokens
        counters.generation_tokens += len(token_ids)
        counters.finished += len(finished)
        first_token_ids = tuple(sequence.request.id for sequence in first_tokens)
        return StepEvents(tuple(token_ids), first_token_ids, tuple(finished), batch.preempted, prompt_tokens)

    def _decide(self, admitted: list[Sequence]) -> Batch | None:
        """The next batch; None where nothing can be computed. Adds to `admitted`.

        Afterwards the engine counts as if the batch were computed, but for what its last tokens hold.
        """
        if not self._ids:
            return None
        num_preempted = len(self._preempted)
        self._take_decode_blocks()
        num_decodes, kv_tokens = len(self._decoding), self._kv_tokens
        may_admit = len(self._preempted) == num_preempted
        chunks = self._schedule_prefill(self.limits.max_num_batched_tokens - num_decodes, may_admit, admitted)
        if not num_decodes and not chunks:
            return None
        # From here on the decoding sequences count as one token further.
        self._decode_steps += 1
        self._kv_tokens += num_decodes
        duration = self._step_times.step_ms(num_decodes, kv_tokens, chunks)
        token_ids, ending = list(self._decoding), []
        for request_id in tuple(self._ends.get(self._decode_steps, ())):
            ending.append(self._decoding[request_id])
            self._leave_decoding(ending[-1])
        first_tokens = self._complete_prefills(token_ids, ending)
        for sequence in ending:
            self._ending[sequence.request.id] = sequence
        prefill_tokens = 0
        for tokens, _ in chunks:
            prefill_tokens += tokens
        self.counters.computed_prompt_tokens += prefill_tokens
        preempted, self._preempted = tuple(self._preempted), []
        return Batch(
            duration,
            num_decodes,
            kv_tokens,
            prefill_tokens,
            token_ids,
            first_tokens,
            ending,
            preempted,
            set(),
        )

    def decode_ahead(self, now_ms: float, until_ms: float) -> float:
        """Whole iterations at once, for a virtual clock: what the clock shows after them.

        Runs iterations that only decode, and decides only such in which no request ends, is preempted
        or could be admitted, as long as they begin before `until_ms` (the next arrival). Leaves the
        engine exactly as plain steps would, to the last bit of the clock.
        """
        limits, num_decodes, decided = self.limits, len(self._decoding), self._decided
        if self._running is not None or self._prefilling or not num_decodes or self._could_admit():
            return now_ms
        if limits.batches_in_flight > 1 and (decided is None or not decided.only_decodes):
            return now_ms
        duration_ms = self._step_times.decode_ms(num_decodes)
        num_at_origin, ends, block_size = self._num_at_origin, self._ends, limits.block_size
        steps, kv_tokens, free_blocks = self._decode_steps, self._kv_tokens, self._free_blocks
        while now_ms < until_ms and steps + 1 not in ends:
            needed = num_at_origin[-steps % block_size]
            if needed > free_blocks:
                break
            free_blocks -= needed
            next_ms = duration_ms(kv_tokens)
            if decided is None:
                now_ms += next_ms
            else:
                now_ms += decided.duration_ms
                decided.duration_ms, decided.kv_tokens = next_ms, kv_tokens
            kv_tokens += num_decodes
            steps += 1
        num_steps = steps - self._decode_steps
        self._take(self._free_blocks - free_blocks)
        self._decode_steps, self._kv_tokens = steps, kv_tokens
        self.counters.iterations += num_steps
        self.counters.iteration_tokens += num_steps * num_decodes
        self.counters.generation_tokens += num_steps * num_decodes
        return now_ms

    # Inside.

    def _take_decode_blocks(self) -> None:
        """One more block for each sequence at the end of its last, the oldest first; preempt for the rest.

        The free blocks are taken before any that a preemption frees: the order decides what stays findable.
        """
        at_edge = -self._decode_steps % self.limits.block_size
        num_taken = 0
        while (num_missing := self._num_at_origin[at_edge] - num_taken) > 0:
            if not self._free_blocks:
                self._preempt(self._prefilling[-1] if self._prefilling else self._youngest())
                continue
            num_taken += min(num_missing, self._free_blocks)
            self._take(min(num_missing, self._free_blocks))

    def _youngest(self) -> Sequence:
        """Of those whose prompts are computed; there is one."""
        youngest = next(reversed(self._decoding.values()))
        for sequence in self._ending.values():
            if sequence.age > youngest.age:
                youngest = sequence
        return youngest

    def _preempt(self, sequence: Sequence) -> None:
        self._preempted.append(sequence.request.id)
        self.counters.preemptions += 1
        if self._end_early(sequence.request.id):
            # Its last token comes before the next decision, so it need not queue for that.
            return
        if sequence.request.id in self._decoding:
            sequence.generated = sequence.request.output_tokens - (sequence.end - self._decode_steps)
            self._leave_decoding(sequence)
        else:
            self._prefilling.remove(sequence)
        self._give_back(sequence, is_preempted=True)
        sequence.target = sequence.request.prompt_tokens + sequence.generated
        sequence.computed = sequence.blocks = 0
        self._waiting.appendleft(sequence)

    def _end_early(self, request_id: int) -> bool:
        """Free slot and blocks of the sequence if its last token is being computed; whether it is."""
        sequence = self._ending.get(request_id)
        if sequence is None:
            return False
        self._release(sequence)
        return True

    def _release(self, sequence: Sequence, has_ended: bool = False) -> None:
        """Free the slot and the blocks of a sequence that ends, unless it has lost them."""
        if self._ending.get(sequence.request.id) is sequence:
            del self._ending[sequence.request.id]
            self._give_back(sequence, has_ended=has_ended)

    def _schedule_prefill(
        self, budget: int, may_admit: bool, admitted: list[Sequence]
    ) -> list[tuple[int, int]]:
        """Chunks as (tokens, prefix); the sequences that run for the first time are added to `admitted`."""
        chunks: list[tuple[int, int]] = []
        if self._prefilling and budget > 0:
            partial = self._prefilling[0]
            if self._num_new_blocks(partial, budget) > self._free_blocks:
                # It was admitted last, so it is the one to go.
                self._preempt(partial)
                may_admit = False
            else:
                chunks.append(self._compute(partial, budget))
                budget -= chunks[0][0]
        waiting, limits = self._waiting, self.limits
        while waiting and budget > 0 and may_admit and self.num_running < limits.max_num_seqs:
            sequence = waiting[0]
            if not self._has_room_for(sequence):
                break
            waiting.popleft()
            self._prefilling.append(sequence)
            self._start(sequence)
            chunks.append(self._compute(sequence, budget))
            budget -= chunks[-1][0]
            if not sequence.has_run:
                sequence.has_run = True
                admitted.append(sequence)
        return chunks

    def _could_admit(self) -> bool:
        """Whether a batch that only decodes leaves slot, budget and blocks for the first waiting request.

        Blocks are only taken until a sequence ends, so a request without room has none until then.
        """
        limits, num_decodes = self.limits, len(self._decoding)
        if not self._waiting or num_decodes >= min(limits.max_num_seqs, limits.max_num_batched_tokens):
            return False
        return self._has_room_for(self._waiting[0])

    def _has_room_for(self, sequence: Sequence) -> bool:
        num_missing = -(-sequence.target // self.limits.block_size) - self._free_blocks
        if self._cache is None or not 0 < num_missing <= len(sequence.shared):
            # What is in use of its blocks, which takes long to look up, would change nothing.
            return num_missing <= 0
        return num_missing <= self._cache.found(sequence.shared)[1]

    def _start(self, sequence: Sequence) -> None:
        """The sequence gets a slot, and what is cached of it."""
        request, cache = sequence.request, self._cache
        if cache is None:
            sequence.computed = min(request.cached_tokens, request.prompt_tokens - 1)
        else:
            sequence.held = cache.found(sequence.shared)[0]
            self._free_blocks -= cache.hold(sequence.shared[: sequence.held])
            own = cache.take_own(sequence.own(sequence.left)) if sequence.held == len(sequence.shared) else 0
            self._free_blocks -= own
            sequence.blocks = sequence.held + own
            stated = min(request.cached_tokens, request.prompt_tokens - 1)
            sequence.computed = max(stated, sequence.blocks * self.limits.block_size)
        if not sequence.has_run:
            sequence.cached = sequence.computed

    def _take(self, num_blocks: int) -> None:
        self._free_blocks -= num_blocks
        if self._cache is not None:
            self._cache.take(num_blocks)

    def _give_back(self, sequence: Sequence, is_preempted: bool = False, has_ended: bool = False) -> None:
        """Free all blocks of a sequence that leaves its slot. A preempted one may find its own again.

        With two batches in flight, the last token that one computes from is not known yet when it is
        decided, so that no block with it can be found.
        """
        if self._cache is None:
            self._free_blocks += sequence.blocks
            return
        is_ahead = self.limits.batches_in_flight > 1 and not has_ended
        num_known = sequence.computed - (is_ahead and sequence.computed > sequence.target)
        num_full = num_known // self.limits.block_size
        num_own = num_full - sequence.held
        is_all_shared = sequence.held == len(sequence.shared)
        sequence.left = num_own if is_preempted and is_all_shared else 0
        shared = sequence.shared[: sequence.held]
        self._free_blocks += self._cache.give_back(
            shared, sequence.own(sequence.left), num_own - sequence.left, sequence.blocks - num_full
        )
        sequence.held = 0

    def _num_new_blocks(self, sequence: Sequence, budget: int) -> int:
        reached = min(sequence.target, sequence.computed + budget)
        return -(-reached // self.limits.block_size) - sequence.blocks

    def _compute(self, sequence: Sequence, budget: int) -> tuple[int, int]:
        """Take blocks for the next chunk and count it as computed: (tokens, prefix)."""
        blocks = self._num_new_blocks(sequence, budget)
        sequence.blocks += blocks
        self._take(blocks)
        prefix = sequence.computed
        sequence.computed = min(sequence.target, prefix + budget)
        if self._cache is not None:
            full = sequence.shared[: sequence.computed // self.limits.block_size]
            self._cache.hold(full[sequence.held :])
            sequence.held = len(full)
        return sequence.computed - prefix, prefix

    def _complete_prefills(self, token_ids: list[int], ending: list[Sequence]) -> list[Sequence]:
        """Sequences whose prompt is computed get a token; returns whose token is the first.

        Adds to the ids that get a token, and to the sequences for which it is the last.
        """
        first_tokens: list[Sequence] = []
        partial: list[Sequence] = []
        for sequence in self._prefilling:
            if sequence.computed < sequence.target:
                partial.append(sequence)
                continue
            request = sequence.request
            token_ids.append(request.id)
            sequence.generated += 1
            self._age += 1
            sequence.age = self._age
            if sequence.generated == 1:
                first_tokens.append(sequence)
            if sequence.generated == request.output_tokens:
                ending.append(sequence)
            else:
                self._enter_decoding(sequence)
        self._prefilling = partial
        return first_tokens

    def _enter_decoding(self, sequence: Sequence) -> None:
        request = sequence.request
        sequence.origin = sequence.computed - self._decode_steps
        sequence.end = self._decode_steps + request.output_tokens - sequence.generated
        self._decoding[request.id] = sequence
        self._ends.setdefault(sequence.end, []).append(request.id)
        self._num_at_origin[sequence.origin % self.limits.block_size] += 1
        self._kv_tokens += sequence.computed

    def _leave_decoding(self, sequence: Sequence) -> None:
        """Take it out of every aggregate; it still holds its `blocks`."""
        del self._decoding[sequence.request.id]
        ends = self._ends[sequence.end]
        ends.remove(sequence.request.id)
        if not ends:
            del self._ends[sequence.end]
        block_size = self.limits.block_size
        self._num_at_origin[sequence.origin % block_size] -= 1
        sequence.computed = tokens = sequence.origin + self._decode_steps
        self._kv_tokens -= tokens
        sequence.blocks = -(-tokens // block_size)
