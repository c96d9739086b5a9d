"""The user's cache: where surfaces lie between two commands.

Owns the paths and the files. Never decides what is in them; a file that was damaged is found by
whoever reads its content, and a cache may vanish at any time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path

import typer


def cache_directory() -> Path:
    """`$XDG_CACHE_HOME/argosy`, or the same under the home directory."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "argosy"


class DirectoryCache(MutableMapping[str, bytes]):
    """One file per key; keys are hexadecimal digests."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._is_writable = True

    def __getitem__(self, key: str) -> bytes:
        try:
            return self._file(key).read_bytes()
        except OSError as error:
            raise KeyError(key) from error

    def __setitem__(self, key: str, value: bytes) -> None:
        """Keep it for the next command. Where that cannot be, it is said once, and this one goes on."""
        temporary = self._file(key).with_suffix(f".{os.getpid()}.tmp")
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            # Another command may read meanwhile: it sees the old file or the new one.
            temporary.write_bytes(value)
            temporary.replace(self._file(key))
        except OSError as error:
            if self._is_writable:
                typer.echo(f"the cache cannot be kept, all is computed anew next time: {error}", err=True)
            self._is_writable = False

    def __delitem__(self, key: str) -> None:
        try:
            self._file(key).unlink()
        except OSError as error:
            raise KeyError(key) from error

    def __iter__(self) -> Iterator[str]:
        return (file.stem for file in sorted(self._directory.glob("*.surface")))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _file(self, key: str) -> Path:
        return self._directory / f"{key}.surface"
