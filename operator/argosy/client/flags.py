"""Checks of what a user gives of an endpoint and of a file for its answers.

Owns what each of these flags may be. Input: the flags as the user wrote them. Output: path, headers, URL,
file; raises `SpecError` with the flag's name where a value cannot be used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from yarl import URL

from argosy.errors import SpecError


def checked_path(text: str) -> str:
    """The request path; raises `SpecError` for one of another API."""
    if not text.startswith("/") or not text.endswith("/completions"):
        raise SpecError(f"a path that ends in /completions expected, got {text!r}", "--path")
    return text


def header_pairs(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Names and values; raises `SpecError` for a text without a colon or with control characters."""
    pairs = [text.partition(":") for text in texts]
    for name, colon, value in pairs:
        if not (name.strip() and colon and (name + value).isprintable()):
            raise SpecError(f"NAME:VALUE expected, got {name + colon + value!r}", "--header")
    return tuple((name.strip(), value.strip()) for name, _, value in pairs)


def checked_url(text: str, flag: str) -> str:
    """The endpoint's base URL; raises `SpecError` where it names no host."""
    try:
        url = URL(text)
        is_usable = url.scheme in ("http", "https") and bool(url.host)
    except ValueError:
        is_usable = False
    if not is_usable:
        raise SpecError(f"a URL as http://HOST:PORT expected, got {text!r}", flag)
    return text


def new_file(out: Path) -> Path:
    """A path at which a file can be made; raises `SpecError` where one exists or the folder does not."""
    # Appending to an older run's records would mix two origins of time.
    if out.exists():
        raise SpecError(f"{out} exists already", "--out")
    if not out.parent.is_dir():
        raise SpecError(f"{out.parent} is no directory", "--out")
    return out
