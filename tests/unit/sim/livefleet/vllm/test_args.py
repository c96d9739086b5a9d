"""vLLM's command line as pods carry it, and which engine it gives on which GPU."""

from __future__ import annotations

import pytest

from argosy.perf import LibraryPerfModel, shipped_library
from argosy_sim.livefleet.vllm.args import BadArgs, VllmArgs, is_engine, parse_args
from argosy_sim.livefleet.vllm.profiles import CannotStart, Hardware, Profiles
from argosy_sim.livefleet.vllm.server import EngineProfile

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
L40S = Hardware("NVIDIA-L40S", 1)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        pytest.param(
            ["--model", MODEL], VllmArgs(MODEL, (MODEL,)), id="a model is served under its own name"
        ),
        pytest.param(
            ["vllm", "serve", f"--model={MODEL}", "--served-model-name", "a", "b", "--port=8001"],
            VllmArgs(MODEL, ("a", "b"), port=8001),
            id="a command, both ways to give a value, several names",
        ),
        pytest.param(
            ["--model", MODEL, "--max_model_len", "16K", "--max-num-batched-tokens", "4k", "-tp", "2"],
            VllmArgs(MODEL, (MODEL,), max_model_len=16_384, max_num_batched_tokens=4_000, tensor_parallel=2),
            id="underscores, sizes with a letter, a short option",
        ),
        pytest.param(
            ["--model", MODEL, "--trust-remote-code", "--dtype", "bfloat16"],
            VllmArgs(MODEL, (MODEL,), ignored=("--trust-remote-code", "--dtype bfloat16")),
            id="options without a meaning here are kept for the log",
        ),
        pytest.param(
            ["--model", MODEL, "--no-enable-prefix-caching", "--enable_prompt_tokens_details"],
            VllmArgs(MODEL, (MODEL,), enable_prefix_caching=False, enable_prompt_tokens_details=True),
            id="a switch that is on by default, and one that is off",
        ),
        pytest.param(
            ["--model", MODEL, "--no-enable-prefix-caching", "--enable-prefix-caching"],
            VllmArgs(MODEL, (MODEL,)),
            id="of a switch set twice the last one counts",
        ),
    ],
)
def test_a_command_line_is_read_as_vllm_does(args: list[str], expected: VllmArgs) -> None:
    assert parse_args(args) == expected


@pytest.mark.parametrize(
    ("args", "words"),
    [
        pytest.param(["--port", "8000"], "--model: expected one name", id="no model"),
        pytest.param(["--model"], "--model: expected one name", id="a model without a name"),
        pytest.param(["--model", MODEL, "--port", "0"], "--port: expected one whole", id="port zero"),
        pytest.param(["--model", MODEL, "--port", "70000"], "70000 is not a port", id="port too high"),
        pytest.param(
            ["--model", MODEL, "--gpu-memory-utilization", "1.5"],
            "--gpu-memory-utilization: expected a number in (0, 1], got '1.5'",
            id="more memory than there is",
        ),
        pytest.param(
            ["--model", MODEL, "--max-num-seqs", "512", "--max-num-batched-tokens", "256"],
            "greater than or equal to max_num_seqs (512)",
            id="a budget smaller than the batch",
        ),
    ],
)
def test_a_bad_command_line_says_what_is_wrong(args: list[str], words: str) -> None:
    answer = parse_args(args)
    assert isinstance(answer, BadArgs)
    assert words in answer.message


def test_only_a_container_with_a_model_is_an_engine() -> None:
    assert is_engine(["--model=x"])
    assert not is_engine(["sleep", "1d", "--models"])


def profiles(load_s: float | None = None) -> Profiles:
    return Profiles(LibraryPerfModel(shipped_library(), {}), load_s)


def test_an_l40s_runs_an_8b_model_with_the_kv_cache_that_is_left() -> None:
    profile = profiles().resolve(VllmArgs(MODEL, ("chat",), max_num_seqs=128), L40S)
    assert isinstance(profile, EngineProfile)
    assert profile.served_names == ("chat",)
    assert profile.limits.max_num_seqs == 128
    # 0.9 of 44.4 GiB without 15 GiB of weights and about 2 beside them, at 128 KiB a token.
    assert profile.limits.kv_tokens == pytest.approx(192_000, rel=0.02)


@pytest.mark.parametrize("switches", [[], ["--no-enable-prefix-caching", "--enable-prompt-tokens-details"]])
def test_an_engine_shares_blocks_unless_its_arguments_forbid_it(switches: list[str]) -> None:
    args = parse_args(["--model", MODEL, "--served-model-name", "chat", *switches])
    assert isinstance(args, VllmArgs)
    profile = profiles().resolve(args, L40S)
    assert isinstance(profile, EngineProfile)
    assert profile.limits.prefix_caching == (not switches)
    assert profile.prompt_tokens_details == bool(switches)


def test_the_load_delay_follows_from_the_weights() -> None:
    profile = profiles().resolve(VllmArgs(MODEL, ("chat",)), L40S)
    assert isinstance(profile, EngineProfile)
    # 8.03 billion parameters of two bytes at 2 GB/s, and 10 s.
    assert profiles().load_s(profile) == pytest.approx(18.03, abs=0.01)
    assert profiles(0.2).load_s(profile) == 0.2


@pytest.mark.parametrize(
    ("args", "hardware", "words"),
    [
        pytest.param(VllmArgs("acme/tiny", ("t",)), L40S, "not in the catalogue", id="unknown model"),
        pytest.param(VllmArgs(MODEL, ("c",)), Hardware("ACME-1", 1), 'GPU "ACME-1"', id="unknown GPU"),
        pytest.param(
            VllmArgs(MODEL, ("c",), tensor_parallel=2), L40S, "World size (2)", id="fewer GPUs than ranks"
        ),
        pytest.param(VllmArgs(MODEL, ("c",)), Hardware("NVIDIA-L40S", 0), "GPUs (0)", id="no GPU limit"),
        pytest.param(
            VllmArgs(MODEL, ("c",), max_model_len=130_000, gpu_memory_utilization=0.7),
            L40S,
            "do not fit",
            id="a context beyond the cache",
        ),
        pytest.param(
            VllmArgs(MODEL, ("c",), max_model_len=400_000),
            L40S,
            "was trained for 131072 positions",
            id="a context beyond the trained one",
        ),
    ],
)
def test_an_engine_that_cannot_start_has_a_reason(args: VllmArgs, hardware: Hardware, words: str) -> None:
    answer = profiles().resolve(args, hardware)
    assert isinstance(answer, CannotStart)
    assert words in answer.message
