"""The scheduler and its virtual clock, compiled: what `twin` calls.

Owns the machine-near form of `scheduler` and `simulate`; the semantics, and the reasons for them,
are written down there, the arrays in `layout`. Only `run` imports it.

What is different from the Python scheduler. A batch that only decodes is advanced to its next
event in one go: the iterations until a sequence ends, a request arrives that may be admitted, the
KV blocks run out, or the mean context passes a knot last t0, t0 + m, t0 + 2m, ..., whose sum
is known (and whose number until an arrival is the root of a quadratic). The queue is a stack
of preempted requests on top of those that arrived, since a preempted request goes to its head.
Decoding sequences hold slots; a ring of lists by last decode step, with a bit per list, says
which sequence ends next; a list from the youngest to the oldest gives the next to preempt. Every event
thus costs O(1), apart from a scan over the ring's words.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from argosy.arrays import Floats, Integers
from argosy.engine.twin import layout as at
from argosy.engine.twin.layout import Speed, State, Trace
from argosy.engine.twin.steps import (
    TWIN,
    chunk_attention_ms,
    iteration_ms,
    left_knot,
    speed_of,
    steps_until,
    sum_ms,
    weighed_ms,
)

# 2 is a primitive root modulo 37, so a power of two is known by its remainder.
_BIT_BY_REMAINDER = np.zeros(37, dtype=np.int64)
_BIT_BY_REMAINDER[[(1 << bit) % 37 for bit in range(at.BITS)]] = np.arange(at.BITS)


@TWIN.inlined
def _ceil_div(tokens: int, size: int) -> int:
    return (tokens + size - 1) // size


# When each sequence ends, and which came last.


@TWIN.inlined
def _next_end(state: State) -> int:
    """The first decode step from the current one on in which a sequence ends; FAR where none is."""
    counts, bits = state.counts, state.bits
    if counts[at.BATCH] == 0:
        return at.FAR
    mask = state.limits[at.RING] - 1
    start = counts[at.STEPS] & mask
    word = start // at.BITS
    found = bits[word] & (-1 << (start % at.BITS))
    while found == 0:
        word = (word + 1) & (mask // at.BITS)
        found = bits[word]
    place = word * at.BITS + _BIT_BY_REMAINDER[(found & -found) % 37]
    return int(counts[at.STEPS] + ((place - start) & mask))


@TWIN.inlined
def _enter(state: State, trace: Trace, request: int, generated: int) -> None:
    """A sequence with a free slot starts to decode; its newest token is not in the KV cache yet."""
    counts, slots, limits = state.counts, state.slots, state.limits
    steps, block_size = counts[at.STEPS], limits[at.BLOCK_SIZE]
    # The head of the list of free slots, which are linked by OLDER.
    slot = counts[at.FREE_SLOT]
    counts[at.FREE_SLOT] = slots[slot, at.OLDER]
    end = steps + trace.outputs[request] - generated
    youngest = slots[-1, at.OLDER]
    slots[slot, at.REQUEST], slots[slot, at.END] = request, end
    slots[slot, at.OLDER], slots[slot, at.YOUNGER] = youngest, len(slots) - 1
    slots[youngest, at.YOUNGER] = slot
    slots[-1, at.OLDER] = slot
    place = end & (limits[at.RING] - 1)
    slots[slot, at.ENDS_WITH] = state.ring[place]
    state.ring[place] = slot
    state.bits[place // at.BITS] |= 1 << (place % at.BITS)
    counts[at.NEXT_END] = min(counts[at.NEXT_END], end)
    in_kv = trace.prompts[request] + generated - 1
    state.at_origin[(in_kv - steps) % block_size] += 1
    counts[at.BATCH] += 1
    counts[at.KV] += in_kv


@TWIN.inlined
def _leave(state: State, trace: Trace, slot: int) -> None:
    """Out of every aggregate but the ring; blocks and slot are free."""
    counts, slots, limits = state.counts, state.slots, state.limits
    older, younger = slots[slot, at.OLDER], slots[slot, at.YOUNGER]
    slots[older, at.YOUNGER], slots[younger, at.OLDER] = younger, older
    slots[slot, at.OLDER] = counts[at.FREE_SLOT]
    counts[at.FREE_SLOT] = slot
    request, block_size = slots[slot, at.REQUEST], limits[at.BLOCK_SIZE]
    # All but its last token are in the KV cache when it ends.
    origin = trace.prompts[request] + trace.outputs[request] - 1 - slots[slot, at.END]
    in_kv = origin + counts[at.STEPS]
    state.at_origin[origin % block_size] -= 1
    counts[at.BATCH] -= 1
    counts[at.KV] -= in_kv
    counts[at.FREE_BLOCKS] += _ceil_div(in_kv, block_size)


@TWIN.inlined
def _finish_decodes(state: State, trace: Trace, now_ms: float) -> None:
    """All sequences whose last step this was."""
    counts = state.counts
    if counts[at.NEXT_END] != counts[at.STEPS]:
        return
    place = counts[at.STEPS] & (state.limits[at.RING] - 1)
    slot = state.ring[place]
    while slot != at.NONE:
        following = state.slots[slot, at.ENDS_WITH]
        _finish(state, trace, state.slots[slot, at.REQUEST], now_ms)
        _leave(state, trace, slot)
        slot = following
    state.ring[place] = at.NONE
    state.bits[place // at.BITS] &= ~(1 << (place % at.BITS))
    counts[at.NEXT_END] = _next_end(state)


@TWIN.inlined
def _finish(state: State, trace: Trace, request: int, now_ms: float) -> None:
    """The last token; in a closed loop the next request is due."""
    counts = state.counts
    trace.last_ms[request] = now_ms
    if counts[at.NUM_DUE] < len(trace.due_ms):
        trace.due_ms[counts[at.NUM_DUE]] = now_ms
        counts[at.NUM_DUE] += 1


# Preemption.


@TWIN.inlined
def _preempt_youngest(state: State, trace: Trace) -> None:
    counts, slots = state.counts, state.slots
    slot = slots[-1, at.OLDER]
    end = slots[slot, at.END]
    place = end & (state.limits[at.RING] - 1)
    # The youngest of all is the head of its list: a sequence that begins to decode is put in front.
    state.ring[place] = slots[slot, at.ENDS_WITH]
    if state.ring[place] == at.NONE:
        state.bits[place // at.BITS] &= ~(1 << (place % at.BITS))
    request = slots[slot, at.REQUEST]
    _leave(state, trace, slot)
    counts[at.NEXT_END] = _next_end(state)
    _push(state, request, trace.outputs[request] - (end - counts[at.STEPS]))


@TWIN.inlined
def _preempt_partial(state: State) -> None:
    counts = state.counts
    counts[at.FREE_BLOCKS] += _ceil_div(counts[at.PARTIAL_KV], state.limits[at.BLOCK_SIZE])
    _push(state, counts[at.PARTIAL], counts[at.PARTIAL_GENERATED])
    counts[at.PARTIAL] = at.NONE


@TWIN.inlined
def _push(state: State, request: int, generated: int) -> None:
    counts = state.counts
    state.queue[counts[at.STACKED], 0] = request
    state.queue[counts[at.STACKED], 1] = generated
    counts[at.STACKED] += 1
    state.totals[at.PREEMPTIONS] += 1


# One iteration.


@TWIN.inlined
def _take_decode_blocks(state: State, trace: Trace) -> bool:
    """One more block for each sequence at the end of its last; whether one was preempted."""
    counts = state.counts
    at_edge = -counts[at.STEPS] % state.limits[at.BLOCK_SIZE]
    preempted = False
    while state.at_origin[at_edge] > counts[at.FREE_BLOCKS]:
        preempted = True
        if counts[at.PARTIAL] != at.NONE:
            _preempt_partial(state)
        else:
            _preempt_youngest(state, trace)
    counts[at.FREE_BLOCKS] -= state.at_origin[at_edge]
    return preempted


@TWIN.inlined
def _waiting_blocks(state: State, trace: Trace) -> int:
    """Blocks for all that the head of the queue has to compute; 0 where no request waits."""
    counts = state.counts
    if counts[at.STACKED] > 0:
        head = state.queue[counts[at.STACKED] - 1]
        return _ceil_div(trace.prompts[head[0]] + head[1], state.limits[at.BLOCK_SIZE])
    if counts[at.TAKEN] < counts[at.ARRIVED]:
        return _ceil_div(trace.prompts[counts[at.TAKEN]], state.limits[at.BLOCK_SIZE])
    return 0


@TWIN.inlined
def _take_head(state: State, trace: Trace) -> None:
    """The head of the queue becomes the prompt that is partly computed."""
    counts = state.counts
    if counts[at.STACKED] > 0:
        counts[at.STACKED] -= 1
        counts[at.PARTIAL] = state.queue[counts[at.STACKED], 0]
        counts[at.PARTIAL_GENERATED] = state.queue[counts[at.STACKED], 1]
    else:
        counts[at.PARTIAL] = counts[at.TAKEN]
        counts[at.PARTIAL_GENERATED] = 0
        counts[at.TAKEN] += 1
    counts[at.PARTIAL_KV] = min(trace.cached[counts[at.PARTIAL]], trace.prompts[counts[at.PARTIAL]] - 1)


@TWIN.inlined
def _compute(state: State, trace: Trace, budget: int, blocks: int) -> int:
    """The next chunk of the partial prompt, which has `blocks`; its tokens, or -1 without room."""
    counts, block_size = state.counts, state.limits[at.BLOCK_SIZE]
    target = trace.prompts[counts[at.PARTIAL]] + counts[at.PARTIAL_GENERATED]
    reached = min(target, counts[at.PARTIAL_KV] + budget)
    more = _ceil_div(reached, block_size) - blocks
    if more > counts[at.FREE_BLOCKS]:
        return -1
    counts[at.FREE_BLOCKS] -= more
    tokens = int(reached - counts[at.PARTIAL_KV])
    counts[at.PARTIAL_KV] = reached
    return tokens


@TWIN.inlined
def _iterate(state: State, trace: Trace, speed: Speed) -> tuple[float, int]:
    """One iteration with all that may happen in it: (milliseconds, prompts that are complete)."""
    counts, limits = state.counts, state.limits
    preempted = _take_decode_blocks(state, trace)
    batch, kv_tokens = counts[at.BATCH], counts[at.KV]
    counts[at.STEPS] += 1
    counts[at.KV] += batch
    budget = limits[at.MAX_TOKENS] - batch
    num_done, chunks_ms = 0, 0.0
    resumes = counts[at.PARTIAL] != at.NONE
    while budget > 0:
        blocks = 0
        if resumes:
            blocks = _ceil_div(counts[at.PARTIAL_KV], limits[at.BLOCK_SIZE])
        else:
            waiting = _waiting_blocks(state, trace)
            full = batch + num_done == limits[at.MAX_SEQS]
            if preempted or full or waiting == 0 or waiting > counts[at.FREE_BLOCKS]:
                break
            _take_head(state, trace)
        resumes = False
        prefix = counts[at.PARTIAL_KV]
        tokens = _compute(state, trace, budget, blocks)
        if tokens < 0:
            # It was admitted last, so it is the one to go.
            _preempt_partial(state)
            break
        budget -= tokens
        chunks_ms += chunk_attention_ms(speed, tokens, prefix)
        if counts[at.PARTIAL_KV] < trace.prompts[counts[at.PARTIAL]] + counts[at.PARTIAL_GENERATED]:
            break
        state.complete[num_done, 0] = counts[at.PARTIAL]
        state.complete[num_done, 1] = counts[at.PARTIAL_GENERATED]
        num_done += 1
        counts[at.PARTIAL] = at.NONE
    computed = limits[at.MAX_TOKENS] - batch - budget
    duration_ms = iteration_ms(speed, batch, kv_tokens, computed, chunks_ms)
    _count(state.totals, 1, batch, duration_ms, kv_tokens * duration_ms)
    state.totals[at.COMPUTED] += computed
    state.totals[at.GENERATED] += num_done
    return duration_ms, num_done


@TWIN.inlined
def _count(totals: Floats, steps: int, batch: int, duration_ms: float, kv_token_ms: float) -> None:
    totals[at.BUSY_MS] += duration_ms
    totals[at.ITERATIONS] += steps
    totals[at.BATCH_MS] += batch * duration_ms
    totals[at.KV_TOKEN_MS] += kv_token_ms
    totals[at.GENERATED] += steps * batch


@TWIN.inlined
def _finish_prefills(state: State, trace: Trace, num_done: int, now_ms: float) -> None:
    """Prompts that are computed get a token."""
    for index in range(num_done):
        request, generated = state.complete[index, 0], state.complete[index, 1] + 1
        if generated == 1:
            trace.first_ms[request] = now_ms
        if generated == trace.outputs[request]:
            in_kv = trace.prompts[request] + generated - 1
            state.counts[at.FREE_BLOCKS] += _ceil_div(in_kv, state.limits[at.BLOCK_SIZE])
            _finish(state, trace, request, now_ms)
        else:
            _enter(state, trace, request, generated)


# Many iterations at once.


@TWIN.inlined
def _affordable(state: State, wanted: int) -> int:
    """How many of the next `wanted` decode steps the free blocks allow."""
    counts, block_size = state.counts, state.limits[at.BLOCK_SIZE]
    batch, free = counts[at.BATCH], counts[at.FREE_BLOCKS]
    if free >= batch * (wanted // block_size + 1):
        return wanted
    # Whole turns through the positions within a block take one block for each sequence.
    steps = int(min(free // batch, wanted // block_size) * block_size)
    free -= steps // block_size * batch
    while steps < wanted:
        free -= state.at_origin[-(counts[at.STEPS] + steps) % block_size]
        if free < 0:
            break
        steps += 1
    return steps


@TWIN.inlined
def _blocks_for(state: State, steps: int) -> int:
    """Blocks that the next `steps` decode steps take."""
    counts, block_size = state.counts, state.limits[at.BLOCK_SIZE]
    blocks = int(steps // block_size * counts[at.BATCH])
    at_edge = -counts[at.STEPS] % block_size
    for _ in range(steps % block_size):
        blocks += state.at_origin[at_edge]
        at_edge = at_edge - 1 if at_edge > 0 else block_size - 1
    return blocks


@TWIN.inlined
def _decode_ahead(state: State, speed: Speed, now_ms: float, until_ms: float) -> float:
    """Only decodes: until a sequence ends, blocks run out, or the clock shows `until_ms`."""
    counts = state.counts
    batch = counts[at.BATCH]
    if batch == 0:
        return now_ms
    wanted = _affordable(state, counts[at.NEXT_END] - counts[at.STEPS])
    knots, scale = speed.context_knots, speed.scale
    context, kv_tokens = counts[at.KV] / batch, float(counts[at.KV])
    fixed_ms = scale[1] * speed.matrix_ms[batch] + scale[2] + scale[3] * batch
    left, last, done = left_knot(knots, context), len(knots) - 2, 0
    while done < wanted and now_ms < until_ms:
        # Each step adds one token to the mean context.
        more_ms = scale[1] * speed.decode_slopes[batch, left]
        first_ms = fixed_ms + scale[1] * speed.decode_ms[batch, left]
        first_ms += more_ms * (context + done - knots[left])
        steps = wanted - done
        if left < last:
            # Those that begin before the next knot; there is at least one.
            steps = min(steps, max(1, int(np.ceil(knots[left + 1] - context - done))))
        if until_ms < np.inf:
            steps = steps_until(until_ms - now_ms, first_ms, more_ms, steps)
        lasted_ms = sum_ms(steps, first_ms, more_ms)
        kv_token_ms = kv_tokens * lasted_ms + batch * weighed_ms(steps, first_ms, more_ms)
        _count(state.totals, steps, batch, lasted_ms, kv_token_ms)
        now_ms += lasted_ms
        kv_tokens += steps * batch
        done += steps
        while left < last and context + done >= knots[left + 1]:
            left += 1
    counts[at.FREE_BLOCKS] -= _blocks_for(state, done)
    counts[at.STEPS] += done
    counts[at.KV] += done * batch
    return now_ms


@TWIN.inlined
def _run(state: State, trace: Trace, speed: Speed) -> None:
    """`simulate._run`: serve all requests of one engine."""
    counts, due_ms = state.counts, trace.due_ms
    most = min(state.limits[at.MAX_SEQS], state.limits[at.MAX_TOKENS])
    now_ms, arrived = 0.0, 0
    while True:
        while arrived < counts[at.NUM_DUE] and due_ms[arrived] <= now_ms:
            arrived += 1
        counts[at.ARRIVED] = arrived
        until_ms = due_ms[arrived] if arrived < counts[at.NUM_DUE] else np.inf
        waiting_blocks = _waiting_blocks(state, trace)
        if counts[at.BATCH] == 0 and counts[at.PARTIAL] == at.NONE and waiting_blocks == 0:
            if arrived == counts[at.NUM_DUE]:
                return
            now_ms = until_ms
            continue
        full = counts[at.BATCH] == most
        blocked = full or waiting_blocks > counts[at.FREE_BLOCKS]
        steps, num_done = counts[at.STEPS], 0
        if counts[at.PARTIAL] == at.NONE and (blocked or waiting_blocks == 0):
            # A request that does not fit waits until a sequence ends; FCFS makes later ones wait too.
            now_ms = _decode_ahead(state, speed, now_ms, np.inf if blocked else until_ms)
        if counts[at.STEPS] == steps:
            duration_ms, num_done = _iterate(state, trace, speed)
            now_ms += duration_ms
        _finish_decodes(state, trace, now_ms)
        _finish_prefills(state, trace, num_done, now_ms)


_state_ends = TWIN.inlined(at.state_ends)


@TWIN.inlined
def _empty_engine(limits: Integers, totals: Floats, memory: Integers) -> State:
    """The views of `memory`, which may hold anything."""
    max_seqs, num_requests = limits[at.MAX_SEQS], limits[at.HIGH] - limits[at.LOW]
    ends = _state_ends(max_seqs, limits[at.RING], limits[at.BLOCK_SIZE])
    memory[: ends[-1]] = 0
    memory[ends[1] : ends[2]] = at.NONE  # the ring
    counts, slots = memory[: ends[0]], memory[ends[0] : ends[1]].reshape((-1, at.SLOT_COLUMNS))
    counts[at.FREE_BLOCKS] = limits[at.KV_BLOCKS]
    counts[at.NEXT_END] = at.FAR
    counts[at.PARTIAL] = at.NONE
    counts[at.NUM_DUE] = num_requests
    if limits[at.CONCURRENCY] > 0:
        counts[at.NUM_DUE] = min(limits[at.CONCURRENCY], num_requests)
    for slot in range(max_seqs):
        slots[slot, at.OLDER] = slot + 1
    slots[max_seqs, at.OLDER] = slots[max_seqs, at.YOUNGER] = max_seqs
    return State(
        limits,
        counts,
        slots,
        memory[ends[1] : ends[2]],
        memory[ends[2] : ends[3]],
        memory[ends[3] : ends[4]],
        memory[ends[4] : ends[5]].reshape((-1, 2)),
        memory[ends[5] : ends[6]].reshape((-1, 2)),
        totals,
    )


@TWIN.inlined
def _trace(engine: Integers, lengths: Integers, stamps_ms: Floats) -> Trace:
    low, high = engine[at.LOW], engine[at.HIGH]
    return Trace(
        stamps_ms[0, low:high],
        lengths[0, low:high],
        lengths[1, low:high],
        lengths[2, low:high],
        stamps_ms[1, low:high],
        stamps_ms[2, low:high],
    )


def _row_runner(content: str) -> Callable[..., None]:
    def run_row(
        engines: Integers,
        tables: Floats,
        requests: tuple[Integers, Floats],
        totals: Floats,
        memory: Integers,
    ) -> None:
        """Serve engine after engine.

        engines:  shape (R, ENGINE_COLUMNS)
        tables:   all step times, one array after the other
        requests: lengths (prompt, output and cached tokens) and milliseconds (when due, first
                  token, last token), shape (3, N) each; the tokens' times are written, and in a
                  closed loop due times but the first
        totals:   shape (R, TOTAL_COLUMNS), zeros; written
        memory:   room for the state of the largest engine, see `state_ends`
        """
        assert content  # closed over, so that compiled code is kept for this content only
        lengths, stamps_ms = requests
        for r in range(len(engines)):
            state = _empty_engine(engines[r], totals[r], memory)
            trace = _trace(engines[r], lengths, stamps_ms)
            _run(state, trace, speed_of(tables, engines[r, at.TABLE :]))

    return run_row


run_row = TWIN.entry(
    "void(i8[:,::1], f8[::1], Tuple((i8[:,::1], f8[:,::1])), f8[:,::1], i8[::1])", _row_runner
)
