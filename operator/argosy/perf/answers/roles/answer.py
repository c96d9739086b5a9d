"""Whether prefill and decode on different replicas pay: `argosy perf roles MODEL`.

Owns how many of each role go together, and the same GPUs as aggregated replicas beside them.
`measure` and `capacity.search` measure. Input: a `RolesQuestion` and a performance model; output:
`RolesAnswer | Unanswered`.

All requests have the lengths that are asked for and arrive as a Poisson process. The aggregated
replicas are the better of the shapes that are asked about on each GPU type, judged by the whole
promise. Of several divisions of TTFT between the roles the one that carries most counts, as an
operator would choose it: with prompts of 1,024 tokens it hardly matters, but with 8,192 a
division in proportion leaves a decode replica hardly time for its one step.

The set of replicas is the smallest within 2 % of the best per GPU: a capacity is not
known better than that, and 13 and 8 replicas for the last per cent are no useful answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from argosy.perf.answers.roles.measure import (
    Balance,
    KvTransfer,
    RoleCapacities,
    RolePair,
    SplitSlo,
    balance,
    decode_only,
    lone_request,
    measure_split,
    prefill_only,
    split_slo,
)
from argosy.perf.answers.roles.question import LinkName, RoleAsked, RolesQuestion, kv_link
from argosy.perf.answers.unanswered import Unanswered, UnansweredReason, unanswered
from argosy.perf.capacity.search import CapacitySettings, EngineModel, measure_capacity
from argosy.perf.catalogue import Gpu
from argosy.perf.catalogue.links import Link
from argosy.perf.catalogue.list_prices import middle_price
from argosy.perf.footprint.memory import kv_growth
from argosy.perf.library import WantedProfile
from argosy.perf.model import LibraryPerfModel, wanted_profile
from argosy.perf.power.energy import usd_per_million_tokens
from argosy.perf.profile import Profile
from argosy.perf.profiles.iterations import within
from argosy.perf.protocol import Capacity, OutOfRange, TooLarge, term_name
from argosy.snapshot import Slo, SloTerm, Term, Variant

SET_TOLERANCE = 0.02
"""The standard deviation of a capacity (`capacity.search`)."""
NOTICEABLE = 0.05
"""A smaller difference between the two arrangements may be the simulation's."""
MAX_REPLICAS = 16
SLACK_SHARES = (None, 0.1, 0.3, 0.5, 0.7, 0.9)
"""Prefill's shares of what a lone request leaves of TTFT; None: in proportion (`split_slo`)."""


@dataclass(frozen=True, slots=True)
class Replica:
    """What one replica carries, as a role or aggregated.

    slo: what it has to keep; price_usd_per_gpu_hour: None where neither given nor known
    """

    profile: Profile
    capacity: Capacity
    slo: Slo
    price_usd_per_gpu_hour: float | None

    @property
    def gpus(self) -> int:
        """GPUs of the replica."""
        return self.profile.key.shape.gpus

    @property
    def requests_per_s_per_gpu(self) -> float:
        """Requests/s, shared out."""
        return self.capacity.requests_per_s / self.gpus


@dataclass(frozen=True, slots=True)
class Carried:
    """What the GPUs of the set carry in one arrangement; USD are None where unknown or per nothing."""

    requests_per_s: float
    requests_per_s_per_gpu: float
    usd_per_million_tokens: float | None


@dataclass(frozen=True, slots=True)
class RolesAnswer:
    """Both roles, how they go together, and the same GPUs as aggregated replicas.

    transfer:   of the KV between them; transfer_ms and transfer_bytes: of one prompt, bytes per GPU
    aggregated_replicas: one replica of each shape that is asked about, serving all of each request
    disaggregated, aggregated: what the set's GPUs carry as two roles, and as aggregated replicas
    """

    prefill: Replica
    decode: Replica
    transfer: KvTransfer
    transfer_ms: float
    transfer_bytes: float
    balance: Balance
    aggregated_replicas: tuple[Replica, ...]
    disaggregated: Carried
    aggregated: Carried

    @property
    def num_gpus(self) -> int:
        """GPUs of the set."""
        return self.balance.num_prefill * self.prefill.gpus + self.balance.num_decode * self.decode.gpus

    @property
    def prefill_busy(self) -> float:
        """Share (0-1) of what the set's prefill replicas could carry that the set does."""
        return self.balance.requests_per_s / (self.balance.num_prefill * self.prefill.capacity.requests_per_s)

    @property
    def decode_busy(self) -> float:
        """The same of its decode replicas."""
        return self.balance.requests_per_s / (self.balance.num_decode * self.decode.capacity.requests_per_s)

    @property
    def gain(self) -> float | None:
        """Times the requests/s of aggregated replicas on the same GPUs; None where those carry nothing."""
        if self.aggregated.requests_per_s <= 0:
            return None
        return self.disaggregated.requests_per_s / self.aggregated.requests_per_s


def answer_roles(
    question: RolesQuestion, model: LibraryPerfModel, settings: CapacitySettings | None = None
) -> RolesAnswer | Unanswered:
    """What both roles carry and whether it pays, or why there is no answer."""
    prefill, decode = (_looked_up(asked, question, model) for asked in (question.prefill, question.decode))
    if isinstance(prefill, Unanswered):
        return _of_stage(prefill, "prefill", question)
    if isinstance(decode, Unanswered):
        return _of_stage(decode, "decode", question)
    link = kv_link(question.link, prefill.wanted, decode.wanted)
    if isinstance(link, Unanswered):
        return link
    asked = _Asked(question, prefill, decode, _transfer(link, prefill.wanted, decode.wanted))
    return _answer(asked, settings or CapacitySettings())


# --- what was looked up -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _KnownRole:
    """One role's replica, before anything is measured."""

    variant: Variant
    wanted: WantedProfile
    profile: Profile
    engine: EngineModel
    price_usd_per_gpu_hour: float | None

    @property
    def gpu(self) -> Gpu:
        return self.wanted.gpu

    def measured(self, capacity: Capacity, slo: Slo) -> Replica:
        return Replica(self.profile, capacity, slo, self.price_usd_per_gpu_hour)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The question with all that was looked up."""

    question: RolesQuestion
    prefill: _KnownRole
    decode: _KnownRole
    transfer: KvTransfer

    @property
    def pair(self) -> RolePair:
        gpus = (self.prefill.wanted.shape.gpus, self.decode.wanted.shape.gpus)
        return RolePair(self.prefill.engine, self.decode.engine, *gpus)

    @property
    def max_gpus(self) -> float:
        """KV that goes over a node's own links does not leave the node."""
        inside = self.question.link is not LinkName.NETWORK
        return self.prefill.gpu.gpus_per_node if inside else math.inf


def _looked_up(asked: RoleAsked, question: RolesQuestion, model: LibraryPerfModel) -> _KnownRole | Unanswered:
    wanted = wanted_profile(asked.variant)
    if isinstance(wanted, OutOfRange):
        return unanswered(wanted)
    profile, engine = model.profile(asked.variant), model.engine(asked.variant)
    if isinstance(engine, OutOfRange | TooLarge):
        return unanswered(engine)
    if isinstance(profile, OutOfRange):
        return unanswered(profile)
    beyond = within(profile.valid, 0, 0, question.prompt_tokens + question.output_tokens)
    if beyond is not None:
        return unanswered(beyond)
    given = asked.price_usd_per_gpu_hour
    price = middle_price(wanted.gpu.name) if given is None else given
    return _KnownRole(asked.variant, wanted, profile, engine, price)


def _transfer(link: Link, prefill: WantedProfile, decode: WantedProfile) -> KvTransfer:
    """Of the role with fewer ranks: its GPUs hold, and send or get, the larger parts."""
    ranks = min(prefill.shape.tensor_parallel, decode.shape.tensor_parallel)
    return KvTransfer(link, kv_growth(prefill.architecture, ranks, prefill.kv_dtype))


# --- what it comes to -------------------------------------------------------------------------


def _answer(asked: _Asked, settings: CapacitySettings) -> RolesAnswer | Unanswered:
    question = asked.question
    aggregated = _aggregated(asked, settings)
    if isinstance(aggregated, Unanswered):
        return aggregated
    divided = _best_division(asked, settings)
    if divided is None:
        return _transfer_too_long(asked, aggregated)
    if isinstance(divided, Unanswered):
        return divided
    out_of_reach = _stage_out_of_reach(asked, divided)
    if out_of_reach is not None:
        return Unanswered(
            UnansweredReason.SLO_OUT_OF_REACH,
            f"{out_of_reach}; {_aggregated_instead(question, aggregated)}",
        )
    return _compared(asked, divided, aggregated)


@dataclass(frozen=True, slots=True)
class _Divided:
    """One division of TTFT between the roles, and what they carry within it."""

    split: SplitSlo
    found: RoleCapacities


def _best_division(asked: _Asked, settings: CapacitySettings) -> _Divided | Unanswered | None:
    """The division that carries most per GPU; None where the transfer leaves nothing to divide."""
    pair, transfer, mix = asked.pair, asked.transfer, asked.question.mix
    divisions = []
    for slack_share in SLACK_SHARES:
        split = split_slo(pair, mix, asked.question.promise.slo, transfer, slack_share)
        if split is None:
            return None
        found = measure_split(pair, mix, split, transfer, settings)
        if isinstance(found, OutOfRange):
            return unanswered(found)
        divisions.append(_Divided(split, found))

    def merit(division: _Divided) -> float:
        return _per_gpu(asked, balance(division.found, pair, MAX_REPLICAS, asked.max_gpus))

    return max(divisions, key=merit)


def _compared(asked: _Asked, divided: _Divided, aggregated: tuple[Replica, ...]) -> RolesAnswer:
    found, split = divided.found, divided.split
    question, together = asked.question, _smallest_set(asked, found)
    prefill = asked.prefill.measured(found.prefill, split.prefill)
    decode = asked.decode.measured(found.decode, split.decode)
    groups = (
        _Group(prefill, together.num_prefill * prefill.gpus),
        _Group(decode, together.num_decode * decode.gpus),
    )
    as_aggregated = sum(
        group.num_gpus * _best_aggregated(aggregated, group.replica).requests_per_s_per_gpu
        for group in groups
    )
    return RolesAnswer(
        prefill=prefill,
        decode=decode,
        transfer=asked.transfer,
        transfer_ms=found.transfer_ms,
        transfer_bytes=asked.transfer.kv.bytes_of(question.prompt_tokens),
        balance=together,
        aggregated_replicas=aggregated,
        disaggregated=_carried(groups, together.requests_per_s, question.output_tokens),
        aggregated=_carried(groups, as_aggregated, question.output_tokens),
    )


@dataclass(frozen=True, slots=True)
class _Group:
    """The GPUs of one role in the set."""

    replica: Replica
    num_gpus: int


def _carried(groups: tuple[_Group, ...], requests_per_s: float, output_tokens: int) -> Carried:
    num_gpus = sum(group.num_gpus for group in groups)
    paid = [
        usd_per_million_tokens(price, group.num_gpus, requests_per_s * output_tokens)
        for group in groups
        if requests_per_s > 0 and (price := group.replica.price_usd_per_gpu_hour) is not None
    ]
    usd = sum(paid) if len(paid) == len(groups) else None
    return Carried(requests_per_s, requests_per_s / num_gpus, usd)


def _smallest_set(asked: _Asked, found: RoleCapacities) -> Balance:
    """The set with the fewest replicas of a role that carries nearly as much per GPU as the best."""
    sets = [balance(found, asked.pair, limit, asked.max_gpus) for limit in range(1, MAX_REPLICAS + 1)]
    enough = (1.0 - SET_TOLERANCE) * _per_gpu(asked, sets[-1])
    # Both roles carry something and a pair fits (`kv_link`), so even the first is a set.
    return next(one for one in sets if one is not None and _per_gpu(asked, one) >= enough)


def _per_gpu(asked: _Asked, one: Balance | None) -> float:
    return 0.0 if one is None else one.requests_per_s / asked.pair.gpus(one.num_prefill, one.num_decode)


def _aggregated(asked: _Asked, settings: CapacitySettings) -> tuple[Replica, ...] | Unanswered:
    """An aggregated replica of each shape that is asked about."""
    shapes = {known.wanted.key: known for known in (asked.prefill, asked.decode)}
    mix, slo = asked.question.mix, asked.question.promise.slo
    replicas = []
    for known in shapes.values():
        capacity = measure_capacity(known.engine, mix, slo, settings)
        if isinstance(capacity, OutOfRange):
            return unanswered(capacity)
        replicas.append(known.measured(capacity, slo))
    return tuple(replicas)


def _best_aggregated(aggregated: tuple[Replica, ...], role: Replica) -> Replica:
    """The aggregated replica that makes most of a GPU of this role's type."""
    alike = (each for each in aggregated if each.profile.key.gpu == role.profile.key.gpu)
    return max(alike, key=lambda each: each.requests_per_s_per_gpu)


def milliseconds(value: float) -> str:
    """To be read: three digits, and never a power of ten."""
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"


# --- no answer --------------------------------------------------------------------------------


def _stage_out_of_reach(asked: _Asked, divided: _Divided) -> str | None:
    """The first stage that carries nothing, and why; None where both carry something."""
    mix, found, split = asked.question.mix, divided.found, divided.split
    stages = (
        ("prefill", asked.prefill.measured(found.prefill, split.prefill), asked.prefill, prefill_only(mix)),
        ("decode", asked.decode.measured(found.decode, split.decode), asked.decode, decode_only(mix)),
    )
    for stage, replica, known, stage_mix in stages:
        term = replica.capacity.binding
        if replica.capacity.requests_per_s > 0 or not isinstance(term, SloTerm):
            continue
        times = lone_request(known.engine, stage_mix)
        alone_ms = float((times.itl_ms if term.term is Term.ITL else times.ttft_ms)[0])
        whole = f"its part of --ttft-p95 {asked.question.promise.ttft_p95_ms:g}"
        return (
            f"{stage}: {known.profile.key} cannot keep {term_name(term)} at {milliseconds(term.bound_ms)} "
            f"({'--itl-p95' if term.term is Term.ITL else whole}): "
            f"a lone request takes {milliseconds(alone_ms)}"
        )
    return None


def _transfer_too_long(asked: _Asked, aggregated: tuple[Replica, ...]) -> Unanswered:
    question, transfer = asked.question, asked.transfer
    taken_ms = transfer.prompt_ms(question.prompt_tokens)
    return Unanswered(
        UnansweredReason.TRANSFER_TOO_LONG,
        f"KV transfer: the {transfer.kv.bytes_of(question.prompt_tokens) / 1e6:,.0f} MB of a prompt on each "
        f"GPU take {milliseconds(taken_ms)} over {question.link} ({transfer.link.bytes_per_s / 1e9:g} GB/s), "
        f"longer than --ttft-p95 {question.promise.ttft_p95_ms:g}; "
        f"{_aggregated_instead(question, aggregated)}",
    )


def _aggregated_instead(question: RolesQuestion, aggregated: tuple[Replica, ...]) -> str:
    """What to do without roles."""
    best = max(aggregated, key=lambda each: each.requests_per_s_per_gpu)
    if best.requests_per_s_per_gpu <= 0:
        terms = " and ".join(f"{term_name(t)} {t.bound_ms:g} ms" for t in question.promise.slo.terms)
        return f"an aggregated replica does not keep {terms} either"
    key, rate = best.profile.key, best.capacity.requests_per_s
    return f"an aggregated replica on {key.gpu} {key.shape} carries {rate:.3g} requests/s"


def _of_stage(refused: Unanswered, stage: str, question: RolesQuestion) -> Unanswered:
    """Named by its stage, where the two differ."""
    if question.prefill.variant == question.decode.variant:
        return refused
    return replace(refused, message=f"{stage}: {refused.message}")
