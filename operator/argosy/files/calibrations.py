"""The file of calibrations, beside that of measured capacities.

Owns its form: the calibrations as JSON, with the uid of the cluster that they are of. Input and output: a
`CalibrationMemory`. A damaged file, a damaged part of one, or a file of another cluster is discarded with
a warning in the log: a calibration is learnt again in minutes.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from argosy.files import atomic
from argosy.files.origin import foreign
from argosy.perf.recalibration.memory import CalibrationMemory, memory_from_json, memory_to_json

log = logging.getLogger(__name__)


_CLUSTER = "cluster"


def read_calibrations(path: Path, cluster: str = "") -> CalibrationMemory:
    """What the file holds; empty where it is absent, damaged or of another cluster than `cluster`.

    cluster: the uid of this one, empty where it is not known: then the file is used
    """
    try:
        document = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return CalibrationMemory()
    except (OSError, ValueError, RecursionError) as error:
        log.warning("the calibrations in %s are discarded: %s", path, error)
        return CalibrationMemory()
    stored = str(document.get(_CLUSTER) or "") if isinstance(document, dict) else ""
    if why := foreign(stored, cluster):
        log.warning("the calibrations in %s are not used: %s", path, why)
        return CalibrationMemory()
    memory, discarded = memory_from_json(document)
    for each in discarded:
        log.warning("%s: %s is discarded: %s", path, each.what, each.message)
    return memory


def write_calibrations(memory: CalibrationMemory, path: Path, cluster: str = "") -> None:
    """Replace the file. Raises OSError where it cannot be written. cluster: as in `read_calibrations`"""
    atomic.write_text(path, json.dumps({**memory_to_json(memory), _CLUSTER: cluster}))
