"""Kubernetes' quantities as whole numbers.

Owns the reading of `100m`, `1.5`, `4Gi`, `2e3`. Input: a quantity as objects hold it. Output: thousandths,
rounded up as Kubernetes rounds; None for what is none.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(m|u|n|[kMGTPE]|[KMGTPE]i|[eE][+-]?\d{1,2})?")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {letter + "i": 1024 ** (power + 1) for power, letter in enumerate("KMGTPE")}


def thousandths(quantity: object) -> int | None:
    """`1` -> 1000, `100m` -> 100, `1Ki` -> 1024000; None where it is no quantity."""
    found = _FORM.fullmatch(str(quantity).strip())
    if found is None:
        return None
    number, unit = Fraction(found[1]), found[2] or ""
    if unit in _BINARY:
        number *= _BINARY[unit]
    elif unit in _DECIMAL:
        number *= Fraction(10) ** _DECIMAL[unit]
    else:
        number *= Fraction(10) ** int(unit[1:])
    return math.ceil(number * 1000)
