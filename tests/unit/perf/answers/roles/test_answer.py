"""Whether roles pay: sets of replicas, the same GPUs as aggregated ones, links, and promises out of reach."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest

from argosy.errors import SpecError
from argosy.keys import ModelKey
from argosy.perf import CapacitySettings, LibraryPerfModel, measure_capacity, shipped_library
from argosy.perf.answers.roles.answer import SET_TOLERANCE, Carried, RolesAnswer, answer_roles, milliseconds
from argosy.perf.answers.roles.question import LatencyPromise, LinkName, RoleAsked, RolesQuestion, kv_link
from argosy.perf.answers.unanswered import Unanswered
from argosy.perf.capacity.search import EngineModel
from argosy.perf.catalogue.links import Link
from argosy.perf.front_end import front_end_of
from argosy.perf.library import WantedProfile
from argosy.perf.model import wanted_profile
from argosy.snapshot import Dtype, EngineSettings, Term, Variant

MODEL = LibraryPerfModel(shipped_library(), {})
QUICK = CapacitySettings(num_requests=800, rate_tolerance=0.02)
ENGINE = EngineSettings(max_model_len=1408)


def role(model: str = "llama-3.1-8b", gpu: str = "H100", tp: int = 1) -> RoleAsked:
    return RoleAsked(Variant(ModelKey(""), model, (), "", gpu, tp, ENGINE))


def alike(asked: RoleAsked, **changes: object) -> RolesQuestion:
    return replace(RolesQuestion(asked, asked), **changes)  # type: ignore[arg-type]


def answered(question: RolesQuestion) -> RolesAnswer:
    found = answer_roles(question, MODEL, QUICK)
    assert isinstance(found, RolesAnswer), found
    return found


def refused(question: RolesQuestion) -> Unanswered:
    found = answer_roles(question, MODEL, QUICK)
    assert isinstance(found, Unanswered)
    return found


SEVENTY = role("llama-3.1-70b", tp=4)


def test_seventy_billion_on_four_gpus_a_replica_pays_and_each_figure_follows_from_the_others() -> None:
    found = answered(alike(SEVENTY))
    prefill, decode = found.prefill.capacity.requests_per_s, found.decode.capacity.requests_per_s
    assert min(prefill, decode, found.aggregated_replicas[0].capacity.requests_per_s) > 0
    assert found.num_gpus == 4 * (found.balance.num_prefill + found.balance.num_decode)
    carried = min(found.balance.num_prefill * prefill, found.balance.num_decode * decode)
    assert found.disaggregated.requests_per_s == pytest.approx(carried)
    assert found.disaggregated.requests_per_s_per_gpu == pytest.approx(carried / found.num_gpus)
    aggregated = found.aggregated_replicas[0].capacity.requests_per_s * found.num_gpus / 4
    assert found.aggregated.requests_per_s == pytest.approx(aggregated)
    assert found.gain == pytest.approx(carried / aggregated)
    # The middle of H100's list prices, by hand.
    usd = 1e6 * found.num_gpus * 4.45 / 3600 / (carried * 256)
    assert found.disaggregated.usd_per_million_tokens == pytest.approx(usd)
    # A token of Llama-70B: K and V of 80 layers, 8 heads of 128, 2 bytes; a quarter on each GPU.
    assert found.transfer_bytes == 1024 * 2 * 80 * 8 * 128 * 2 / 4
    assert found.transfer_ms == pytest.approx(0.01 + 1e3 * found.transfer_bytes / 40e9)


def test_an_aggregated_replica_is_what_the_capacity_of_its_engine_says() -> None:
    question = alike(role())
    engine = MODEL.engine(question.prefill.variant)
    assert isinstance(engine, EngineModel)
    expected = measure_capacity(engine, question.mix, question.promise.slo, QUICK)
    assert answered(question).aggregated_replicas[0].capacity == expected


@pytest.mark.parametrize("itl_ms", [20, 25, 50])
def test_both_roles_are_busy_in_a_set_that_nothing_bounds(itl_ms: float) -> None:
    found = answered(alike(SEVENTY, promise=LatencyPromise(2000, itl_ms)))
    assert max(found.prefill_busy, found.decode_busy) == pytest.approx(1.0)
    # Of all real ratios the best uses both fully; per GPU the set is within its tolerance and the
    # sixteenth of a replica that whole numbers cost.
    rates = [1 / found.prefill.requests_per_s_per_gpu, 1 / found.decode.requests_per_s_per_gpu]
    best = 1 / math.fsum(rates)
    assert (1 - SET_TOLERANCE - 0.02) * best < found.disaggregated.requests_per_s_per_gpu <= best * (1 + 1e-9)


def test_a_slower_link_never_carries_more() -> None:
    names = [LinkName.NVLINK, LinkName.NETWORK, LinkName.PCIE]
    found = [answered(alike(role(), link=name)) for name in names]
    for fast, slow in pairwise(found):
        assert fast.transfer.link.bytes_per_s > slow.transfer.link.bytes_per_s
        assert fast.transfer_ms < slow.transfer_ms
        assert fast.prefill.capacity.requests_per_s >= slow.prefill.capacity.requests_per_s
        assert fast.decode.capacity.requests_per_s >= slow.decode.capacity.requests_per_s


def test_links_inside_a_node_keep_the_set_in_the_node() -> None:
    found = answered(alike(SEVENTY, link=LinkName.NVLINK))
    assert (found.balance.num_prefill, found.balance.num_decode, found.num_gpus) == (1, 1, 8)
    assert answered(alike(SEVENTY)).num_gpus > 8


def test_a_tighter_gap_makes_roles_worth_more() -> None:
    gains = [answered(alike(SEVENTY, promise=LatencyPromise(2000, itl_ms))).gain for itl_ms in (100, 50, 25)]
    assert gains == sorted(gains, key=lambda gain: gain or math.inf)
    assert gains[-1] is not None
    assert gains[-1] > 1.4


def test_of_two_shapes_on_one_gpu_type_the_better_one_stands_for_aggregated_replicas() -> None:
    found = answered(
        RolesQuestion(
            role("llama-3.1-70b", tp=2), SEVENTY, promise=LatencyPromise(2000, 30), link=LinkName.NETWORK
        )
    )
    assert [each.gpus for each in found.aggregated_replicas] == [2, 4]
    best = max(each.requests_per_s_per_gpu for each in found.aggregated_replicas)
    assert found.aggregated.requests_per_s_per_gpu == pytest.approx(best)
    # The role with two ranks holds half of the KV on each GPU, the one with four a quarter.
    assert found.transfer_bytes == 1024 * 2 * 80 * 8 * 128 * 2 / 2


def test_gpus_of_two_types_are_compared_and_paid_each_for_itself() -> None:
    found = answered(RolesQuestion(role(), replace(role(gpu="L40S"), price_usd_per_gpu_hour=0.5)))
    num_prefill, num_decode = found.balance.num_prefill, found.balance.num_decode
    h100, l40s = (each.capacity.requests_per_s for each in found.aggregated_replicas)
    assert found.aggregated.requests_per_s == pytest.approx(num_prefill * h100 + num_decode * l40s)
    hourly = num_prefill * 4.45 + num_decode * 0.5
    assert found.disaggregated.usd_per_million_tokens == pytest.approx(
        1e6 * hourly / 3600 / (found.disaggregated.requests_per_s * 256)
    )


def test_one_unknown_price_leaves_the_cost_unknown() -> None:
    found = answered(RolesQuestion(role(), role(gpu="MI300X")))
    assert (found.disaggregated.usd_per_million_tokens, found.aggregated.usd_per_million_tokens) == (
        None,
        None,
    )


@pytest.mark.parametrize(
    ("promise", "reason", "says"),
    [
        pytest.param(LatencyPromise(3, 50), "TransferTooLong", "134 MB of a prompt", id="the transfer alone"),
        pytest.param(LatencyPromise(20, 50), "SloOutOfReach", "prefill: llama-3.1-8b", id="a lone prefill"),
        pytest.param(
            LatencyPromise(2000, 3), "SloOutOfReach", "decode: llama-3.1-8b", id="a lone decode step"
        ),
    ],
)
def test_a_promise_that_nothing_keeps_names_the_stage_and_the_reason(
    promise: LatencyPromise, reason: str, says: str
) -> None:
    found = refused(alike(role(), promise=promise))
    assert found.reason == reason
    assert says in found.message
    assert "an aggregated replica does not keep" in found.message


def test_a_promise_that_only_aggregated_replicas_keep_says_what_they_carry() -> None:
    # 10 ms of front end, 23 of prefill, 3.4 of transfer, 7 of one more step: an aggregated replica needs the
    # first two only.
    found = refused(alike(role(), promise=LatencyPromise(40, 50)))
    assert found.reason == "SloOutOfReach"
    assert "an aggregated replica on H100 TP1 carries" in found.message


def test_where_aggregated_replicas_carry_nothing_there_is_no_factor() -> None:
    found = answered(alike(role()))
    assert replace(found, aggregated=Carried(0.0, 0.0, None)).gain is None


def test_a_long_prompt_leaves_the_decode_replica_more_than_its_one_step() -> None:
    # In proportion a decode replica had 12 of 546 ms and carried 0.014 requests/s.
    fp8 = replace(ENGINE, quantization=Dtype.FP8, max_model_len=9300)
    prefill, decode = (RoleAsked(replace(role(gpu=gpu).variant, engine=fp8)) for gpu in ("L40S", "A100"))
    promise = LatencyPromise(600 + front_end_of("L40S").milliseconds, 11)
    found = answered(RolesQuestion(prefill, decode, 8192, 256, promise))
    assert found.decode.capacity.binding_name == "ITL p95"
    assert found.decode.capacity.requests_per_s > 0.5
    parts = [each.slo.bounds_ms(Term.TTFT)[0] for each in (found.prefill, found.decode)]
    assert math.fsum(parts) + found.transfer_ms == pytest.approx(600)


@pytest.mark.parametrize(
    ("gpus", "tp", "name", "says", "nearest"),
    [
        pytest.param(("L40S", "L40S"), 1, LinkName.NVLINK, "no NVLink", "--link pcie", id="no such link"),
        pytest.param(("H100", "L40S"), 1, LinkName.PCIE, "not in one node", "--link network", id="two types"),
        pytest.param(("H100", "H100"), 8, LinkName.NVLINK, "16 GPUs", "--link network", id="two nodes"),
    ],
)
def test_a_link_that_these_gpus_do_not_have_is_refused_with_those_that_they_have(
    gpus: tuple[str, str], tp: int, name: LinkName, says: str, nearest: str
) -> None:
    found = refused(RolesQuestion(role(gpu=gpus[0], tp=tp), role(gpu=gpus[1], tp=tp), link=name))
    assert found.reason == "NoSuchLink"
    assert says in found.message
    assert nearest in found.nearest


def wanted(gpu: str) -> WantedProfile:
    found = wanted_profile(role(gpu=gpu).variant)
    assert isinstance(found, WantedProfile)
    return found


def test_the_slower_network_of_two_gpu_types_carries_the_kv() -> None:
    link = kv_link(LinkName.NETWORK, wanted("H100"), wanted("L4"))
    assert isinstance(link, Link)
    assert link.bytes_per_s == 0.8 * 25e9


def test_a_refusal_names_its_stage_where_the_stages_differ() -> None:
    one = refused(alike(role("llama-3.1-70b")))
    assert (one.reason, one.message.startswith("meta")) == ("TooLarge", False)
    assert not one.message.startswith("prefill")
    assert refused(RolesQuestion(role("llama-3.1-70b"), SEVENTY)).message.startswith("prefill: ")
    assert refused(RolesQuestion(SEVENTY, role("llama-3.1-70b"))).message.startswith("decode: ")


def test_a_context_beyond_the_profile_is_refused_as_capacities_refuse_it() -> None:
    long = replace(role().variant, engine=replace(ENGINE, max_model_len=131_072))
    found = refused(replace(alike(RoleAsked(long)), prompt_tokens=131_000, output_tokens=256))
    assert found.reason == "BeyondProfile"


@pytest.mark.parametrize("bad", [0, -1, math.nan, math.inf])
def test_numbers_that_mean_nothing_are_refused_with_their_option(bad: float) -> None:
    for field in ("ttft_p95_ms", "itl_p95_ms"):
        with pytest.raises(SpecError) as refusal:
            LatencyPromise(**{field: bad})
        assert refusal.value.field == f"--{field.removesuffix('_ms').replace('_', '-')}"
    for field in ("prompt_tokens", "output_tokens"):
        with pytest.raises(SpecError) as refusal:
            alike(role(), **{field: bad})
        assert refusal.value.field == f"--{field.removesuffix('_tokens')}"


@pytest.mark.parametrize("bad", [-1, math.nan, math.inf])
def test_a_price_that_is_none_is_refused(bad: float) -> None:
    with pytest.raises(SpecError):
        RoleAsked(role().variant, bad)


@pytest.mark.parametrize(
    ("value", "expected"), [(0.1234, "0.123 ms"), (23.04, "23 ms"), (384.1, "384 ms"), (1613.8, "1,614 ms")]
)
def test_milliseconds_are_read_without_a_power_of_ten(value: float, expected: str) -> None:
    assert milliseconds(value) == expected
