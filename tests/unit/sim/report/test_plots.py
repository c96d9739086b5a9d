"""Axes and the marks of a plot."""

from __future__ import annotations

import pytest

from argosy_sim.report.plots import Axis, Backdrop, Bar, Bars, Bound, Labels, Line, Marks, Moment, Panel, plot


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        pytest.param(Axis(0, 17.3), (0, 5, 10, 15), id="linear"),
        pytest.param(Axis(0, 1.3, is_whole=True), (0, 1), id="counts have no halves"),
        pytest.param(Axis(0.1, 20, is_log=True), (0.1, 1, 10), id="logarithmic over three decades"),
        pytest.param(Axis(1, 60, is_log=True), (1, 2, 5, 10, 20, 50), id="logarithmic over two"),
        pytest.param(Axis(0, 1, has_ticks=False), (), id="none"),
    ],
)
def test_ticks_are_round(axis: Axis, expected: tuple[float, ...]) -> None:
    assert axis.ticks(4) == expected


def test_values_outside_an_axis_stick_to_its_edge() -> None:
    assert [Axis(0, 10).position(value) for value in (-5, 0, 5, 10, 99)] == [0, 0, 0.5, 1, 1]
    assert Axis(1, 100, is_log=True).position(10) == pytest.approx(0.5)


def test_every_kind_of_layer_is_drawn_and_events_carry_their_notes() -> None:
    panel = Panel(
        key="p",
        title="queue",
        unit="requests",
        description="A made-up queue.",
        layers=(
            Line("mean", ((0.0, 1.0), (5.0, None), (9.0, 2.0)), "c0"),
            Bars("busy", (Bar(1.0, 2.0, 0.0, 1.0, "one busy"),), "c1"),
            Bound("limit", 3.0),
            Marks("drops", ((4.0, "one drop"),), "cross"),
            Labels(((5.0, 1.0, "middle"),), "frame-name"),
        ),
        axis=Axis(0.0, 4.0),
    )
    behind = Backdrop(0.0, 10.0, (Moment(3.0, "event", "an event"),), (Moment(6.0, "m", "a marker"),), ())
    drawn = plot(panel, behind, 400)
    texts = {text for each in drawn.iter() for text in [each.text or ""] if text}
    assert {"queue (requests)", "A made-up queue.", "an event", "a marker", "one busy", "one drop"} <= texts
    assert {"limit", "middle", "event"} <= texts
    [line] = [e for e in drawn.iter("path") if e.get("class") == "mark line c0"]
    assert (line.get("d") or "").count("M") == 2, "a missing value breaks the line"
