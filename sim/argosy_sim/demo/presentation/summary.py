"""The judgement as the JSON document that `make demo` leaves behind.

Owns its keys and nesting, and that every number in it is finite. What did not occur is null; seconds
count from the start of act 1; shares are 0-1; latencies are milliseconds. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from argosy.errors import InvariantError
from argosy_sim.demo.evidence import PlanSeen
from argosy_sim.demo.judgement.judge import ActJudgement, ClassInAct, Judgement
from argosy_sim.measures.intervals import Interval, TooFew
from argosy_sim.measures.percentiles import Percentiles

_DIGITS = 6  # microseconds, and millionths of a dollar: further digits are noise of the arithmetic


def report(judgement: Judgement, not_judged: Sequence[str] = ()) -> dict[str, Any]:
    """The document as plain values; `not_judged` as in `Evidence`, its key is left out where it is empty."""
    return {
        "acts": [_act(act) for act in judgement.acts],
        "promises": [
            {
                "name": promise.name,
                "kept": promise.kept,
                "measured": _finite(promise.measured),
                "bound": _finite(promise.bound),
            }
            for promise in judgement.promises
        ],
        "trace": judgement.trace,
        **({"not_judged": list(not_judged)} if not_judged else {}),
    }


def _act(act: ActJudgement) -> dict[str, Any]:
    return {
        "name": act.act.name,
        "start_s": act.act.start_s,
        "end_s": act.act.end_s,
        "offered": act.counts.offered,
        "completed": act.counts.completed,
        "lost": act.counts.lost,
        "lost_in_flight": act.counts.lost_in_flight,
        "retried": act.counts.retried,
        "cost_usd": _finite(act.cost_usd),
        "static_peak_cost_usd": _finite(act.static_peak_cost_usd),
        "classes": {name: _class(of_class) for name, of_class in act.classes.items()},
        "plans": [_plan(plan) for plan in act.plans],
        "first_request_on_new_replica_s": _finite(act.first_request_on_new_replica_s),
        "recovery_s": _finite(act.recovery_s),
    }


def _class(of_class: ClassInAct) -> dict[str, Any]:
    return {
        "ttft_ms": _percentiles(of_class.ttft_ms),
        "itl_ms": _percentiles(of_class.itl_ms),
        "e2e_ms": _percentiles(of_class.e2e_ms),
        "attainment": _finite(of_class.attainment),
        "attainment_ci95": _bounds(of_class.attainment_interval),
        "recovery_attainment": _finite(of_class.recovery_attainment),
        "stationarity": str(of_class.verdict.state),
    }


def _bounds(interval: Interval | TooFew | None) -> list[float | None] | None:
    """The lower and the upper bound."""
    if interval is None or isinstance(interval, TooFew):
        return None
    return [_finite(interval.low), _finite(interval.high)]


def _percentiles(percentiles: Percentiles | None) -> dict[str, float | None]:
    """All three keys always, so that a reader need not check whether the object is there."""
    if percentiles is None:
        return {"p50": None, "p95": None, "p99": None}
    return {
        "p50": _finite(percentiles.p50),
        "p95": _finite(percentiles.p95),
        "p99": _finite(percentiles.p99),
    }


def _plan(plan: PlanSeen) -> dict[str, Any]:
    return {
        "revision": plan.revision,
        "at_s": _finite(plan.at_s),
        "replicas": dict(plan.replicas),
        "shares": {
            name: {variant: _finite(share) for variant, share in by_variant.items()}
            for name, by_variant in plan.shares.items()
        },
        "reasons": list(plan.reasons),
    }


def _finite(value: float | None) -> float | None:
    if value is None:
        return None
    if not math.isfinite(value):
        raise InvariantError(f"a figure of the report is {value}, a finite number is needed")
    return round(value, _DIGITS)
