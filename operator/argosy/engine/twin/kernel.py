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
from argosy.engine.twin.layout import EngineArrivals, Speed, State
from argosy.engine.twin.prefixes import (
    ceil_div,
    empty_cache,
    found_blocks,
    give_back,
    hold,
    hold_found,
    take_blocks,
)
from argosy.engine.twin.sequences import (
    enter,
    finish,
    finish_decodes,
    preempt_partial,
    preempt_youngest,
    release_ended,
    stamp_last,
    stop_decodes,
)
from argosy.engine.twin.steps import (
    TWIN,
    chunk_attention_ms,
    host_ms,
    iteration_ms,
    left_knot,
    speed_of,
    steps_to_crossing,
    steps_until,
    sum_ms,
    weighed_ms,
)


@TWIN.inlined
def _take_decode_blocks(state: State, trace: EngineArrivals) -> bool:
    """One more block for each sequence at the end of its last; whether one was preempted."""
    counts = state.counts
    at_edge = -counts[at.STEPS] % state.limits[at.BLOCK_SIZE]
    preempted = False
    while state.at_origin[at_edge] > counts[at.FREE_BLOCKS]:
        preempted = True
        if counts[at.PARTIAL] != at.NONE:
            preempt_partial(state, trace)
        else:
            preempt_youngest(state, trace)
    take_blocks(state, state.at_origin[at_edge])
    return preempted


@TWIN.inlined
def _waiting_blocks(state: State, trace: EngineArrivals) -> int:
    """Free blocks that the head of the queue needs, at least one; 0 where no request waits."""
    counts = state.counts
    if counts[at.STACKED] > 0:
        head = state.queue[counts[at.STACKED] - 1]
        request, generated = head[at.QUEUED], head[at.QUEUED_GENERATED]
    elif counts[at.TAKEN] < counts[at.ARRIVED]:
        request, generated = counts[at.TAKEN], 0
    else:
        return 0
    blocks = ceil_div(trace.prompts[request] + generated, state.limits[at.BLOCK_SIZE])
    if trace.shared[request] > 0:
        blocks -= found_blocks(state, trace, request)[1]
    return blocks


@TWIN.inlined
def _take_head(state: State, trace: EngineArrivals) -> int:
    """The head of the queue becomes the prompt that is partly computed: how many blocks it has."""
    counts, row = state.counts, at.NONE
    if counts[at.STACKED] > 0:
        counts[at.STACKED] -= 1
        row = counts[at.STACKED]
        counts[at.PARTIAL] = state.queue[row, at.QUEUED]
        counts[at.PARTIAL_GENERATED] = state.queue[row, at.QUEUED_GENERATED]
    else:
        counts[at.PARTIAL] = counts[at.TAKEN]
        counts[at.PARTIAL_GENERATED] = 0
        counts[at.TAKEN] += 1
    request, blocks = counts[at.PARTIAL], 0
    counts[at.PARTIAL_KV] = min(trace.cached[request], trace.prompts[request] - 1)
    if state.limits[at.PREFIX_CACHING]:
        blocks = hold_found(state, trace, request, row)
        counts[at.PARTIAL_KV] = max(counts[at.PARTIAL_KV], blocks * state.limits[at.BLOCK_SIZE])
    if row == at.NONE:
        state.totals[at.FOUND] += counts[at.PARTIAL_KV]
    return blocks


@TWIN.inlined
def _compute(state: State, trace: EngineArrivals, budget: int, blocks: int) -> int:
    """The next chunk of the partial prompt, which has `blocks`; its tokens, or -1 without room."""
    counts, block_size = state.counts, state.limits[at.BLOCK_SIZE]
    target = trace.prompts[counts[at.PARTIAL]] + counts[at.PARTIAL_GENERATED]
    reached = min(target, counts[at.PARTIAL_KV] + budget)
    more = ceil_div(reached, block_size) - blocks
    if more > counts[at.FREE_BLOCKS]:
        return -1
    take_blocks(state, more)
    request = counts[at.PARTIAL]
    if trace.shared[request] > 0:
        held = min(counts[at.PARTIAL_KV] // block_size, trace.shared[request])
        hold(state, trace, request, held, min(reached // block_size, trace.shared[request]))
    tokens = int(reached - counts[at.PARTIAL_KV])
    counts[at.PARTIAL_KV] = reached
    return tokens


@TWIN.inlined
def _iterate(state: State, trace: EngineArrivals, speed: Speed) -> tuple[float, int]:
    """Decide one iteration with all that may happen in it: (milliseconds, prompts that are complete).

    0 ms where it computes nothing, which happens only with two batches in flight.
    """
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
            blocks = ceil_div(counts[at.PARTIAL_KV], limits[at.BLOCK_SIZE])
        else:
            waiting = _waiting_blocks(state, trace)
            full = batch + num_done + counts[at.ENDING] >= limits[at.MAX_SEQS]
            if preempted or full or waiting == 0 or waiting > counts[at.FREE_BLOCKS]:
                break
            blocks = _take_head(state, trace)
        resumes = False
        prefix = counts[at.PARTIAL_KV]
        tokens = _compute(state, trace, budget, blocks)
        if tokens < 0:
            # It was admitted last, so it is the one to go.
            preempt_partial(state, trace)
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
    if batch + computed == 0:
        counts[at.STEPS] -= 1
        return 0.0, 0
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
def _finish_prefills(state: State, trace: EngineArrivals, num_done: int, now_ms: float) -> None:
    """Prompts that are computed get a token."""
    for index in range(num_done):
        request, generated = state.complete[index, 0], state.complete[index, 1] + 1
        if generated == 1:
            trace.first_ms[request] = now_ms
        if generated == trace.outputs[request]:
            in_kv = trace.prompts[request] + generated - 1
            give_back(state, trace, request, in_kv, at.NONE)
            finish(state, trace, request, now_ms)
        else:
            enter(state, trace, request, generated)


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
def _decode_ahead(state: State, speed: Speed, now_ms: float, until_ms: float, wanted: int) -> float:
    """So many steps that only decode, or fewer, until the clock shows `until_ms`."""
    counts = state.counts
    batch = counts[at.BATCH]
    knots, scale = speed.context_knots, speed.scale
    context, kv_tokens = counts[at.KV] / batch, float(counts[at.KV])
    extra_ms = scale[2] + scale[3] * batch
    fixed_ms = scale[1] * speed.matrix_ms[batch] + extra_ms
    hidden_ms = host_ms(speed, batch) + extra_ms
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
        # The GPU and the host beside it: the longer of two lines, which cross at most once.
        steps = min(steps, steps_to_crossing(first_ms, more_ms, hidden_ms))
        if first_ms + 0.5 * (steps - 1) * more_ms < hidden_ms:
            first_ms, more_ms = hidden_ms, 0.0
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
    take_blocks(state, _blocks_for(state, done))
    counts[at.STEPS] += done
    counts[at.KV] += done * batch
    return now_ms


@TWIN.inlined
def _run(state: State, trace: EngineArrivals, speed: Speed) -> None:
    """`simulate._run`: serve all requests of one engine that has one batch in flight."""
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
        only_decodes = counts[at.BATCH] > 0 and counts[at.PARTIAL] == at.NONE
        if only_decodes and (blocked or waiting_blocks == 0):
            # A request that does not fit waits until a sequence ends; FCFS makes later ones wait too.
            wanted = _affordable(state, counts[at.NEXT_END] - counts[at.STEPS])
            now_ms = _decode_ahead(state, speed, now_ms, np.inf if blocked else until_ms, wanted)
        if counts[at.STEPS] == steps:
            duration_ms, num_done = _iterate(state, trace, speed)
            now_ms += duration_ms
        finish_decodes(state, trace, now_ms)
        _finish_prefills(state, trace, num_done, now_ms)


# Two batches in flight.


@TWIN.inlined
def _decide(state: State, trace: EngineArrivals, speed: Speed) -> tuple[float, int, bool]:
    """(milliseconds, prompts that are complete, whether it only decodes and all go on); 0 ms: nothing.

    Afterwards the engine counts as if the batch were computed, but for what its last tokens hold.
    """
    counts = state.counts
    computed = state.totals[at.COMPUTED]
    preemptions = state.totals[at.PREEMPTIONS]
    duration_ms, num_done = _iterate(state, trace, speed)
    if duration_ms == 0.0:
        return 0.0, 0, False
    for index in range(num_done):
        enter(state, trace, state.complete[index, 0], state.complete[index, 1] + 1)
    counts[at.ENDING] = stop_decodes(state, trace)
    plain = computed == state.totals[at.COMPUTED] and preemptions == state.totals[at.PREEMPTIONS]
    return duration_ms, num_done, bool(plain and counts[at.ENDING] == 0)


@TWIN.inlined
def _skip_decodes(
    state: State, trace: EngineArrivals, speed: Speed, now_ms: float, until_ms: float
) -> tuple[float, int]:
    """Run iterations that only decode while the next to decide does so too: (clock, decided steps left).

    `now_ms` is the end of the one that was decided. 0 steps: nothing was done; 1: the last one has still
    to be decided.
    """
    counts = state.counts
    waiting_blocks = _waiting_blocks(state, trace)
    most = min(state.limits[at.MAX_SEQS], state.limits[at.MAX_TOKENS])
    blocked = counts[at.BATCH] == most or waiting_blocks > counts[at.FREE_BLOCKS]
    if counts[at.BATCH] == 0 or counts[at.PARTIAL] != at.NONE or (waiting_blocks > 0 and not blocked):
        return now_ms, 0
    wanted = _affordable(state, counts[at.NEXT_END] - counts[at.STEPS] - 1)
    if wanted > 1:
        now_ms = _decode_ahead(state, speed, now_ms, np.inf if blocked else until_ms, wanted - 1)
    return now_ms, min(wanted, 1)


@TWIN.inlined
def _stamp_first(state: State, trace: EngineArrivals, num_done: int, ends_ms: float) -> None:
    """Prompts that an iteration completes get their first token at that time."""
    for index in range(num_done):
        if state.complete[index, 1] == 0:
            trace.first_ms[state.complete[index, 0]] = ends_ms


@TWIN.inlined
def _run_ahead(state: State, trace: EngineArrivals, speed: Speed) -> None:
    """`simulate._run` with two batches in flight: one is decided when the one before it begins."""
    counts, due_ms = state.counts, trace.due_ms
    now_ms, arrived = 0.0, 0
    # The batch that is decided: its milliseconds (0: none), its completed prompts, whether it only decodes.
    decided_ms, num_done, plain = 0.0, 0, False
    while True:
        while arrived < counts[at.NUM_DUE] and due_ms[arrived] <= now_ms:
            arrived += 1
        counts[at.ARRIVED] = arrived
        until_ms = due_ms[arrived] if arrived < counts[at.NUM_DUE] else np.inf
        if decided_ms == 0.0:
            if counts[at.BATCH] == 0 and counts[at.PARTIAL] == at.NONE and _waiting_blocks(state, trace) == 0:
                if arrived == counts[at.NUM_DUE]:
                    return
                now_ms = until_ms
                continue
            decided_ms, num_done, plain = _decide(state, trace, speed)
        elif plain:
            ahead_ms, left = _skip_decodes(state, trace, speed, now_ms + decided_ms, until_ms)
            if left > 0:
                now_ms = ahead_ms
                decided_ms, num_done, plain = _decide(state, trace, speed)
                continue
        step, ends_ms = counts[at.STEPS], now_ms + decided_ms
        _stamp_first(state, trace, num_done, ends_ms)
        stamp_last(state, trace, step, ends_ms)
        decided_ms, num_done, plain = _decide(state, trace, speed)
        now_ms = ends_ms
        release_ended(state, trace, step)
        if counts[at.STEPS] == step:
            counts[at.ENDING] = 0


_state_ends = TWIN.inlined(at.state_ends)


@TWIN.inlined
def _empty_engine(limits: Integers, totals: Floats, memory: Integers, node_lengths: Integers) -> State:
    """The views of `memory`, which may hold anything. node_lengths: of all engines' nodes, in blocks."""
    max_seqs, num_requests = limits[at.MAX_SEQS], limits[at.HIGH] - limits[at.LOW]
    ends = _state_ends(limits)
    memory[: ends[8]] = 0  # runs are written before they are read
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
    state = State(
        limits,
        counts,
        slots,
        memory[ends[1] : ends[2]],
        memory[ends[2] : ends[3]],
        memory[ends[3] : ends[4]],
        memory[ends[4] : ends[5]].reshape((-1, at.QUEUE_COLUMNS)),
        memory[ends[5] : ends[6]].reshape((-1, 2)),
        memory[ends[6] : ends[7]].reshape((-1, at.NODE_COLUMNS)),
        memory[ends[7] : ends[8]],
        memory[ends[8] : ends[9]].reshape((-1, at.RUN_COLUMNS)),
        totals,
    )
    if limits[at.PREFIX_CACHING]:
        empty_cache(state, node_lengths[limits[at.NODES_LOW] : limits[at.NODES_HIGH]])
    return state


@TWIN.inlined
def _trace(engine: Integers, lengths: Integers, chains: Integers, stamps_ms: Floats) -> EngineArrivals:
    low, high = engine[at.LOW], engine[at.HIGH]
    return EngineArrivals(
        stamps_ms[0, low:high],
        lengths[0, low:high],
        lengths[1, low:high],
        lengths[2, low:high],
        lengths[3, low:high],
        lengths[4, low:high],
        chains,
        stamps_ms[1, low:high],
        stamps_ms[2, low:high],
    )


def _row_runner(content: str) -> Callable[..., None]:
    def run_row(
        engines: Integers,
        tables: Floats,
        requests: tuple[Integers, Floats, Integers, Integers],
        totals: Floats,
        memory: Integers,
    ) -> None:
        """Serve engine after engine.

        engines:  shape (R, ENGINE_COLUMNS)
        tables:   all step times, one array after the other
        requests: lengths (prompt, output and cached tokens, blocks that may be shared, where nodes
                  begin in the chains), shape (5, N); milliseconds (when due, first token, last token),
                  shape (3, N), of which the tokens' times are written, and in a closed loop due
                  times but the first; the chains, as numbers of the engine's nodes; and the
                  lengths of all engines' nodes, in blocks
        totals:   shape (R, TOTAL_COLUMNS), zeros; written
        memory:   room for the state of the largest engine, see `state_ends`
        """
        assert content  # closed over, so that compiled code is kept for this content only
        lengths, stamps_ms, chains, node_lengths = requests
        for r in range(len(engines)):
            state = _empty_engine(engines[r], totals[r], memory, node_lengths)
            trace = _trace(engines[r], lengths, chains, stamps_ms)
            speed = speed_of(tables, engines[r, at.TABLE :])
            if engines[r, at.IN_FLIGHT] > 1:
                _run_ahead(state, trace, speed)
            else:
                _run(state, trace, speed)

    return run_row


run_row = TWIN.entry(
    "void(i8[:,::1], f8[::1], Tuple((i8[:,::1], f8[:,::1], i8[::1], i8[::1])), f8[:,::1], i8[::1])",
    _row_runner,
)
