"""The shipped step times reproduce their reference, and the reader names what it cannot read."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from argosy.engine import StepCoefficients, step_ms
from argosy.errors import SpecError
from argosy.perf import GPUS, MODELS, shipped_tables
from argosy.perf.protocol import OutOfRange, OutOfRangeReason
from argosy.perf.table import parse_tables

TABLE = parse_tables(shipped_tables())
SILICON = {(p.gpu, p.model, p.tensor_parallel): p.silicon for p in TABLE.profiles}
BATCHES = (1, 8, 32, 64, 128, 256)
PROMPTS = (512, 1155, 2048, 4096, 8192)

# The reference's figures once more, by hand: not from the file that the fit wrote. The silicon
# alone, no host overhead.
ITL_MS_AT_1024 = {
    ("H100", "llama-3-8b", 1): (6.2, 6.6, 8.3, 10.4, 12.8, 19.6),
    ("H100", "llama-3-70b", 4): (14.9, 16.1, 16.9, 19.1, 22.8, 30.5),
    ("A100", "llama-3-8b", 1): (11.9, 12.6, 15.6, 17.8, 24.8, 43.7),
    ("L40S", "llama-3-8b", 1): (22.0, 23.5, 31.4, 38.3, 53.3, 78.5),
    ("B200", "llama-3-8b", 1): (3.5, 3.4, 4.2, 4.9, 6.2, 9.2),
}
ITL_MS_AT_4300 = {
    ("H100", "llama-3-8b", 1): {8: 7.9, 32: 12.6, 64: 18.4},
    ("L40S", "llama-3-8b", 1): {8: 29.6, 32: 50.2, 64: 74.9},
}
PREFILL_MS = {
    ("H100", "llama-3-8b", 1): (12.0, 25.2, 43.5, 90.1, 199.7),
    ("L40S", "llama-3-8b", 1): (38.3, 87.6, 144.9, 311.3, 699.8),
}
DECODE = [
    (key, batch, 1024, ms)
    for key, itl in ITL_MS_AT_1024.items()
    for batch, ms in zip(BATCHES, itl, strict=True)
] + [(key, batch, 4300, ms) for key, itl in ITL_MS_AT_4300.items() for batch, ms in itl.items()]
PREFILL = [
    (key, prompt, ms) for key, row in PREFILL_MS.items() for prompt, ms in zip(PROMPTS, row, strict=True)
]


@pytest.mark.parametrize(("key", "batch", "context", "expected_ms"), DECODE)
def test_a_decode_step_is_within_5_percent_of_the_reference(
    key: tuple[str, str, int], batch: int, context: int, expected_ms: float
) -> None:
    assert step_ms(SILICON[key], batch, batch * context) == pytest.approx(expected_ms, rel=0.05)


@pytest.mark.parametrize(("key", "prompt", "expected_ms"), PREFILL)
def test_a_prefill_is_within_6_percent_of_the_reference(
    key: tuple[str, str, int], prompt: int, expected_ms: float
) -> None:
    assert step_ms(SILICON[key], 0, 0, ((prompt, 0),)) == pytest.approx(expected_ms, rel=0.06)


@pytest.mark.parametrize("key", SILICON, ids=str)
def test_the_prefill_of_every_profile_uses_30_to_90_percent_of_the_gpus_peak(
    key: tuple[str, str, int],
) -> None:
    """For A100, B200 and 70B prefill is an estimate: it must at least be physically possible."""
    gpu = next(gpu for gpu in GPUS if gpu.name == key[0])
    model = next(model for model in MODELS if model.key == key[1])
    pairs = 4 * model.attention_heads * model.head_dim * model.layers * 4096**2 / 2
    flops = (2 * model.parameters * 4096 + pairs) / key[2]
    utilisation = flops / (gpu.bf16_flops * step_ms(SILICON[key], 0, 0, ((4096, 0),)) / 1e3)
    assert 0.3 < utilisation < 0.9


@pytest.mark.parametrize("key", SILICON, ids=str)
def test_more_work_never_takes_less_time(key: tuple[str, str, int]) -> None:
    silicon = SILICON[key]
    by_batch = [step_ms(silicon, batch, batch * 1024) for batch in range(1, 257)]
    by_prompt = [step_ms(silicon, 0, 0, ((tokens, 0),)) for tokens in range(1, 8192, 31)]
    assert by_batch == sorted(by_batch)
    assert by_prompt == sorted(by_prompt)


def test_an_engine_gets_the_hosts_overhead_on_top_of_the_silicon() -> None:
    profile = TABLE.profiles[0]
    engine = TABLE.coefficients(profile)
    assert (engine.s, engine.c0, engine.cb) == (0.98, 1.34, 0.046)
    alone_ms = step_ms(profile.silicon, 64, 64 * 1024)
    assert step_ms(engine, 64, 64 * 1024) == pytest.approx(0.98 * alone_ms + 1.34 + 64 * 0.046)


def test_the_shipped_file_is_what_the_fit_writes() -> None:
    """In the times it predicts: linear algebra differs in the last digits between machines."""
    script = Path(__file__).parents[2] / "hack" / "fit_step_times.py"
    fresh = runpy.run_path(str(script))["document"]()
    shipped = json.loads(shipped_tables())
    assert [_without_fit(p) for p in fresh["profiles"]] == [_without_fit(p) for p in shipped["profiles"]]
    for new, old in zip(fresh["profiles"], shipped["profiles"], strict=True):
        assert _predicted_ms(new) == pytest.approx(_predicted_ms(old), rel=0.005)


def _predicted_ms(profile: dict[str, Any]) -> list[float]:
    silicon = StepCoefficients(**profile["coefficients"])
    decode = [step_ms(silicon, batch, batch * context) for batch in BATCHES for context in (256, 1024, 8192)]
    return decode + [step_ms(silicon, 0, 0, ((prompt, 0),)) for prompt in PROMPTS]


def _without_fit(profile: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in profile.items() if name not in ("coefficients", "maxRelativeError")
    }


def test_a_pair_without_a_profile_is_answered_with_those_there_are() -> None:
    gpu = next(gpu for gpu in GPUS if gpu.name == "L40S")
    model = next(model for model in MODELS if model.key == "llama-3-70b")
    answer = TABLE.profile(gpu, model, 4)
    assert isinstance(answer, OutOfRange)
    assert answer.reason is OutOfRangeReason.NO_PROFILE
    assert answer.nearest[0] == "llama-3-70b on H100 TP4"
    assert "llama-3-70b on L40S TP4" in answer.message


@pytest.mark.parametrize(
    "tables",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"[]", id="not-an-object"),
        pytest.param(b'{"hostOverhead": {"s": 1, "c0": 0, "cb": 0}}', id="no-profiles"),
        pytest.param(b'{"hostOverhead": {}, "profiles": []}', id="no-overhead"),
        pytest.param(b"\xff\xfe", id="not-text"),
    ],
)
def test_bytes_that_are_no_table_are_the_users_fault(tables: bytes) -> None:
    with pytest.raises(SpecError, match="not a table of step times"):
        parse_tables(tables)


def test_coefficients_travel_to_compiled_code_in_the_order_of_the_form() -> None:
    coefficients = StepCoefficients(*map(float, range(1, 14)))
    assert coefficients.as_array().tolist() == list(map(float, range(1, 14)))
