"""The file of calibrations, beside that of measured capacities.

Owns reading and writing it. Never learns. A damaged file, or a part of one, is discarded with a line
in the log: a calibration is learnt again in minutes.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from argosy.perf.recalibration.memory import CalibrationMemory, memory_from_json, memory_to_json

log = logging.getLogger(__name__)


def read_calibrations(path: Path) -> CalibrationMemory:
    """What the file holds; nothing where there is none."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return CalibrationMemory()
    except (OSError, ValueError, RecursionError) as error:
        log.warning("the calibrations in %s are discarded: %s", path, error)
        return CalibrationMemory()
    memory, discarded = memory_from_json(document)
    for each in discarded:
        log.warning("%s: %s is discarded: %s", path, each.what, each.message)
    return memory


def write_calibrations(memory: CalibrationMemory, path: Path) -> None:
    """Replace the file in one piece; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(memory_to_json(memory)), "utf-8")
    temporary.replace(path)
