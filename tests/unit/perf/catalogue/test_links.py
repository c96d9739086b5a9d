"""Bytes between GPUs, and the profiles that links make possible: wider groups and pipelines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from perf_engines import table_of

import argosy.perf
from argosy.engine.coefficients import StepCoefficients
from argosy.engine.step_times import step_ms
from argosy.errors import SpecError
from argosy.perf.catalogue import Gpu, find_gpu
from argosy.perf.catalogue.links import Link, all_reduce_terms, gpu_links, transfer_ms
from argosy.perf.profile import Origin, Profile, ProfileKey, Shape, ValidRange
from argosy.perf.profiles.reshape import MeasuredWidths, pipeline_profile, wider_profile
from argosy.perf.profiles.tables import ProfileTables, parse_profiles
from argosy.perf.protocol import OutOfRange, OutOfRangeReason
from argosy.snapshot.architecture import Architecture, Dtype

LLAMA_8B = Architecture(32, 4096, 14_336, 32, 8, 128, 128_256, 8_030_261_248, 7_504_924_672, 131_072)
VALID = ValidRange(max_tokens=16_384, max_batch=512, max_context=16_384)
ONE = StepCoefficients(
    wn=20.0, f=0.06, q=3.0, c1=0.005, a0=0.3, a1=1.6e-4, a2=0.008, b0=0.11, b1=0.002, b2=1.5e-6
)


def gpu(nvlink_bytes_per_s: float | None = None) -> Gpu:
    return Gpu(
        name="L40S",
        products=("NVIDIA-L40S",),
        memory_bytes=46_068 << 20,
        memory_bytes_per_s=864e9,
        flops={Dtype.BF16: 362e12, Dtype.FP8: 733e12},
        nvlink_bytes_per_s=nvlink_bytes_per_s,
        pcie_bytes_per_s=32e9,
        network_bytes_per_s=50e9,
        gpus_per_node=8,
        tdp_w=350.0,
        vendor="nvidia",
        source="test",
    )


PCIE = gpu_links(gpu()).inside


def all_reduce_ms(num_bytes: float, num_gpus: int, link: Link) -> float:
    """Milliseconds until every GPU of the group has the sum of all their `num_bytes`."""
    latency_ms, ms_per_byte = all_reduce_terms(num_gpus, link)
    return latency_ms + num_bytes * ms_per_byte


@pytest.mark.parametrize(
    ("peak", "on_nvlink", "num_gpus", "megabytes", "measured_ms"),
    [
        # Collective tables of aiconfigurator-core 0.12.0, vLLM's custom all-reduce in a graph.
        pytest.param(450e9, True, 2, 8, 0.0495, id="H100, 2 GPUs, 8 MB"),
        pytest.param(450e9, True, 4, 2, 0.0219, id="H100, 4 GPUs, 2 MB"),
        pytest.param(450e9, True, 8, 2, 0.0304, id="H100, 8 GPUs, 2 MB"),
        pytest.param(450e9, True, 4, 32, 0.206, id="H100, 4 GPUs, 32 MB"),
        pytest.param(900e9, True, 4, 32, 0.127, id="B200, 4 GPUs, 32 MB"),
        pytest.param(64e9, False, 2, 8, 0.246, id="RTX PRO 6000, 2 GPUs, 8 MB"),
        pytest.param(64e9, False, 4, 8, 0.463, id="RTX PRO 6000, 4 GPUs, 8 MB"),
        pytest.param(64e9, False, 8, 32, 2.55, id="RTX PRO 6000, 8 GPUs, 32 MB"),
        pytest.param(32e9, False, 2, 8, 0.452, id="L40S, 2 GPUs, 8 MB"),
    ],
)
def test_all_reduces_take_as_long_as_measured(
    peak: float, on_nvlink: bool, num_gpus: int, megabytes: int, measured_ms: float
) -> None:
    links = gpu_links(replace(gpu(peak if on_nvlink else None), pcie_bytes_per_s=peak))

    # One latency and one rate per kind of link: a third either way is what that costs.
    assert all_reduce_ms(megabytes * 2**20, num_gpus, links.inside) == pytest.approx(measured_ms, rel=0.33)


def test_groups_that_reach_each_other_directly_are_not_charged_for_the_host() -> None:
    """Four L40S through the host took 13.6 ms for 32 MB; directly they do not."""
    assert all_reduce_ms(32 * 2**20, 4, PCIE) == pytest.approx(3.8, rel=0.05)


@pytest.mark.parametrize(
    ("num_gpus", "megabytes", "measured_ms"),
    [
        # The same tables: L40S of one machine without peer-to-peer.
        pytest.param(4, 2, 0.841, id="4 GPUs, 2 MB"),
        pytest.param(4, 8, 3.322, id="4 GPUs, 8 MB"),
        pytest.param(4, 64, 27.24, id="4 GPUs, 64 MB"),
        pytest.param(8, 2, 2.080, id="8 GPUs, 2 MB"),
        pytest.param(8, 8, 8.168, id="8 GPUs, 8 MB"),
        pytest.param(8, 64, 60.07, id="8 GPUs, 64 MB"),
    ],
)
def test_all_reduces_through_the_host_take_as_long_as_measured(
    num_gpus: int, megabytes: int, measured_ms: float
) -> None:
    found = find_gpu("L40S")
    assert isinstance(found, Gpu)
    taken = all_reduce_ms(megabytes * 2**20, num_gpus, gpu_links(found).inside)
    assert taken == pytest.approx(measured_ms, rel=0.11)


def test_a_lone_gpu_reduces_nothing() -> None:
    assert all_reduce_ms(1e9, 1, PCIE) == 0.0


def test_a_group_larger_than_a_node_goes_over_the_network() -> None:
    links = gpu_links(gpu(450e9))

    assert (links.of_group(8).name, links.of_group(16).name) == ("NVLink", "network")


@given(
    num_bytes=st.floats(0, 1e10),
    more=st.floats(0, 1e10),
    num_gpus=st.sampled_from([2, 4, 8]),
    on_nvlink=st.booleans(),
)
def test_more_bytes_and_more_gpus_never_take_less(
    num_bytes: float, more: float, num_gpus: int, on_nvlink: bool
) -> None:
    link = gpu_links(gpu(450e9 if on_nvlink else None)).inside

    assert transfer_ms(num_bytes, link) <= transfer_ms(num_bytes + more, link)
    taken = all_reduce_ms(num_bytes, num_gpus, link)
    assert taken <= all_reduce_ms(num_bytes + more, num_gpus, link)
    assert taken <= all_reduce_ms(num_bytes, 2 * num_gpus, link)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        pytest.param(lambda: Link("x", 0.0, 0.1), "link.bytes_per_s", id="no rate"),
        pytest.param(lambda: Link("x", float("nan"), 0.1), "link.bytes_per_s", id="a rate that is no number"),
        pytest.param(lambda: Link("x", 1e9, -1.0), "link.latency_ms", id="a negative latency"),
        pytest.param(lambda: transfer_ms(-1.0, PCIE), "num_bytes", id="negative bytes"),
        pytest.param(lambda: all_reduce_ms(1.0, 0, PCIE), "num_gpus", id="no GPU"),
    ],
)
def test_quantities_that_mean_nothing_are_refused(make: object, field: str) -> None:
    assert callable(make)
    with pytest.raises(SpecError) as refusal:
        make()
    assert refusal.value.field == field


def profile(tensor_parallel: int, source: StepCoefficients) -> Profile:
    key = ProfileKey("L40S", "llama-3.1-8b", Dtype.BF16, Shape(tensor_parallel))
    return Profile(key, Origin.TABLE, table_of(source), VALID, 0.05, "measured")


def split(width: int) -> StepCoefficients:
    """What a width would measure: 8 % of matrix time is not divided, all-reduces are added."""
    layers_bytes = 2 * LLAMA_8B.layers * 2 * LLAMA_8B.hidden_size
    latency = 2 * LLAMA_8B.layers * all_reduce_ms(0.0, width, PCIE)
    per_token = layers_bytes * (all_reduce_ms(1e6, width, PCIE) - all_reduce_ms(0.0, width, PCIE)) / 1e6
    share = 0.08 + 0.92 / width
    # Sharpness 1: the sum of reading and computing, so that what is added stays added.
    return replace(
        ONE,
        q=1.0,
        wn=ONE.wn * share + latency,
        f=ONE.f * share,
        c1=ONE.c1 * share + per_token,
        a1=ONE.a1 / width,
        b2=ONE.b2 / width,
    )


MEASURED = MeasuredWidths(profile(1, split(1)), profile(2, split(2)), PCIE)


@pytest.mark.parametrize("width", [4, 8])
def test_a_wider_group_is_found_from_two_narrower(width: int) -> None:
    made = wider_profile(MEASURED, LLAMA_8B, width, PCIE)

    assert isinstance(made, Profile)
    assert made.key.shape == Shape(width)
    expected = table_of(split(width))
    batch, chunks = np.array([1, 32, 256]), np.array([512, 2048, 8192])
    assert step_ms(made.step_times, batch, batch * 1024) == pytest.approx(
        step_ms(expected, batch, batch * 1024), rel=1e-6
    )
    prefills = np.stack([chunks, np.zeros(3)], axis=-1)[:, None, :]
    assert step_ms(made.step_times, np.zeros(3), np.zeros(3), prefills) == pytest.approx(
        step_ms(expected, np.zeros(3), np.zeros(3), prefills), rel=1e-6
    )


@given(batch=st.integers(1, 512), context=st.integers(1, 16_384))
def test_a_wider_group_decodes_slower_by_no_more_than_its_collectives(batch: int, context: int) -> None:
    made = wider_profile(MEASURED, LLAMA_8B, 4, PCIE)
    assert isinstance(made, Profile)
    num_bytes = 2 * LLAMA_8B.hidden_size * batch
    added = 2 * LLAMA_8B.layers * (all_reduce_ms(num_bytes, 4, PCIE) - all_reduce_ms(num_bytes, 2, PCIE))

    four = step_ms(made.step_times, batch, batch * context)
    two = step_ms(MEASURED.wide.step_times, batch, batch * context)

    assert four <= two + added + 1e-9


def test_a_faster_link_makes_a_faster_wider_group() -> None:
    fast = gpu_links(gpu(450e9)).inside
    slow_group, fast_group = (wider_profile(MEASURED, LLAMA_8B, 4, link) for link in (PCIE, fast))
    assert isinstance(slow_group, Profile)
    assert isinstance(fast_group, Profile)

    assert step_ms(fast_group.step_times, 64, 65_536) < step_ms(slow_group.step_times, 64, 65_536)


def test_a_width_that_does_not_divide_the_heads_is_refused_with_numbers() -> None:
    refused = wider_profile(MEASURED, LLAMA_8B, 3, PCIE)

    assert isinstance(refused, OutOfRange)
    assert refused.reason is OutOfRangeReason.IMPOSSIBLE_SHAPE
    assert "32 attention heads" in refused.message
    assert "3 GPUs" in refused.message


FREE = Link("free", 1e18, 0.0)


def test_one_stage_is_no_pipeline() -> None:
    single = profile(1, ONE)

    assert pipeline_profile(single, LLAMA_8B, 1, PCIE) is single


@pytest.mark.parametrize("stages", [2, 4])
def test_a_pipeline_gives_every_sequence_a_token_per_round_of_micro_batches(stages: int) -> None:
    """Links that cost nothing, layers that divide: B sequences take a round of t(B / stages)."""
    single = profile(1, ONE)
    made = pipeline_profile(single, LLAMA_8B, stages, FREE)
    assert isinstance(made, Profile)

    share = np.array([4, 32, 64])
    assert step_ms(made.step_times, share * stages, share * stages * 4096) == pytest.approx(
        step_ms(single.step_times, share, share * 4096), rel=1e-9
    )


def test_a_pipeline_of_few_sequences_is_as_slow_as_one_of_one() -> None:
    single = profile(1, ONE)
    made = pipeline_profile(single, LLAMA_8B, 4, FREE)
    assert isinstance(made, Profile)

    assert step_ms(made.step_times, 2, 2048) == pytest.approx(step_ms(single.step_times, 1, 1024), rel=1e-3)


def test_a_lone_prompt_passes_all_stages_and_every_hop() -> None:
    single, link = profile(1, ONE), Link("test", 10e9, 0.05)
    made = pipeline_profile(single, LLAMA_8B, 4, link)
    assert isinstance(made, Profile)
    hops = 3 * (transfer_ms(2048 * 4 * 4096, link) - 0.05) + 4 * 0.05

    assert step_ms(made.step_times, 0, 0, [(2048, 0)]) == pytest.approx(
        step_ms(single.step_times, 0, 0, [(2048, 0)]) + hops
    )


def test_an_uneven_pipeline_waits_for_its_largest_stage() -> None:
    """32 layers in 3 stages: 11, 11 and 10, so a round is that of 33."""
    single = profile(1, ONE)
    made = pipeline_profile(single, LLAMA_8B, 3, FREE)
    assert isinstance(made, Profile)

    assert step_ms(made.step_times, 0, 0, [(512, 0)]) == pytest.approx(
        33 / 32 * step_ms(single.step_times, 0, 0, [(512, 0)])
    )


@given(
    batch=st.integers(1, 511),
    context=st.integers(1, 16_000),
    chunk=st.integers(0, 7000),
    stages=st.integers(2, 8),
)
def test_a_pipeline_takes_longer_for_more_of_anything(
    batch: int, context: int, chunk: int, stages: int
) -> None:
    made = pipeline_profile(profile(1, ONE), LLAMA_8B, stages, PCIE)
    assert isinstance(made, Profile)
    times = made.step_times.step_times(8192, 512)

    def ms(batch: int, context: int, chunk: int) -> float:
        return float(step_ms(times, batch, batch * context, [(chunk, 0)]))

    taken = ms(batch, context, chunk)
    assert 0 < taken <= ms(batch, context + 100, chunk) + 1e-9
    assert taken <= ms(batch, context, chunk + 100) + 1e-9
    assert taken <= ms(batch + 1, context, chunk) + 1e-9


def test_a_pipeline_is_also_made_of_arrays_for_a_larger_engine() -> None:
    single = profile(1, ONE)
    arrays = replace(single, step_times=single.step_times.step_times(8192, 256))
    small, expected = (
        made.step_times.step_times(512, 64)
        for source in (arrays, single)
        if isinstance(made := pipeline_profile(source, LLAMA_8B, 2, PCIE), Profile)
    )

    assert small.digest() == expected.digest()


def test_more_stages_than_layers_are_refused() -> None:
    refused = pipeline_profile(profile(1, ONE), LLAMA_8B, 33, PCIE)

    assert isinstance(refused, OutOfRange)
    assert "32 layers" in refused.message
    assert "33" in refused.message


@pytest.fixture(scope="module")
def tables() -> ProfileTables:
    data = Path(argosy.perf.__file__).parent / "data"
    return parse_profiles((data / "profiles.json").read_bytes(), (data / "profiles.npz").read_bytes())


def measured(tables: ProfileTables, gpu_name: str, width: int) -> Profile:
    found = tables.profile(ProfileKey(gpu_name, "llama-3.1-8b", Dtype.BF16, Shape(width)))
    assert isinstance(found, Profile)
    return found


@pytest.mark.parametrize("gpu_name", ["H100", "A100", "B200", "RTX-PRO-6000"])
def test_a_wider_group_is_near_the_table_where_it_was_measured(tables: ProfileTables, gpu_name: str) -> None:
    """Decode, held out; the median over all shipped TP 4 is 8 %, the worst of these four 12 %."""
    found = find_gpu(gpu_name)
    assert isinstance(found, Gpu)
    link = gpu_links(found).inside
    narrow = MeasuredWidths(measured(tables, gpu_name, 1), measured(tables, gpu_name, 2), link)
    made = wider_profile(narrow, LLAMA_8B, 4, link)
    assert isinstance(made, Profile)
    batch = np.array([1, 8, 32, 64, 128, 256])
    truth = step_ms(measured(tables, gpu_name, 4).step_times, batch, batch * 1024)

    ratio = step_ms(made.step_times, batch, batch * 1024) / truth

    assert np.abs(ratio - 1).mean() < 0.15


def test_four_l40s_decode_faster_than_two_and_prefill_no_slower_than_one(tables: ProfileTables) -> None:
    """On the machine without peer-to-peer four took 1,929 ms for 8,192 tokens, one 604 ms."""
    narrow = MeasuredWidths(measured(tables, "L40S", 1), measured(tables, "L40S", 2), PCIE)
    four = wider_profile(narrow, LLAMA_8B, 4, PCIE)
    assert isinstance(four, Profile)

    for batch in (1, 8, 64, 256):
        taken = [step_ms(p.step_times, batch, batch * 1024) for p in (four, narrow.wide, narrow.narrow)]
        assert taken == sorted(taken), batch
    prefills = [step_ms(p.step_times, 0, 0, [(8192, 0)]) for p in (four, narrow.narrow)]
    assert prefills == sorted(prefills)
