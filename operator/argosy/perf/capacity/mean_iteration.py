"""The mean iteration of an engine in a steady state: its duration, and what a new request meets.

Owns the mean-field arithmetic behind `steady_state`, which has the formulas and searches for
the state. Input: limits, step-time arrays, lengths of mixes; output: milliseconds, one
row per load.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from argosy.arrays import Floats
from argosy.engine.request import EngineLimits
from argosy.engine.step_times import StepTimes, bilinear
from argosy.snapshot import Mix


@dataclass(frozen=True, slots=True)
class MixLengths:
    """Lengths of the mixes. The first four have shape (loads, slices), padded with weight 0."""

    computed: Floats
    cached: Floats
    weights: Floats
    decode_steps: Floats
    decodes: Floats
    """E[Lout - 1]: decode steps of a request; these and all below: shape (loads,)."""
    own_context: Floats
    """Mean context that a request has over its own decode steps, mean over requests."""
    context_steps: Floats
    """E[(Lout - 1) * mean context]: token-steps that a request's decoding reads."""
    kv_steps: Floats
    """The same, in whole blocks."""
    mean_computed: Floats


def lengths_of(mixes: Sequence[Mix], limits: EngineLimits) -> MixLengths:
    """The lengths of the mixes, as the scheduler counts them."""
    width = max(len(mix.slices) for mix in mixes)
    table = np.zeros((4, len(mixes), width))
    table[:2] = 1.0
    for row, mix in enumerate(mixes):
        slices = [(s.prompt_tokens, s.output_tokens, s.cached_tokens, s.weight) for s in mix.slices]
        table[:, row, : len(slices)] = np.transpose(slices)
    prompts, outputs, cached, weights = table
    # The last prompt token is always computed.
    cached = np.minimum(cached, prompts - 1)
    decodes = outputs - 1
    context = prompts + np.maximum(decodes - 1, 0) / 2
    with_decodes = weights * (decodes > 0)
    return MixLengths(
        computed=prompts - cached,
        cached=cached,
        weights=weights,
        decode_steps=decodes,
        decodes=_mean(weights, decodes),
        own_context=_mean(with_decodes, context) / np.maximum(with_decodes.sum(axis=1), 1e-300),
        context_steps=_mean(weights, decodes * context),
        kv_steps=_mean(weights, decodes * (context + limits.block_size / 2)),
        mean_computed=_mean(weights, prompts - cached),
    )


def _mean(weights: Floats, values: Floats) -> Floats:
    mean: Floats = (weights * values).sum(axis=1)
    return mean


def chunk_attention_ms(limits: EngineLimits, arrays: StepTimes, lengths: MixLengths) -> Floats:
    """Milliseconds of attention of all chunks of each prompt, shape (loads, slices).

    Chunks are cut by the whole budget. Without `chunk_ms`, which an iteration pays once for all prompts in
    it.
    """
    total = np.zeros_like(lengths.computed)
    start = np.zeros_like(lengths.computed)
    while np.any(start < lengths.computed):
        chunk = np.clip(lengths.computed - start, 0, limits.max_num_batched_tokens)
        per_token = bilinear(
            (arrays.chunk_knots, arrays.prefix_knots),
            arrays.chunk_ms_per_token,
            (chunk, lengths.cached + start),
        )
        total += chunk * per_token
        start += chunk
    return total


@dataclass(frozen=True, slots=True)
class MeanIteration:
    """The engine's mean iteration as a function of `y`, the requests that arrive during one."""

    limits: EngineLimits
    arrays: StepTimes
    lengths: MixLengths
    attention_ms: Floats

    def largest_arrivals(self) -> Floats:
        """y at which slots, KV cache and token budget are used up, shape (loads, 3)."""
        limits, lengths = self.limits, self.lengths
        with np.errstate(divide="ignore"):
            slots = limits.max_num_seqs / lengths.decodes
            kv = limits.kv_tokens / lengths.kv_steps
        budget = limits.max_num_batched_tokens / (lengths.mean_computed + lengths.decodes)
        # Without decoding only the budget limits; the others stay finite so that they have a rate.
        return np.stack([np.minimum(slots, 1e3 * budget), np.minimum(kv, 1e3 * budget), budget], axis=1)

    def iteration_ms(self, arrivals: Floats) -> Floats:
        """tau(y), shape (loads,)."""
        lengths = self.lengths
        batch, attention = self._decoding_ms(arrivals * lengths.decodes, with_self=True)
        room = np.maximum(self.limits.max_num_batched_tokens - batch, 1.0)
        carried = arrivals * lengths.mean_computed
        share = np.minimum(np.maximum(-np.expm1(-arrivals), carried / room), 1.0)
        share = np.where(lengths.decodes > 0, share, 1.0)
        # An iteration with prefill carries one prompt's chunk, and what else the mean asks for.
        chunks = np.ceil(lengths.computed / room[:, None])
        weights = lengths.weights * chunks
        weights /= weights.sum(axis=1, keepdims=True)
        chunk = lengths.computed / chunks
        others = np.maximum(carried / np.maximum(share, 1e-300) - _mean(weights, chunk), 0.0)
        prefill = self._step_ms(
            batch[:, None],
            attention[:, None]
            + self.arrays.chunk_ms
            + self.attention_ms / chunks
            + (others * self._attention_per_token)[:, None],
            batch[:, None] + np.minimum(chunk + others[:, None], room[:, None]),
        )
        plain = self._step_ms(batch, attention, batch)
        duration: Floats = (1 - share) * plain + share * _mean(weights, prefill)
        return duration

    def times_ms(self, arrivals: Floats, rates_per_ms: Floats) -> tuple[Floats, Floats]:
        """(mean ITL, mean TTFT) in milliseconds, shape (loads,) each.

        arrivals:     requests that arrive during one iteration, shape (loads,)
        rates_per_ms: requests per millisecond, shape (loads,)
        """
        duration = self.iteration_ms(arrivals)
        ttft, last, marginal = self._ttft_ms(arrivals, rates_per_ms)
        itl = duration + np.maximum(last - duration, 0.0) * _echo(self.lengths, marginal)
        return np.where(self.lengths.decodes > 0, itl, np.nan), ttft

    def _decoding_ms(self, others: Floats, with_self: bool) -> tuple[Floats, Floats]:
        """(batch, decode attention in ms) with `others` decoding sequences, and oneself."""
        lengths = self.lengths
        decodes = lengths.decodes > 0
        context = np.where(decodes, lengths.context_steps / np.maximum(lengths.decodes, 1e-300), 0.0)
        own = decodes * float(with_self)
        batch = np.minimum(others + own, self.limits.max_num_seqs)
        tokens = others * context + own * lengths.own_context
        mean = tokens / np.maximum(others + own, 1e-300)
        rows = np.arange(len(self.arrays.decode_ms), dtype=np.float64)
        return batch, bilinear((rows, self.arrays.context_knots), self.arrays.decode_ms, (batch, mean))

    def _step_ms(self, batch: Floats, attention: Floats, tokens: Floats) -> Floats:
        """Duration of an iteration of `tokens` in all, `batch` of them decoding."""
        a = self.arrays
        matrix = np.interp(tokens, np.arange(len(a.matrix_ms)), a.matrix_ms)
        host = a.host_ms + a.host_ms_per_sequence * batch
        duration: Floats = np.maximum(a.s * (matrix + attention), host) + a.c0 + a.cb * batch
        return duration

    @property
    def _attention_per_token(self) -> Floats:
        return _mean(self.lengths.weights, self.attention_ms) / self.lengths.mean_computed

    def _ttft_ms(self, arrivals: Floats, rates_per_ms: Floats) -> tuple[Floats, Floats, Floats]:
        """(mean TTFT, the last iteration of it, marginal load).

        The marginal load is the prefill time that arrives per unit of time.
        """
        lengths = self.lengths
        decoding = arrivals * lengths.decodes
        batch, attention = self._decoding_ms(decoding, with_self=False)
        decodes = 1 - np.exp(-decoding)
        plain = decodes * self._step_ms(batch, attention, batch)
        room = np.maximum(self.limits.max_num_batched_tokens - batch, 1.0)
        full = np.ceil(lengths.computed / room[:, None]) - 1
        last = lengths.computed - full * room[:, None]
        alone, _ = self._own_ms((batch, attention), last, np.zeros_like(last))
        # Prefill time that arrives per unit of time: at the cost beside a batch, and at most at that of
        # a full iteration (which does not pay for reading the weights once per prompt).
        extra = _mean(lengths.weights, alone - (full + 1) * plain[:, None])
        full_attention = attention + self.arrays.chunk_ms + room * self._attention_per_token
        filled = self._step_ms(batch, full_attention, batch + room) - plain
        extra = np.minimum(extra, filled * lengths.mean_computed / room)
        marginal = np.minimum(rates_per_ms * extra, 1 - 1e-9)
        work = rates_per_ms * _mean(lengths.weights, (alone - plain[:, None]) ** 2) / 2
        mean = decodes * self.iteration_ms(arrivals) / 2
        # Requests that arrive during the same iteration are computed together with this one while the
        # budget lasts (and make the next iteration longer, in which more arrive: a branching process);
        # a request that does not fit waits as in M/G/1.
        with np.errstate(over="ignore"):  # at a rate without bounds, infinitely many join
            joining = 2 * (mean + work / (1 - marginal**2)) * rates_per_ms * lengths.mean_computed
        joined = np.minimum(joining[:, None], room[:, None] - last)
        together = _mean(lengths.weights, joined) / np.maximum(joining, 1e-300)
        rho = np.minimum(arrivals * lengths.mean_computed / room, 1 - 1e-9)
        residual = mean + work / (1 - (together * marginal) ** 2)
        wait = residual * (1 + (1 - together) * rho / (1 - rho))
        if self.limits.batches_in_flight > 1:
            # The iteration after the running one is decided already, wherever there is something to decode.
            wait = wait + 2 * mean
        own, ending = self._own_ms((batch, attention), last, joined)
        return wait + _mean(lengths.weights, own), _mean(lengths.weights, ending), marginal

    def _own_ms(self, decoding: tuple[Floats, Floats], last: Floats, joined: Floats) -> tuple[Floats, Floats]:
        """(all iterations of a request's chunks, the last of them) beside a batch with its attention.

        The last has `last` tokens of its own and `joined` tokens of others.
        """
        batch, attention = (values[:, None] for values in decoding)
        room = np.maximum(self.limits.max_num_batched_tokens - batch, 1.0)
        full = np.ceil(self.lengths.computed / room) - 1
        whole = self._step_ms(batch, attention, batch + room)
        chunks_ms = self.arrays.s * (self.attention_ms + (full + 1) * self.arrays.chunk_ms)
        beside = attention + joined * self._attention_per_token[:, None]
        ending = self._step_ms(batch, beside, batch + last + joined)
        return full * whole + ending + chunks_ms, ending + chunks_ms / (full + 1)


def _echo(lengths: MixLengths, marginal: Floats) -> Floats:
    """How much of one long iteration returns, per gap, while a request decodes; mean over requests.

    In an iteration that is longer by x, more prompts arrive, and the next one is longer by
    marginal * x. A request's own prefill is such an iteration, right before its first gap.
    """
    steps = lengths.decode_steps
    rho = marginal[:, None]
    with_decodes = lengths.weights * (steps > 0)
    echo = _mean(with_decodes, rho * (1 - rho**steps) / (1 - rho) / np.maximum(steps, 1))
    per_request: Floats = echo / np.maximum(with_decodes.sum(axis=1), 1e-300)
    return per_request
