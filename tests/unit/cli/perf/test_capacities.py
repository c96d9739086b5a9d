"""`argosy perf capacities`: what it refuses, what it says then, and how classes are told apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from argosy.cli.app import build
from argosy.cli.screens.capacities import engines_of, headings
from argosy.perf import LibraryPerfModel, shipped_library
from argosy.snapshot import EngineSettings, Variant

EXAMPLES = Path(__file__).parents[4] / "examples/small"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        pytest.param(["classes.yaml"], "no variant", id="classes-alone"),
        pytest.param(["model.yaml", "classes.yaml"], "no variant", id="no-pool"),
        pytest.param(["pools.yaml", "model.yaml"], "no WorkloadClass", id="no-class"),
    ],
)
def test_where_there_is_nothing_to_show_it_is_said_why(files: list[str], said: str) -> None:
    found = CliRunner().invoke(build(), ["perf", "capacities", *(str(EXAMPLES / name) for name in files)])
    assert found.exit_code == 1
    assert said in found.output


def test_an_engine_takes_nothing_longer_than_its_profile_answers_for() -> None:
    """A roofline of Qwen3 ends at the 40,960 tokens of the model, whatever vLLM is told to allow."""
    perf = LibraryPerfModel(shipped_library(), {})
    allow = (("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "1"),)
    settings = [EngineSettings(max_model_len=tokens, env=allow) for tokens in (8192, 65_536)]
    variants = [Variant("ns/m", "Qwen/Qwen3-32B", (), "pool", "L40S", 8, each) for each in settings]
    engines, refused = engines_of(variants, perf)
    assert refused == {}
    assert [engines[variant.name].limits.max_model_len for variant in variants] == [8192, 40_960]


def test_classes_of_one_name_keep_their_namespace() -> None:
    assert headings(["a/chat", "b/chat", "a/batch"]) == ["a/chat", "b/chat", "batch"]
