"""Owns mutual exclusion between processes, by `flock` on a file.

The kernel drops such a lock when its holder dies, however it dies, so there is never a
stale one to clean up. The file itself is left in place: removing it would let two
processes hold "the" lock on two different inodes.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_POLL_S = 0.1


@contextmanager
def exclusive(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock at `path`; `on_wait` is called once if another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        waited = False
        # Polled rather than blocking: a thread blocked in flock cannot be interrupted by Ctrl-C.
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waited:
                    on_wait()
                    waited = True
                time.sleep(_POLL_S)
        yield
