"""Parts of a card: MIG slices and shares are never faster nor larger than it, and sized as drivers do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.arrays import Floats
from argosy.engine.step_times import step_ms
from argosy.keys import ModelKey
from argosy.perf import LibraryPerfModel, shipped_library
from argosy.perf.catalogue import Gpu, Model, find_gpu, find_model, gpus
from argosy.perf.protocol import OutOfRange, OutOfRangeReason, TooLarge
from argosy.snapshot import Dtype, EngineSettings, Variant

PERF = LibraryPerfModel(shipped_library(), {})
PARTS = [f"{gpu.name}-MIG-{profile}" for gpu in gpus() for profile in gpu.mig] + [
    f"{name}-SHARED-{sharers}"
    for name in ("L4", "A16", "H100", "MI300X", "H100-MIG-3g.40gb")
    for sharers in (2, 7)
]


def gpu(name: str) -> Gpu:
    found = find_gpu(name)
    assert isinstance(found, Gpu), found
    return found


def replica(name: str, model: str = "llama-3.1-8b", tp: int = 1, dtype: Dtype | None = None) -> Variant:
    engine = EngineSettings(max_model_len=2048, quantization=dtype)
    return Variant(ModelKey(""), model, (), "", name, tp, engine)


@pytest.mark.parametrize("name", PARTS)
def test_a_part_has_at_most_what_its_card_has(name: str) -> None:
    part = gpu(name)
    card = gpu(part.part_of)
    assert part.memory_bytes <= card.memory_bytes
    assert part.memory_bytes_per_s <= card.memory_bytes_per_s
    assert set(part.flops) == set(card.flops)
    assert all(rate <= card.flops[dtype] for dtype, rate in part.flops.items())
    assert part.tdp_w <= card.tdp_w
    assert part.nvlink_bytes_per_s is None


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(PARTS),
    model=st.sampled_from(["llama-3.1-8b", "qwen3-32b"]),
    dtype=st.sampled_from([None, Dtype.FP8]),
    batch=st.integers(1, 128),
    context=st.integers(1, 8192),
    prompt=st.integers(1, 4096),
)
def test_a_part_is_never_faster_than_its_card(
    name: str, model: str, dtype: Dtype | None, batch: int, context: int, prompt: int
) -> None:
    part, card = (
        lone_steps_ms(replica(each, model, dtype=dtype), batch, context, prompt) for each in both(name)
    )
    assert np.all(part >= card * (1 - 1e-9))


def both(name: str) -> tuple[str, str]:
    return name, gpu(name).part_of


def lone_steps_ms(variant: Variant, batch: int, context: int, prompt: int) -> Floats:
    """A step that decodes a batch, and one of a prompt alone."""
    found = PERF.step_times(variant)
    assert not isinstance(found, OutOfRange)
    decode, prefill = step_ms(found, batch, batch * context), step_ms(found, 0, 0, [(prompt, 0)])
    return np.array([float(decode), float(prefill)])


@pytest.mark.parametrize(
    ("name", "mib"),
    [
        pytest.param("A100-40GB-MIG-1g.5gb", 4864, id="A100-40GB-1g"),
        pytest.param("A100-40GB-MIG-3g.20gb", 20096, id="A100-40GB-3g"),
        pytest.param("A100-MIG-1g.10gb", 9728, id="A100-1g"),
        pytest.param("A100-MIG-2g.20gb", 19968, id="A100-2g"),
        pytest.param("A100-MIG-7g.80gb", 81152, id="A100-7g"),
        pytest.param("H100-MIG-3g.40gb", 40448, id="H100-3g"),
        pytest.param("A30-MIG-2g.12gb", 11968, id="A30-2g"),
    ],
)
def test_a_slices_memory_is_not_above_what_nvidia_smi_shows_and_not_far_below(name: str, mib: int) -> None:
    assert 0.95 * mib < gpu(name).memory_bytes / 2**20 <= mib


@pytest.mark.parametrize(
    ("label", "name"),
    [
        pytest.param("NVIDIA-H100-80GB-HBM3-MIG-3g.40gb", "H100-MIG-3g.40gb", id="single-strategy"),
        pytest.param("NVIDIA-A30-MIG-1g.6gb", "A30-MIG-1g.6gb", id="quarters"),
        pytest.param("NVIDIA-A100-SXM4-80GB-MIG-1g.10gb.me", "A100-MIG-1g.10gb", id="media-engine"),
        pytest.param("nvidia_h100_nvl_mig_1g.12gb", "H100-NVL-MIG-1g.12gb", id="another-spelling"),
        pytest.param("L4-SHARED-4", "L4-SHARED-4", id="share"),
        pytest.param("H100-MIG-1g.10gb-SHARED-2", "H100-MIG-1g.10gb-SHARED-2", id="share-of-a-slice"),
    ],
)
def test_a_part_is_known_by_the_names_in_use(label: str, name: str) -> None:
    assert gpu(label).name == name


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("H100-MIG-3g.50gb", 'H100 has no MIG profile "3g.50gb" in the catalogue; its profiles are 1g.10gb'),
        ("L4-MIG-1g.5gb", "MIG does not divide this card"),
        ("H100-MIG-1c.3g.40gb", 'has no MIG profile "1c.3g.40gb"'),
        ("NVIDIA-L4-SHARED", "name L4 and set spec.sharing.replicasPerGpu"),
    ],
)
def test_a_part_that_is_none_is_refused_and_its_card_is_not_proposed_in_its_place(
    name: str, says: str
) -> None:
    found = find_gpu(name)
    assert isinstance(found, OutOfRange)
    assert says in found.message
    assert "did you mean" not in found.message


@pytest.mark.parametrize("name", ["H100-MIG-3g.40gb", "L4-SHARED-2"])
def test_no_replica_spans_parts(name: str) -> None:
    found = PERF.fits(replica(name, tp=2))
    assert isinstance(found, OutOfRange)
    assert found.reason is OutOfRangeReason.IMPOSSIBLE_SHAPE
    assert f"{name} is a part of a card" in found.message


def test_what_does_not_fit_on_a_part_is_not_sent_to_several_parts() -> None:
    found = PERF.fits(replica("H100-MIG-1g.10gb"))
    assert isinstance(found, TooLarge)
    assert "use a larger part, or whole cards" in found.message
    assert found.nearest == ()


def test_a_share_of_a_card_has_its_share_of_the_memory_whatever_the_utilisation() -> None:
    whole, share = (replica(name, "llama-3.2-3b") for name in ("H100", "H100-SHARED-2"))
    assert share.engine.gpu_memory_utilization > 0.5
    half = replace(whole, engine=replace(whole.engine, gpu_memory_utilization=0.5))
    assert PERF.fits(share) == PERF.fits(half)


@pytest.mark.parametrize(
    ("name", "dtype", "says"),
    [
        ("V100", Dtype.FP8, "compute capability 7.5, and V100 has 7.0"),
        ("V100", Dtype.INT4, "compute capability 7.5, and V100 has 7.0"),
        ("MI250X", Dtype.FP8, "hardware for FP8, and MI250X has none"),
    ],
)
def test_weights_without_a_kernel_are_refused(name: str, dtype: Dtype, says: str) -> None:
    found = PERF.fits(replica(name, "llama-3.2-3b", dtype=dtype))
    assert isinstance(found, OutOfRange)
    assert found.reason is OutOfRangeReason.NUMBER_TYPE
    assert says in found.message


@pytest.mark.parametrize(
    ("model", "is_refused"),
    [("google/gemma-3-27b-it", True), ("google/gemma-2-9b-it", True), ("zai-org/GLM-4.5", False)],
)
def test_models_that_overflow_in_float16_are_refused_where_there_is_no_bfloat16(
    model: str, is_refused: bool
) -> None:
    architecture = find_model("llama-3.2-3b")
    assert isinstance(architecture, Model)
    asked = replace(replica("T4", model), architecture=architecture.architecture)
    assert (getattr(PERF.fits(asked), "reason", None) is OutOfRangeReason.NUMBER_TYPE) is is_refused


@pytest.mark.parametrize("name", ["V100-32GB", "T4", "MI210"])
def test_a_16_bit_checkpoint_runs_by_vllms_cast(name: str) -> None:
    assert not isinstance(PERF.fits(replica(name, "llama-3.2-3b")), OutOfRange)
