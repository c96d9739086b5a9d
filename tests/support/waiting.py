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
    give_up_s = time.monotonic() + timeout_s
    last: object = None
    while time.monotonic() < give_up_s:
        try:
            if last := holds():
                return last
        except (OSError, ValueError, KeyError) as error:
            last = error
        time.sleep(0.05)
    raise AssertionError(f"waited {timeout_s:g} s in vain for {what}; at last: {last!r}")


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
