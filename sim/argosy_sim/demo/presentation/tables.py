"""The page's tables and cards.

Owns their columns and rows; how a table is built is `report.tables`. Input: `Judgement` and
`Evidence`. Output: elements. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from argosy_sim.demo.evidence import Evidence, PlanSeen
from argosy_sim.demo.judgement.judge import ActJudgement, ClassInAct, Judgement
from argosy_sim.demo.judgement.shocks import ShockDecision
from argosy_sim.demo.presentation import wording as story_wording
from argosy_sim.demo.story import Shock, StoryClass
from argosy_sim.report import wording
from argosy_sim.report.cards import Fact, card, cards
from argosy_sim.report.markup import Element, element
from argosy_sim.report.tables import Cell, alarm, badge, breakable, table


def promises(judgement: Judgement) -> Element:
    """Every promise with what was measured."""
    rows = []
    for promise in judgement.promises:
        measured, bound = story_wording.promise_figures(promise)
        rows.append((breakable(promise.path), badge(promise.kept), measured, bound, promise.detail))
    return table("Promises", ("Promise", "Verdict", "Measured>", "Promised>", "In words~"), rows, "compact")


def act_cards(judgement: Judgement, evidence: Evidence) -> Element:
    """The figures of each act."""
    decisions = {decision.at_s: decision for decision in judgement.decisions}
    return cards(
        card(
            act.act.name,
            f"{act.act.start_s:g}–{act.act.end_s:g} s",
            _facts(act, evidence, decisions.get(act.act.start_s)),
        )
        for act in judgement.acts
    )


def _facts(act: ActJudgement, evidence: Evidence, decision: ShockDecision | None) -> list[Fact]:
    facts = _shock_facts(act, decision)
    facts.append(("plans", _plan_links(act.plans)))
    facts.extend((c.name, _attained(act.classes[c.name], c)) for c in evidence.story.classes)
    facts.extend(_count_facts(act))
    saving = wording.saved(act.cost_usd, act.static_peak_cost_usd)
    static = wording.usd(act.static_peak_cost_usd)
    facts.append(("cost", f"{wording.usd(act.cost_usd)}, {saving} than the static peak's {static}"))
    if act.first_request_on_new_replica_s is not None:
        facts.append(("new replica", f"first request {act.first_request_on_new_replica_s:.1f} s after Ready"))
    return facts


def _shock_facts(act: ActJudgement, decision: ShockDecision | None) -> list[Fact]:
    if act.act.shock is Shock.NONE or decision is None:
        return []
    return [
        ("shock", act.act.shock.value),
        ("decided", (f"{_within(decision)} ", badge(decision.is_in_time))),
        ("recovered", wording.seconds(act.recovery_s)),
    ]


def _count_facts(act: ActJudgement) -> Iterable[Fact]:
    counts = act.counts
    yield "requests", f"{counts.offered} offered, {counts.completed} completed, {counts.retried} retried"
    in_flight = f", {counts.lost_in_flight} in flight on the dead node" if counts.lost_in_flight else ""
    yield "lost", (alarm(str(counts.lost), counts.lost > 0), in_flight)


def _within(decision: ShockDecision) -> str:
    if decision.decided_within_s is None:
        return "no plan in this act"
    return f"after {wording.seconds(decision.decided_within_s)} of {wording.seconds(decision.bound_s)}"


def _plan_links(plans: Sequence[PlanSeen]) -> Sequence[str | Element]:
    if not plans:
        return ["no new plan"]
    cells: list[str | Element] = []
    for plan in plans:
        link = element("a", {"href": f"#plan-{plan.revision}"}, f"revision {plan.revision}")
        cells += ["; " if cells else "", link, f": {wording.replicas(plan.replicas)}"]
    return cells


def _attained(of_class: ClassInAct, story_class: StoryClass) -> Sequence[str | Element]:
    kept = bool(of_class.terms) and all(term.is_kept for term in of_class.terms)
    bounds = wording.share_bounds(of_class.attainment_interval)
    known = "" if bounds == wording.NOTHING else f" ({bounds}{wording.SPACE}%)"
    recovering = ""
    if of_class.recovery_attainment is not None:
        recovering = f"; while recovering {wording.share(of_class.recovery_attainment)}"
    promised = wording.promised_shares(story_class.slo)
    return [
        alarm(wording.share(of_class.attainment), not kept),
        f"{known} attained of {promised}{recovering}",
    ]


def plans(evidence: Evidence) -> Element:
    """Every revision with its reasons."""
    columns = ("Revision>", "At>", "Trigger", "Decision", "Cost>", "State")
    return table("Plan revisions", columns, (_plan_row(plan) for plan in evidence.plans))


def _plan_row(plan: PlanSeen) -> Sequence[Cell]:
    reasons = element("ul", {}, *(element("li", {}, reason) for reason in plan.reasons))
    decision: list[str | Element] = [
        element("div", {}, wording.replicas(plan.replicas)),
        element("div", {"class": "muted"}, wording.shares(plan.shares)),
    ]
    if plan.reasons:
        decision.append(reasons)
    return (
        f"#plan-{plan.revision}",
        str(plan.revision),
        wording.seconds(plan.at_s),
        plan.trigger,
        decision,
        wording.usd_per_hour(plan.cost_usd_per_hour),
        alarm(story_wording.plan_state(plan), not plan.passed_check),
    )


def latencies(judgement: Judgement, evidence: Evidence) -> Element:
    """Percentiles of every class in every act."""
    columns = ("Act", "Class", "TTFT>", "ITL>", "E2E>", "In flight~")
    rows = [
        (act.act.name, c.name, *_percentiles(act.classes[c.name]), act.classes[c.name].verdict.message)
        for act in judgement.acts
        for c in evidence.story.classes
    ]
    return table("Latencies", columns, rows)


def _percentiles(of_class: ClassInAct) -> Iterable[str]:
    for values in (of_class.ttft_ms, of_class.itl_ms, of_class.e2e_ms):
        if values is None:
            yield wording.NOTHING
        else:
            yield " / ".join(f"{value:,.0f}" for value in (values.p50, values.p95, values.p99)) + " ms"


def new_replicas(judgement: Judgement) -> Element:
    """How soon each new replica was routable, and how soon it got its first request."""
    columns = ("Replica", "Class", "Node", "Ready at>", "Routable after>", "First request after>", "Offered>")
    rows = [
        (
            new.replica.pod,
            new.replica.class_name,
            new.replica.node,
            wording.seconds(new.ready_s),
            story_wording.delay(new.routable),
            story_wording.delay(new.first_request),
            f"{new.offered_per_s:.1f}/s",
        )
        for new in judgement.new_replicas
    ]
    return table("New replicas", columns, rows)


def memory(evidence: Evidence) -> Element:
    """The highest resident memory observed, by process."""
    rows = [(name, wording.mebibytes(num)) for name, num in sorted(evidence.memory_bytes.items())]
    return table("Memory", ("Process", "Highest resident memory>"), rows)
