"""The demo's report in a terminal.

Owns its tables and their order, made for 100 columns; their look is `report.terminal`. Pure but for
`show`, which prints to the console that it is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from argosy_sim.demo.evidence import Evidence, PlanSeen
from argosy_sim.demo.judgement.judge import ActJudgement, ClassInAct, Judgement
from argosy_sim.demo.judgement.promises import ROUTABLE_BOUND_S
from argosy_sim.demo.judgement.shocks import RECOVERY_AFTER_LOAD_S
from argosy_sim.demo.presentation.wording import (
    delay,
    plan_state,
    promise_figures,
    recovery_rule,
    verdict,
)
from argosy_sim.demo.story import StoryClass
from argosy_sim.report import wording
from argosy_sim.report.terminal import alarm, table, verdict_word

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
        *(Text(f"Not judged: {each}.", style="dim") for each in evidence.not_judged),
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
            f" at {wording.seconds(plan.at_s)} ({plan_state(plan)}), "
            f"{wording.usd_per_hour(plan.cost_usd_per_hour)}: {plan.trigger}",
        ),
        Text(f"  replicas  {wording.replicas(plan.replicas)}"),
        Text(f"  shares    {wording.shares(plan.shares)}"),
        *(Text(f"  because   {reason}") for reason in plan.reasons[:_NUM_REASONS]),
    ]
    if len(plan.reasons) > _NUM_REASONS:
        lines.append(Text(f"  more      {len(plan.reasons) - _NUM_REASONS} on the page", style="dim"))
    return Group(*lines)


def _acts(judgement: Judgement) -> Table:
    made = table(
        "act|", "offered>", "done>", "lost>", "in flight>", "retried>", "cost>", "static peak>",
        "1st request>", "recovered>",
    )  # fmt: skip
    for act in judgement.acts:
        made.add_row(
            Text(act.act.name),
            *_count_cells(act.counts.offered, act.counts.completed, act.counts.lost),
            *map(str, (act.counts.lost_in_flight, act.counts.retried)),
            *map(wording.usd, (act.cost_usd, act.static_peak_cost_usd)),
            *map(wording.seconds, (act.first_request_on_new_replica_s, act.recovery_s)),
        )
    counts = judgement.counts
    made.add_section()
    made.add_row(
        "run",
        *_count_cells(counts.offered, counts.completed, counts.lost),
        *map(str, (counts.lost_in_flight, counts.retried)),
        *map(wording.usd, (judgement.cost_usd, judgement.static_peak_cost_usd)),
    )
    return made


def _count_cells(offered: int, completed: int, lost: int) -> Sequence[str | Text]:
    return str(offered), str(completed), alarm(str(lost), lost > 0)


def _classes(judgement: Judgement, evidence: Evidence) -> RenderableType:
    made = table(
        "act|", "class", "TTFT p95>", "ITL p95>", "E2E p95>", "attained>", "95 % CI>", "promised>",
        "recovery>",
    )  # fmt: skip
    for act in judgement.acts:
        for story_class in evidence.story.classes:
            of_class = act.classes[story_class.name]
            made.add_row(
                Text(act.act.name),
                Text(_name(story_class, of_class)),
                *_p95_cells(of_class),
                _attained(of_class),
                wording.share_bounds(of_class.attainment_interval),
                wording.promised_shares(story_class.slo),
                wording.share(of_class.recovery_attainment),
            )
    rule = recovery_rule(evidence.load_delay_s, RECOVERY_AFTER_LOAD_S)
    slos = "; ".join(f"{c.name}: {wording.slo(c.slo)}" for c in evidence.story.classes)
    note = (
        f"SLOs: {slos}. Recovery: {rule}. CI: the confidence interval of the attained share (Wilson, "
        "as if requests were independent). Overloaded, backlogged: the number in flight grew or fell through "
        "the act, so its percentiles depend on how long it was, and there is no CI."
    )
    return Group(made, Text(note, style="dim"), Text())


def _name(story_class: StoryClass, of_class: ClassInAct) -> str:
    """With the word for an act in which the class was not stationary."""
    word = f", {of_class.verdict.word}" if of_class.verdict.is_unstable else ""
    return f"{story_class.name}{word}"


def _p95_cells(of_class: ClassInAct) -> Iterator[str]:
    for percentiles in (of_class.ttft_ms, of_class.itl_ms, of_class.e2e_ms):
        yield wording.milliseconds(None if percentiles is None else percentiles.p95)


def _attained(of_class: ClassInAct) -> Text:
    kept = all(term.is_kept for term in of_class.terms)
    return alarm(wording.share(of_class.attainment), not kept)


def _shocks(judgement: Judgement) -> Table:
    made = table("shock", "at>", "decided within>", "bound>", "by", "verdict")
    for decision in judgement.decisions:
        made.add_row(
            decision.shock.value,
            wording.seconds(decision.at_s),
            wording.seconds(decision.decided_within_s),
            wording.seconds(decision.bound_s),
            wording.NOTHING if decision.revision is None else f"revision {decision.revision}",
            verdict_word(decision.is_in_time),
        )
    return made


def _new_replicas(judgement: Judgement) -> Table:
    made = table("new replica", "class", "ready at>", "routable after>", "1st request after>", "offered>")
    for new in judgement.new_replicas:
        made.add_row(
            Text(new.replica.pod),
            Text(new.replica.class_name),
            wording.seconds(new.ready_s),
            alarm(delay(new.routable), new.routable.exceeds(ROUTABLE_BOUND_S)),
            delay(new.first_request),
            f"{new.offered_per_s:.1f}/s",
        )
    return made


def _memory(evidence: Evidence) -> Text:
    used = ", ".join(
        f"{name} {wording.mebibytes(num_bytes)}" for name, num_bytes in sorted(evidence.memory_bytes.items())
    )
    return Text(f"Highest resident memory: {used or 'not measured'}.\n")


def _promises(judgement: Judgement) -> Table:
    made = table("promise|", "verdict", "measured>", "promised>", "")
    for promise in judgement.promises:
        measured, bound = promise_figures(promise)
        made.add_row(
            Text(promise.name),
            verdict_word(promise.kept),
            measured,
            bound,
            Text(promise.detail, style="dim"),
        )
    return made


def _verdict(judgement: Judgement, evidence: Evidence) -> Text:
    saving = wording.saved(judgement.cost_usd, judgement.static_peak_cost_usd)
    return Text.assemble(
        (verdict(judgement), "bold green" if judgement.is_kept else "bold red"),
        f". {judgement.counts.offered} requests of {evidence.trace}, {judgement.counts.lost} lost; "
        f"{wording.usd(judgement.cost_usd)}, {saving} than the static peak "
        f"({evidence.static_peak.description}).",
    )
