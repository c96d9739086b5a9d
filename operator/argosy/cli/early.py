"""Refusals that need nothing of what a command computes with.

Owns the checks that come before a screen is imported: names that the catalogue does not have, files that
cannot be read, objects that are not valid. Input: arguments as written. Output: a refusal at once, or what
was read.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from argosy.errors import SpecError

STDIN = Path("-")
"""Standard input, where a command reads files."""

if TYPE_CHECKING:
    from argosy.cli.output import Output
    from argosy.snapshot.fleet import FleetSnapshot


CONFIG = "config.json"


def config_of(model: str, config: Path | None = None) -> Path | None:
    """The config.json that describes the model: the one given, or where MODEL is its path or its folder.

    Raises SpecError for both a model and a config, and for neither.
    """
    if config is not None:
        if model:
            raise SpecError(f"stands for MODEL; leave out {model} or --config", "--config")
        return config / CONFIG if config.is_dir() else config
    if not model:
        raise SpecError("is missing: give a model id or the path of a config.json", "MODEL")
    if model.endswith(".json"):
        return Path(model)
    return Path(model) / CONFIG if (Path(model) / CONFIG).is_file() else None


def require_known(model: str, gpus: Mapping[str, str], output: Output) -> None:
    """Refuse a model or a GPU that the catalogue does not have; a config.json describes its own model.

    model: empty where a file describes it
    gpus: by the role that a refusal begins with, empty for the only one
    """
    from argosy.perf.catalogue import find_gpu, find_model
    from argosy.refusals import Refused

    is_file = not model or config_of(model) is not None
    for role, gpu in gpus.items():
        for found in (find_gpu(gpu), None if is_file else find_model(model)):
            if isinstance(found, Refused):
                output.refused(found, role)


def require_readable(paths: Iterable[Path]) -> None:
    """Raises SpecError for a path where there is nothing to read."""
    for path in paths:
        if path == STDIN:
            continue
        try:
            path.stat()
        except OSError as error:
            raise SpecError(f"cannot be read: {error.strerror}", str(path)) from error


def read_snapshot(paths: Sequence[Path], output: Output) -> FleetSnapshot:
    """The world that these files describe; what was passed over is said on standard error.

    Raises SpecError for files that cannot be used.
    """
    require_readable(paths)
    from argosy.files.manifests.reading import read_manifests
    from argosy.files.objects import snapshot_of

    found = read_manifests(paths)
    for sentence in found.passed_over:
        output.remark(sentence)
    return snapshot_of(found.objects, time.time())


def require_something_to_plan(snapshot: FleetSnapshot) -> None:
    """Raises SpecError where there is no class, or the fleet's mode makes no plan."""
    from argosy.api.fleet import Mode

    if not snapshot.classes:
        raise SpecError("no WorkloadClass: the files need at least one to plan for", "FILES")
    if snapshot.fleet_spec.mode is Mode.OBSERVE:
        raise SpecError("Observe makes no plan; set Recommend or Auto", "Fleet default: spec.mode")
