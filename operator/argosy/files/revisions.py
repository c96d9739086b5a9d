"""The file of the largest FleetPlan revision that was seen, in the state directory.

Owns its form: JSON with one number. Input and output: that number. A damaged or missing file is no
error: plans and Envoys tell the number too, and only where all of these are gone it starts again.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from argosy.files import atomic

log = logging.getLogger(__name__)

FILE_NAME = "revision.json"
_FIELD = "largestRevision"


def read_revision(directory: Path) -> int:
    """The number that the file holds; 0 where it is absent or damaged."""
    path = directory / FILE_NAME
    try:
        document = json.loads(path.read_text("utf-8"))
        number = document[_FIELD]
    except FileNotFoundError:
        return 0
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        log.warning("the largest revision in %s is not known: %s: %s", path, type(error).__name__, error)
        return 0
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        log.warning("the largest revision in %s is not known: %.60r is no whole number >= 0", path, number)
        return 0
    return number


def write_revision(directory: Path, number: int) -> None:
    """Replace the file. Raises OSError where it cannot be written."""
    content = json.dumps({_FIELD: number}).encode()
    # Durable: it is needed where plans are gone, which a machine that lost power may find.
    atomic.write_bytes(directory / FILE_NAME, content, is_durable=True)
