"""How ages, rates and shares are written in tables.

Owns their formats; what is not known is a dash.
"""

from __future__ import annotations

NOT_KNOWN = "-"


def age(seconds: float | None) -> str:
    """`42s`, `5m`, `3h`, `2d`, as kubectl writes it."""
    if seconds is None:
        return NOT_KNOWN
    for unit, length_s, most in (("s", 1, 120), ("m", 60, 120), ("h", 3600, 48)):
        if seconds / length_s < most:
            return f"{seconds / length_s:.0f}{unit}"
    return f"{seconds / 86400:.0f}d"


def number(value: float | None, digits: int = 1) -> str:
    """A number with so many decimals."""
    return NOT_KNOWN if value is None else f"{value:,.{digits}f}"


def usd(value: float | None) -> str:
    """US dollars, two decimals."""
    return NOT_KNOWN if value is None else f"${value:,.2f}"


def share(value: float | None) -> str:
    """A share (0-1) in percent; all and nothing are printed for exactly that only."""
    if value is None:
        return NOT_KNOWN
    if 0 < value < 0.005:
        return "<1%"
    return ">99%" if 0.995 <= value < 1 else f"{value:.0%}"
