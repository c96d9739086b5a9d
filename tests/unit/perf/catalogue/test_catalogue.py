"""Every name finds its entry, every entry has its source, and the files are what their script writes."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
from models_document import models_document

from argosy.errors import SpecError
from argosy.perf.catalogue import (
    Gpu,
    Model,
    find_gpu,
    find_model,
    gpus,
    models,
    parse_gpus,
    parse_models,
)
from argosy.perf.protocol import OutOfRange, OutOfRangeReason
from argosy.snapshot.architecture import Dtype

REPOSITORY = Path(__file__).parents[4]
GPU_NAMES = [
    "H100", "H100-PCIe", "H200", "B200", "B300", "GB200", "GB300", "A100", "A100-40GB", "A100-PCIe",
    "L40S", "L4", "A10G", "A30", "T4", "RTX-PRO-6000", "MI300X", "MI325X", "MI355X", "H20", "H20-3e",
    "H100-NVL", "H200-NVL", "H800", "H800-PCIe", "GH200", "GH200-144GB", "A100-PCIe-40GB", "A800", "A10",
    "A16", "A40", "L20", "L40", "RTX-A5000", "RTX-A6000", "RTX-6000-Ada", "RTX-3090", "RTX-4090", "RTX-5090",
    "V100", "V100-32GB", "V100-PCIe", "V100-PCIe-32GB", "MI210", "MI250", "MI250X", "MI308X",
]  # fmt: skip
MIB = 1024 * 1024


def test_the_gpus_are_those_that_are_promised() -> None:
    assert [gpu.name for gpu in gpus()] == GPU_NAMES


@pytest.mark.parametrize("gpu", gpus(), ids=lambda gpu: gpu.name)
def test_a_gpu_is_found_by_every_name_in_any_spelling(gpu: Gpu) -> None:
    names = (gpu.name, gpu.product, *gpu.products, *gpu.aliases)
    spellings = {
        s for n in names for s in (n, n.lower(), n.upper(), n.replace("-", " "), n.replace("-", "_"))
    }
    assert {find_gpu(name) for name in spellings} == {gpu}


@pytest.mark.parametrize("gpu", gpus(), ids=lambda gpu: gpu.name)
def test_a_gpus_figures_are_of_one_kind_and_sourced(gpu: Gpu) -> None:
    assert gpu.source
    assert 2e11 <= gpu.memory_bytes_per_s < 1e13
    assert gpu.memory_bytes > 8e9
    # Dense peaks: half the width, twice the rate (Blackwell Ultra: FP4 three times FP8).
    if Dtype.FP8 in gpu.flops:
        assert gpu.flops[Dtype.FP8] / gpu.flops[Dtype.BF16] == pytest.approx(2.0, rel=0.02)
    if Dtype.FP4 in gpu.flops:
        assert 1.9 < gpu.flops[Dtype.FP4] / gpu.flops[Dtype.FP8] < 4.1
    # The ridge where compute takes over from memory lies at some hundred operations per byte; cards for
    # export (H20, MI308X) have much less compute.
    assert 30 < gpu.flops[Dtype.BF16] / gpu.memory_bytes_per_s < 500
    is_nvidia = gpu.vendor == "nvidia"
    assert is_nvidia == (gpu.compute_capability is not None)
    assert all(name.startswith(("NVIDIA-", "Tesla-") if is_nvidia else "AMD_") for name in gpu.products)


@pytest.mark.parametrize(
    ("name", "mib"),
    [("H100", 81_559), ("A100", 81_920), ("L40S", 46_068), ("B200", 183_359), ("H200", 143_771)],
)
def test_memory_is_what_the_driver_reports(name: str, mib: int) -> None:
    gpu = find_gpu(name)
    assert isinstance(gpu, Gpu)
    assert gpu.memory_bytes == mib * MIB


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("h100_sxm", "H100", id="a-system-file"),
        pytest.param("NVIDIA-H100-80GB-HBM3", "H100", id="a-node-label"),
        pytest.param("NVIDIA H100 80GB HBM3", "H100", id="a-device-name"),
        pytest.param("AMD_Instinct_MI300X_OAM", "MI300X", id="an-amd-label"),
        pytest.param("nvidia-tesla-t4", "T4", id="a-cloud-label"),
        pytest.param("rtx_pro_6000_server", "RTX-PRO-6000", id="a-long-system-file"),
        pytest.param("A100-SXM4-80GB", "A100", id="the-label-of-an-old-driver"),
        pytest.param("NVIDIA-GH200-480GB", "GH200", id="a-superchip"),
        pytest.param("NVIDIA-GeForce-RTX-4090", "RTX-4090", id="a-desktop-card"),
        pytest.param("NVIDIA-Tesla-V100-SXM2-32GB", "V100-32GB", id="a-vendor-before-tesla"),
    ],
)
def test_a_gpu_is_known_by_the_names_in_use(name: str, expected: str) -> None:
    gpu = find_gpu(name)
    assert isinstance(gpu, Gpu)
    assert gpu.name == expected


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("H1000", "H100"),
        ("H10", "H100"),
        ("NVIDIA-L40SX", "NVIDIA-L40S"),
        ("B20", "B200"),
        ("MI300", "MI300X"),
    ],
)
def test_a_mistyped_gpu_is_answered_with_the_nearest(name: str, nearest: str) -> None:
    answer = find_gpu(name)
    assert isinstance(answer, OutOfRange)
    assert (answer.reason, answer.nearest[0]) == (OutOfRangeReason.UNKNOWN_GPU, nearest)
    assert f"did you mean {nearest} (" in answer.message


def test_a_hint_contains_what_tells_a_similar_name_from_a_similar_card() -> None:
    answer = find_gpu("NVIDIA-H201")
    assert isinstance(answer, OutOfRange)
    assert "NVIDIA-H20 (96 GiB, 4 TB/s, 148 TFLOPS in 16 bits)" in answer.message
    assert "NVIDIA-H200 (140 GiB, 4.8 TB/s, 989 TFLOPS in 16 bits)" in answer.message
    assert "declared in spec.gpuSpec" in answer.message


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("lama-3.1-8b", "llama-3.1-8b"),
        ("llama-3.1-8b-instruct", "meta-llama/Llama-3.1-8B-Instruct"),
        ("gpt-oss-12b", "gpt-oss-120b"),
        ("Qwen/Qwen3-23B-A22B", "Qwen/Qwen3-235B-A22B"),
    ],
)
def test_a_mistyped_model_is_answered_with_the_nearest(name: str, nearest: str) -> None:
    answer = find_model(name)
    assert isinstance(answer, OutOfRange)
    assert answer.reason is OutOfRangeReason.UNKNOWN_MODEL
    assert nearest in answer.nearest
    assert len(answer.nearest) <= 3


def test_a_name_like_no_other_is_answered_with_all() -> None:
    gpu, model = find_gpu("abacus"), find_model("acme/tiny")
    assert isinstance(gpu, OutOfRange)
    assert isinstance(model, OutOfRange)
    assert gpu.nearest == model.nearest == ()
    assert all(name in gpu.message for name in GPU_NAMES)
    assert all(known.key in model.message for known in models())


def test_there_are_models_of_every_kind() -> None:
    shapes = [model.architecture for model in models()]
    assert len(shapes) >= 30
    kinds = {
        "dense": [a for a in shapes if not a.is_moe],
        "grouped queries": [a for a in shapes if not a.mla_kv_dim and a.kv_heads < a.attention_heads],
        "mixture of experts": [a for a in shapes if a.is_moe],
        "latent attention": [a for a in shapes if a.mla_kv_dim],
        "sliding windows": [a for a in shapes if a.sliding_window],
        "hybrid": [a for a in shapes if a.linear_layers],
    }
    assert {kind: len(found) > 1 for kind, found in kinds.items()} == dict.fromkeys(kinds, True)


@pytest.mark.parametrize("model", models(), ids=lambda model: model.key)
def test_a_model_is_found_by_its_key_and_by_each_checkpoint_in_its_own_type(model: Model) -> None:
    assert find_model(model.key) == model
    assert model.source
    for checkpoint in model.checkpoints:
        found = find_model(checkpoint.name.upper())
        assert isinstance(found, Model)
        assert (found.key, found.architecture) == (model.key, checkpoint.architecture)


@pytest.mark.parametrize(
    ("name", "dtype", "kv_dtype"),
    [
        ("meta-llama/Llama-3.3-70B-Instruct", Dtype.BF16, Dtype.BF16),
        ("nvidia/Llama-3.1-70B-Instruct-FP8", Dtype.FP8, Dtype.FP8),
        ("Qwen/Qwen3-32B-FP8", Dtype.FP8, Dtype.BF16),
        ("nvidia/Qwen3-235B-A22B-NVFP4", Dtype.FP4, Dtype.FP8),
        ("openai/gpt-oss-120b", Dtype.FP4, Dtype.BF16),
        ("moonshotai/Kimi-K2.5", Dtype.INT4, Dtype.BF16),
        ("deepseek-ai/DeepSeek-R1", Dtype.FP8, Dtype.BF16),
    ],
)
def test_a_checkpoint_carries_its_number_types(name: str, dtype: Dtype, kv_dtype: Dtype) -> None:
    model = find_model(name)
    assert isinstance(model, Model)
    assert (model.architecture.dtype, model.architecture.kv_dtype) == (dtype, kv_dtype)


def test_no_name_means_two_things() -> None:
    owners = {(name.lower(), model.key) for model in models() for name in (model.key, *model.names)}
    for gpu in gpus():
        owners |= {(n.lower().replace("_", "-"), gpu.name) for n in (gpu.name, *gpu.products, *gpu.aliases)}
    assert len({name for name, _ in owners}) == len(owners)


def test_the_document_of_the_models_reads_back() -> None:
    assert parse_models(models_document(models())) == models()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        pytest.param(lambda e: e.update(memory_bytes=0), "gpu.memory_bytes: must be a positive", id="zero"),
        pytest.param(lambda e: e.update(tdp_w=-1), "gpu.tdp_w: must be a positive", id="negative"),
        pytest.param(lambda e: e["flops"].update(bf16=float("nan")), "gpu.flops.bf16", id="nan"),
        pytest.param(lambda e: e["flops"].pop("bf16"), "gpu.flops.bf16", id="no-16-bit"),
        pytest.param(lambda e: e.pop("source"), "source", id="no-source"),
        pytest.param(lambda e: e["flops"].update(fp3=1.0), "fp3", id="no-such-type"),
    ],
)
def test_a_damaged_gpu_file_is_refused_with_the_place(damage: object, sentence: str) -> None:
    entry = json.loads((REPOSITORY / "operator/argosy/perf/catalogue/gpus.json").read_bytes())[0]
    assert callable(damage)
    damage(entry)
    with pytest.raises(SpecError, match=sentence):
        parse_gpus(json.dumps([entry]).encode())


@pytest.mark.parametrize("document", [b"", b"{", b"[1]", b'[{"key": "x"}]'])
def test_a_damaged_model_file_is_refused(document: bytes) -> None:
    with pytest.raises(SpecError, match="not a catalogue of models"):
        parse_models(document)


def test_the_model_file_is_what_the_script_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aiconfigurator_core", reason="needs the extra: pip install 'argosy[profiles]'")
    monkeypatch.syspath_prepend(str(REPOSITORY / "hack"))
    script = runpy.run_path(str(REPOSITORY / "hack" / "export_catalogue.py"))
    assert script["MODELS_FILE"].read_bytes() == script["catalogue"]()
