"""Refusing quantities that mean nothing, with the field's name.

Owns the three checks that the closed forms of `perf` make of numbers from outside. Never
corrects one: a NaN, a negative or a zero where there must be something is a SpecError.
"""

from __future__ import annotations

import math

from argosy.errors import SpecError


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
