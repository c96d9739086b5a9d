"""What an engine's command line allows of LoRA adapters."""

from __future__ import annotations

import pytest

from argosy.snapshot.adapters.record import LoraLimits, lora_limits
from argosy.snapshot.kubernetes import pod_state


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param([], None, id="nothing is known"),
        pytest.param(["--model", "m"], LoraLimits(0, 0), id="LoRA is off"),
        pytest.param(["--max-loras", "4"], LoraLimits(0, 0), id="slots alone do not turn it on"),
        pytest.param(["--enable-lora"], LoraLimits(1, 16), id="what vLLM takes"),
        pytest.param(
            ["--enable-lora", "--max-loras", "4", "--max-lora-rank", "64"],
            LoraLimits(4, 64),
            id="as Argosy writes",
        ),
        pytest.param(
            ["--enable_lora", "--max_loras=4", "--max_lora_rank=8", "--max-loras=2"],
            LoraLimits(2, 8),
            id="the last one is used",
        ),
        pytest.param(
            ["sh", "-c", 'vllm serve m --enable-lora --max-loras "3"'], LoraLimits(3, 16), id="in a script"
        ),
        pytest.param(["--enable-lora", "--max-loras", "$(SLOTS)"], None, id="only the kubelet knows"),
        pytest.param(["--no-enable-lora"], LoraLimits(0, 0), id="turned off"),
    ],
)
def test_the_limits_are_read_from_the_command_line(words: list[str], expected: LoraLimits | None) -> None:
    assert lora_limits(words) == expected


def test_a_pods_limits_are_those_of_its_engines_container() -> None:
    ports = [{"name": "http", "containerPort": 8000}]
    containers = [
        {"name": "proxy", "args": ["--enable-lora", "--max-loras", "9"]},
        {
            "name": "engine",
            "ports": ports,
            "command": ["vllm"],
            "args": ["--enable-lora", "--max-loras", "2"],
        },
    ]
    pod = {"metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": containers}}
    assert pod_state(pod).loras == LoraLimits(2, 16)
