"""Memory beside weights and KV, judged by start-up logs of vLLM that it was not fitted to."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest
from kv_lines import kv_lines, other_cards
from memory_cases import LLAMA_8B, architecture, gpu_of, variant

from argosy.perf.footprint.working_memory import num_capture_sizes, usable_bytes, working_memory
from argosy.snapshot import EngineSettings

HELD_OUT = kv_lines()[1::2]


def test_there_are_thirty_logs_and_more() -> None:
    assert len(kv_lines()) + len(other_cards()) >= 40


def test_kv_tokens_are_within_3_percent_at_the_median_and_8_at_worst_on_logs_held_out() -> None:
    errors = {line.name: line.error() for line in HELD_OUT}
    assert statistics.median(abs(line.error()) for line in HELD_OUT) < 0.005
    assert {name: error for name, error in errors.items() if abs(error) > 0.04} == {}


def test_other_cards_and_releases_are_within_5_percent() -> None:
    errors = {card.name: card.error() for card in other_cards()}
    assert statistics.median(map(abs, errors.values())) < 0.03
    assert {name: error for name, error in errors.items() if abs(error) > 0.05} == {}


@pytest.mark.parametrize("line", HELD_OUT, ids=lambda line: f"{line.name}-tp{line.variant.tensor_parallel}")
def test_each_part_is_what_the_log_says(line: object) -> None:
    assert isinstance(line, type(HELD_OUT[0]))
    found = working_memory(line.architecture, line.gpu, line.variant)
    assert found.activations / 2**30 == pytest.approx(line.activation_gib, abs=0.7)
    assert found.cuda / 2**30 == pytest.approx(line.non_torch_gib, abs=0.25)
    assert found.graphs == 0, "0.19 does not subtract them"


@pytest.mark.parametrize(
    ("gpu", "gib"),
    [
        ("H100", 79.19),
        ("H200", 139.8),
        ("A100", 79.25),
        ("L40S", 44.39),
        ("A10G", 22.07),
        ("L4", 22.04),
        ("RTX-4090", 23.52),
        ("RTX-5090", 31.36),
        ("RTX-PRO-6000", 94.97),
        ("RTX-A6000", 47.4),
    ],
)
def test_memory_is_what_cuda_gives_of_the_card(gpu: str, gib: float) -> None:
    """As logs print it: "Free memory on device (78.68/79.19 GiB) on startup"."""
    assert usable_bytes(gpu_of(gpu)) / 2**30 == pytest.approx(gib, rel=0.003)


def test_of_other_makers_all_of_it_is_given() -> None:
    assert usable_bytes(gpu_of("MI300X")) == gpu_of("MI300X").memory_bytes


def test_until_0_16_the_sampler_holds_more() -> None:
    """Qwen3-14B at 1,024 sequences: 5.64 GiB in 0.16, 2.23 in 0.17."""
    engine = EngineSettings(max_num_seqs=1024, max_num_batched_tokens=8192)
    peaks = {}
    for release in ("0.15.0", "0.16.0", "0.17.0", "0.18.0"):
        asked = variant("H100", "Qwen/Qwen3-14B", 1, replace(engine, image=f"vllm/vllm-openai:v{release}"))
        found = working_memory(architecture("Qwen/Qwen3-14B"), gpu_of("H100"), asked)
        peaks[release] = round(found.activations / 2**30, 1)
    assert peaks == {"0.15.0": 5.6, "0.16.0": 5.6, "0.17.0": 2.3, "0.18.0": 2.3}


def graphs_gib(image: str, **engine: object) -> float:
    asked = variant("H100", LLAMA_8B, 1, EngineSettings(image=image, **engine))  # type: ignore[arg-type]
    return working_memory(architecture(LLAMA_8B), gpu_of("H100"), asked).graphs / 2**30


def test_from_0_21_graphs_are_subtracted_unless_there_are_none() -> None:
    """0.84 GiB is what vLLM estimates for it in 0.19, where it is only logged."""
    assert graphs_gib("vllm/vllm-openai:v0.20.1", max_num_seqs=1024) == 0
    assert graphs_gib("vllm/vllm-openai:v0.21.0", max_num_seqs=1024) == pytest.approx(0.7, abs=0.15)
    assert graphs_gib("vllm/vllm-openai:v0.21.0", max_num_seqs=1024, args=("--enforce-eager",)) == 0
    assert graphs_gib("a/build-of-ours:latest", max_num_seqs=1024) > 0, "the newest release is assumed"


@pytest.mark.parametrize(
    ("sequences", "sizes"),
    [
        pytest.param(1024, 51, id="up to 512"),
        pytest.param(256, 51, id="twice the sequences"),
        pytest.param(128, 35, id="up to 256"),
        pytest.param(32, 11, id="up to 64"),
        pytest.param(8, 5, id="up to 16"),
        pytest.param(1, 2, id="1 and 2"),
    ],
)
def test_graphs_are_captured_of_as_many_batches_as_logs_say(sequences: int, sizes: int) -> None:
    """ "Profiling CUDA graph memory: PIECEWISE=51 (largest=512)", 35 (256), 11 (64), 5 (16)."""
    assert num_capture_sizes(sequences) == sizes
