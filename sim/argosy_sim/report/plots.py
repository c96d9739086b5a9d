"""Plots over time as SVG: axes, backdrop and layers.

Owns how a value becomes a mark. Input: a `Panel`, whose values are already in the unit that it
shows. Output: an SVG element. Sets no colour: every mark has a class that the style sheet colours.
Pure.

A plot is drawn for a width in pixels, not scaled to it: text keeps its size on a small screen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from argosy_sim.report.markup import Element, element

LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 46, 8, 18, 22
_TICK_GAP_PX = 24
_CHARACTER_PX = 6.2  # of the labels' 11 px: enough to keep them apart

Point = tuple[float, float | None]


@dataclass(frozen=True, slots=True)
class Line:
    """Straight between points, broken where a value is None. `style`: extra classes of the mark."""

    label: str
    points: tuple[Point, ...]
    style: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle from `left` to `right` (s) and `low` to `high`; `note` shows under the pointer."""

    left: float
    right: float
    low: float
    high: float
    note: str


@dataclass(frozen=True, slots=True)
class Bars:
    """Rectangles of one kind."""

    label: str
    bars: tuple[Bar, ...]
    style: str


@dataclass(frozen=True, slots=True)
class Bound:
    """A horizontal line across the plot with its name on it."""

    label: str
    value: float
    style: str = "bound"


@dataclass(frozen=True, slots=True)
class Marks:
    """Single moments, drawn on the axis; points are (second, note)."""

    label: str
    points: tuple[tuple[float, str], ...]
    style: str


@dataclass(frozen=True, slots=True)
class Labels:
    """Words inside the plot, centred; points are (second, value, word)."""

    points: tuple[tuple[float, float, str], ...]
    style: str


Layer = Line | Bars | Bound | Marks | Labels


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened at a moment: its label in the plot, and a note under the pointer."""

    at_s: float
    label: str
    note: str


@dataclass(frozen=True, slots=True)
class Backdrop:
    """What all plots have in common: the time from left to right, events, markers, shaded windows.

    events: vertical lines with their label; markers: triangles on the time axis
    """

    start_s: float
    end_s: float
    events: tuple[Moment, ...]
    markers: tuple[Moment, ...]
    windows: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Axis:
    """Values from bottom to top. `is_log`: equal ratios take equal space; `is_whole`: ticks are integers."""

    low: float
    high: float
    is_log: bool = False
    has_ticks: bool = True
    is_whole: bool = False

    @classmethod
    def up_to(cls, values: Iterable[float], room: float = 1.08) -> Axis:
        """From 0 to a little over the highest value."""
        highest = max(values, default=0.0)
        return cls(0.0, highest * room if highest > 0 else 1.0)

    def position(self, value: float) -> float:
        """0 at the bottom, 1 at the top; a value outside is drawn at the edge."""
        if self.is_log:
            value = max(value, self.low)
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return min(1.0, max(0.0, share))

    def ticks(self, num_at_most: int) -> tuple[float, ...]:
        """Round values, at most `num_at_most` on a linear axis."""
        if not self.has_ticks:
            return ()
        return _log_ticks(self) if self.is_log else _linear_ticks(self, num_at_most)


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot: its name, unit, a description for readers who cannot see it, its values and height."""

    key: str
    title: str
    unit: str
    description: str
    layers: tuple[Layer, ...]
    axis: Axis
    height_px: int = 170


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where seconds and values lie in the picture."""

    panel: Panel
    backdrop: Backdrop
    width_px: int

    @property
    def right_px(self) -> int:
        return self.width_px - RIGHT_PX

    @property
    def base_px(self) -> int:
        return self.panel.height_px - BOTTOM_PX

    def x(self, at_s: float) -> float:
        span_s = self.backdrop.end_s - self.backdrop.start_s
        share = (at_s - self.backdrop.start_s) / span_s
        return round(LEFT_PX + min(1.0, max(0.0, share)) * (self.right_px - LEFT_PX), 1)

    def y(self, value: float) -> float:
        return round(self.base_px - self.panel.axis.position(value) * (self.base_px - TOP_PX), 1)

    def shows(self, at_s: float) -> bool:
        return self.backdrop.start_s <= at_s <= self.backdrop.end_s


def plot(panel: Panel, backdrop: Backdrop, width_px: int) -> Element:
    """The panel as an SVG of this width."""
    frame = _Frame(panel, backdrop, width_px)
    key = f"{panel.key}-{width_px}"
    names = [layer for layer in panel.layers if isinstance(layer, Labels)]  # over everything else
    values = [layer for layer in panel.layers if not isinstance(layer, Labels)]
    return element(
        "svg",
        {
            "viewBox": f"0 0 {width_px} {panel.height_px}",
            "role": "img",
            "aria-labelledby": f"{key}-title {key}-text",
            "class": "plot",
        },
        element("title", {"id": f"{key}-title"}, f"{panel.title} ({panel.unit})"),
        element("desc", {"id": f"{key}-text"}, panel.description),
        *_windows(frame),
        *_grid(frame),
        *(mark for layer in values for mark in _layer(frame, layer)),
        *_time_axis(frame),
        *_markers(frame),
        *_events(frame),
        *(name for layer in names for name in _layer(frame, layer)),
    )


def _windows(frame: _Frame) -> Iterable[Element]:
    for start_s, end_s in frame.backdrop.windows:
        left, right = frame.x(start_s), frame.x(end_s)
        yield _rect("window", left, TOP_PX, right - left, frame.base_px - TOP_PX)


def _grid(frame: _Frame) -> Iterable[Element]:
    num_ticks = max(2, (frame.base_px - TOP_PX) // _TICK_GAP_PX)
    for value in frame.panel.axis.ticks(num_ticks):
        y = frame.y(value)
        yield _line("grid", LEFT_PX, y, frame.right_px, y)
        yield _text("tick end", LEFT_PX - 6, y + 4, f"{value:,g}")


def _time_axis(frame: _Frame) -> Iterable[Element]:
    yield _line("axis", LEFT_PX, frame.base_px, frame.right_px, frame.base_px)
    step_s = next(step for step in (30, 60, 120, 300, 600, 3600) if _fits(frame, step))
    first = math.ceil(frame.backdrop.start_s / step_s) * step_s
    for at_s in range(first, math.floor(frame.backdrop.end_s) + 1, step_s):
        x = frame.x(at_s)
        yield _line("axis", x, frame.base_px, x, frame.base_px + 4)
        anchor = "end" if x > frame.right_px - 12 else "middle"
        yield _text(f"tick {anchor}", x, frame.panel.height_px - 5, f"{at_s} s")


def _fits(frame: _Frame, step_s: float) -> bool:
    return step_s >= 3600 or frame.x(frame.backdrop.start_s + step_s) - LEFT_PX >= 7 * _CHARACTER_PX


def _markers(frame: _Frame) -> Iterable[Element]:
    for marker in frame.backdrop.markers:
        if frame.shows(marker.at_s):
            x, y = frame.x(marker.at_s), frame.base_px
            shape = f"M{x} {y - 8}l4 8h-8z"
            yield element("path", {"class": "marker", "d": shape}, element("title", {}, marker.note))


def _events(frame: _Frame) -> Iterable[Element]:
    for event in frame.backdrop.events:
        x = frame.x(event.at_s)
        line = _line("event", x, TOP_PX - 4, x, frame.base_px)
        line.append(element("title", {}, event.note))
        yield line
        yield _text("event-name", x, TOP_PX - 7, event.label)


def _layer(frame: _Frame, layer: Layer) -> Iterable[Element]:
    match layer:
        case Line():
            if shape := _path(frame, layer.points):
                yield element("path", {"class": f"mark line {layer.style}", "d": shape})
        case Bars():
            for bar in layer.bars:
                yield _bar(frame, layer.style, bar)
        case Bound():
            y = frame.y(layer.value)
            yield _line(f"mark {layer.style}", LEFT_PX, y, frame.right_px, y)
            below = y < TOP_PX + 14
            yield _text("bound-name end", frame.right_px - 2, y + (13 if below else -4), layer.label)
        case Marks():
            yield from _crosses(frame, layer)
        case Labels():
            for at_s, value, word in layer.points:
                yield _text(layer.style, frame.x(at_s), frame.y(value), word)


def _path(frame: _Frame, points: Sequence[Point]) -> str:
    """Runs of points; a run of one is a dot, which round caps draw at any length."""
    parts: list[str] = []
    is_open = False
    for at_s, value in points:
        if value is None or not frame.shows(at_s):
            is_open = False
            continue
        parts.append(f"{'L' if is_open else 'M'}{frame.x(at_s)} {frame.y(value)}")
        if not is_open:
            parts.append("h.1")
        is_open = True
    return "".join(parts)


def _bar(frame: _Frame, style: str, bar: Bar) -> Element:
    left, right, top, low = frame.x(bar.left), frame.x(bar.right), frame.y(bar.high), frame.y(bar.low)
    rect = _rect(f"mark {style}", left, top, right - left, low - top)
    rect.append(element("title", {}, bar.note))
    return rect


def _crosses(frame: _Frame, layer: Marks) -> Iterable[Element]:
    for at_s, note in layer.points:
        if frame.shows(at_s):
            x, y = frame.x(at_s), TOP_PX + 7
            shape = f"M{x - 3} {y - 3}l6 6m0 -6l-6 6"
            yield element("path", {"class": f"mark {layer.style}", "d": shape}, element("title", {}, note))


def _rect(style: str, x: float, y: float, width: float, height: float) -> Element:
    size = {"width": f"{max(0.0, width):.1f}", "height": f"{max(0.0, height):.1f}"}
    return element("rect", {"class": style, "x": f"{x:g}", "y": f"{y:g}", **size})


def _line(style: str, x1: float, y1: float, x2: float, y2: float) -> Element:
    ends = {"x1": f"{x1:g}", "y1": f"{y1:g}", "x2": f"{x2:g}", "y2": f"{y2:g}"}
    return element("line", {"class": style, **ends})


def _text(style: str, x: float, y: float, text: str) -> Element:
    return element("text", {"class": style, "x": f"{x:g}", "y": f"{y:g}"}, text)


def _linear_ticks(axis: Axis, num_at_most: int) -> tuple[float, ...]:
    span = axis.high - axis.low
    rough = span / max(1, num_at_most)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    step = max(step, 1.0) if axis.is_whole else step
    first = math.ceil(axis.low / step - 1e-9)
    last = math.floor(axis.high / step + 1e-9)
    return tuple(round(number * step, 9) for number in range(first, last + 1))


def _log_ticks(axis: Axis) -> tuple[float, ...]:
    first = math.floor(math.log10(axis.low) + 1e-9)
    last = math.ceil(math.log10(axis.high) - 1e-9)
    factors = (1, 2, 5) if last - first <= 2 else (1,)
    values = [10.0**power * factor for power in range(first, last + 1) for factor in factors]
    return tuple(round(v, 9) for v in values if axis.low * (1 - 1e-9) <= v <= axis.high)
