"""The bytes of models.json, as `argosy.perf.catalogue` reads them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import astuple, fields
from typing import Any

from argosy.perf.catalogue import Model
from argosy.snapshot.architecture import Architecture


def models_document(models: Iterable[Model]) -> bytes:
    """The models.json of these models: one line each, so that a difference is one line."""
    lines = [json.dumps(_entry(model), separators=(",", ":")) for model in models]
    return ("[\n" + ",\n".join(lines) + "\n]\n").encode()


def _entry(model: Model) -> dict[str, Any]:
    shared = _values(model.checkpoints[0].architecture)
    checkpoints = []
    for checkpoint in model.checkpoints:
        own = _values(checkpoint.architecture, keep=shared)
        differs = {name: value for name, value in own.items() if shared.get(name) != value}
        checkpoints.append({"name": checkpoint.name, **({"differs": differs} if differs else {})})
    return {
        "key": model.key,
        "architecture": shared,
        "checkpoints": checkpoints,
        "source": model.source,
    }


def _values(architecture: Architecture, keep: Iterable[str] = ()) -> dict[str, Any]:
    """The fields that differ from their defaults, and those to keep, as JSON has them."""
    values: dict[str, Any] = {}
    for entry in fields(Architecture):
        value = getattr(architecture, entry.name)
        if value != entry.default or entry.name in keep:
            values[entry.name] = list(astuple(value)) if entry.name == "layout" else value
    return values
