"""Length archetypes: their means, their inverse distribution function, their cutting into mixes."""

from __future__ import annotations

import csv
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.demand.archetypes import (
    ARCHETYPES,
    AZURE_CONVERSATION,
    BATCH_DOCUMENTS,
    MOONCAKE_CONVERSATION,
    Archetype,
    Quantiles,
    cell_means,
    mix,
    sample_quantile,
)

TABLE = Quantiles((0.0, 0.5, 1.0), (10, 20, 100))
archetypes = pytest.mark.parametrize("archetype", ARCHETYPES.values(), ids=ARCHETYPES.keys())


@pytest.mark.parametrize(
    ("archetype", "prompt", "output"),
    [
        pytest.param(AZURE_CONVERSATION, 1154.7, 211.1, id="azure"),
        pytest.param(MOONCAKE_CONVERSATION, 12_035.1, 342.6, id="mooncake"),
        pytest.param(BATCH_DOCUMENTS, 6000, 250, id="batch"),
    ],
)
def test_the_means_are_those_of_the_source(archetype: Archetype, prompt: float, output: float) -> None:
    assert archetype.prompt_quantiles.mean_tokens == pytest.approx(prompt, rel=0.02)
    assert archetype.output_quantiles.mean_tokens == pytest.approx(output, rel=0.02)


@pytest.mark.parametrize(
    ("archetype", "file"),
    [(AZURE_CONVERSATION, "azure-llm-2023-conv.csv"), (MOONCAKE_CONVERSATION, "mooncake-conversation.jsonl")],
    ids=["azure", "mooncake"],
)
def test_the_tables_are_the_traces_quantiles(archetype: Archetype, file: str) -> None:
    root = Path(__file__).resolve().parents[3]
    directory = Path(os.environ.get("ARGOSY_TRACES") or root.parent / "shared" / "traces")
    if not (directory / file).exists():
        pytest.skip(f"the real trace {file} is absent; ARGOSY_TRACES may name its folder")
    with (directory / file).open(encoding="utf-8") as lines:
        if file.endswith(".csv"):
            rows = [(int(r["ContextTokens"]), int(r["GeneratedTokens"])) for r in csv.DictReader(lines)]
        else:
            rows = [(r["input_length"], r["output_length"]) for r in map(json.loads, lines)]
    for lengths, table in zip(
        np.array(rows).T, (archetype.prompt_quantiles, archetype.output_quantiles), strict=True
    ):
        assert np.abs(np.quantile(lengths, table.probabilities) - table.tokens).max() <= 1


@pytest.mark.parametrize(
    ("u", "tokens"),
    [(0.0, 10.0), (0.25, 15.0), (0.5, 20.0), (0.75, 60.0), (1.0, 100.0)],
)
def test_a_quantile_is_interpolated_between_its_neighbours(u: float, tokens: float) -> None:
    assert sample_quantile(TABLE, u) == pytest.approx(tokens)


@given(u=st.floats(0, 1), v=st.floats(0, 1))
def test_the_inverse_distribution_function_never_decreases(u: float, v: float) -> None:
    low, high = sorted((u, v))
    quantiles = AZURE_CONVERSATION.prompt_quantiles
    assert sample_quantile(quantiles, low) <= sample_quantile(quantiles, high) + 1e-9


@given(num_cells=st.integers(1, 40))
def test_cells_keep_the_mean_and_grow(num_cells: int) -> None:
    for archetype in ARCHETYPES.values():
        for quantiles in (archetype.prompt_quantiles, archetype.output_quantiles):
            means = cell_means(quantiles, num_cells)
            assert len(means) == num_cells
            assert list(means) == sorted(means)
            assert math.fsum(means) / num_cells == pytest.approx(quantiles.mean_tokens)


@archetypes
@pytest.mark.parametrize(("num_prompt", "num_output"), [(1, 1), (4, 3), (6, 5)])
def test_a_mix_keeps_both_means_up_to_whole_tokens(
    archetype: Archetype, num_prompt: int, num_output: int
) -> None:
    cut = mix(archetype, num_prompt, num_output)
    assert len(cut.slices) == num_prompt * num_output
    assert cut.mean_prompt_tokens == pytest.approx(archetype.prompt_quantiles.mean_tokens, abs=0.5)
    assert cut.mean_output_tokens == pytest.approx(archetype.output_quantiles.mean_tokens, abs=0.5)


def test_uniform_draws_have_the_tables_mean() -> None:
    draws = [sample_quantile(AZURE_CONVERSATION.output_quantiles, (i + 0.5) / 20_000) for i in range(20_000)]
    assert np.mean(draws) == pytest.approx(AZURE_CONVERSATION.output_quantiles.mean_tokens, rel=1e-3)


@pytest.mark.parametrize(
    ("probabilities", "tokens", "message"),
    [
        pytest.param((0.0, 1.0), (1.0,), "pairs", id="a-length-is-missing"),
        pytest.param((0.0,), (1.0,), "at least two", id="a-single-point"),
        pytest.param((0.1, 1.0), (1, 2), "begins at probability 0", id="no-minimum"),
        pytest.param((0.0, 0.9), (1, 2), "ends at 1", id="no-maximum"),
        pytest.param((0.0, 0.5, 0.5, 1.0), (1, 2, 3, 4), "increase", id="a-probability-twice"),
        pytest.param((0.0, 1.0), (5, 4), "never decrease", id="falling-lengths"),
        pytest.param((0.0, 1.0), (0, 4), "at least 1", id="an-empty-prompt"),
    ],
)
def test_a_table_that_is_no_distribution_is_refused(
    probabilities: tuple[float, ...], tokens: tuple[float, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Quantiles(probabilities, tokens)


@pytest.mark.parametrize("u", [-0.1, 1.1, math.nan])
def test_what_is_no_probability_is_refused(u: float) -> None:
    with pytest.raises(ValueError, match="probability"):
        sample_quantile(TABLE, u)


def test_no_cells_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one cell"):
        cell_means(TABLE, 0)
