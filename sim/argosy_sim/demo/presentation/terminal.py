"""The report in a terminal.

Owns the tables and their order, made for 100 columns. Says in words whatever it also says in colour.
Never judges. Pure but for `show`, which prints to the console that it is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from argosy_sim.demo.evidence import Evidence, PlanSeen
from argosy_sim.demo.judgement.judge import ActJudgement, ClassInAct, Judgement
from argosy_sim.demo.judgement.promises import ROUTABLE_BOUND_S
from argosy_sim.demo.judgement.shocks import DECISION_BOUND_S, RECOVERY_AFTER_LOAD_S
from argosy_sim.report import wording

_NUM_REASONS = 3  # more than this hides the acts; the page has them all


def show(evidence: Evidence, judgement: Judgement, console: Console) -> None:
    """Print the report to the console."""
    console.print(rendered(evidence, judgement))


def rendered(evidence: Evidence, judgement: Judgement) -> RenderableType:
    """Everything, the verdict last: it is what stays on the screen."""
    return Group(
        Rule("What the operator decided", style="dim"),
        *(_decided(act) for act in judgement.acts),
        Rule("Acts", style="dim"),
        _acts(judgement),
        _classes(judgement, evidence),
        _shocks(judgement),
        _new_replicas(judgement),
        _memory(evidence),
        Rule("Promises", style="dim"),
        _promises(judgement),
        _verdict(judgement, evidence),
    )


def _decided(act: ActJudgement) -> RenderableType:
    head = Text.assemble(
        (f"{act.act.name}", "bold"),
        f"  {act.act.start_s:g}-{act.act.end_s:g} s",
        "" if not act.plans else f"  {len(act.plans)} plan{'s' if len(act.plans) > 1 else ''}",
    )
    if not act.plans:
        return Group(head, Padding(Text("no new plan", style="dim"), (0, 0, 1, 2)))
    return Group(head, *(Padding(_plan(plan), (0, 0, 1, 2)) for plan in act.plans))


def _plan(plan: PlanSeen) -> RenderableType:
    lines = [
        Text.assemble(
            (f"revision {plan.revision}", "cyan"),
            f" at {wording.seconds(plan.at_s)} ({wording.plan_state(plan)}), "
            f"{wording.usd_per_hour(plan.cost_usd_per_hour)}: {plan.trigger}",
        ),
        Text(f"  replicas  {wording.replicas(plan.replicas)}"),
        Text(f"  shares    {wording.shares(plan.shares)}"),
        *(Text(f"  because   {reason}") for reason in plan.reasons[:_NUM_REASONS]),
    ]
    if len(plan.reasons) > _NUM_REASONS:
        lines.append(Text(f"  more      {len(plan.reasons) - _NUM_REASONS} on the page", style="dim"))
    return Group(*lines)


def _table(*columns: str) -> Table:
    """Column names; those that end in `>` are numbers."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        is_number = column.endswith(">")
        table.add_column(
            column.rstrip(">"),
            justify="right" if is_number else "left",
            overflow="fold",
            no_wrap=column in ("act", "promise"),
        )
    return table


def _acts(judgement: Judgement) -> Table:
    table = _table(
        "act", "offered>", "done>", "lost>", "in flight>", "retried>", "cost>", "static peak>",
        "1st request>", "recovered>",
    )  # fmt: skip
    for act in judgement.acts:
        table.add_row(
            Text(act.act.name),
            *_count_cells(act.counts.offered, act.counts.completed, act.counts.lost),
            *map(str, (act.counts.lost_in_flight, act.counts.retried)),
            *map(wording.usd, (act.cost_usd, act.static_peak_cost_usd)),
            *map(wording.seconds, (act.first_request_on_new_replica_s, act.recovery_s)),
        )
    counts = judgement.counts
    table.add_section()
    table.add_row(
        "run",
        *_count_cells(counts.offered, counts.completed, counts.lost),
        *map(str, (counts.lost_in_flight, counts.retried)),
        *map(wording.usd, (judgement.cost_usd, judgement.static_peak_cost_usd)),
    )
    return table


def _count_cells(offered: int, completed: int, lost: int) -> Sequence[str | Text]:
    return str(offered), str(completed), Text(str(lost), style="bold red" if lost else "")


def _classes(judgement: Judgement, evidence: Evidence) -> RenderableType:
    table = _table(
        "act", "class", "TTFT p95>", "ITL p95>", "E2E p95>", "attainment>", "promised>", "recovering>"
    )
    for act in judgement.acts:
        for story_class in evidence.story.classes:
            of_class = act.classes[story_class.name]
            promised = {wording.share(term.percentile) for term in story_class.slo.terms}
            table.add_row(
                Text(act.act.name),
                Text(story_class.name),
                *_p95_cells(of_class),
                _attained(of_class),
                ", ".join(sorted(promised)),
                wording.share(of_class.recovery_attainment),
            )
    rule = wording.recovery_rule(evidence.load_delay_s, RECOVERY_AFTER_LOAD_S)
    slos = "; ".join(f"{c.name}: {wording.slo(c.slo)}" for c in evidence.story.classes)
    return Group(table, Text(f"SLOs: {slos}. Recovering: {rule}.", style="dim"), Text())


def _p95_cells(of_class: ClassInAct) -> Iterator[str]:
    for percentiles in (of_class.ttft_ms, of_class.itl_ms, of_class.e2e_ms):
        yield wording.milliseconds(None if percentiles is None else percentiles.p95)


def _attained(of_class: ClassInAct) -> Text:
    kept = all(term.is_kept for term in of_class.terms)
    return Text(wording.share(of_class.attainment), style="" if kept else "bold red")


def _shocks(judgement: Judgement) -> Table:
    table = _table("shock", "at>", "decided within>", "bound>", "by", "verdict")
    for decision in judgement.decisions:
        table.add_row(
            decision.shock.value,
            wording.seconds(decision.at_s),
            wording.seconds(decision.decided_within_s),
            wording.seconds(DECISION_BOUND_S),
            wording.NOTHING if decision.revision is None else f"revision {decision.revision}",
            _verdict_word(decision.is_in_time),
        )
    return table


def _new_replicas(judgement: Judgement) -> Table:
    table = _table("new replica", "class", "ready at>", "routable after>", "1st request after>", "offered>")
    for new in judgement.new_replicas:
        table.add_row(
            Text(new.replica.pod),
            Text(new.replica.class_name),
            wording.seconds(new.ready_s),
            Text(
                wording.delay(new.routable),
                style="bold red" if new.routable.exceeds(ROUTABLE_BOUND_S) else "",
            ),
            wording.delay(new.first_request),
            f"{new.offered_per_s:.1f}/s",
        )
    return table


def _memory(evidence: Evidence) -> Text:
    used = ", ".join(
        f"{name} {wording.mebibytes(num_bytes)}" for name, num_bytes in sorted(evidence.memory_bytes.items())
    )
    return Text(f"Memory, the highest seen: {used or 'not measured'}.\n")


def _promises(judgement: Judgement) -> Table:
    table = _table("promise", "verdict", "measured>", "promised>", "")
    for promise in judgement.promises:
        measured, bound = wording.promise_figures(promise)
        table.add_row(
            Text(promise.name),
            _verdict_word(promise.kept),
            measured,
            bound,
            Text(promise.detail, style="dim"),
        )
    return table


def _verdict_word(is_kept: bool) -> Text:
    return Text("kept", style="green") if is_kept else Text("BROKEN", style="bold red")


def _verdict(judgement: Judgement, evidence: Evidence) -> Text:
    saving = wording.saved(judgement.cost_usd, judgement.static_peak_cost_usd)
    return Text.assemble(
        (wording.verdict(judgement), "bold green" if judgement.is_kept else "bold red"),
        f". {judgement.counts.offered} requests of {evidence.trace}, {judgement.counts.lost} lost; "
        f"{wording.usd(judgement.cost_usd)}, {saving} than the static peak "
        f"({evidence.static_peak.description}).",
    )
