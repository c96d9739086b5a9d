"""Models as they are published: tests/data/perf/published_models.json holds the fields of each config.json
that decide its size, the published number of parameters, and where both come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from argosy.api.architecture import DeclaredArchitecture
from argosy.cli.screens.architecture import declared
from argosy.control.candidates.variants import declared_architecture
from argosy.perf.catalogue import architecture_from_config
from argosy.snapshot.architecture import Architecture

_FILE = Path(__file__).parents[3] / "data" / "perf" / "published_models.json"
PUBLISHED: list[dict[str, Any]] = json.loads(_FILE.read_text("utf-8"))
_WITH_ACTIVE = [model for model in PUBLISHED if "active" in model]


def _read(model: dict[str, Any]) -> Architecture:
    found = architecture_from_config(model["config"])
    assert isinstance(found, Architecture), found
    return found


def test_the_table_has_at_least_sixty_models_of_many_types_with_a_source_each() -> None:
    types = {model["config"].get("text_config", model["config"])["model_type"] for model in PUBLISHED}
    assert len({model["name"] for model in PUBLISHED}) == len(PUBLISHED) >= 60
    assert len(types) >= 40
    assert all(model["name"] in model["source"] for model in PUBLISHED)


@pytest.mark.parametrize("model", PUBLISHED, ids=lambda model: model["name"])
def test_the_parameters_are_within_two_per_cent_of_the_published_ones(model: dict[str, Any]) -> None:
    assert _read(model).parameters == pytest.approx(model["parameters"], rel=0.02)


@pytest.mark.parametrize("model", _WITH_ACTIVE, ids=lambda model: model["name"])
def test_the_active_parameters_are_the_published_ones_to_their_digits(model: dict[str, Any]) -> None:
    """Publishers round to a digit or two, and differ in whether the input table is active."""
    a = _read(model)
    table = 0 if a.tied_embeddings else a.vocabulary * a.hidden_size
    nearest = min((a.active_parameters, a.active_parameters + table), key=lambda n: abs(n - model["active"]))
    assert nearest == pytest.approx(model["active"], rel=0.07)


@pytest.mark.parametrize("model", PUBLISHED, ids=lambda model: model["name"])
def test_the_declared_architecture_gives_the_very_same_figures(model: dict[str, Any]) -> None:
    read = _read(model)
    pasted = DeclaredArchitecture.model_validate_json(json.dumps(declared(read)))
    assert declared_architecture(pasted) == read
