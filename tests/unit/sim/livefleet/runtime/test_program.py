"""An engine's container as a program of this host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from argosy_sim.livefleet.runtime.contract import NotStarted, NotStartedReason
from argosy_sim.livefleet.runtime.program import Program, hook_words, program_of

PYTHON = Path("/venv/bin/python")
ADDRESS = "127.10.1.1"
POD = {"metadata.name": "chat-1", "status.podIP": ADDRESS}
SERVER = ("/venv/bin/python", "-m", "vllm.entrypoints.openai.api_server")
ARGS = ["--model", "tiny", "--served-model-name", "chat"]


def program(**container: Any) -> Program:
    found = program_of({"name": "engine", "args": ARGS, **container}, ADDRESS, POD, PYTHON)
    assert isinstance(found, Program), found
    return found


@pytest.mark.parametrize(
    ("story", "container", "words"),
    [
        ("an image's entrypoint is vLLM's server", {}, (*SERVER, *ARGS)),
        (
            "as a chart may write it",
            {"command": ["vllm", "serve", "tiny", "--port", "8001"], "args": []},
            (*SERVER, "--model", "tiny", "--port", "8001"),
        ),
        (
            "the model among the arguments",
            {"command": ["/usr/local/bin/vllm", "serve"]},
            (*SERVER, *ARGS),
        ),
        (
            "any python is the one with vLLM",
            {"command": ["python3", "-m", "vllm.entrypoints.openai.api_server"]},
            (*SERVER, *ARGS),
        ),
        ("another program is its own", {"command": ["/bin/engine"]}, ("/bin/engine", *ARGS)),
    ],
)
def test_a_container_runs_its_own_command_at_its_pods_address(
    story: str, container: dict[str, Any], words: tuple[str, ...]
) -> None:
    assert program(**container).words == (*words, "--host", ADDRESS), story


@pytest.mark.parametrize(
    ("args", "ports", "port"),
    [
        ([], [], 8000),
        ([], [{"name": "metrics", "containerPort": 9000}, {"name": "http", "containerPort": 8123}], 8123),
        (["--port", "8200"], [{"name": "http", "containerPort": 8123}], 8200),
        (["--port=8300"], [], 8300),
    ],
)
def test_the_port_is_the_arguments_else_the_one_of_the_engines_name(
    args: list[str], ports: list[dict[str, Any]], port: int
) -> None:
    assert program(args=[*ARGS, *args], ports=ports).port == port


def test_a_containers_variables_come_after_those_that_vllm_for_cpus_needs() -> None:
    env = [
        {"name": "VLLM_CPU_KVCACHE_SPACE", "value": "1"},
        {"name": "EMPTY"},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    found = program(env=env).environment
    assert (found["VLLM_CPU_KVCACHE_SPACE"], found["EMPTY"], found["POD"]) == ("1", "", "chat-1")
    assert found["VLLM_TARGET_DEVICE"] == "cpu"


def test_a_path_inside_a_volume_is_left_out_for_no_volume_is_there() -> None:
    env = [{"name": "HOME", "value": "/home/vllm"}, {"name": "USER", "value": "vllm"}]
    found = program(env=env, volumeMounts=[{"name": "home", "mountPath": "/home/vllm"}]).environment
    assert "HOME" not in found
    assert found["USER"] == "vllm"


def test_a_variable_that_cannot_be_read_is_a_sentence_and_never_empty() -> None:
    env = [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}]
    found = program_of({"args": ARGS, "env": env}, ADDRESS, POD, PYTHON)
    assert found == NotStarted(
        NotStartedReason.NO_VALUE,
        "the variable HF_TOKEN comes from secretKeyRef, which a simulated node cannot read; it knows"
        " metadata.name, status.podIP",
    )


def test_a_hook_asks_at_the_pods_address_where_it_would_ask_its_own_loopback() -> None:
    hook = {"exec": {"command": ["python3", "-c", "get('http://127.0.0.1:8000/metrics')"]}}
    assert hook_words(hook, ADDRESS, PYTHON) == (
        "/venv/bin/python",
        "-c",
        "get('http://127.10.1.1:8000/metrics')",
    )
    assert hook_words({"sleep": {"seconds": 3}}, ADDRESS, PYTHON) is None
