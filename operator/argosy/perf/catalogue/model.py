"""Models by name: an architecture, and the checkpoints that have it.

Owns the nouns `Model` and `Checkpoint` and reading models.json. `config` counts
parameters, when hack/export_catalogue.py writes the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from argosy.errors import SpecError
from argosy.snapshot.architecture import Architecture, Dtype, Family, WeightLayout


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One published set of weights. Its architecture differs from its model's in number types,
    and perhaps in the context that it was trained for."""

    name: str
    architecture: Architecture


@dataclass(frozen=True, slots=True)
class Model:
    """One architecture by its short name.

    `architecture` is that of the checkpoint which was asked for (see `find_model`), and of the
    first one where the model was asked for by its key.
    """

    key: str
    architecture: Architecture
    checkpoints: tuple[Checkpoint, ...]
    source: str

    @property
    def names(self) -> tuple[str, ...]:
        """The ids of all checkpoints."""
        return tuple(checkpoint.name for checkpoint in self.checkpoints)


def parse_models(document: bytes) -> tuple[Model, ...]:
    """The models of a models.json. Raises SpecError that names what is wrong with it."""
    try:
        return tuple(_model(entry) for entry in json.loads(document))
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise SpecError(f"not a catalogue of models: {type(fault).__name__} {fault}") from fault


def _model(entry: Mapping[str, Any]) -> Model:
    shared = entry["architecture"]
    checkpoints = tuple(
        Checkpoint(c["name"], _architecture({**shared, **c.get("differs", {})})) for c in entry["checkpoints"]
    )
    return Model(entry["key"], checkpoints[0].architecture, checkpoints, entry["source"])


def _architecture(values: Mapping[str, Any]) -> Architecture:
    typed = dict(values)
    for name in ("dtype", "kv_dtype"):
        if name in typed:
            typed[name] = Dtype(typed[name])
    typed["family"] = Family(typed["family"])
    typed["layout"] = WeightLayout(*typed["layout"])
    return Architecture(**typed)
