"""The user's cache folder, and the capacity surfaces in it: one file per surface.

Surfaces come in and go out as bytes under a key: `perf.capacity.surfaces` makes both, and finds a damaged
one when it reads it. Another command may read at the same time, and the folder may vanish at any time: then
surfaces are built again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from argosy.files import atomic

log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/argosy`, or `~/.cache/argosy` (XDG Base Directory Specification)."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "argosy"


class SurfaceFiles(MutableMapping[str, bytes]):
    """Surfaces by key (hexadecimal digests), one file `KEY.surface` each.

    A file that cannot be read or removed raises KeyError, as a missing key of a mapping does.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._is_writable = True

    def __getitem__(self, key: str) -> bytes:
        try:
            return self._file(key).read_bytes()
        except OSError as error:
            raise KeyError(key) from error

    def __setitem__(self, key: str, value: bytes) -> None:
        """Keep it for the next command. The first failure is logged as a warning, and nothing is raised."""
        try:
            atomic.write_bytes(self._file(key), value)
        except OSError as error:
            if self._is_writable:
                log.warning("surfaces are not kept, the next command builds them again: %s", error)
            self._is_writable = False

    def __delitem__(self, key: str) -> None:
        try:
            self._file(key).unlink()
        except OSError as error:
            raise KeyError(key) from error

    def __iter__(self) -> Iterator[str]:
        # A temporary file of a writer that was killed begins with a dot and does not match.
        return (file.stem for file in sorted(self._folder.glob("*.surface")))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _file(self, key: str) -> Path:
        return self._folder / f"{key}.surface"
