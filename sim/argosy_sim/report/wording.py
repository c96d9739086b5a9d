"""Figures as people read them, the same in the terminal and on the page.

Owns formats. Never decides what is shown. A share is cut, not rounded: 94.96 % must not read as
95 % beside a broken promise. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from argosy.snapshot import Slo
from argosy_sim.demo.evidence import PlanSeen
from argosy_sim.demo.judgement.judge import Judgement
from argosy_sim.demo.judgement.new_replicas import Delay
from argosy_sim.demo.judgement.promises import Promise
from argosy_sim.demo.story import Shock

NOTHING = "–"
_BYTES_PER_MIB = 2**20
_SPACE = "\N{NO-BREAK SPACE}"  # a number and its unit stay on one line


def share(value: float | None) -> str:
    """A ratio in per cent, cut to a tenth."""
    return NOTHING if value is None else f"{math.floor(value * 1000 + 1e-9) / 10:.1f}{_SPACE}%"


def seconds(value: float | None) -> str:
    """Seconds to a tenth."""
    return NOTHING if value is None else f"{value:.1f}{_SPACE}s"


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
    return f"{value:,.0f}{_SPACE}ms" if value < 10_000 else f"{value / 1000:,.1f}{_SPACE}s"


def bound_ms(value: float) -> str:
    """A bound as its author wrote it: 2 s, not 2,000 ms."""
    return f"{value:g}{_SPACE}ms" if value < 1000 else f"{value / 1000:g}{_SPACE}s"


def mebibytes(num_bytes: int) -> str:
    """Memory in MiB."""
    return f"{num_bytes / _BYTES_PER_MIB:,.0f}{_SPACE}MiB"


def saved(run_usd: float, static_peak_usd: float) -> str:
    """The run against the static peak, in per cent."""
    if static_peak_usd <= 0:
        return NOTHING
    ratio = 1 - run_usd / static_peak_usd
    return f"{abs(ratio) * 100:.0f}{_SPACE}% {'less' if ratio > 0 else 'more'}"


def replicas(by_variant: Mapping[str, int]) -> str:
    """Counts by variant."""
    return ", ".join(f"{num} × {variant}" for variant, num in sorted(by_variant.items())) or "none"


def shares(by_class: Mapping[str, Mapping[str, float]]) -> str:
    """Every class's split between variants."""
    return "; ".join(f"{name}: {split(by_variant)}" for name, by_variant in sorted(by_class.items()))


def split(by_variant: Mapping[str, float]) -> str:
    """One class's split between variants; what has no share is not told."""
    told = [f"{value * 100:.0f}{_SPACE}% {name}" for name, value in sorted(by_variant.items()) if value > 0]
    return ", ".join(told) or "nothing"


def plan_state(plan: PlanSeen) -> str:
    """Whether a plan was checked and applied."""
    check = "check passed" if plan.passed_check else "CHECK FAILED"
    return f"{check}, {'applied' if plan.is_applied else 'not applied'}"


def slo(promised: Slo) -> str:
    """A class's promises in a line."""
    return ", ".join(
        f"{term.term} p{term.percentile * 100:g} ≤ {bound_ms(term.bound_ms)}" for term in promised.terms
    )


def delay(value: Delay) -> str:
    """How long it took, or how long it had not happened."""
    return seconds(value.seconds) if value.happened else f"not in {seconds(value.seconds)}"


def shock(kind: Shock) -> str:
    """A shock's name; nothing where none was."""
    return NOTHING if kind is Shock.NONE else kind.value


def promise_figures(promise: Promise) -> tuple[str, str]:
    """What was measured, and the bound with its sense, in the promise's own unit."""
    if promise.name.startswith("attainment/"):
        return share(promise.measured), f"at least {share(promise.bound)}"
    if promise.name == "cost":
        return usd(promise.measured), f"below {usd(promise.bound)}"
    if promise.name == "routable":
        measured = NOTHING if promise.measured is None else f"{promise.measured:.2f}{_SPACE}s"
        return measured, f"within {promise.bound:g}{_SPACE}s"
    measured = NOTHING if promise.measured is None else f"{promise.measured:.0f}"
    return measured, f"{promise.bound:.0f}"


def verdict(judgement: Judgement) -> str:
    """The run in a sentence."""
    num_late = sum(not decision.is_in_time for decision in judgement.decisions)
    if judgement.is_kept:
        return f"All {len(judgement.promises)} promises were kept"
    parts = []
    if judgement.broken:
        parts.append(f"{len(judgement.broken)} of {len(judgement.promises)} promises were broken")
    if num_late:
        parts.append(f"{num_late} of {len(judgement.decisions)} shocks were decided on too late")
    return " and ".join(parts)


def recovery_rule(load_delay_s: float, after_load_s: float) -> str:
    """What a recovery window is."""
    return f"{load_delay_s:g} s of loading + {after_load_s:g} s after each shock"
