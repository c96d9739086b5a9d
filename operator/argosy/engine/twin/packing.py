"""Requests, limits, step times and what prompts share, as the flat arrays that `kernel` works on.

Input: the engines of a row. Output: arrays in the order of `layout`. Nothing is compiled here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from argosy.arrays import Floats, Integers
from argosy.engine.request import EngineLimits
from argosy.engine.simulate import Requests
from argosy.engine.step_times import StepTimeSource, StepTimesQuestion

_EMPTY = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Chains:
    """What the prompts of one engine share.

    shared, chain_at: blocks that each prompt may share, and where its nodes begin in `nodes`, shape (N,)
    nodes:            of all prompts, one after the other, as numbers
    lengths:          blocks of each node, shape (number of nodes,)
    """

    shared: Integers
    chain_at: Integers
    nodes: Integers
    lengths: Integers

    @property
    def num_holders(self) -> int:
        """Counts that the engine keeps: for each node, one per length that can be held."""
        return int(self.lengths.sum()) + len(self.lengths)


def chains_of(requests: Requests, limits: EngineLimits) -> Chains:
    """None are shared without a prefix cache. Raises ValueError as `PromptPrefix.blocks` does."""
    prefixes, count = requests.prefixes, len(requests.prompt_tokens)
    if prefixes is None or not limits.prefix_caching:
        nothing = np.zeros(count, dtype=np.int64)
        return Chains(nothing, nothing, _EMPTY, _EMPTY)
    block_size, counts = limits.block_size, prefixes.counts
    if prefixes.tokens_each % block_size:
        raise ValueError(f"a chain of {prefixes.tokens_each} tokens per id has no blocks of {block_size}")
    shared = np.maximum(np.minimum(prefixes.tokens, requests.prompt_tokens - 1), 0) // block_size
    distinct, nodes = np.unique(prefixes.ids, return_inverse=True)
    lengths = np.full(len(distinct), prefixes.tokens_each // block_size, dtype=np.int64)
    if not prefixes.tokens_each:
        np.maximum.at(lengths, nodes, shared[counts > 0])
    return Chains(shared, prefixes.ends - counts, nodes.astype(np.int64), lengths)


def joined(parts: Iterable[Integers]) -> Integers:
    """All arrays behind each other; an empty one where there are none."""
    return np.concatenate([_EMPTY, *parts])


def packed_tables(engines: Sequence[tuple[EngineLimits, StepTimeSource]]) -> tuple[Floats, list[Integers]]:
    """Every distinct set of step times once, and for each engine where its arrays are."""
    # Engines mostly share a source, and a table takes longer to hash than to look up.
    distinct = {id(source): source for _, source in engines}
    digests = {number: source.digest() for number, source in distinct.items()}
    known: dict[StepTimesQuestion, Integers] = {}
    parts: list[Floats] = []
    places, end = [], 0
    for limits, source in engines:
        question = StepTimesQuestion(
            digests[id(source)], limits.max_num_batched_tokens, limits.max_num_seqs, source
        )
        if question not in known:
            values, offsets = _packed(question)
            known[question] = offsets + end
            parts.append(values)
            end += len(values)
        places.append(known[question])
    return (np.concatenate(parts) if parts else np.empty(0)), places


@lru_cache(maxsize=256)
def _packed(question: StepTimesQuestion) -> tuple[Floats, Integers]:
    """One engine's step times behind each other, and where each array begins (and the end)."""
    times = question.answer()
    arrays = (
        times.matrix_ms,
        times.context_knots,
        times.decode_ms.ravel(),
        times.decode_slopes.ravel(),
        times.chunk_knots,
        times.prefix_knots,
        times.chunk_ms_per_token.ravel(),
        np.array([times.chunk_ms, times.s, times.c0, times.cb, times.host_ms, times.host_ms_per_sequence]),
    )
    return np.concatenate(arrays), np.cumsum([0, *map(len, arrays)])
