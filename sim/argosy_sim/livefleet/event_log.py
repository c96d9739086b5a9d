"""Owns the fleet's record of what happened when: JSON lines, milliseconds since the epoch.

A judge of the fleet (costs from binding to deletion, time from Ready to first request) reads this
file; a line is on disk before the next event happens.

    {"at": 1767225600.123, "event": "ready", "pod": "prod/chat-0", "node": "l40s-0",
     "address": "127.10.1.1:8000", "gpus": 1, "gpu": "NVIDIA-L40S"}

Events of a pod: bound, loading, ready, crashed, terminating, draining, gone, silent.
Events of a node: node_ready, node_dead. `ready` is written once the API server has accepted the status,
`silent` for each pod whose node died.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import IO, Any


class EventLog:
    """Appends events to a file."""

    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("a", buffering=1)

    def write(self, event: str, **fields: Any) -> None:
        """Append one event, stamped now."""
        line = {"at": round(time.time(), 3), "event": event, **fields}
        self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_events(path: Path) -> list[dict[str, Any]]:
    """Return all events of a file, oldest first; a line still being written is left out."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]
