"""A model's dimensions out of a config.json, and as the `spec.architecture` of a ServedModel.

Owns reading the file, with the hf_quant_config.json beside it, and the YAML to paste. Raises SpecError with
the file's path for what cannot be read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from argosy.api.architecture import DeclaredArchitecture
from argosy.api.schema.value import camel
from argosy.cli.output import Output
from argosy.errors import SpecError
from argosy.perf.catalogue import ConfigFault, architecture_from_config, find_model
from argosy.perf.protocol import OutOfRange
from argosy.snapshot import Architecture

_QUANTISATION = "hf_quant_config.json"


def read_architecture(path: Path) -> Architecture:
    """The architecture that a config.json describes. Raises SpecError."""
    beside = path.parent / _QUANTISATION
    quantisation = _read(beside) if beside.is_file() else None
    found = architecture_from_config(_read(path), quantisation)
    if isinstance(found, ConfigFault):
        raise SpecError(_with_remedy(found.message), str(path))
    return found


def show(model: str, file: Path | None, output: Output) -> None:
    """Print the block, or refuse with its reason. Raises SpecError for a file that cannot be used."""
    import yaml

    found = find_model(model) if file is None else read_architecture(file)
    if isinstance(found, OutOfRange):
        output.refused(found)
    architecture = found if isinstance(found, Architecture) else found.architecture
    block = {"spec": {"architecture": declared(architecture)}}
    if output.as_json:
        output.document(block)
    else:
        output.console.out(yaml.safe_dump(block, sort_keys=False), end="", highlight=False)


def declared(architecture: Architecture) -> dict[str, Any]:
    """`spec.architecture` by the names of its fields, without those that have their default."""
    values = asdict(architecture)
    # Where every layer has experts the width of an MLP is nowhere used, and the field is required.
    values["intermediate_size"] = architecture.intermediate_size or architecture.expert_intermediate_size
    kept = {}
    for name, field in DeclaredArchitecture.model_fields.items():
        value = values[name]
        if value is None or (not field.is_required() and value == field.default):
            continue
        kept[camel(name)] = _plain(value)
    return kept


def _with_remedy(sentence: str) -> str:
    if "spec.architecture" in sentence:
        return sentence
    return (
        f"{sentence}; correct it, or declare the model's dimensions in spec.architecture of its ServedModel"
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {camel(name): entry for name, entry in value.items()}
    return str(value) if isinstance(value, str) else value


def _read(path: Path) -> Mapping[str, Any]:
    """A JSON object; a byte order mark at its start is passed over. Raises SpecError."""
    try:
        found = json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", str(path)) from error
    except (ValueError, RecursionError) as error:
        raise SpecError(f"cannot be read as JSON: {error}", str(path)) from error
    if not isinstance(found, Mapping):
        raise SpecError(f"must hold a JSON object, not {type(found).__name__}", str(path))
    return found
