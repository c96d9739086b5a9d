"""Archetypes: their means, and that their tables are those of the traces they name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from argosy_sim.traffic.archetypes import (
    ARCHETYPES,
    TRACE_FRACTIONS,
    Archetype,
    Quantiles,
    UnknownArchetype,
    find_archetype,
    sample,
)
from argosy_sim.traffic.trace import Trace, load_trace

MEANS = [
    ("azure-conversation", 1154.7, 211.13),
    ("mooncake-conversation", 12035.1, 342.62),
    ("batch", 6000.0, 250.0),
]


@pytest.mark.parametrize(("name", "prompt_tokens", "output_tokens"), MEANS)
def test_a_large_sample_has_the_means_of_its_source_within_two_percent(
    name: str, prompt_tokens: float, output_tokens: float
) -> None:
    lengths = sample(ARCHETYPES[name], np.random.default_rng(7), 50_000)
    assert lengths.prompt_tokens.mean() == pytest.approx(prompt_tokens, rel=0.02)
    assert lengths.output_tokens.mean() == pytest.approx(output_tokens, rel=0.02)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("azure-conversation", "azure-llm-2023-conv.csv"),
        ("mooncake-conversation", "mooncake-conversation.jsonl"),
    ],
)
def test_an_archetype_is_the_quantiles_of_its_trace(name: str, file: str) -> None:
    root = Path(__file__).resolve().parents[2]
    folder = Path(os.environ.get("ARGOSY_TRACES") or root.parent / "shared" / "traces")
    if not (folder / file).is_file():
        pytest.skip(f"the real trace {file} is absent; ARGOSY_TRACES may name its folder")
    trace = load_trace(folder / file)
    assert isinstance(trace, Trace)

    archetype = ARCHETYPES[name]
    for quantiles, tokens in (
        (archetype.prompt, [request.prompt_tokens for request in trace.requests]),
        (archetype.output, [request.output_tokens for request in trace.requests]),
    ):
        expected = np.rint(np.quantile(tokens, TRACE_FRACTIONS)).astype(int).tolist()
        assert [count for _, count in quantiles.points] == expected
        assert quantiles.mean_tokens == pytest.approx(np.mean(tokens), rel=0.005)


def test_a_longer_sample_begins_with_the_shorter_one() -> None:
    short = sample(ARCHETYPES["azure-conversation"], np.random.default_rng(3), 10)
    long = sample(ARCHETYPES["azure-conversation"], np.random.default_rng(3), 1000)
    assert long.prompt_tokens[:10].tolist() == short.prompt_tokens.tolist()
    assert long.output_tokens[:10].tolist() == short.output_tokens.tolist()


def test_an_unknown_archetype_is_told_the_known_ones() -> None:
    found = find_archetype("lmsys")
    assert isinstance(found, UnknownArchetype)
    known = "azure-conversation, batch, mooncake-conversation"
    assert str(found) == f"no archetype is called 'lmsys', known are {known}"
    assert isinstance(find_archetype("batch"), Archetype)


@pytest.mark.parametrize(
    "points",
    [
        pytest.param(((0, 5),), id="one point"),
        pytest.param(((0, 5), (0.9, 7)), id="does not reach 1"),
        pytest.param(((0.1, 5), (1, 7)), id="does not begin at 0"),
        pytest.param(((0, 5), (0.5, 6), (0.5, 7), (1, 8)), id="the same fraction twice"),
        pytest.param(((0, 5), (float("nan"), 6), (1, 8)), id="a fraction that is no number"),
        pytest.param(((0, 5), (1, 4)), id="falling"),
        pytest.param(((0, 0), (1, 4)), id="no token"),
        pytest.param(((0, 1), (1, float("nan"))), id="tokens that are no number"),
    ],
)
def test_quantiles_that_are_no_distribution_are_refused(points: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(ValueError, match="quantiles"):
        Quantiles(points)
