"""The arrays that the compiled twin works on: which number stands where.

Owns names for columns and groups of arrays, and the one table of constants that compiled code
reads: `compiled.Kernel` hashes what is here. It does not import numba: `run` packs arrays before
compiled code is loaded.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from argosy.arrays import Floats, Integers

# Columns of an engine: its limits, the length of its ring (a power of two above every output),
# requests in flight of a closed loop (0: arrivals are given), its first request and the one
# after its last, batches in flight, whether it has a prefix cache, its first node of that and the one
# after its last; and where its step times are.
MAX_SEQS, MAX_TOKENS, KV_BLOCKS, BLOCK_SIZE, RING, CONCURRENCY, LOW, HIGH, IN_FLIGHT = range(9)
PREFIX_CACHING, NODES_LOW, NODES_HIGH, NUM_HOLDERS, TABLE = range(9, 14)
NUM_TABLES = 8  # arrays of one set of step times; one offset more says where the last one ends
ENGINE_COLUMNS = TABLE + NUM_TABLES + 1
# Columns of an engine's totals, as in `twin.EngineTotals`.
BUSY_MS, ITERATIONS, BATCH_MS, KV_TOKEN_MS, GENERATED, COMPUTED, PREEMPTIONS, FOUND = range(8)
TOTAL_COLUMNS = 8
# An engine's counts: decoding sequences, their KV tokens, decode steps so far, free blocks, a
# step before which no sequence ends, the first free slot; ...
BATCH, KV, STEPS, FREE_BLOCKS, NEXT_END, FREE_SLOT = range(6)
# ... requests with a due time, those that have arrived, those of them that left the queue,
# preempted requests on top of it; and the prompt that is partly computed, if there is one: its
# request, tokens generated before it was preempted, tokens in the KV cache; and, with two batches in
# flight, the sequences whose last token is being computed; the first free run of the prefix cache.
NUM_DUE, ARRIVED, TAKEN, STACKED, PARTIAL, PARTIAL_GENERATED, PARTIAL_KV, ENDING = range(6, 14)
FREE_RUN = 14
NUM_COUNTS = 15
# Columns of a slot: its request, the step in which it ends, its neighbours in age, and the next
# slot of those that end in the same step.
REQUEST, END, OLDER, YOUNGER, ENDS_WITH = range(5)
SLOT_COLUMNS = 5
# Columns of a row of the queue: a preempted request, tokens generated, the run of its own blocks.
QUEUED, QUEUED_GENERATED, OWN_RUN = range(3)
QUEUE_COLUMNS = 3
# Columns of a node: its blocks, those that are cached, the first of these that are in use; how many
# sequences use it, where they are counted by how much they hold; the run of it that came last.
LENGTH, CACHED, HELD, USES, HOLDERS_AT, LAST_RUN = range(6)
NODE_COLUMNS = 6
# Columns of a run: its neighbours in the queue (free runs are linked by BEHIND), whose blocks it has and
# which, and the runs of the same node that came before and after.
AHEAD, BEHIND, OWNER, RUN_LOW, RUN_HIGH, SOONER, LATER = range(7)
RUN_COLUMNS = 7
# Owners that are no node: none, the ends of the queue, and row r of the queue as FIRST_ROW - r.
NAMELESS, ENDS, FIRST_ROW = -1, -2, -3
NONE = -1
FAR = 1 << 62
BITS = 32  # per word of the ring's bitmap
# 2 is a primitive root modulo 37, so a power of two is known by its remainder.
BIT_BY_REMAINDER = np.zeros(37, dtype=np.int64)
BIT_BY_REMAINDER[[(1 << bit) % 37 for bit in range(BITS)]] = np.arange(BITS)


class Speed(NamedTuple):
    """Views of a `StepTimes`; `scale` is chunk_ms, s, c0, cb, host_ms, host_ms_per_sequence."""

    matrix_ms: Floats
    context_knots: Floats
    decode_ms: Floats
    decode_slopes: Floats
    chunk_knots: Floats
    prefix_knots: Floats
    chunk_ms_per_token: Floats
    scale: Floats


class EngineArrivals(NamedTuple):
    """The requests of one engine, in the order of arrival.

    shared, chain_at: how many blocks a prompt may share, and where its nodes begin in `chains`
    """

    due_ms: Floats
    prompts: Integers
    outputs: Integers
    cached: Integers
    shared: Integers
    chain_at: Integers
    chains: Integers
    first_ms: Floats
    last_ms: Floats


class State(NamedTuple):
    """What one engine holds.

    slots:     of decoding sequences; the last one, which no sequence takes, is both ends of the list
               from the youngest to the oldest; free slots are linked by OLDER
    ring:      the first slot of those that end in a step, by step modulo its length
    bits:      which places of the ring are taken
    at_origin: decoding sequences by (KV tokens - decode steps) modulo the block size
    queue:     preempted requests, the head last
    nodes, holders, runs: of the prefix cache, see `prefixes`; the last run is both ends of the free queue
    complete:  prompts that an iteration completes: (request, tokens generated before)
    """

    limits: Integers
    counts: Integers
    slots: Integers
    ring: Integers
    bits: Integers
    at_origin: Integers
    queue: Integers
    complete: Integers
    nodes: Integers
    holders: Integers
    runs: Integers
    totals: Floats


def state_ends(engine: Integers) -> tuple[int, int, int, int, int, int, int, int, int, int]:
    """Where the arrays of a `State` end in one row of integers, in its order without limits and totals.

    engine: its row of ENGINE_COLUMNS
    """
    max_seqs, ring = int(engine[MAX_SEQS]), int(engine[RING])
    slots = NUM_COUNTS + (max_seqs + 1) * SLOT_COLUMNS
    bits = slots + ring + ring // BITS
    origins = bits + int(engine[BLOCK_SIZE])
    queue = origins + QUEUE_COLUMNS * max_seqs
    complete = queue + 2 * max_seqs
    nodes = complete + int(engine[NODES_HIGH] - engine[NODES_LOW]) * NODE_COLUMNS
    holders = nodes + int(engine[NUM_HOLDERS])
    # Every run has at least one block.
    runs = holders + (int(engine[KV_BLOCKS]) + 1) * RUN_COLUMNS * int(engine[PREFIX_CACHING])
    return NUM_COUNTS, slots, slots + ring, bits, origins, queue, complete, nodes, holders, runs
