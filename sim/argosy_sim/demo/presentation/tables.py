"""The page's tables and cards.

Owns their columns and rows. Never draws plots (`plots`) and never measures. Input: `Judgement` and
`Evidence`. Output: elements. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from argosy_sim.demo.evidence import Evidence, PlanSeen
from argosy_sim.demo.judgement.judge import ActJudgement, ClassInAct, Judgement
from argosy_sim.demo.judgement.shocks import DECISION_BOUND_S, ShockDecision
from argosy_sim.demo.story import Shock, StoryClass
from argosy_sim.report import wording
from argosy_sim.report.markup import Element, element

Cell = str | Element | Sequence["str | Element"]


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]], style: str = "") -> Element:
    """A table. A row may start with its id as `#id`.

    A column whose name ends in `>` holds numbers; one that ends in `~` holds words that a small
    screen may leave out (with the style `compact`).
    """
    names = [column.rstrip(">~") for column in columns]
    styles = [{">": "number", "~": "words"}.get(column[-1], "") for column in columns]
    head = (
        element("th", {"scope": "col", "class": style}, name)
        for name, style in zip(names, styles, strict=True)
    )
    return element(
        "table",
        {"aria-label": caption, "class": style},
        element("thead", {}, element("tr", {}, *head)),
        element("tbody", {}, *(_row(names, styles, row) for row in rows)),
    )


def _row(names: Sequence[str], styles: Sequence[str], cells: Sequence[Cell]) -> Element:
    key = str(cells[0])[1:] if len(cells) > len(names) else ""
    shown = cells[1:] if key else cells
    made = element("tr", {"id": key} if key else {})
    for name, style, cell in zip(names, styles, shown, strict=True):
        children = [cell] if isinstance(cell, (str, Element)) else cell
        made.append(element("td", {"data-label": name, "class": style}, *children))
    return made


def badge(is_kept: bool) -> Element:
    """A verdict in sign and word, never in colour alone."""
    word = "✓ kept" if is_kept else "✗ broken"
    return element("span", {"class": "good" if is_kept else "bad"}, word)


def promises(judgement: Judgement) -> Element:
    """Every promise with what was measured."""
    rows = []
    for promise in judgement.promises:
        measured, bound = wording.promise_figures(promise)
        rows.append((_breakable(promise.name), badge(promise.kept), measured, bound, promise.detail))
    return table("Promises", ("Promise", "Verdict", "Measured>", "Promised>", "In words~"), rows, "compact")


def _breakable(name: str) -> list[str | Element]:
    """A path that a narrow column may break after its slashes."""
    first, *rest = name.split("/")
    return [first, *(part for word in rest for part in ("/", element("wbr"), word))]


def act_cards(judgement: Judgement, evidence: Evidence) -> Element:
    """What each act came to."""
    decisions = {decision.at_s: decision for decision in judgement.decisions}
    return element(
        "div",
        {"class": "acts"},
        *(_card(act, evidence, decisions.get(act.act.start_s)) for act in judgement.acts),
    )


def _card(act: ActJudgement, evidence: Evidence, decision: ShockDecision | None) -> Element:
    counts = act.counts
    saving = wording.saved(act.cost_usd, act.static_peak_cost_usd)
    facts: list[tuple[str, Cell]] = []
    if act.act.shock is not Shock.NONE and decision is not None:
        facts.append(("shock", act.act.shock.value))
        facts.append(("decided", (f"{_within(decision)} ", badge(decision.is_in_time))))
        facts.append(("recovered", wording.seconds(act.recovery_s)))
    facts.append(("plans", _plan_links(act.plans)))
    facts.extend((f"{c.name}", _attained(act.classes[c.name], c)) for c in evidence.story.classes)
    facts.append(
        ("requests", f"{counts.offered} offered, {counts.completed} completed, {counts.retried} retried")
    )
    in_flight = f", {counts.lost_in_flight} in flight on the dead node" if counts.lost_in_flight else ""
    facts.append(("lost", (_alarm(str(counts.lost), counts.lost > 0), in_flight)))
    static = wording.usd(act.static_peak_cost_usd)
    facts.append(("cost", f"{wording.usd(act.cost_usd)}, {saving} than the static peak's {static}"))
    if act.first_request_on_new_replica_s is not None:
        facts.append(("new replica", f"first request {act.first_request_on_new_replica_s:.1f} s after Ready"))
    return element(
        "section",
        {"class": "act-card"},
        element("h3", {}, act.act.name, element("span", {}, f"{act.act.start_s:g}–{act.act.end_s:g} s")),
        element("dl", {}, *(part for name, value in facts for part in _fact(name, value))),
    )


def _fact(name: str, value: Cell) -> Iterable[Element]:
    yield element("dt", {}, name)
    yield element("dd", {}, *([value] if isinstance(value, (str, Element)) else value))


def _within(decision: ShockDecision) -> str:
    if decision.decided_within_s is None:
        return "no plan in this act"
    return f"after {wording.seconds(decision.decided_within_s)} of {wording.seconds(DECISION_BOUND_S)}"


def _plan_links(plans: Sequence[PlanSeen]) -> Sequence[str | Element]:
    if not plans:
        return ["no new plan"]
    cells: list[str | Element] = []
    for plan in plans:
        link = element("a", {"href": f"#plan-{plan.revision}"}, f"revision {plan.revision}")
        cells += ["; " if cells else "", link, f": {wording.replicas(plan.replicas)}"]
    return cells


def _attained(of_class: ClassInAct, story_class: StoryClass) -> Sequence[str | Element]:
    promised = ", ".join(sorted({wording.share(term.percentile) for term in story_class.slo.terms}))
    kept = bool(of_class.terms) and all(term.is_kept for term in of_class.terms)
    share = wording.share(of_class.attainment)
    recovering = ""
    if of_class.recovery_attainment is not None:
        recovering = f"; while recovering {wording.share(of_class.recovery_attainment)}"
    return [_alarm(share, not kept), f" attained of {promised}{recovering}"]


def _alarm(text: str, is_alarming: bool) -> Element:
    return element("span", {"class": "bad"} if is_alarming else {}, text)


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
    state = element("span", {} if plan.passed_check else {"class": "bad"}, wording.plan_state(plan))
    return (
        f"#plan-{plan.revision}",
        str(plan.revision),
        wording.seconds(plan.at_s),
        plan.trigger,
        decision,
        wording.usd_per_hour(plan.cost_usd_per_hour),
        state,
    )


def latencies(judgement: Judgement, evidence: Evidence) -> Element:
    """Percentiles of every class in every act."""
    columns = ("Act", "Class", "TTFT>", "ITL>", "E2E>")
    rows = [
        (act.act.name, c.name, *_percentiles(act.classes[c.name]))
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
    """How soon each new replica was routable and asked."""
    columns = ("Replica", "Class", "Node", "Ready at>", "Routable after>", "First request after>", "Offered>")
    rows = [
        (
            new.replica.pod,
            new.replica.class_name,
            new.replica.node,
            wording.seconds(new.ready_s),
            wording.delay(new.routable),
            wording.delay(new.first_request),
            f"{new.offered_per_s:.1f}/s",
        )
        for new in judgement.new_replicas
    ]
    return table("New replicas", columns, rows)


def memory(evidence: Evidence) -> Element:
    """The highest resident memory seen, by process."""
    rows = [(name, wording.mebibytes(num)) for name, num in sorted(evidence.memory_bytes.items())]
    return table("Memory", ("Process", "Highest resident memory>"), rows)
