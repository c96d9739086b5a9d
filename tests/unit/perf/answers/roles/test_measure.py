"""Prefill and decode on different replicas: capacities, transfer, split promises, balance."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perf_engines import H100_ENGINE, H100_LIMITS

from argosy.errors import SpecError
from argosy.perf.answers.roles.measure import (
    Balance,
    KvTransfer,
    RoleCapacities,
    RolePair,
    balance,
    decode_only,
    lone_request,
    measure_split,
    prefill_only,
    split_slo,
)
from argosy.perf.capacity.search import CapacitySettings, EngineModel, measure_capacity
from argosy.perf.catalogue.links import Link
from argosy.perf.footprint.memory import KvGrowth
from argosy.perf.protocol import Capacity, CapacityLimit, OutOfRange, OutOfRangeReason
from argosy.snapshot import Mix, Slice, Slo, SloTerm, Term

QUICK = CapacitySettings(num_requests=400, rate_tolerance=0.03)
CHAT = Mix((Slice(1155, 211, 0.5), Slice(400, 100, 0.5)))
NVLINK = Link("NVLink", 225e9, 0.0125)
NETWORK = Link("network", 40e9, 0.01)
# Llama-3.1-8B: 2 (K and V) x 32 layers x 8 heads x 128 x 2 bytes.
KV = KvGrowth(full_bytes=131_072)
TTFT, ITL = SloTerm(Term.TTFT, 0.95, 500), SloTerm(Term.ITL, 0.95, 20)
PAIR = RolePair(H100_ENGINE, H100_ENGINE)


def promise(ttft_ms: float, itl_ms: float) -> Slo:
    return Slo((SloTerm(Term.TTFT, 0.95, ttft_ms), SloTerm(Term.ITL, 0.95, itl_ms)))


def roles(slo: Slo, link: Link = NETWORK) -> RoleCapacities:
    transfer = KvTransfer(link, KV)
    split = split_slo(PAIR, CHAT, slo, transfer)
    assert split is not None
    answer = measure_split(PAIR, CHAT, split, transfer, QUICK)
    assert isinstance(answer, RoleCapacities)
    return answer


def test_a_prompts_kv_takes_its_bytes_over_the_link() -> None:
    transfer = KvTransfer(NETWORK, KV)
    assert transfer.prompt_ms(1000) == pytest.approx(0.01 + 1e3 * 1000 * 131_072 / 40e9)


def test_a_prefill_replica_makes_one_token_and_a_decode_replica_computes_one_of_the_prompt() -> None:
    assert prefill_only(CHAT).slices == (Slice(1155, 1, 0.5), Slice(400, 1, 0.5))
    assert decode_only(CHAT).slices == (Slice(1155, 211, 0.5, 1155), Slice(400, 100, 0.5, 400))


def test_promises_on_gaps_bind_only_the_decode_replica() -> None:
    split = split_slo(PAIR, CHAT, promise(500, 20), KvTransfer(NETWORK, KV))
    assert split is not None
    assert [term.term for term in split.prefill.terms] == [Term.TTFT]
    assert [term.term for term in split.decode.terms] == [Term.TTFT, Term.ITL]
    assert split.decode.terms[1] == SloTerm(Term.ITL, 0.95, 20)


@given(ttft_ms=st.floats(10, 10_000), e2e_ms=st.floats(3000, 60_000), percentile=st.floats(0.5, 0.999))
def test_the_parts_and_the_longest_transfer_add_up_to_the_bound(
    ttft_ms: float, e2e_ms: float, percentile: float
) -> None:
    transfer = KvTransfer(NETWORK, KV)
    slo = Slo((SloTerm(Term.TTFT, percentile, ttft_ms), SloTerm(Term.E2E, percentile, e2e_ms)))
    split = split_slo(PAIR, CHAT, slo, transfer)
    assert split is not None
    for whole, first, second in zip(slo.terms, split.prefill.terms, split.decode.terms, strict=True):
        parts = first.bound_ms + transfer.prompt_ms(1155) + second.bound_ms
        assert parts == pytest.approx(whole.bound_ms)
        # Boole: the shares that each part may miss add up to what the whole may miss.
        assert (1 - first.percentile) + (1 - second.percentile) == pytest.approx(1 - whole.percentile)
        assert min(first.bound_ms, second.bound_ms) > 0


@given(slack_share=st.floats(0, 1))
def test_whatever_share_of_the_slack_prefill_gets_a_lone_request_keeps_both_parts(slack_share: float) -> None:
    transfer = KvTransfer(NETWORK, KV)
    split = split_slo(PAIR, CHAT, promise(120, 20), transfer, slack_share)
    assert split is not None
    first, second = (part.bounds_ms(Term.TTFT)[0] for part in (split.prefill, split.decode))
    assert first + transfer.prompt_ms(1155) + second == pytest.approx(120)
    lone = lone_request(H100_ENGINE, prefill_only(CHAT)), lone_request(H100_ENGINE, decode_only(CHAT))
    assert first >= float(lone[0].ttft_ms[0]) - 1e-9
    assert second >= float(lone[1].ttft_ms[0]) - 1e-9


def test_a_bound_that_a_lone_request_breaks_is_divided_in_proportion() -> None:
    transfer = KvTransfer(NETWORK, KV)
    assert split_slo(PAIR, CHAT, promise(10, 20), transfer, 0.9) == split_slo(
        PAIR, CHAT, promise(10, 20), transfer
    )


def test_a_transfer_longer_than_the_promise_leaves_nothing() -> None:
    slow = KvTransfer(Link("slow", 1e9, 0.0), KV)
    assert split_slo(PAIR, CHAT, promise(100, 50), slow) is None


def test_a_slow_link_is_what_binds() -> None:
    # 777.5 tokens of 131,072 bytes on average: 2 GB/s carry 19.6 prompts a second.
    answer = roles(promise(2000, 50), Link("slow", 2e9, 0.0))
    for capacity in (answer.prefill, answer.decode):
        assert capacity.requests_per_s == pytest.approx(2e9 / (777.5 * 131_072))
        assert capacity.binding is CapacityLimit.KV_TRANSFER


def test_a_slower_link_never_carries_more() -> None:
    fast, slow = roles(promise(120, 15), NVLINK), roles(promise(120, 15), Link("slow", 4e9, 1.0))
    assert slow.transfer_ms > fast.transfer_ms
    assert slow.prefill.requests_per_s <= fast.prefill.requests_per_s
    assert slow.decode.requests_per_s <= fast.decode.requests_per_s


# Measured: 18.9 against 15.3 requests/s per GPU, and 27.7 against 29.0.
def test_separate_roles_keep_tight_gaps_and_win_nothing_where_gaps_are_lax() -> None:
    per_gpu = {}
    for itl_ms in (15, 100):
        best = balance(roles(promise(1000, itl_ms)), PAIR)
        together = measure_capacity(H100_ENGINE, CHAT, promise(1000, itl_ms), QUICK)
        assert best is not None
        assert isinstance(together, Capacity)
        separate = best.requests_per_s / (best.num_prefill + best.num_decode)
        per_gpu[itl_ms] = separate / together.requests_per_s
    assert per_gpu[15] > 1.1
    assert per_gpu[100] < 1.05


def test_the_decode_replica_is_what_a_tight_gap_makes_scarce() -> None:
    tight, lax = roles(promise(1000, 15)), roles(promise(1000, 60))
    assert tight.prefill == lax.prefill
    assert tight.decode.requests_per_s < lax.decode.requests_per_s


@pytest.mark.parametrize(
    ("rates", "gpus", "limit", "expected"),
    [
        pytest.param((30.0, 10.0), (1, 1), 16, Balance(1, 3, 30.0), id="one prefill feeds three decodes"),
        pytest.param(
            (10.0, 10.0), (1, 1), 16, Balance(1, 1, 10.0), id="equals pair off, the smallest set wins"
        ),
        pytest.param((20.0, 30.0), (4, 2), 16, Balance(3, 2, 60.0), id="the balance does not depend on GPUs"),
        pytest.param((30.0, 1.0), (1, 1), 8, Balance(1, 8, 8.0), id="the limit holds where it is short"),
    ],
)
def test_the_cheapest_balance_is_found(
    rates: tuple[float, float], gpus: tuple[int, int], limit: int, expected: Balance
) -> None:
    capacities = RoleCapacities(Capacity(rates[0], TTFT), Capacity(rates[1], ITL), 1.0)
    pair = RolePair(H100_ENGINE, H100_ENGINE, *gpus)
    assert balance(capacities, pair, limit) == expected


def test_where_a_role_carries_nothing_there_is_no_set() -> None:
    nothing = RoleCapacities(Capacity(0.0, CapacityLimit.KV_TRANSFER), Capacity(10.0, ITL), 1.0)
    assert balance(nothing, PAIR) is None


def test_a_node_bounds_the_set() -> None:
    capacities = RoleCapacities(Capacity(30.0, TTFT), Capacity(10.0, ITL), 1.0)
    pair = RolePair(H100_ENGINE, H100_ENGINE, 2, 2)
    assert balance(capacities, pair, max_gpus=6) == Balance(1, 2, 20.0)
    assert balance(capacities, pair, max_gpus=3) is None


def test_a_request_longer_than_the_decode_context_is_named() -> None:
    short = EngineModel(replace(H100_LIMITS, max_model_len=1200), H100_ENGINE.step_times)
    transfer = KvTransfer(NETWORK, KV)
    pair = RolePair(H100_ENGINE, short)
    split = split_slo(PAIR, CHAT, promise(500, 20), transfer)
    assert split is not None
    answer = measure_split(pair, CHAT, split, transfer, QUICK)
    assert isinstance(answer, OutOfRange)
    assert answer.reason is OutOfRangeReason.CONTEXT_TOO_LONG


def test_a_windowed_layer_sends_no_more_than_its_window() -> None:
    windowed = KvTransfer(NETWORK, KvGrowth(full_bytes=1000, windowed_bytes=1000, window_tokens=128))
    assert windowed.prompt_ms(1000) == pytest.approx(0.01 + 1e3 * (1000 + 128) * 1000 / 40e9)


@pytest.mark.parametrize("prompt_tokens", [0, -1])
def test_a_prompt_of_nothing_is_refused_with_its_field(prompt_tokens: int) -> None:
    with pytest.raises(SpecError) as refusal:
        KvTransfer(NETWORK, KV).prompt_ms(prompt_tokens)
    assert refusal.value.field == "prompt_tokens"


def test_kv_of_no_bytes_is_refused_with_its_field() -> None:
    with pytest.raises(SpecError) as refusal:
        KvTransfer(NETWORK, KvGrowth(full_bytes=0.0)).max_requests_per_s(CHAT)
    assert refusal.value.field == "transfer.kv"
