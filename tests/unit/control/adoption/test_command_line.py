"""What an engine's command line tells, and what it does not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.api.servedmodel import ParallelShape
from argosy.control.adoption.command_line import CommandLine, NotKnown, command_line
from argosy.control.adoption.settings import Running, engine_of
from argosy.keys import ModelKey
from argosy.manifests.engine_args import engine_args
from argosy.snapshot import Dtype, EngineSettings, Variant

NEEDED = "--max-model-len 4096 --max-num-seqs=64 --max_num_batched_tokens 2048 --gpu-memory-utilization 0.85"


def read(container: dict[str, Any], added: str = "") -> Running:
    line = command_line(container, added)
    assert isinstance(line, CommandLine), line
    found = engine_of(line, "vllm/vllm-openai:v0.10.0")
    assert isinstance(found, Running), found
    return found


def problem(container: dict[str, Any], added: str = "") -> str:
    line = command_line(container, added)
    found = engine_of(line, "i") if isinstance(line, CommandLine) else line
    assert isinstance(found, NotKnown), found
    return found.message


@pytest.mark.parametrize(
    "container",
    [
        pytest.param({"args": f"--model a/b {NEEDED}".split()}, id="the image's command, --model"),
        pytest.param({"args": f"a/b {NEEDED}".split()}, id="the image's command, the model as first word"),
        pytest.param({"command": ["vllm", "serve", "a/b"], "args": NEEDED.split()}, id="vllm serve"),
        pytest.param({"command": ["/usr/bin/vllm", "serve", "a/b", *NEEDED.split()]}, id="with its path"),
        pytest.param(
            {
                "command": ["python3", "-m", "vllm.entrypoints.openai.api_server"],
                "args": f"--model=a/b {NEEDED}".split(),
            },
            id="the module",
        ),
        pytest.param(
            {"command": ["/bin/sh", "-c"], "args": [f"vllm serve a/b \\\n  {NEEDED}"]}, id="a shell's word"
        ),
        pytest.param({"command": ["bash", "-c", f"exec vllm serve 'a/b' {NEEDED}"]}, id="exec in a shell"),
        pytest.param(
            {"args": f"--model $(MODEL) {NEEDED}".split(), "env": [{"name": "MODEL", "value": "a/b"}]},
            id="a variable of the template",
        ),
    ],
)
def test_every_usual_form_of_the_command_is_read(container: dict[str, Any]) -> None:
    found = read(container)
    assert (found.model_id, found.served_names) == ("a/b", ("a/b",))
    assert found.shape == ParallelShape(tensor_parallel=1)
    assert found.engine == EngineSettings(
        image="vllm/vllm-openai:v0.10.0",
        max_model_len=4096,
        max_num_seqs=64,
        max_num_batched_tokens=2048,
        gpu_memory_utilization=0.85,
    )


def test_short_forms_lists_and_other_arguments_are_read() -> None:
    args = f"a/b {NEEDED} -tp 4 -pp=2 -q fp8 --kv-cache-dtype fp8_e4m3 --served-model-name x y"
    found = read({"args": f"{args} --seed 7 --port 81 --enable-lora --max-loras 3".split()})
    assert found.shape == ParallelShape(tensor_parallel=4, pipeline_parallel=2)
    assert found.served_names == ("x", "y")
    engine = found.engine
    assert (engine.quantization, engine.kv_cache_dtype) == (Dtype("fp8"), Dtype("fp8"))
    assert (engine.max_loras, engine.port, engine.args) == (3, 81, ("--seed", "7"))


@pytest.mark.parametrize(
    ("word", "tokens"), [("32k", 32_000), ("32K", 32_768), ("25.6k", 25_600), ("1M", 1_048_576)]
)
def test_numbers_with_a_suffix_are_read_as_vllm_does(word: str, tokens: int) -> None:
    found = read({"args": f"a/b {NEEDED} --max-model-len {word}".split()})
    assert found.engine.max_model_len == tokens


def test_the_annotations_arguments_override_the_templates() -> None:
    found = read({"args": f"a/b {NEEDED}".split()}, "--max-num-seqs=128")
    assert found.engine.max_num_seqs == 128


@pytest.mark.parametrize(
    ("container", "added", "expected"),
    [
        ({"args": NEEDED.split()}, "", "its command line names no model"),
        ({"args": ["a/b", "--max-model-len=4096"]}, "", "--max-num-seqs, --max-num-batched-tokens"),
        ({"args": ["a/b"]}, "--x 'y", 'annotation argosy.dev/adopt-args: "--x \'y" cannot be split'),
        ({"command": ["python", "server.py"]}, "", "its command is 'python server.py'; vllm serve is needed"),
        ({"command": ["sh", "-c", "sleep 1; vllm serve a/b"]}, "", "a shell script of several parts"),
        ({"command": ["sh", "-c", "vllm serve 'a/b"]}, "", "its shell command cannot be split into words"),
        ({"args": f"a/b {NEEDED} --port $(PORT)".split()}, "", "--port has the value '$(PORT)'"),
        ({"args": f"a/b {NEEDED} --port \u00b2".split()}, "", "--port has the value '\u00b2'"),
        ({"args": f"a/b {NEEDED} --host 127.0.0.1".split()}, "", "--host is 127.0.0.1, which Envoys do not"),
        ({"args": f"a/b {NEEDED} --host=localhost".split()}, "", "--host is localhost, which Envoys do not"),
        ({"args": ["a/b", "--config", "f.yaml"]}, "", "the argument --config holds settings in a file"),
        ({"args": ["a/b", "--ssl-keyfile=k"]}, "", "Envoys speak plain HTTP"),
        ({"args": f"a/b {NEEDED} --quantization awq".split()}, "", "--quantization has the value 'awq'"),
        ({"args": f"a/b {NEEDED} -tp 3".split()}, "", "--tensor-parallel-size has the value 3"),
        ({"args": f"a/b {NEEDED} --max-num-seqs 1e9".split()}, "", "--max-num-seqs has the value 1000000000"),
        ({"args": f"a/b {NEEDED} --max-model-len auto".split()}, "", "--max-model-len has the value 'auto'"),
        (
            {"args": f"a/b {NEEDED} --max-model-len 25.6K".split()},
            "",
            "--max-model-len has the value '25.6K'",
        ),
        ({"args": f"a/b {NEEDED} --max-model-len $(L)".split()}, "", "--max-model-len has the value '$(L)'"),
    ],
)
def test_what_is_not_known_is_a_sentence_and_never_a_guess(
    container: dict[str, Any], added: str, expected: str
) -> None:
    assert expected in problem(container, added)


def test_an_absent_flag_names_the_annotation_that_gives_it() -> None:
    said = problem({"args": f"a/b {NEEDED}".replace("--max-num-seqs=64", "").split()})
    assert said.startswith("--max-num-seqs is not among its arguments")
    assert said.endswith(
        "the annotation argosy.dev/adopt-args of the Deployment, such as '--max-num-seqs=256'"
    )


@given(
    engine=st.builds(
        EngineSettings,
        image=st.just("vllm/vllm-openai:v0.10.0"),
        port=st.integers(1, 65535),
        max_num_seqs=st.integers(1, 64),
        max_num_batched_tokens=st.integers(64, 131072),
        max_model_len=st.integers(256, 1048576),
        gpu_memory_utilization=st.sampled_from([0.1, 0.5, 0.9]),
        quantization=st.sampled_from([None, Dtype("fp8")]),
        kv_cache_dtype=st.sampled_from([None, Dtype("fp8")]),
        max_loras=st.integers(0, 3),
        args=st.sampled_from([(), ("--seed", "7"), ("--enable-prefix-caching",)]),
    ),
    tensor_parallel=st.sampled_from([1, 2, 4, 8]),
    names=st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, unique=True).map(tuple),
)
def test_what_argosy_itself_would_start_is_read_back(
    engine: EngineSettings, tensor_parallel: int, names: tuple[str, ...]
) -> None:
    variant = Variant(ModelKey("d/m"), "org/model", names, "pool", "L40S", tensor_parallel, engine)
    found = read({"args": engine_args(variant)})
    assert (found.model_id, found.served_names) == ("org/model", names)
    assert found.shape.tensor_parallel == tensor_parallel
    assert found.engine == engine
