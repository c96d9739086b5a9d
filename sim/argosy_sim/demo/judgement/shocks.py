"""The shocks of a run: recovery windows, time to a decision, time until SLOs held again.

Owns these three definitions. A shock happens at the start of its act. Pure.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from argosy.client.records import RequestRecord
from argosy.snapshot.liveness import SILENT_AFTER_S
from argosy_sim.demo.evidence import Evidence
from argosy_sim.demo.story import Act, Shock, StoryClass
from argosy_sim.measures.attainment import attainment_by_term

RECOVERY_AFTER_LOAD_S = 15.0
DECISION_BOUND_S = 10.0
"""From a shock that the operator sees at once, or by its counters, to the plan that answers it."""

SILENCE_BOUND_S = SILENT_AFTER_S + DECISION_BOUND_S
"""A dead node says nothing. It was 10 s while two failed scrapes made an engine lost; since a busy engine
counts as capacity, one is lost after 15 s without any answer."""

CALM_S = 10.0
_CALM_STEP_S = 0.1
_ROUNDING_S = 1e-9


@dataclass(frozen=True, slots=True)
class RecoveryWindow:
    """From a shock until new replicas can have loaded; both ends belong to it."""

    start_s: float
    end_s: float

    def contains(self, at_s: float) -> bool:
        """Whether a request that arrives at this moment is inside."""
        return self.start_s <= at_s <= self.end_s


@dataclass(frozen=True, slots=True)
class ShockDecision:
    """How long after a shock a plan was made that was then applied; None: not before the next act."""

    shock: Shock
    at_s: float
    revision: int | None
    decided_within_s: float | None

    @property
    def bound_s(self) -> float:
        """The time that the decision may take."""
        return SILENCE_BOUND_S if self.shock is Shock.NODE_DEATH else DECISION_BOUND_S

    @property
    def is_in_time(self) -> bool:
        """The planning loop decided within the bound."""
        return self.decided_within_s is not None and self.decided_within_s <= self.bound_s


def shocking_acts(evidence: Evidence) -> tuple[Act, ...]:
    """The acts that begin with a shock."""
    return tuple(act for act in evidence.story.acts if act.shock is not Shock.NONE)


def recovery_windows(evidence: Evidence) -> tuple[RecoveryWindow, ...]:
    """One window per shock; may reach into the next act where loading takes long."""
    length_s = evidence.load_delay_s + RECOVERY_AFTER_LOAD_S
    return tuple(RecoveryWindow(act.start_s, act.start_s + length_s) for act in shocking_acts(evidence))


def shock_decisions(evidence: Evidence) -> tuple[ShockDecision, ...]:
    """For each shock the first plan of its act that was applied."""
    return tuple(_decision(evidence, act) for act in shocking_acts(evidence))


def _decision(evidence: Evidence, act: Act) -> ShockDecision:
    plans = [p for p in evidence.plans if p.is_applied and act.start_s <= p.at_s < act.end_s]
    if not plans:
        return ShockDecision(act.shock, act.start_s, None, None)
    first = min(plans, key=lambda plan: plan.at_s)
    return ShockDecision(act.shock, act.start_s, first.revision, first.at_s - act.start_s)


def recovery_s(evidence: Evidence, act: Act) -> float | None:
    """Seconds from the act's shock to the start of its first calm 10 s; None without shock or calm.

    The 10 s lie within the act (later ones belong to the next shock) and start at a multiple of 0.1 s
    after the shock. They are calm when at least one request arrived in them, and every class with a
    request there attains each of its percentiles. A class without a request cannot miss a
    percentile, but ten seconds without any request prove nothing.
    """
    if act.shock is Shock.NONE:
        return None
    records_by_class = {
        story_class.name: _arrivals(evidence.requests, story_class.name, act)
        for story_class in evidence.story.classes
    }
    # The 1e-6 keeps the last window, which ends exactly with the act.
    num_starts = int((act.end_s - act.start_s - CALM_S) / _CALM_STEP_S + 1e-6) + 1
    for step in range(num_starts):
        offset_s = round(step * _CALM_STEP_S, 6)
        if _is_calm(evidence.story.classes, records_by_class, act.start_s + offset_s):
            return offset_s
    return None


def _arrivals(records: Sequence[RequestRecord], class_name: str, act: Act) -> list[RequestRecord]:
    return sorted(
        (r for r in records if r.class_name == class_name and act.start_s <= r.arrival_s < act.end_s),
        key=lambda record: record.arrival_s,
    )


def _is_calm(
    classes: Sequence[StoryClass], records_by_class: Mapping[str, list[RequestRecord]], start_s: float
) -> bool:
    has_request = False
    for story_class in classes:
        records = records_by_class[story_class.name]
        first = _index(records, start_s)
        inside = records[first : _index(records, start_s + CALM_S)]
        has_request = has_request or bool(inside)
        if not all(term.is_kept for term in attainment_by_term(inside, story_class.slo)):
            return False
    return has_request


def _index(records: Sequence[RequestRecord], at_s: float) -> int:
    return bisect_left(records, at_s - _ROUNDING_S, key=lambda record: record.arrival_s)
