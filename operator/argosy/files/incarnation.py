"""Which process this is: its identity, which a restart keeps, and its nonce, which no other process has.

Owns `process.json` in the state directory and the lock on that directory. The nonce tells two running
processes of one identity apart. Input: the directory, and the identity of the command line. Output: an
`Incarnation`; while it is open, no other process can open one in the same directory.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from argosy.errors import SpecError
from argosy.files.atomic import write_text

FILE_NAME = "process.json"
LOCK_NAME = "lock"


@dataclass(frozen=True)
class Incarnation:
    """previous_nonce: of the process that had the directory before, which has ended; empty if unknown."""

    identity: str
    nonce: str
    previous_nonce: str = ""
    lock: IO[str] | None = None

    def close(self) -> None:
        """Release the directory; the end of the process releases it as well."""
        if self.lock is not None:
            self.lock.close()


def begin(state_dir: Path, identity: str = "") -> Incarnation:
    """The incarnation of this process; an empty identity is that of the directory's last process.

    Raises SpecError where another running process uses the directory. A directory that cannot be
    written gives an identity of the host's name and the process id.
    """
    nonce = secrets.token_hex(8)
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        lock = (state_dir / LOCK_NAME).open("w")
    except OSError:
        return Incarnation(identity or f"{socket.gethostname()}-{os.getpid()}", nonce)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_locked = True
    except BlockingIOError as error:
        lock.close()
        message = f"{state_dir} is used by another running operator; stop it, or name another directory"
        raise SpecError(message, "--state-dir") from error
    except OSError:
        is_locked = False  # a file system without locks: the predecessor may still run
    known_identity, known_nonce = _read(state_dir / FILE_NAME)
    chosen = identity or known_identity or f"{socket.gethostname()}-{secrets.token_hex(3)}"
    try:
        write_text(state_dir / FILE_NAME, json.dumps({"identity": chosen, "nonce": nonce}))
    except OSError:
        known_nonce = ""
    return Incarnation(chosen, nonce, known_nonce if is_locked else "", lock)


def _read(path: Path) -> tuple[str, str]:
    """Identity and nonce of the last process; empty where the file is missing or damaged."""
    try:
        content = json.loads(path.read_text())
        identity, nonce = content["identity"], content["nonce"]
    except (OSError, ValueError, TypeError, KeyError):
        return "", ""
    is_text = isinstance(identity, str) and isinstance(nonce, str)
    return (identity, nonce) if is_text else ("", "")
