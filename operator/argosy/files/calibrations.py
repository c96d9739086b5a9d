"""The file of calibrations, beside that of measured capacities.

Input and output: a `CalibrationMemory`. A damaged file, or a damaged part of one, is discarded with a
warning in the log: a calibration is learnt again in minutes.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from argosy.files import atomic
from argosy.perf.recalibration.memory import CalibrationMemory, memory_from_json, memory_to_json

log = logging.getLogger(__name__)


def read_calibrations(path: Path) -> CalibrationMemory:
    """What the file holds; empty where it is absent or damaged."""
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
    """Replace the file. Raises OSError where it cannot be written."""
    atomic.write_text(path, json.dumps(memory_to_json(memory)))
