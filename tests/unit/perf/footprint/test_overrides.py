"""An engine's arguments scale the context that a model was trained for as vLLM scales it."""

from __future__ import annotations

import pytest

from argosy.perf.footprint.overrides import context_with_overrides

YARN = '{"rope_parameters":{"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":32768}}'


@pytest.mark.parametrize(
    ("args", "context"),
    [
        pytest.param((), 40_960, id="none"),
        pytest.param(("--hf-overrides", YARN), 131_072, id="yarn"),
        pytest.param((f"--hf-overrides={YARN}",), 131_072, id="joined"),
        pytest.param(("--hf_overrides", '{"text_config": ' + YARN + "}"), 131_072, id="nested"),
        pytest.param(("--rope-scaling", '{"rope_type":"linear","factor":2.0}'), 81_920, id="an-older-flag"),
        pytest.param(("--hf-overrides", '{"max_position_embeddings": 8192}'), 8192, id="a-length"),
        pytest.param(("--hf-overrides", '{"architectures": ["X"]}'), 40_960, id="something-else"),
    ],
)
def test_overrides_scale_the_context(args: tuple[str, ...], context: int) -> None:
    assert context_with_overrides(40_960, args) == context


@pytest.mark.parametrize("written", ["", "yarn", "[1]", "[" * 100_000, '{"max_position_embeddings": "long"}',
                                     '{"rope_scaling": {"type": "yarn", "factor": "x"}}'])  # fmt: skip
def test_an_override_that_cannot_be_read_is_refused_by_the_flag(written: str) -> None:
    found = context_with_overrides(40_960, ("--hf-overrides", written))
    assert isinstance(found, str)
    assert "--hf-overrides" in found
    assert len(found) < 250


@pytest.mark.parametrize(
    ("written", "field"),
    [
        ('{"num_hidden_layers": 2}', "num_hidden_layers"),
        ('{"text_config": {"num_experts_per_tok": 4}}', "num_experts_per_tok"),
        ('{"sliding_window": 1024, "rope_theta": 10000}', "sliding_window"),
        ('{"model_max_length": 4096}', "model_max_length"),
    ],
)
def test_an_override_of_anything_else_that_decides_the_size_is_refused(written: str, field: str) -> None:
    found = context_with_overrides(40_960, ("--hf-overrides", written))
    assert isinstance(found, str)
    assert "--hf-overrides in spec.engine.args" in found
    assert f"{field}: " in found
