"""The demo's report as one HTML file.

Owns the page's order and sentences; its frame is `report.page`. Input: `Evidence` and `Judgement`.
Output: the text of the file. Pure but for the style sheet, which is read from the package.
"""

from __future__ import annotations

from collections.abc import Iterable

from argosy_sim.demo.evidence import Evidence
from argosy_sim.demo.judgement.judge import Judgement
from argosy_sim.demo.judgement.shocks import RECOVERY_AFTER_LOAD_S
from argosy_sim.demo.presentation import tables
from argosy_sim.demo.presentation.panels import backdrop, groups
from argosy_sim.demo.presentation.wording import recovery_rule, verdict
from argosy_sim.report import wording
from argosy_sim.report.cards import Tile, tiles
from argosy_sim.report.markup import Element
from argosy_sim.report.page import figures, html_file, opening, section, small_print

_LATENCIES = (
    "p50 / p95 / p99 of completed requests, by the act in which they arrived, recovery windows included."
)


def render(evidence: Evidence, judgement: Judgement) -> str:
    """The file's text."""
    return html_file(f"Argosy demo: {verdict(judgement)}", _content(evidence, judgement))


def _content(evidence: Evidence, judgement: Judgement) -> Iterable[Element]:
    story = evidence.story
    subject = f"{story.duration_s:g} s in {len(story.acts)} acts; lengths and arrivals of {evidence.trace}."
    yield from opening("Argosy demo", subject, verdict(judgement), is_good=judgement.is_kept)
    yield tiles(_tiles(judgement, evidence))
    yield from section("Promises", "What had to hold, and what was measured.", tables.promises(judgement))
    if evidence.not_judged:
        sentences = (f"{each[0].upper()}{each[1:]}." for each in evidence.not_judged)
        yield from section("Not judged", "", *small_print(sentences))
    yield from section("Acts", "", tables.act_cards(judgement, evidence))
    yield from _plots(evidence)
    yield from section("Plan revisions", "What was decided, when, and why.", tables.plans(evidence))
    yield from section("Latencies", _LATENCIES, tables.latencies(judgement, evidence))
    yield from _new_replicas(judgement)
    yield from section("Memory", "", tables.memory(evidence))
    yield from section("How it is measured", "", *small_print(_rules(evidence)))


def _tiles(judgement: Judgement, evidence: Evidence) -> Iterable[Tile]:
    counts = judgement.counts
    saving = wording.saved(judgement.cost_usd, judgement.static_peak_cost_usd)
    static = wording.usd(judgement.static_peak_cost_usd)
    yield Tile("Cost", wording.usd(judgement.cost_usd), f"{saving} than the static peak's {static}")
    answered = f"{counts.completed:,} completed, {counts.retried} retried"
    yield Tile("Requests", f"{counts.offered:,}", answered)
    in_flight = f"and {counts.lost_in_flight} in flight on the dead node"
    yield Tile("Lost", str(counts.lost), in_flight, is_bad=counts.lost > 0)
    num_applied = sum(plan.is_applied for plan in evidence.plans)
    yield Tile("Plans", str(len(evidence.plans)), f"{num_applied} applied")
    slowest_s = [d.decided_within_s for d in judgement.decisions if d.decided_within_s is not None]
    late = not all(decision.is_in_time for decision in judgement.decisions)
    decided = f"over {len(judgement.decisions)} shocks"
    yield Tile("Slowest decision", wording.seconds(max(slowest_s, default=None)), decided, is_bad=late)


def _plots(evidence: Evidence) -> Iterable[Element]:
    rule = recovery_rule(evidence.load_delay_s, RECOVERY_AFTER_LOAD_S)
    yield from section(
        "The run over time",
        "Seconds count from the start of act 1. Dashed vertical lines are shocks, shaded are recovery "
        f"windows ({rule}), triangles on the axis are plan revisions.",
    )
    behind = backdrop(evidence)
    for group in groups(evidence):
        yield from figures(group, behind)


def _new_replicas(judgement: Judgement) -> Iterable[Element]:
    if judgement.new_replicas:
        text = "From the kubelet's Ready until Envoy counted the endpoint healthy, and until a request came."
        yield from section("New replicas", text, tables.new_replicas(judgement))


def _rules(evidence: Evidence) -> Iterable[str]:
    slos = "; ".join(f"{c.name}: {wording.slo(c.slo)}" for c in evidence.story.classes)
    rule = recovery_rule(evidence.load_delay_s, RECOVERY_AFTER_LOAD_S)
    yield f"SLOs: {slos}."
    yield (
        "Attainment of a class: the smallest, over its SLO's terms, of the share of its requests that kept "
        f"the term, outside recovery windows ({rule}). A request without a complete answer keeps no term. "
        "In parentheses: the 95 % confidence interval (Wilson) of that share. It treats requests as "
        "independent: where many are slow together, the true interval is wider. Verdicts do not use it. "
        "A class whose requests in flight grew or fell in number through an act (overloaded, backlogged) has "
        "none: its percentiles depend on how long the act was."
    )
    yield (
        "A request belongs to the act in which it arrives. Lost: no complete answer after Envoy's retries, "
        "refusals and time-outs included. In flight on the dead node: sent to it before it left rotation, "
        "its response header already passed on; counted apart."
    )
    yield (
        "Cost: price times GPUs bound to engine pods, from binding until deletion or until the node falls "
        "silent, loading and draining included. Static peak: the fleet planned for every class's highest "
        f"rate, kept throughout: {evidence.static_peak.description}."
    )
    yield (
        "Recovered: from the shock to the start of the first 10 s of the act in which every class that had "
        "requests attained its percentiles."
    )
