"""Writing a file so that a reader sees the old content or the new one, never a part.

Input: a path and its content, or a program that writes the file itself (`replacement`). The content goes to
a temporary file in the same folder (a rename within one file system is atomic, POSIX rename(2)), which then
replaces the target. Where that fails the target is unchanged and the temporary file is removed.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OWNER_ONLY = 0o600
"""For keys and tokens: a file that only its owner may read."""
_AS_UMASK_ALLOWS = 0o666


def write_bytes(
    path: Path, content: bytes, *, mode: int = _AS_UMASK_ALLOWS, is_durable: bool = False
) -> None:
    """Replace `path` by a file with this content, in a folder that is made if missing.

    mode: permission bits of the new file, before the umask
    is_durable: wait until the disk has the file and its name (fsync of both), for what a machine that
        loses power must still have; a cache does not need it
    Raises OSError where the folder or the file cannot be written.
    """
    with replacement(path) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if is_durable:
                file.flush()
                os.fsync(file.fileno())
    if is_durable:
        _sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """The same for text, as UTF-8. Raises OSError, and UnicodeEncodeError for a lone surrogate."""
    write_bytes(path, text.encode("utf-8"))


@contextmanager
def replacement(path: Path) -> Iterator[Path]:
    """A free name beside `path`, in a folder that is made if missing, for whatever writes the file.

    When the block ends, the file of that name replaces `path`; when it raises, the file is removed.
    Raises OSError where the folder cannot be made, or no file was written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two processes, or two threads, may write the same target: each has a temporary name of its own.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """The new name is part of the folder's own content. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
