"""The file in which measured capacities outlive a process.

Input and output: the cache that `LibraryPerfModel` fills, hash -> a value that JSON can hold (`perf.model`
makes the hashes). A file that is absent or damaged counts as empty: what is missing is measured again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from argosy.files import atomic

log = logging.getLogger(__name__)


def read_capacities(path: Path) -> dict[str, Any]:
    """What the file holds; empty where it is absent or damaged."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def write_capacities(path: Path, capacities: Mapping[str, Any]) -> None:
    """Replace the file. Where that fails a warning is logged: no decision depends on a disk."""
    try:
        atomic.write_text(path, json.dumps(dict(capacities)))
    except OSError as error:
        log.warning("the measured capacities were not written to %s: %s", path, error)
