"""Step times for one iteration at a time, in plain Python.

Owns the arithmetic of `step_times` over lists, because the scheduler asks once per iteration and
numpy takes ten times as long for a single number. Input: a source of step times and an engine's
limits; engines that share both share the lists.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from functools import lru_cache

from argosy.engine.request import EngineLimits
from argosy.engine.step_times import StepTimes, StepTimeSource, StepTimesQuestion


class StepLookup:
    """Answers for iterations within the arrays it was made from."""

    def __init__(self, times: StepTimes) -> None:
        self._matrix: list[float] = times.matrix_ms.tolist()
        self._knots: list[float] = times.context_knots.tolist()
        self._decode: list[list[float]] = times.decode_ms.tolist()
        self._slopes: list[list[float]] = times.decode_slopes.tolist()
        self._chunk_knots: list[float] = times.chunk_knots.tolist()
        self._prefix_knots: list[float] = times.prefix_knots.tolist()
        self._chunk_ms_per_token: list[list[float]] = times.chunk_ms_per_token.tolist()
        self._chunk_ms = times.chunk_ms
        self._s, self._c0, self._cb = times.s, times.c0, times.cb
        self._host_ms, self._host_ms_per_sequence = times.host_ms, times.host_ms_per_sequence

    def step_ms(self, num_decodes: int, kv_tokens: int, chunks: Iterable[tuple[int, int]] = ()) -> float:
        """Milliseconds of an iteration that computes at least one token.

        num_decodes: sequences that decode one token each
        kv_tokens:   tokens those sequences have in the KV cache before the iteration, in all
        chunks:      (tokens, prefix) per prefill chunk; the prefix is what is already computed
        """
        num_tokens = num_decodes
        attention = 0.0
        if num_decodes:
            context = kv_tokens / num_decodes
            left = bisect_right(self._knots, context, 1, len(self._knots) - 1) - 1
            attention = self._decode[num_decodes][left] + self._slopes[num_decodes][left] * (
                context - self._knots[left]
            )
        for tokens, prefix in chunks:
            num_tokens += tokens
            attention += tokens * self._per_token(tokens, prefix)
        if num_tokens > num_decodes:
            attention += self._chunk_ms
        gpu = self._s * (self._matrix[num_tokens] + attention)
        host = self._host_ms + self._host_ms_per_sequence * num_decodes
        return (gpu if gpu > host else host) + self._c0 + self._cb * num_decodes

    def decode_ms(self, num_decodes: int) -> Callable[[int], float]:
        """`step_ms` of iterations that only decode one batch, as a function of its KV tokens.

        The same operations in the same order, hence the same bits; what does not change while
        the batch stays the same is looked up once.
        """
        knots, row, slopes = self._knots, self._decode[num_decodes], self._slopes[num_decodes]
        matrix, s, c0, overhead = self._matrix[num_decodes], self._s, self._c0, self._cb * num_decodes
        last, host = len(knots) - 1, self._host_ms + self._host_ms_per_sequence * num_decodes

        def at(kv_tokens: int) -> float:
            context = kv_tokens / num_decodes
            left = bisect_right(knots, context, 1, last) - 1
            gpu = s * (matrix + (row[left] + slopes[left] * (context - knots[left])))
            return (gpu if gpu > host else host) + c0 + overhead

        return at

    def _per_token(self, tokens: int, prefix: int) -> float:
        """Bilinear, with the outermost patches going on beyond the knots."""
        rows, columns = self._chunk_knots, self._prefix_knots
        i = bisect_right(rows, tokens, 1, len(rows) - 1) - 1
        j = bisect_right(columns, prefix, 1, len(columns) - 1) - 1
        u = (tokens - rows[i]) / (rows[i + 1] - rows[i])
        v = (prefix - columns[j]) / (columns[j + 1] - columns[j])
        below, above = self._chunk_ms_per_token[i], self._chunk_ms_per_token[i + 1]
        low = below[j] + u * (above[j] - below[j])
        high = below[j + 1] + u * (above[j + 1] - below[j + 1])
        return low + v * (high - low)


def step_lookup(source: StepTimeSource, limits: EngineLimits) -> StepLookup:
    """The lists for an engine with these limits, shared by all that are alike."""
    return _lookup(
        StepTimesQuestion(source.digest(), limits.max_num_batched_tokens, limits.max_num_seqs, source)
    )


# About half a megabyte each; a live fleet or a search over variants has a few dozen at once.
@lru_cache(maxsize=64)
def _lookup(question: StepTimesQuestion) -> StepLookup:
    return StepLookup(question.answer())
