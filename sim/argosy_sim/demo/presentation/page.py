"""The report as one HTML file that needs nothing else: no script, no font, no picture, no network.

Owns the page's order and words. Never writes the file. Input: `Evidence` and `Judgement`. Output:
the text of the file. Pure but for the style sheet, which is read from the package.

Every plot is there twice, drawn for a wide and for a narrow screen; the style sheet shows one.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files

from argosy_sim.demo.evidence import Evidence
from argosy_sim.demo.judgement.judge import Judgement
from argosy_sim.demo.judgement.shocks import RECOVERY_AFTER_LOAD_S
from argosy_sim.demo.presentation import tables
from argosy_sim.demo.presentation.panels import Group, backdrop, groups
from argosy_sim.report import wording
from argosy_sim.report.markup import Element, document, element
from argosy_sim.report.plots import Backdrop, Bars, Bound, Layer, Line, Marks, Names, Panel, plot

WIDE_PX = 960
NARROW_PX = 360
CONTENT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def render(evidence: Evidence, judgement: Judgement) -> str:
    """The file's text."""
    head = element(
        "head",
        {},
        element("meta", {"charset": "utf-8"}),
        # The browser itself sees to it that nothing is fetched and nothing runs.
        element("meta", {"http-equiv": "Content-Security-Policy", "content": CONTENT_POLICY}),
        element("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        # An empty icon, said so: a browser would otherwise ask for /favicon.ico.
        element("link", {"rel": "icon", "href": "data:,"}),
        element("title", {}, f"Argosy demo: {wording.verdict(judgement)}"),
        element("style", {}, files("argosy_sim.report").joinpath("style.css").read_text(encoding="utf-8")),
    )
    main = element(
        "main",
        {},
        *_opening(judgement, evidence),
        *_section("Promises", "What had to hold, and what was measured.", tables.promises(judgement)),
        *_section("Acts", "", tables.act_cards(judgement, evidence)),
        *_plots(evidence),
        *_section("Plan revisions", "What was decided, when, and why.", tables.plans(evidence)),
        *_section("Latencies", _LATENCIES, tables.latencies(judgement, evidence)),
        *_new_replicas(judgement),
        *_section("Memory", "", tables.memory(evidence)),
        *_section("How it is measured", "", *_rules(evidence)),
    )
    return document(element("html", {"lang": "en"}, head, element("body", {}, main)))


_LATENCIES = (
    "p50 / p95 / p99 of completed requests, by the act in which they arrived, recovery windows included."
)


def _section(title: str, text: str, *content: Element) -> Iterable[Element]:
    yield element("h2", {}, title)
    if text:
        yield element("p", {"class": "muted"}, text)
    yield from content


def _opening(judgement: Judgement, evidence: Evidence) -> Iterable[Element]:
    story = evidence.story
    yield element("h1", {}, "Argosy demo")
    told = f"{story.duration_s:g} s in {len(story.acts)} acts; lengths and arrivals of {evidence.trace}."
    yield element("p", {"class": "muted"}, told)
    sign, style = ("✓", "good") if judgement.is_kept else ("✗", "bad")
    yield element("p", {"class": f"verdict {style}"}, f"{sign} {wording.verdict(judgement)}.")
    yield element("dl", {"class": "tiles"}, *_tiles(judgement, evidence))


def _tiles(judgement: Judgement, evidence: Evidence) -> Iterable[Element]:
    counts = judgement.counts
    saving = wording.saved(judgement.cost_usd, judgement.static_peak_cost_usd)
    static = wording.usd(judgement.static_peak_cost_usd)
    yield _tile("Cost", wording.usd(judgement.cost_usd), f"{saving} than the static peak's {static}")
    yield _tile(
        "Requests", f"{counts.offered:,}", f"{counts.completed:,} completed, {counts.retried} retried"
    )
    in_flight = f"and {counts.lost_in_flight} in flight on the dead node"
    yield _tile("Lost", str(counts.lost), in_flight, is_bad=counts.lost > 0)
    num_applied = sum(plan.is_applied for plan in evidence.plans)
    yield _tile("Plans", str(len(evidence.plans)), f"{num_applied} applied")
    slowest_s = [d.decided_within_s for d in judgement.decisions if d.decided_within_s is not None]
    late = not all(decision.is_in_time for decision in judgement.decisions)
    decided = f"over {len(judgement.decisions)} shocks"
    yield _tile("Slowest decision", wording.seconds(max(slowest_s, default=None)), decided, is_bad=late)


def _tile(name: str, value: str, note: str, *, is_bad: bool = False) -> Element:
    figure = element(
        "dd", {"class": "bad"} if is_bad else {}, value, element("span", {"class": "note"}, note)
    )
    return element("div", {}, element("dt", {}, name), figure)


def _plots(evidence: Evidence) -> Iterable[Element]:
    behind = backdrop(evidence)
    rule = wording.recovery_rule(evidence.load_delay_s, RECOVERY_AFTER_LOAD_S)
    yield from _section(
        "The run over time",
        "Seconds count from the start of act 1. Dashed vertical lines are shocks, shaded are recovery "
        f"windows ({rule}), triangles on the axis are plan revisions.",
    )
    for group in groups(evidence):
        yield element("h3", {"id": group.key}, group.title)
        if group.text:
            yield element("p", {"class": "muted small"}, group.text)
        yield from (_figure(group, panel, behind) for panel in group.panels)


def _figure(group: Group, panel: Panel, behind: Backdrop) -> Element:
    caption = element("figcaption", {}, element("b", {}, panel.title), panel.unit)
    for layer in panel.layers:
        if (entry := _legend(layer)) is not None:
            caption.append(entry)
    figure = element("figure", {"data-plot": panel.key, "data-group": group.key}, caption)
    for style, width_px in (("wide", WIDE_PX), ("narrow", NARROW_PX)):
        figure.append(element("div", {"class": style}, plot(panel, behind, width_px)))
    return figure


def _legend(layer: Layer) -> Element | None:
    if isinstance(layer, Names | Bound) or not layer.label:
        return None  # they name themselves in the plot
    sample = element("svg", {"viewBox": "0 0 22 12", "aria-hidden": "true"}, _sample(layer))
    return element("span", {"class": "legend"}, sample, layer.label)


def _sample(layer: Line | Bars | Marks) -> Element:
    match layer:
        case Line():
            return element("path", {"class": f"line {layer.style}", "d": "M1 6H21"})
        case Bars():
            return element("rect", {"class": f"mark {layer.style}", "x": "3", "width": "16", "height": "12"})
        case Marks():
            return element("path", {"class": layer.style, "d": "M8 3l6 6m0 -6l-6 6"})


def _new_replicas(judgement: Judgement) -> Iterable[Element]:
    if judgement.new_replicas:
        text = "From the kubelet's Ready until Envoy counted the endpoint healthy, and until a request came."
        yield from _section("New replicas", text, tables.new_replicas(judgement))


def _rules(evidence: Evidence) -> Iterable[Element]:
    slos = "; ".join(f"{c.name}: {wording.slo(c.slo)}" for c in evidence.story.classes)
    rule = wording.recovery_rule(evidence.load_delay_s, RECOVERY_AFTER_LOAD_S)
    for sentence in (
        f"SLOs: {slos}.",
        "Attainment of a class: the smallest, over its SLO's terms, of the share of its requests that kept "
        f"the term, outside recovery windows ({rule}). A request without a complete answer keeps no term.",
        "A request belongs to the act in which it arrives. Lost: no complete answer after Envoy's retries, "
        "refusals and time-outs included. In flight on the dead node: sent to it before it left rotation, "
        "its response header already passed on; counted apart.",
        "Cost: price times GPUs bound to engine pods, from binding until deletion or until the node falls "
        "silent, loading and draining included. Static peak: the fleet planned for every class's highest "
        f"rate, kept throughout: {evidence.static_peak.description}.",
        "Recovered: from the shock to the start of the first 10 s of the act in which every class that had "
        "requests attained its percentiles.",
    ):
        yield element("p", {"class": "small"}, sentence)
