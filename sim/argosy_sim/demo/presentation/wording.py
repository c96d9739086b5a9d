"""The demo's own sentences, the same in the terminal and on the page.

Owns what is worded with the story's nouns; plain figures are `report.wording`. Pure.
"""

from __future__ import annotations

from argosy_sim.demo.evidence import PlanSeen
from argosy_sim.demo.judgement.judge import Judgement
from argosy_sim.demo.judgement.new_replicas import Delay
from argosy_sim.demo.judgement.promises import Promise, PromiseKind
from argosy_sim.report.wording import NOTHING, SPACE, seconds, share, usd


def plan_state(plan: PlanSeen) -> str:
    """Whether a plan was checked and applied."""
    check = "check passed" if plan.passed_check else "CHECK FAILED"
    return f"{check}, {'applied' if plan.is_applied else 'not applied'}"


def delay(value: Delay) -> str:
    """How long it took, or for how long it had not happened."""
    return seconds(value.seconds) if value.happened else f"not in {seconds(value.seconds)}"


def promise_figures(promise: Promise) -> tuple[str, str]:
    """What was measured, and the bound with its sense, in the promise's own unit."""
    measured, bound = promise.measured, promise.bound
    match promise.kind:
        case PromiseKind.ATTAINMENT:
            return share(measured), f"at least {share(bound)}"
        case PromiseKind.COST:
            return usd(measured), f"below {usd(bound)}"
        case PromiseKind.ROUTABLE:
            waited = NOTHING if measured is None else f"{measured:.2f}{SPACE}s"
            return waited, f"within {bound:g}{SPACE}s"
        case PromiseKind.LOST | PromiseKind.CHECKED | PromiseKind.CLEAN_EXIT:
            return (NOTHING if measured is None else f"{measured:.0f}"), f"{bound:.0f}"


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
    return f"{round(load_delay_s, 1):g} s of loading + {after_load_s:g} s after each shock"
