"""Checks that the inputs of the planner and of placement make of their own fields.

Owns the refusal of numbers and names that mean nothing. Input: a value and what it is called.
Output: nothing, or a `ValueError` whose sentence names it: such a value is a bug of the code that
made it, not of a user's object (those are refused by `api` with their field).
"""

from __future__ import annotations

import math
from collections.abc import Iterable


def require_number(what: str, value: float) -> None:
    """Raises ValueError unless `value` is finite and at least zero: one NaN poisons a whole program."""
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{what} is a finite number of at least 0, got {value}")


def require_count(what: str, value: int, least: int = 0) -> None:
    """Raises ValueError unless `value` is a whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{what} is a whole number of at least {least}, got {value!r}")


def require_unique(what: str, names: Iterable[str]) -> None:
    """Raises ValueError where a name occurs twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{what} {name} is named twice")
        seen.add(name)
