"""The file in which measured capacities outlive a process.

Owns reading and writing it. Never knows what a capacity depends on (`perf.model` makes the keys): a file
may vanish or be cut short at any time, and what is missing is measured again.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


def read_capacities(path: Path) -> dict[str, Any]:
    """What the file holds; nothing where it is absent or damaged."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_capacities(path: Path, capacities: Mapping[str, Any]) -> None:
    """All at once: who reads meanwhile sees the old file or the new one. No decision waits for a disk."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps(dict(capacities)))
        temporary.replace(path)
    except OSError as error:
        log.warning("the measured capacities were not written to %s: %s", path, error)
