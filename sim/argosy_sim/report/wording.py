"""Single figures as people read them, the same in a terminal and on a page.

Owns formats: units, digits, signs. Input: a value (None: it does not exist). Output: text. A share is
cut, not rounded: 94.96 % must not read as 95 % beside a bound of 95 % that was broken. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from argosy.snapshot import Slo
from argosy_sim.measures.intervals import Interval, TooFew

NOTHING = "–"
SPACE = "\N{NO-BREAK SPACE}"  # keeps a number and its unit on one line
_BYTES_PER_MIB = 2**20


def share(value: float | None) -> str:
    """A ratio in per cent, cut to a tenth."""
    return NOTHING if value is None else f"{_tenths(value):.1f}{SPACE}%"


def share_bounds(interval: Interval | TooFew | None) -> str:
    """A share's confidence interval in per cent, without the sign; each bound cut to a tenth."""
    if interval is None or isinstance(interval, TooFew):
        return NOTHING
    return f"{_tenths(interval.low):.1f}–{_tenths(interval.high):.1f}"


def _tenths(value: float) -> float:
    return math.floor(value * 1000 + 1e-9) / 10


def seconds(value: float | None) -> str:
    """Seconds to a tenth."""
    return NOTHING if value is None else f"{value:.1f}{SPACE}s"


def usd(value: float | None) -> str:
    """Dollars and cents; to a hundredth of a cent below ten dollars, as a minute costs little."""
    if value is None:
        return NOTHING
    return f"${value:,.2f}" if abs(value) >= 10 else f"${value:.4f}"


def usd_per_hour(value: float) -> str:
    """Dollars and cents per hour."""
    return f"${value:,.2f}/h"


def milliseconds(value: float | None) -> str:
    """Milliseconds below ten seconds, seconds above."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}{SPACE}ms" if value < 10_000 else f"{value / 1000:,.1f}{SPACE}s"


def bound_ms(value: float) -> str:
    """A bound as its author wrote it: 2 s, not 2,000 ms."""
    return f"{value:g}{SPACE}ms" if value < 1000 else f"{value / 1000:g}{SPACE}s"


def mebibytes(num_bytes: int) -> str:
    """Memory in MiB."""
    return f"{num_bytes / _BYTES_PER_MIB:,.0f}{SPACE}MiB"


def saved(spent_usd: float, reference_usd: float) -> str:
    """How much less or more was spent than the reference, in per cent."""
    if reference_usd <= 0:
        return NOTHING
    ratio = 1 - spent_usd / reference_usd
    return f"{abs(ratio) * 100:.0f}{SPACE}% {'less' if ratio > 0 else 'more'}"


def replicas(by_variant: Mapping[str, int]) -> str:
    """Counts by variant."""
    return ", ".join(f"{num} × {variant}" for variant, num in sorted(by_variant.items())) or "none"


def shares(by_class: Mapping[str, Mapping[str, float]]) -> str:
    """Every class's split between variants."""
    return "; ".join(f"{name}: {split(by_variant)}" for name, by_variant in sorted(by_class.items()))


def split(by_variant: Mapping[str, float]) -> str:
    """One class's split between variants; a variant without a share is left out."""
    named = [f"{value * 100:.0f}{SPACE}% {name}" for name, value in sorted(by_variant.items()) if value > 0]
    return ", ".join(named) or "nothing"


def slo(promised: Slo) -> str:
    """An SLO's terms in a line."""
    return ", ".join(
        f"{term.term} p{term.percentile * 100:g} ≤ {bound_ms(term.bound_ms)}" for term in promised.terms
    )


def promised_shares(promised: Slo) -> str:
    """The percentiles of an SLO's terms in per cent, each once."""
    return ", ".join(sorted({share(term.percentile) for term in promised.terms}))
