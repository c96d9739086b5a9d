"""Engines and traces for tests of the engine: sources of step times, tight limits, requests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from argosy.arrays import Integers
from argosy.engine import EngineLimits, Prefixes, Requests, StepCoefficients, StepTable, StepTimeSource

# About an 8B model on an H100, host overhead included.
CLOSED_FORM = StepCoefficients(
    6.3, 0.0107, 4.87, 0.0096, 0.1, 4.2e-5, 2.5e-3, 0.1, 5e-4, 8e-7, 0.98, 1.34, 0.046
)


def bent_table(seed: int) -> StepTable:
    """Knots close enough that small traces pass several of them, and every slope another."""
    rng = np.random.default_rng(seed)
    context_knots = np.array([1.0, 8.0, 20.0, 21.5, 45.0])
    batch_knots = np.array([1.0, 2.0, 5.0])
    return StepTable(
        token_knots=np.array([1.0, 4.0, 16.0, 32.0]),
        matrix_ms=np.sort(rng.uniform(2.0, 9.0, 4)),
        batch_knots=batch_knots,
        context_knots=context_knots,
        decode_ms=np.cumsum(np.cumsum(rng.uniform(0.0, 0.5, (3, 5)), axis=0), axis=1),
        chunk_knots=np.array([1.0, 10.0, 30.0]),
        prefix_knots=np.array([0.0, 7.0, 40.0]),
        chunk_ms_per_token=np.cumsum(np.cumsum(rng.uniform(0.0, 0.05, (3, 3)), axis=0), axis=1),
        s=0.97,
        c0=1.1,
        cb=0.03,
    )


def host_beside(source: StepTimeSource, host_ms: float) -> StepTimeSource:
    """The host's work done while the GPU computes: more than the GPU's at some contexts only."""
    times = source.step_times(64, 16)
    return replace(times, host_ms=host_ms, host_ms_per_sequence=0.2)


sources_: st.SearchStrategy[StepTimeSource] = st.one_of(
    st.just(CLOSED_FORM),
    st.integers(0, 2**32 - 1).map(bent_table),
    st.builds(host_beside, st.integers(0, 2**32 - 1).map(bent_table), st.sampled_from([4.0, 7.0, 9.0, 30.0])),
)


@st.composite
def tight_limits_(draw: st.DrawFn) -> EngineLimits:
    """Few slots, small budgets, and KV caches that preempt."""
    slots = draw(st.sampled_from([8, 5, 3, 2, 1]))
    block_size = draw(st.sampled_from([4, 1, 3, 16]))
    return EngineLimits(
        max_num_seqs=slots,
        max_num_batched_tokens=slots + draw(st.sampled_from([30, 8, 1, 0])),
        kv_blocks=draw(st.sampled_from([70, 100, 130, 300])) // block_size,
        block_size=block_size,
        max_model_len=draw(st.sampled_from([130, 50])),
        batches_in_flight=draw(st.sampled_from([2, 1])),
        prefix_caching=draw(st.booleans()),
    )


@st.composite
def traces_(draw: st.DrawFn) -> Requests:
    """From all at once to far apart, in bursts or not, cached, shared or neither, short outputs or long.

    Arrivals are random numbers, so that none falls on an iteration's boundary to the last digit.
    """
    count = draw(st.sampled_from([40, 15, 5, 1, 0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    gaps_s = rng.exponential(draw(st.sampled_from([0.0, 0.005, 0.05, 0.5])), count)
    gaps_s *= rng.random(count) < draw(st.sampled_from([0.2, 1.0]))
    prompts = rng.integers(1, draw(st.sampled_from([20, 4, 60])), count)
    outputs = rng.integers(1, draw(st.sampled_from([60, 30, 2])), count)
    arrivals_s, what = np.cumsum(gaps_s), draw(st.sampled_from(["groups", "chains", "cached", "nothing"]))
    if what == "groups":
        groups = rng.integers(-1, draw(st.sampled_from([1, 3])), count)
        return Requests(arrivals_s, prompts, outputs, None, Prefixes.of_groups(groups, shares(rng, prompts)))
    if what == "chains":
        return Requests(arrivals_s, prompts, outputs, None, chains(rng, shares(rng, prompts)))
    cached = (prompts * rng.choice([0.0, 0.5, 1.0], count)).astype(np.int64)
    return Requests(arrivals_s, prompts, outputs, cached if what == "cached" else None)


CHAIN_TOKENS = 48
"""Of each hash: whole blocks of every size that `tight_limits_` has."""


def shares(rng: np.random.Generator, prompts: Integers) -> Integers:
    """Leading tokens of prompts: all, some, one or none."""
    tokens: Integers = np.ceil(prompts * rng.choice([0.0, 0.3, 0.8, 1.0], len(prompts))).astype(np.int64)
    return tokens


def chains(rng: np.random.Generator, tokens: Integers, tokens_each: int = CHAIN_TOKENS) -> Prefixes:
    """Paths in a tree of hashes in which two follow each one: 1, 2 or 3 at the top, 2n or 2n + 1 after n."""
    counts = -(-tokens // tokens_each)
    ids: list[int] = []
    for count in counts.tolist():
        path: list[int] = []
        for _ in range(count):
            path.append(2 * path[-1] + int(rng.integers(2)) if path else int(rng.integers(4, 7)))
        ids += path
    return Prefixes(np.array(ids, dtype=np.int64), np.cumsum(counts), tokens, tokens_each)
