"""Drawing from the archetypes: the means of their sources, and samples that extend each other."""

from __future__ import annotations

import numpy as np
import pytest

from argosy_sim.traffic.archetypes import ARCHETYPES, Archetype, UnknownArchetype, find_archetype, sample

MEANS = [
    ("azure-conversation", 1154.7, 211.13),
    ("mooncake-conversation", 12035.1, 342.62),
    ("batch-documents", 6000.0, 250.0),
]


@pytest.mark.parametrize(("name", "prompt_tokens", "output_tokens"), MEANS)
def test_a_large_sample_has_the_means_of_its_source_within_two_percent(
    name: str, prompt_tokens: float, output_tokens: float
) -> None:
    lengths = sample(ARCHETYPES[name], np.random.default_rng(7), 50_000)
    assert lengths.prompt_tokens.mean() == pytest.approx(prompt_tokens, rel=0.02)
    assert lengths.output_tokens.mean() == pytest.approx(output_tokens, rel=0.02)


def test_a_longer_sample_begins_with_the_shorter_one() -> None:
    short = sample(ARCHETYPES["azure-conversation"], np.random.default_rng(3), 10)
    long = sample(ARCHETYPES["azure-conversation"], np.random.default_rng(3), 1000)
    assert long.prompt_tokens[:10].tolist() == short.prompt_tokens.tolist()
    assert long.output_tokens[:10].tolist() == short.output_tokens.tolist()


def test_an_unknown_archetype_is_answered_with_the_known_ones() -> None:
    found = find_archetype("lmsys")
    assert isinstance(found, UnknownArchetype)
    known = "azure-conversation, batch-documents, mooncake-conversation"
    assert str(found) == f"no archetype is called 'lmsys', known are {known}"
    assert found.nearest == tuple(known.split(", "))
    assert isinstance(find_archetype("batch-documents"), Archetype)


def test_a_misspelt_archetype_is_answered_with_the_nearest() -> None:
    found = find_archetype("azure-conversations")
    assert isinstance(found, UnknownArchetype)
    assert found.nearest[0] == "azure-conversation"
