"""The sequences of a compiled engine: when each ends, which came last, and preemption.

Owns the slots of decoding sequences: a ring of lists by last decode step, with a bit per list, and a
list by age. `kernel` decides what an iteration computes. Every event costs O(1), apart from a scan
over the ring's words.
"""

from __future__ import annotations

from argosy.engine.twin import layout as at
from argosy.engine.twin.layout import EngineArrivals, State
from argosy.engine.twin.prefixes import give_back
from argosy.engine.twin.steps import TWIN

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
    place = word * at.BITS + at.BIT_BY_REMAINDER[(found & -found) % 37]
    return int(counts[at.STEPS] + ((place - start) & mask))


@TWIN.inlined
def enter(state: State, trace: EngineArrivals, request: int, generated: int) -> None:
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
def _leave(state: State, trace: EngineArrivals, slot: int) -> None:
    """Out of every aggregate but the ring; blocks and slot are free."""
    _release(state, trace, slot, _stop(state, trace, slot))


@TWIN.inlined
def _stop(state: State, trace: EngineArrivals, slot: int) -> int:
    """Out of what the next iteration decodes; its tokens in the KV cache."""
    counts = state.counts
    request = state.slots[slot, at.REQUEST]
    # All but its last token are in the KV cache when it ends.
    origin = trace.prompts[request] + trace.outputs[request] - 1 - state.slots[slot, at.END]
    in_kv = int(origin + counts[at.STEPS])
    state.at_origin[origin % state.limits[at.BLOCK_SIZE]] -= 1
    counts[at.BATCH] -= 1
    counts[at.KV] -= in_kv
    return in_kv


@TWIN.inlined
def _release(state: State, trace: EngineArrivals, slot: int, in_kv: int) -> None:
    """The slot and the blocks of so many tokens are free."""
    give_back(state, trace, state.slots[slot, at.REQUEST], in_kv, at.NONE)
    _free_slot(state, slot)


@TWIN.inlined
def _free_slot(state: State, slot: int) -> None:
    counts, slots = state.counts, state.slots
    older, younger = slots[slot, at.OLDER], slots[slot, at.YOUNGER]
    slots[older, at.YOUNGER], slots[younger, at.OLDER] = younger, older
    slots[slot, at.OLDER] = counts[at.FREE_SLOT]
    counts[at.FREE_SLOT] = slot


@TWIN.inlined
def _oldest_first(state: State, place: int) -> int:
    """The first slot of a list of the ring; with a prefix cache turned round: free blocks have an order."""
    slot, slots = state.ring[place], state.slots
    if not state.limits[at.PREFIX_CACHING]:
        return int(slot)
    found = at.NONE
    while slot != at.NONE:
        following = slots[slot, at.ENDS_WITH]
        slots[slot, at.ENDS_WITH] = found
        found = slot
        slot = following
    return int(found)


@TWIN.inlined
def finish_decodes(state: State, trace: EngineArrivals, now_ms: float) -> None:
    """All sequences whose last step this was."""
    counts = state.counts
    if counts[at.NEXT_END] != counts[at.STEPS]:
        return
    place = counts[at.STEPS] & (state.limits[at.RING] - 1)
    slot = _oldest_first(state, place)
    while slot != at.NONE:
        following = state.slots[slot, at.ENDS_WITH]
        finish(state, trace, state.slots[slot, at.REQUEST], now_ms)
        _leave(state, trace, slot)
        slot = following
    state.ring[place] = at.NONE
    state.bits[place // at.BITS] &= ~(1 << (place % at.BITS))
    counts[at.NEXT_END] = _next_end(state)


@TWIN.inlined
def finish(state: State, trace: EngineArrivals, request: int, now_ms: float) -> None:
    """The last token; in a closed loop the next request is due."""
    counts = state.counts
    trace.last_ms[request] = now_ms
    if counts[at.NUM_DUE] < len(trace.due_ms):
        trace.due_ms[counts[at.NUM_DUE]] = now_ms
        counts[at.NUM_DUE] += 1


# The same in two halves, for two batches in flight: the next batch is decided between them.


@TWIN.inlined
def stop_decodes(state: State, trace: EngineArrivals) -> int:
    """All sequences whose last step was decided; they keep slots and blocks. How many there are."""
    counts = state.counts
    if counts[at.NEXT_END] != counts[at.STEPS]:
        return 0
    place, stopped = counts[at.STEPS] & (state.limits[at.RING] - 1), 0
    slot = state.ring[place]
    while slot != at.NONE:
        _stop(state, trace, slot)
        stopped += 1
        slot = state.slots[slot, at.ENDS_WITH]
    state.bits[place // at.BITS] &= ~(1 << (place % at.BITS))
    counts[at.NEXT_END] = _next_end(state)
    return stopped


@TWIN.inlined
def stamp_last(state: State, trace: EngineArrivals, step: int, ends_ms: float) -> None:
    """The sequences that stopped in the step get their last token at that time."""
    slot = state.ring[step & (state.limits[at.RING] - 1)]
    while slot != at.NONE:
        finish(state, trace, state.slots[slot, at.REQUEST], ends_ms)
        slot = state.slots[slot, at.ENDS_WITH]


@TWIN.inlined
def release_ended(state: State, trace: EngineArrivals, step: int) -> None:
    """The sequences that stopped in the step give back slots and blocks."""
    place = step & (state.limits[at.RING] - 1)
    slot = _oldest_first(state, place)
    while slot != at.NONE:
        following, request = state.slots[slot, at.ENDS_WITH], state.slots[slot, at.REQUEST]
        _release(state, trace, slot, trace.prompts[request] + trace.outputs[request] - 1)
        slot = following
    state.ring[place] = at.NONE


# Preemption.


@TWIN.inlined
def preempt_youngest(state: State, trace: EngineArrivals) -> None:
    """The sequence that began to decode last goes to the head of the queue; its blocks are free.

    One whose last token is being computed need not queue for that.
    """
    counts, slots = state.counts, state.slots
    slot = slots[-1, at.OLDER]
    end = slots[slot, at.END]
    place = end & (state.limits[at.RING] - 1)
    # The youngest of all is the head of its list: a sequence that begins to decode is put in front.
    state.ring[place] = slots[slot, at.ENDS_WITH]
    if counts[at.ENDING] > 0 and end == counts[at.STEPS]:
        request = slots[slot, at.REQUEST]
        _release(state, trace, slot, trace.prompts[request] + trace.outputs[request] - 1)
        counts[at.ENDING] -= 1
        state.totals[at.PREEMPTIONS] += 1
        return
    if state.ring[place] == at.NONE:
        state.bits[place // at.BITS] &= ~(1 << (place % at.BITS))
    request = slots[slot, at.REQUEST]
    give_back(state, trace, request, _stop(state, trace, slot), counts[at.STACKED])
    _free_slot(state, slot)
    counts[at.NEXT_END] = _next_end(state)
    _push(state, request, trace.outputs[request] - (end - counts[at.STEPS]))


@TWIN.inlined
def preempt_partial(state: State, trace: EngineArrivals) -> None:
    """The prompt that is partly computed goes to the head of the queue; its blocks are free."""
    counts = state.counts
    give_back(state, trace, counts[at.PARTIAL], counts[at.PARTIAL_KV], counts[at.STACKED])
    _push(state, counts[at.PARTIAL], counts[at.PARTIAL_GENERATED])
    counts[at.PARTIAL] = at.NONE


@TWIN.inlined
def _push(state: State, request: int, generated: int) -> None:
    counts = state.counts
    state.queue[counts[at.STACKED], at.QUEUED] = request
    state.queue[counts[at.STACKED], at.QUEUED_GENERATED] = generated
    counts[at.STACKED] += 1
    state.totals[at.PREEMPTIONS] += 1
