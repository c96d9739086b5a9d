"""Tests of single values in an answer that may be malformed.

Owns what counts as a key, as a number of replicas and as a finite number, and how any value is printed. The
checks of plans and of placements use it: nothing here raises, whatever the value.
"""

from __future__ import annotations

import reprlib
import sys

MOST_REPLICAS = 1_000_000
"""More than any cluster holds, and few enough that sums and prices of counts stay finite."""


def is_pair(key: object) -> bool:
    """True for a tuple of two: what shares and counts are keyed by."""
    return isinstance(key, tuple) and len(key) == 2


def is_count(value: object, most: int = MOST_REPLICAS) -> bool:
    """True for a whole number from 0 to `most`."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def is_finite(value: object) -> bool:
    """True for a number that is neither NaN nor infinite, nor too large for a float."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return -sys.float_info.max <= value <= sys.float_info.max


def shown(value: object) -> str:
    """The value as Python prints it, shortened where it is long."""
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        return "an integer beyond all floats"  # Python refuses to print the longest ones
    return reprlib.repr(value)
