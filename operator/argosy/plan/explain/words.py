"""How rates, money and counts are written in the planner's sentences.

Owns their formats and units.
"""

from __future__ import annotations

from argosy.plan.problem import Option


def rate(per_s: float) -> str:
    """A rate, with its unit."""
    return f"{per_s:,.1f} req/s" if per_s >= 1 else f"{per_s:.3g} req/s"


def usd(usd_per_hour: float) -> str:
    """A price, with its unit."""
    return f"${usd_per_hour:,.2f}/h"


def percent(ratio: float) -> str:
    """A ratio (0-1) as a percentage."""
    return f"{ratio * 100:.3g} %"


def counted(number: int, noun: str) -> str:
    """A number and its noun, in the plural where the number is not 1."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def replicas_of(option: Option, replicas: int) -> str:
    """Replicas of an option, with their price."""
    return f"{counted(replicas, 'replica')} of {option.label} ({usd(replicas * option.price_usd_per_hour)})"
