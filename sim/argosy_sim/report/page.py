"""A report as one HTML file that needs nothing else: no script, no font, no picture, no network.

Owns the file's frame: head, style, sections, figures with their legends. Input: a title and
elements. Output: the text of the file. Pure but for the style sheet, which is read from the package.

Every plot is there twice, drawn for a wide and for a narrow screen; the style sheet shows one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files

from argosy_sim.report.markup import Element, document, element
from argosy_sim.report.plots import Backdrop, Bars, Bound, Labels, Layer, Line, Marks, Panel, plot

WIDE_PX = 960
NARROW_PX = 360
CONTENT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True, slots=True)
class PlotGroup:
    """Plots that belong together, under one heading with one explanation."""

    key: str
    title: str
    text: str
    panels: tuple[Panel, ...]


def html_file(title: str, content: Iterable[Element]) -> str:
    """The whole file: `content` in order, as the body's main part."""
    style = files("argosy_sim.report").joinpath("style.css").read_text(encoding="utf-8")
    head = element(
        "head",
        {},
        element("meta", {"charset": "utf-8"}),
        # With this policy the browser itself makes sure that nothing is fetched and no script runs.
        element("meta", {"http-equiv": "Content-Security-Policy", "content": CONTENT_POLICY}),
        element("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        # An explicit empty icon: without it a browser asks for /favicon.ico.
        element("link", {"rel": "icon", "href": "data:,"}),
        element("title", {}, title),
        element("style", {}, style),
    )
    main = element("main", {}, *content)
    return document(element("html", {"lang": "en"}, head, element("body", {}, main)))


def opening(title: str, text: str, verdict: str, *, is_good: bool) -> Iterable[Element]:
    """The page's heading, a line on what it reports, and the verdict."""
    yield element("h1", {}, title)
    yield element("p", {"class": "muted"}, text)
    sign, style = ("✓", "good") if is_good else ("✗", "bad")
    yield element("p", {"class": f"verdict {style}"}, f"{sign} {verdict}.")


def section(title: str, text: str, *content: Element) -> Iterable[Element]:
    """A heading, a line of explanation (empty: none), and what follows."""
    yield element("h2", {}, title)
    if text:
        yield element("p", {"class": "muted"}, text)
    yield from content


def small_print(sentences: Iterable[str]) -> Iterable[Element]:
    """Paragraphs in small type."""
    for sentence in sentences:
        yield element("p", {"class": "small"}, sentence)


def figures(group: PlotGroup, behind: Backdrop) -> Iterable[Element]:
    """The group's heading, its explanation and its plots."""
    yield element("h3", {"id": group.key}, group.title)
    if group.text:
        yield element("p", {"class": "muted small"}, group.text)
    yield from (_figure(group, panel, behind) for panel in group.panels)


def _figure(group: PlotGroup, panel: Panel, behind: Backdrop) -> Element:
    caption = element("figcaption", {}, element("b", {}, panel.title), panel.unit)
    for layer in panel.layers:
        if (entry := _legend(layer)) is not None:
            caption.append(entry)
    figure = element("figure", {"data-plot": panel.key, "data-group": group.key}, caption)
    for style, width_px in (("wide", WIDE_PX), ("narrow", NARROW_PX)):
        figure.append(element("div", {"class": style}, plot(panel, behind, width_px)))
    return figure


def _legend(layer: Layer) -> Element | None:
    if isinstance(layer, Labels | Bound) or not layer.label:
        return None  # their names stand in the plot
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
