"""Waiting in tests for what they assert, with a bound."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 60.0
"""Far more than anything here takes on two idle cores: a crowded machine may be slow."""


def until(holds: Callable[[], T], what: str, timeout_s: float = PATIENCE_S) -> T:
    """Poll until `holds()` is truthy and return it; what cannot be read yet is an answer of no."""
    began_s = time.monotonic()
    last: object = None
    while (waited_s := time.monotonic() - began_s) < timeout_s:
        try:
            if last := holds():
                return last
        except (OSError, ValueError, KeyError) as error:
            last = error
        time.sleep(_pause_s(waited_s))
    raise AssertionError(f"waited {timeout_s:g} s in vain for {what}; at last: {last!r}")


def _pause_s(waited_s: float) -> float:
    """Between two questions, each of which costs the API server: fewer where it has lasted long."""
    return 0.05 if waited_s < 1.0 else 0.1 if waited_s < 10.0 else 0.2


def until_equal(expected: object, read: Callable[[], object], what: str) -> None:
    """Poll until `read()` is what is expected; fails with what it was at last."""
    seen: list[object] = []

    def is_equal() -> bool:
        seen[:] = [read()]
        return seen == [expected]

    try:
        until(is_equal, what)
    except AssertionError as error:
        raise AssertionError(f"{error}: {seen} instead of {expected!r}") from None
