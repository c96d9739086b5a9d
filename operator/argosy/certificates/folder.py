"""Certificates in folders, written as a kubelet writes a mounted Secret.

Owns the layout: a folder for each part, in which `tls.crt`, `tls.key` and `ca.crt` are links through
`..data` to the version that is valid now. One rename exchanges all of them, so a reader never sees a
certificate beside the key of another, and Envoy, which watches its folder for renames, reads the new ones at
once.
"""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

from argosy.certificates.reading import Files
from argosy.certificates.renewal import Held
from argosy.certificates.wanted import Part
from argosy.errors import SpecError
from argosy.files.atomic import OWNER_ONLY, write_bytes

_CURRENT = "..data"


def read_folder(folder: Path) -> Held:
    """What the parts' folders hold; a part without a folder is left out. Raises SpecError."""
    held: Held = {}
    for part in Part:
        place = folder / part
        try:
            names = [path for path in sorted(place.iterdir()) if not path.name.startswith("..")]
            held[part] = {path.name: path.read_bytes() for path in names if path.is_file()}
        except FileNotFoundError:
            continue
        except OSError as error:
            raise SpecError(f"{place} cannot be read: {error.strerror}", "--directory") from error
    return held


def write_part(folder: Path, part: Part, files: Files) -> None:
    """Exchange all files of one part at once, readable by their owner only. Raises SpecError."""
    place = folder / part
    try:
        _require_links(place, files)
        version = place / f"..{secrets.token_hex(8)}"
        for name, content in files.items():
            write_bytes(version / name, content, mode=OWNER_ONLY)
        former = (place / _CURRENT).resolve() if (place / _CURRENT).is_symlink() else None
        _link(place / _CURRENT, version.name)
        for name in files:
            if not (place / name).is_symlink():
                _link(place / name, f"{_CURRENT}/{name}")
        if former is not None:
            shutil.rmtree(former, ignore_errors=True)
    except OSError as error:
        raise SpecError(f"{place} cannot be written: {error.strerror}", "--directory") from error


def _require_links(place: Path, files: Files) -> None:
    """Raises SpecError where a file has one of the names that Argosy did not write."""
    for path in (place / name for name in files):
        if path.exists() and not path.is_symlink():
            raise SpecError(
                f"{path} was not written by Argosy; move it away, or name another folder", "--directory"
            )


def _link(path: Path, target: str) -> None:
    temporary = path.with_name(f"{path.name}_tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(path)
