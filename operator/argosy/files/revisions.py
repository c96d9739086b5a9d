"""The file of the largest FleetPlan revision that was seen, in the state directory.

Owns its form: JSON with the number and the uid of the cluster that it is of. Input and output: that number.
A file that is damaged, missing or of another cluster is no error: plans and Envoys tell the number too,
and only where all of these are gone it starts again.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from argosy.files import atomic
from argosy.files.origin import foreign

log = logging.getLogger(__name__)

FILE_NAME = "revision.json"
_FIELD = "largestRevision"
_CLUSTER = "cluster"


def read_revision(directory: Path, cluster: str = "") -> int:
    """The number that the file holds; 0 where it is absent, damaged or of another cluster than `cluster`."""
    path = directory / FILE_NAME
    try:
        document = json.loads(path.read_text("utf-8"))
        number, stored = document[_FIELD], str(document.get(_CLUSTER) or "")
    except FileNotFoundError:
        return 0
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        log.warning("the largest revision in %s is not known: %s: %s", path, type(error).__name__, error)
        return 0
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        log.warning("the largest revision in %s is not known: %.60r is no whole number >= 0", path, number)
        return 0
    if why := foreign(stored, cluster):
        log.warning("the largest revision in %s is not used: %s", path, why)
        return 0
    return number


def write_revision(directory: Path, number: int, cluster: str = "") -> None:
    """Replace the file. Raises OSError where it cannot be written."""
    content = json.dumps({_FIELD: number, _CLUSTER: cluster}).encode()
    # Durable: it is needed where plans are gone, which a machine that lost power may find.
    atomic.write_bytes(directory / FILE_NAME, content, is_durable=True)
