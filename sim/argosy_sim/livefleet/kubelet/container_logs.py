"""Owns the log files of containers: `pods/NAMESPACE_NAME_UID/CONTAINER.log`, one line an event.

`log_endpoint` serves them. Every line starts with its time, as in a container
runtime's files; `kubectl logs` shows it only with --timestamps.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

from argosy_sim.livefleet.kubelet.kube_api import PodName


def log_path(root: Path, pod: PodName, container: str) -> Path:
    """Return where a container's log is. Kubernetes' names hold no character that a path minds."""
    return root / f"{pod.namespace}_{pod.name}_{pod.uid}" / f"{container}.log"


class ContainerLog:
    """Appends to one container's log; makes the file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", buffering=1)

    def write(self, line: str) -> None:
        """Append a line, stamped now."""
        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        self._file.write(f"{now} {line}\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def shown(lines: Sequence[str], *, tail: int | None, timestamps: bool) -> str:
    """Return lines of a log file as `kubectl logs` prints them; `tail`: only the last `tail` lines."""
    chosen = lines if tail is None else lines[max(0, len(lines) - tail) :]
    return "".join(line if timestamps else line.partition(" ")[2] for line in chosen)
