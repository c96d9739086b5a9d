"""Arguments of `spec.engine.args`: which are vLLM's, in which version, and which are reserved."""

from __future__ import annotations

import pytest
from builders import parsed
from hypothesis import given
from hypothesis import strategies as st

from argosy.api import InvalidObject, ServedModel
from argosy.api.engine.reserved import RESERVED
from argosy.api.engine.vllm_flags import args_fault, flag_table, unjudged_args, vllm_version
from argosy.api.engine_flags import ENGINE_FLAGS
from argosy.api.servedmodel import Engine

DEFAULT = Engine().image


def fault(*args: str, image: str = DEFAULT) -> str:
    return args_fault(args, image) or ""


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("vllm/vllm-openai:v0.24.0", "0.24"),
        ("registry.example.com:5000/team/vllm-openai:v0.30.1-cu129", "0.30"),
        ("vllm/vllm-openai:v0.27.0@sha256:0123", "0.27"),
        ("vllm/vllm-openai:0.32.0.post1", "0.32"),
        ("vllm/vllm-openai:latest", None),
        ("vllm/vllm-openai", None),
        ("vllm/vllm-openai@sha256:0123", None),
        ("vllm/vllm-openai:v0.10.0", None),
        ("vllm/vllm-openai:v0.99.0", None),
        ("registry.example.com/my-engine:0.25.3", None),
        ("registry.example.com:5000/vllm", None),
    ],
)
def test_a_version_is_the_tags_of_a_vllm_image(image: str, version: str | None) -> None:
    assert vllm_version(image) == version


def test_flags_are_judged_by_the_version_that_is_stated() -> None:
    image, args = "vllm/vllm-openai@sha256:0123", ("--own-flag",)
    assert args_fault(args, image) is None
    assert unjudged_args(args, image) == args
    refused = args_fault(args, image, "0.24.0")
    assert refused is not None
    assert "vLLM 0.24 (spec.engine.version is 0.24.0) has no flag --own-flag" in refused
    assert unjudged_args(args, image, "0.24.0") == ()


def test_the_table_holds_the_versions_that_are_supported_and_every_flag_that_argosy_writes() -> None:
    table = flag_table()
    assert (table.versions[0], table.versions[-1], len(table.versions)) == ("0.24", "0.32", 9)
    written = {name for flag in ENGINE_FLAGS for name in (flag.flag, flag.short) if name}
    for version in table.versions:
        assert written <= table.of(version)
    assert vllm_version(DEFAULT) == table.versions[0]


def test_every_reserved_flag_is_one_of_vllms() -> None:
    assert set(RESERVED) <= flag_table().of(None)


@pytest.mark.parametrize(
    "args",
    [
        ("--enable-prefix-caching",),
        ("--no-enable-prefix-caching",),
        ("--no_enable_prefix_caching", "--seed", "-1"),
        ("--enable-prefix",),
        ("--compilation-config.level=3", "-O3", "-cc.cudagraph_mode", "NONE"),
        ("--dtype", "bfloat16"),
        ("--override-generation-config", '{"temperature": 0.5}'),
    ],
)
def test_what_vllm_takes_is_taken(args: tuple[str, ...]) -> None:
    assert fault(*args) == ""


@pytest.mark.parametrize(
    ("word", "flag", "remedy"),
    [
        ("--data-parallel-size", "--data-parallel-size", "spec.maxReplicas"),
        ("--data-parallel-size=4", "--data-parallel-size", "spec.maxReplicas"),
        ("--data_parallel_size=4", "--data-parallel-size", "spec.maxReplicas"),
        ("-dp", "-dp", "spec.maxReplicas"),
        ("-n2", "-n", "spec.parallelShapes"),
        ("--tensor-par", "--tensor-parallel-size", "spec.parallelShapes"),
        ("--tensor_par=2", "--tensor-parallel-size", "spec.parallelShapes"),
        ("--gpu-mem=0.5", "--gpu-memory-utilization", "spec.engine.gpuMemoryUtilization"),
        ("--served-model=x", "--served-model-name", "spec.servedNames"),
        ("--no-enable-lora", "--enable-lora", "spec.engine.maxLoras"),
        ("-qfp8", "-q", "spec.engine.quantization"),
        ("--ssl-key=/k", "--ssl-keyfile", "spec.engine.port"),
        ("--speculative-config.model", "--speculative-config", "--spec-method"),
    ],
)
def test_a_reserved_flag_is_found_in_each_form_that_vllm_takes(word: str, flag: str, remedy: str) -> None:
    item = {"metadata": {"name": "m", "namespace": "n"}, "spec": {"modelId": "m", "engine": {"args": [word]}}}
    found = ServedModel.from_object(item)
    assert isinstance(found, InvalidObject)
    [problem] = found.problems
    assert problem.sentence.startswith(f"spec.engine.args: {word}")
    assert flag.replace("-", "") in problem.sentence.replace("-", "").replace("_", "")
    assert remedy in problem.sentence


@given(flag=st.sampled_from(sorted(f for f in RESERVED if f.startswith("--"))), data=st.data())
def test_no_shortened_form_of_a_reserved_flag_is_taken(flag: str, data: st.DataObject) -> None:
    """Unless that is a flag of its own: `--port` is no short form of a longer one."""
    known = flag_table().of("0.32")
    shortened = flag[: data.draw(st.integers(3, len(flag)))]
    refused = fault(shortened, image="vllm/vllm-openai:v0.32.0") != ""
    assert refused or (shortened in known and shortened not in RESERVED) or flag not in known


@pytest.mark.parametrize(
    ("word", "image", "sentence"),
    [
        ("--disable-log-requests", DEFAULT, f"vLLM 0.24 (spec.engine.image is {DEFAULT}) has no flag --dis"),
        ("--max-num-queued-reqs=9", DEFAULT, "has no flag --max-num-queued-reqs; vLLM 0.29 to 0.32 has it"),
        ("--max-num-partial-prefills", "vllm/vllm-openai:v0.27.0", "; vLLM 0.24 to 0.26 has it"),
        ("--grpc_porting", "vllm/vllm-openai:v0.32.0", "has no flag --grpc_porting"),
        ("-x", DEFAULT, "has no flag -x"),
    ],
)  # fmt: skip
def test_a_flag_that_the_version_does_not_have_is_refused(word: str, image: str, sentence: str) -> None:
    assert sentence in fault(word, image=image)
    assert fault(word, image=image).startswith("spec.engine.args: ")


def test_where_the_version_is_not_known_a_flag_of_no_version_is_only_noted() -> None:
    args = ("--max-num-queued-reqs=9", "--own-flag", "--max-num-partial-prefills", "x")
    assert fault(*args, image="mine:1") == ""
    assert unjudged_args(args, "mine:1") == ("--own-flag",)
    assert unjudged_args(args, "vllm/vllm-openai:v0.29.0") == ()
    assert "spec.parallelShapes" in fault("--tensor-par=2", image="mine:1")


@pytest.mark.parametrize("words", [("--dtype", "float32"), ("--dtype=float",), ("--dty", "float32")])
def test_weights_in_32_bits_are_refused(words: tuple[str, ...]) -> None:
    assert "twice the memory" in fault(*words)


def test_a_word_before_every_flag_would_be_another_model() -> None:
    assert "the first word is 'other/model'" in fault("other/model", "--seed", "1")


def test_a_served_model_with_such_arguments_cannot_be_read() -> None:
    parsed(ServedModel, "m", {"modelId": "m", "engine": {"args": ["--enforce-eager"]}}, "default")
    bad = {"metadata": {"name": "m"}, "spec": {"modelId": "m", "engine": {"args": ["--enforce-eagerly"]}}}
    assert isinstance(ServedModel.from_object(bad), InvalidObject)


@pytest.mark.parametrize("words", [("--api-key", "s3cret"), ("--api-key=s3cret",), ("--api-k=s3cret",)])
def test_a_secret_among_the_arguments_is_not_repeated(words: tuple[str, ...]) -> None:
    item = {"metadata": {"name": "m"}, "spec": {"modelId": "m", "engine": {"args": list(words)}}}
    found = ServedModel.from_object(item)
    assert isinstance(found, InvalidObject)
    assert "--api-k" in found.message
    assert "s3cret" not in found.message


def test_the_value_of_a_reserved_flag_is_named() -> None:
    item = {"metadata": {"name": "m"}, "spec": {"modelId": "m", "engine": {"args": ["--nnodes", "2"]}}}
    found = ServedModel.from_object(item)
    assert isinstance(found, InvalidObject)
    assert found.message == (
        "spec.engine.args: --nnodes 2 must not be among them; remove it, and use spec.parallelShapes, which"
        " splits a replica over GPUs of one node"
    )
