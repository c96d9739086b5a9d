"""What a GPU-hour is listed at, for answers where no price is given.

Owns a rough range per GPU. Plans use the price in the GPUPool instead. The ranges are the lowest
and highest on-demand list prices of public clouds and GPU providers seen in 2026; sources conflict,
which is why it is a range.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

LIST_PRICES_USD_PER_HOUR: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "H100": (2.0, 6.9),
        "H200": (3.5, 7.0),
        "A100": (0.9, 3.7),
        "L40S": (0.8, 1.8),
        "B200": (5.0, 8.0),
        "L4": (0.7, 1.1),
        "A10G": (1.0, 1.0),
    }
)
"""By catalogue name: lowest and highest, per GPU."""


def middle_price(gpu: str) -> float | None:
    """The middle of the range, USD per GPU-hour; None where no price was seen."""
    known = LIST_PRICES_USD_PER_HOUR.get(gpu)
    return None if known is None else sum(known) / 2
