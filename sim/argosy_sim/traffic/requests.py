"""Offered requests as arrays: when each arrives, and how many tokens it has.

Owns the pairing of arrival times with lengths. Input: lengths (an archetype or a trace), a schedule
of rates, a seed. Output: `RequestArrays`. Pure: seed and name determine a stream of requests,
whatever other streams there are.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from argosy.arrays import Floats, Integers
from argosy.traces.trace import Trace
from argosy_sim.traffic.archetypes import Archetype, sample
from argosy_sim.traffic.arrivals import Schedule, poisson_arrivals_s, trace_patterned_arrivals_s


@dataclass(frozen=True, slots=True, eq=False)
class RequestArrays:
    """Requests in the order of their arrival; all have the same length n.

    arrival_s: seconds, ascending, shape (n,); prompt_tokens, output_tokens: shape (n,)
    prefix_blocks: as in `TraceRequest`
    """

    arrival_s: Floats
    prompt_tokens: Integers
    output_tokens: Integers
    prefix_blocks: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.arrival_s)


def offered_requests(
    lengths: Archetype | Trace, schedule: Schedule | None, seed: int, name: str
) -> RequestArrays:
    """The requests of one stream.

    Lengths of an archetype arrive as a Poisson process over `schedule`; those of a trace in its
    order, from its start again after its end, and with its pattern. Without a schedule a trace
    keeps its own times. Raises ValueError for an archetype without a schedule, as it has no times.
    """
    if isinstance(lengths, Trace):
        return _of_trace(lengths, schedule)
    if schedule is None:
        raise ValueError(f"{name}: an archetype has no times of its own, it needs a schedule")
    # The name is part of the seed: streams with the same seed must not arrive in step.
    seeds = np.random.SeedSequence([seed, zlib.crc32(name.encode())])
    arrivals_rng, lengths_rng = (np.random.default_rng(child) for child in seeds.spawn(2))
    arrival_s = poisson_arrivals_s(schedule, arrivals_rng)
    drawn = sample(lengths, lengths_rng, len(arrival_s))
    return RequestArrays(arrival_s, drawn.prompt_tokens, drawn.output_tokens, ((),) * len(arrival_s))


def _of_trace(trace: Trace, schedule: Schedule | None) -> RequestArrays:
    own_s = trace.arrivals_s
    arrival_s = np.array(own_s) if schedule is None else trace_patterned_arrivals_s(own_s, schedule)
    index = np.arange(len(arrival_s)) % max(1, len(trace.requests))
    prompt = np.array([request.prompt_tokens for request in trace.requests], dtype=np.int64)
    output = np.array([request.output_tokens for request in trace.requests], dtype=np.int64)
    blocks = tuple(trace.requests[i].prefix_blocks for i in index.tolist())
    return RequestArrays(arrival_s, prompt[index], output[index], blocks)
