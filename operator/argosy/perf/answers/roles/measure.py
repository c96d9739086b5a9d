"""Prefill and decode on different replicas: what each carries, and how many of each.

Owns the hand-over between the two roles: the time KV takes over a link, how an SLO is shared out,
and the ratio of replicas that balances them. `capacity.search` measures a capacity; the link is an
input.

As vLLM does it (docs, disaggregated prefilling with the NIXL connector): a prefill replica gets
the request with one output token; the decode replica reads the prompt's KV blocks from it,
every tensor-parallel rank over its own link, computes the last prompt token again and streams
from the first token on. So

    TTFT = front end + prefill's TTFT + transfer + decode's TTFT       ITL: decode's alone
    E2E  = front end + prefill's TTFT + transfer + decode's E2E

What the transfer of the mix's longest prompt leaves of a TTFT or E2E bound is divided between
the stages: each gets what it takes for a lone request and a share of the rest (unless set
otherwise in the same proportion), and a stage keeps its part with percentile 1 - (1 - p)/2: both
keep theirs with p then, however the two depend on each other (Boole). That is careful by design:
an aggregated replica is judged by the sum itself.

Left out: a prefill replica holds a prompt's blocks until they have been read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from argosy.checks import positive, share
from argosy.engine.simulate import Requests, RequestTimes, simulate
from argosy.perf.capacity.search import CapacitySettings, EngineModel, measure_capacity, refused_slice
from argosy.perf.catalogue.links import Link, transfer_ms
from argosy.perf.footprint.memory import KvGrowth
from argosy.perf.protocol import Capacity, CapacityLimit, OutOfRange
from argosy.snapshot import Mix, Slo, SloTerm, Term


@dataclass(frozen=True, slots=True)
class KvTransfer:
    """How a prompt's KV reaches the decode replica.

    link: of one GPU to one GPU
    kv:   of one sequence on one GPU (`memory.kv_growth`), of the role with fewer ranks
    """

    link: Link
    kv: KvGrowth

    def prompt_ms(self, prompt_tokens: int) -> float:
        """Milliseconds until all KV of the prompt has arrived. Raises SpecError for a prompt without
        tokens.
        """
        positive(prompt_tokens, "prompt_tokens")
        return transfer_ms(self.kv.bytes_of(prompt_tokens), self.link)

    def mean_ms(self, mix: Mix) -> float:
        """`prompt_ms`, the mean over the mix."""
        return math.fsum(piece.weight * self.prompt_ms(piece.prompt_tokens) for piece in mix.slices)

    def max_requests_per_s(self, mix: Mix) -> float:
        """The rate at which one replica's links are busy all the time. Raises SpecError for KV without
        bytes.
        """
        sent = math.fsum(piece.weight * self.kv.bytes_of(piece.prompt_tokens) for piece in mix.slices)
        return self.link.bytes_per_s / positive(sent, "transfer.kv")


@dataclass(frozen=True, slots=True)
class RolePair:
    """The engines of a prefill and of a decode replica; their GPUs weigh the replicas' cost."""

    prefill: EngineModel
    decode: EngineModel
    prefill_gpus: int = 1
    decode_gpus: int = 1

    def gpus(self, num_prefill: int, num_decode: int) -> int:
        """GPUs of so many replicas of each role."""
        return num_prefill * self.prefill_gpus + num_decode * self.decode_gpus


@dataclass(frozen=True, slots=True)
class SplitSlo:
    """What each stage has to keep so that the request keeps its SLO."""

    prefill: Slo
    decode: Slo


@dataclass(frozen=True, slots=True)
class RoleCapacities:
    """Requests/s of one prefill replica and of one decode replica, and the transfer between them.

    transfer_ms: mean over the prompts
    """

    prefill: Capacity
    decode: Capacity
    transfer_ms: float


@dataclass(frozen=True, slots=True)
class Balance:
    """So many replicas of each role, and the requests/s that they carry together."""

    num_prefill: int
    num_decode: int
    requests_per_s: float


def measure_split(
    pair: RolePair, mix: Mix, split: SplitSlo, transfer: KvTransfer, settings: CapacitySettings
) -> RoleCapacities | OutOfRange:
    """Requests/s of one replica of each role, each within its part of the SLO and of the link's rate."""
    too_long = _too_long(pair, mix)
    if too_long is not None:
        return too_long
    # The split has taken the front end off already.
    engines = [replace(engine, front_end_ms=0.0) for engine in (pair.prefill, pair.decode)]
    prefill = measure_capacity(engines[0], prefill_only(mix), split.prefill, settings)
    decode = measure_capacity(engines[1], decode_only(mix), split.decode, settings)
    if isinstance(prefill, OutOfRange):
        return prefill
    if isinstance(decode, OutOfRange):
        return decode
    most = transfer.max_requests_per_s(mix)
    return RoleCapacities(_at_most(prefill, most), _at_most(decode, most), transfer.mean_ms(mix))


def prefill_only(mix: Mix) -> Mix:
    """The mix as a prefill replica sees it: one output token each."""
    return Mix(tuple(replace(piece, output_tokens=1) for piece in mix.slices))


def decode_only(mix: Mix) -> Mix:
    """The mix as a decode replica sees it: all of the prompt is in KV (its last token is computed)."""
    return Mix(tuple(replace(piece, cached_tokens=piece.prompt_tokens) for piece in mix.slices))


def split_slo(
    pair: RolePair, mix: Mix, slo: Slo, transfer: KvTransfer, slack_share: float | None = None
) -> SplitSlo | None:
    """The terms of each stage; None where front end and transfer alone take longer than a bound.

    slack_share: prefill's share (0-1) of what a lone request leaves of a bound; None: in
                 proportion to what each stage takes for it, as where it leaves nothing
    """
    longest_ms = transfer.prompt_ms(max(piece.prompt_tokens for piece in mix.slices))
    alone = {Term.TTFT: _lone_ttft_ms, Term.E2E: _lone_e2e_ms}
    prefill: list[SloTerm] = []
    decode: list[SloTerm] = []
    for term in slo.terms:
        if term.term is Term.ITL:
            decode.append(term)
            continue
        left_ms = term.bound_ms - longest_ms - pair.prefill.front_end_ms
        if left_ms <= 0:
            return None
        part_ms = _prefill_part_ms(left_ms, _lone_ms(pair, mix, alone[term.term]), slack_share)
        percentile = 1.0 - (1.0 - term.percentile) / 2.0
        # The prefill replica's only token ends its part: TTFT is all there is to bound.
        prefill.append(SloTerm(Term.TTFT, percentile, part_ms))
        decode.append(SloTerm(term.term, percentile, left_ms - part_ms))
    return SplitSlo(Slo(tuple(prefill)), Slo(tuple(decode)))


def balance(
    capacities: RoleCapacities, pair: RolePair, max_replicas: int = 16, max_gpus: float = math.inf
) -> Balance | None:
    """The numbers of replicas (at most so many of a role) that carry most per GPU; None for nothing.

    Of several that carry the same per GPU the smallest wins. `max_gpus` bounds them all together,
    as a node does where the KV may not leave it.
    """
    prefill, decode = capacities.prefill.requests_per_s, capacities.decode.requests_per_s
    if min(prefill, decode) <= 0:
        return None
    counts = range(1, max_replicas + 1)
    choices = [
        Balance(p, d, min(p * prefill, d * decode))
        for p in counts
        for d in counts
        if pair.gpus(p, d) <= max_gpus
    ]

    def merit(choice: Balance) -> tuple[float, int]:
        gpus = pair.gpus(choice.num_prefill, choice.num_decode)
        return round(choice.requests_per_s / gpus, 9), -gpus

    return max(choices, key=merit, default=None)


def _at_most(capacity: Capacity, requests_per_s: float) -> Capacity:
    if capacity.requests_per_s <= requests_per_s:
        return capacity
    return Capacity(requests_per_s, CapacityLimit.KV_TRANSFER)


def _too_long(pair: RolePair, mix: Mix) -> OutOfRange | None:
    return refused_slice(mix, pair.decode.limits) or refused_slice(prefill_only(mix), pair.prefill.limits)


def _prefill_part_ms(left_ms: float, lone_ms: tuple[float, float], slack_share: float | None) -> float:
    prefill_ms, decode_ms = lone_ms
    slack_ms = left_ms - prefill_ms - decode_ms
    if slack_share is None or slack_ms <= 0:
        return left_ms * (prefill_ms / (prefill_ms + decode_ms))
    return prefill_ms + share(slack_share, "slack_share") * slack_ms


def _lone_ms(pair: RolePair, mix: Mix, decode_ms: Callable[[RequestTimes], float]) -> tuple[float, float]:
    """What a lone request takes on the prefill replica and on the decode replica."""
    prefill = _lone_ttft_ms(lone_request(pair.prefill, prefill_only(mix)))
    return prefill, decode_ms(lone_request(pair.decode, decode_only(mix)))


def _lone_ttft_ms(times: RequestTimes) -> float:
    return float(times.ttft_ms.mean())


def _lone_e2e_ms(times: RequestTimes) -> float:
    return float(times.e2e_ms.mean())


def lone_request(engine: EngineModel, mix: Mix) -> RequestTimes:
    """One request of the mix's mean lengths, in an empty engine."""
    cached = round(math.fsum(piece.weight * piece.cached_tokens for piece in mix.slices))
    prompt = max(round(mix.mean_prompt_tokens), cached)
    prompts, outputs, known = (
        np.array([n], dtype=np.int64) for n in (prompt, round(mix.mean_output_tokens), cached)
    )
    return simulate(Requests(np.zeros(1), prompts, outputs, known), engine.limits, engine.step_times)
