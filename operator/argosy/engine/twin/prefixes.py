"""The prefix cache of a compiled engine: which blocks are shared, and in which order free ones are taken.

Owns the machine-near form of `prefix_cache`, where the rules and their reasons stand. Only `sequences` and
`kernel` import it.

A node is what prompts share: a group, or one hash of a chain. Since a prefix loses its last blocks first, a
node is its number of cached blocks, of which the first `HELD` are in use. The free queue is a list of runs
of blocks that follow each other: of a node, a preempted sequence's own, or nameless. The runs of a
node are linked, too, from the first in the queue, which has its last blocks, to the last. How many
sequences hold how much of a node is counted by length. Every event costs O(1) per node of its request,
apart from the search for the next shorter length that is held, and from blocks that are taken.
"""

from __future__ import annotations

from argosy.arrays import Integers
from argosy.engine.twin import layout as at
from argosy.engine.twin.layout import EngineArrivals, State
from argosy.engine.twin.steps import TWIN


@TWIN.inlined
def ceil_div(tokens: int, size: int) -> int:
    """How many blocks of `size` hold the tokens."""
    return (tokens + size - 1) // size


@TWIN.inlined
def take_blocks(state: State, num_blocks: int) -> None:
    """So many of the free blocks, which are enough, are in use."""
    state.counts[at.FREE_BLOCKS] -= num_blocks
    if state.limits[at.PREFIX_CACHING]:
        _evict(state, num_blocks)


@TWIN.inlined
def give_back(state: State, trace: EngineArrivals, request: int, in_kv: int, row: int) -> None:
    """The blocks of so many tokens are free. row: of the queue, for a preempted request; else NONE."""
    block_size = state.limits[at.BLOCK_SIZE]
    blocks = ceil_div(in_kv, block_size)
    if not state.limits[at.PREFIX_CACHING]:
        state.counts[at.FREE_BLOCKS] += blocks
        return
    full = in_kv // block_size
    shared = trace.shared[request]
    held = min(shared, full)
    own = full - held if row != at.NONE and held == shared else 0
    nameless = blocks - held - own
    if nameless > 0:
        _append_nameless(state, nameless)
    if row != at.NONE:
        state.queue[row, at.OWN_RUN] = at.NONE
        if own > 0:
            state.queue[row, at.OWN_RUN] = _append(state, at.FIRST_ROW - row, held, held + own)
    state.counts[at.FREE_BLOCKS] += nameless + own + _release(state, trace, request, held)


@TWIN.inlined
def found_blocks(state: State, trace: EngineArrivals, request: int) -> tuple[int, int]:
    """Of the blocks that the prompt may share, how many leading ones are there and how many in use."""
    left, place = trace.shared[request], trace.chain_at[request]
    found, used = 0, 0
    while left > 0:
        node = state.nodes[trace.chains[place]]
        wanted = min(left, node[at.LENGTH])
        there = min(wanted, node[at.CACHED])
        found += there
        used += min(wanted, node[at.HELD])
        if there < wanted:
            break
        left -= wanted
        place += 1
    return found, used


@TWIN.inlined
def hold_found(state: State, trace: EngineArrivals, request: int, row: int) -> int:
    """A request gets the blocks that it finds, its own ones too if it was preempted; how many these are."""
    found, _ = found_blocks(state, trace, request)
    left_queue = hold(state, trace, request, 0, found)
    own = 0
    if row != at.NONE and state.queue[row, at.OWN_RUN] != at.NONE:
        # They stood in front of those it shares, so these are all there.
        run = state.queue[row, at.OWN_RUN]
        own = state.runs[run, at.RUN_HIGH] - state.runs[run, at.RUN_LOW]
        _drop(state, run)
    state.counts[at.FREE_BLOCKS] -= left_queue + own
    return found + own


@TWIN.inlined
def hold(state: State, trace: EngineArrivals, request: int, low: int, high: int) -> int:
    """The request, which holds its first `low` blocks, holds `high`; how many left the free queue."""
    place, first, left_queue = trace.chain_at[request], 0, 0
    while first < high:
        number = trace.chains[place]
        node = state.nodes[number]
        last = first + node[at.LENGTH]
        if last > low:
            before, now = max(low - first, 0), min(high, last) - first
            counts = state.holders[node[at.HOLDERS_AT] :]
            if before > 0:
                counts[before] -= 1
            else:
                node[at.USES] += 1
            counts[now] += 1
            if now > node[at.HELD]:
                left_queue += _leave_queue(state, number, min(now, node[at.CACHED]))
                node[at.HELD] = now
                node[at.CACHED] = max(node[at.CACHED], now)
        first = last
        place += 1
    return left_queue


@TWIN.inlined
def _release(state: State, trace: EngineArrivals, request: int, held: int) -> int:
    """The request holds none of its shared blocks any more, the last one first; how many are free now."""
    if held == 0:
        return 0
    first = trace.chain_at[request]
    length = state.nodes[trace.chains[first], at.LENGTH]
    freed = 0
    for part in range(ceil_div(held, length) - 1, -1, -1):
        number = trace.chains[first + part]
        node = state.nodes[number]
        counts = state.holders[node[at.HOLDERS_AT] :]
        end = min(held - part * length, length)
        counts[end] -= 1
        node[at.USES] -= 1
        if end < node[at.HELD] or counts[end] > 0:
            continue
        left = 0
        if node[at.USES] > 0:
            left = end - 1
            while counts[left] == 0:
                left -= 1
        run = _append(state, number, left, end)
        before = node[at.LAST_RUN]
        state.runs[run, at.SOONER] = before
        if before != at.NONE:
            state.runs[before, at.LATER] = run
        node[at.LAST_RUN] = run
        node[at.HELD] = left
        freed += end - left
    return freed


# The free queue.


@TWIN.inlined
def _leave_queue(state: State, number: int, high: int) -> int:
    """The free blocks of a node below `high` leave the queue: how many there are."""
    node, runs, left = state.nodes[number], state.runs, 0
    low = node[at.HELD]
    while low < high:
        run = node[at.LAST_RUN]
        end = min(runs[run, at.RUN_HIGH], high)
        left += end - low
        if end == runs[run, at.RUN_HIGH]:
            _drop(state, run)
        else:
            runs[run, at.RUN_LOW] = end
        low = end
    return left


@TWIN.inlined
def _evict(state: State, num_blocks: int) -> None:
    """Blocks from the front of the queue: what they held is gone."""
    runs, ends = state.runs, len(state.runs) - 1
    while num_blocks > 0:
        run = runs[ends, at.BEHIND]
        size = runs[run, at.RUN_HIGH] - runs[run, at.RUN_LOW]
        taken = min(size, num_blocks)
        num_blocks -= taken
        owner = runs[run, at.OWNER]
        if owner >= 0:
            state.nodes[owner, at.CACHED] -= taken
        if taken == size:
            _drop(state, run)
        else:
            runs[run, at.RUN_HIGH] -= taken


@TWIN.inlined
def _append(state: State, owner: int, low: int, high: int) -> int:
    """A run at the end of the queue: its number."""
    counts, runs = state.counts, state.runs
    ends = len(runs) - 1
    run = counts[at.FREE_RUN]
    counts[at.FREE_RUN] = runs[run, at.BEHIND]
    last = runs[ends, at.AHEAD]
    runs[run, at.OWNER], runs[run, at.RUN_LOW], runs[run, at.RUN_HIGH] = owner, low, high
    runs[run, at.AHEAD], runs[run, at.BEHIND] = last, ends
    runs[run, at.SOONER] = runs[run, at.LATER] = at.NONE
    runs[last, at.BEHIND] = runs[ends, at.AHEAD] = run
    return int(run)


@TWIN.inlined
def _append_nameless(state: State, num_blocks: int) -> None:
    """Blocks at the end of the queue that nothing will ask for."""
    last = state.runs[len(state.runs) - 1, at.AHEAD]
    if state.runs[last, at.OWNER] == at.NAMELESS:
        state.runs[last, at.RUN_HIGH] += num_blocks
    else:
        _append(state, at.NAMELESS, 0, num_blocks)


@TWIN.inlined
def _drop(state: State, run: int) -> None:
    """The run is no longer in the queue, and its number is free."""
    counts, runs = state.counts, state.runs
    ahead, behind = runs[run, at.AHEAD], runs[run, at.BEHIND]
    runs[ahead, at.BEHIND], runs[behind, at.AHEAD] = behind, ahead
    owner = runs[run, at.OWNER]
    if owner >= 0:
        sooner, later = runs[run, at.SOONER], runs[run, at.LATER]
        if sooner != at.NONE:
            runs[sooner, at.LATER] = later
        if later != at.NONE:
            runs[later, at.SOONER] = sooner
        else:
            state.nodes[owner, at.LAST_RUN] = sooner
    elif owner <= at.FIRST_ROW:
        state.queue[at.FIRST_ROW - owner, at.OWN_RUN] = at.NONE
    runs[run, at.BEHIND] = counts[at.FREE_RUN]
    counts[at.FREE_RUN] = run


@TWIN.inlined
def empty_cache(state: State, lengths: Integers) -> None:
    """All blocks are free and nameless. lengths: of the nodes, in blocks, shape (number of nodes,)."""
    nodes, runs, ends = state.nodes, state.runs, len(state.runs) - 1
    holders_at = 0
    for number in range(len(nodes)):
        nodes[number, at.LENGTH] = lengths[number]
        nodes[number, at.HOLDERS_AT] = holders_at
        nodes[number, at.LAST_RUN] = at.NONE
        holders_at += lengths[number] + 1
    for run in range(ends):
        runs[run, at.BEHIND] = run + 1
    runs[ends, at.AHEAD] = runs[ends, at.BEHIND] = ends
    runs[ends, at.OWNER] = at.ENDS
    state.counts[at.FREE_RUN] = 0
    _append(state, at.NAMELESS, 0, state.limits[at.KV_BLOCKS])
