"""Checks of numbers and names that mean nothing: NaN, negative, not unique.

Input: a value and what it is called. `require_...` are for values that our own code made, in the
inputs of the planner and of placement: such a value is a bug, so they raise ValueError. `positive`,
`not_negative` and `share` are for what a user wrote (an option, a file, a catalogue's entry): they
return the value or raise SpecError with its field.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from argosy.errors import SpecError


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


def positive(value: float, field: str) -> float:
    """`value`, where it is finite and greater than zero. Raises SpecError."""
    if not (math.isfinite(value) and value > 0):
        raise SpecError(f"must be a positive number, got {value}", field)
    return value


def not_negative(value: float, field: str) -> float:
    """`value`, where it is finite and zero or more. Raises SpecError."""
    if not (math.isfinite(value) and value >= 0):
        raise SpecError(f"must be zero or more, got {value}", field)
    return value


def share(value: float, field: str) -> float:
    """`value`, where it lies in [0, 1]. Raises SpecError."""
    if not 0 <= value <= 1:
        raise SpecError(f"must lie between 0 and 1, got {value}", field)
    return value
