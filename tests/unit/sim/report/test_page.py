"""A page without a story: the frame, tables, cards and figures take any data."""

from __future__ import annotations

import pytest

from argosy_sim.report.cards import Tile, card, cards, tiles
from argosy_sim.report.markup import document, element
from argosy_sim.report.page import (
    CONTENT_POLICY,
    PlotGroup,
    figures,
    html_file,
    opening,
    section,
    small_print,
)
from argosy_sim.report.plots import Axis, Backdrop, Line, Panel
from argosy_sim.report.tables import alarm, badge, breakable, table


def test_a_file_has_the_policy_the_style_and_the_content_in_order() -> None:
    made = html_file(
        "Queue",
        [
            *opening("A queue", "M/M/1", "all bounds hold", is_good=True),
            *section("Waiting", "in seconds", *small_print(["Measured over ten replications."])),
        ],
    )
    assert CONTENT_POLICY in made
    assert "<title>Queue</title>" in made
    assert "--ground" in made
    parts = ["A queue", "M/M/1", "✓ all bounds hold.", "Waiting", "in seconds", "ten replications"]
    assert sorted(parts, key=made.index) == parts


def test_a_table_has_typed_columns_row_ids_and_cells_of_several_parts() -> None:
    rows = [("#r1", "one", "2"), (["a", element("b", {}, "c")], alarm("9", True))]
    made = document(table("Counts", ("Name", "Number>"), rows))
    assert '<tr id="r1"><td data-label="Name" class="">one</td>' in made
    assert '<td data-label="Number" class="number"><span class="bad">9</span></td>' in made
    assert "a<b>c</b>" in made


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        table("Counts", ("Name", "Number>"), [("one",)])


def test_a_verdict_is_a_sign_and_a_word() -> None:
    assert [badge(True).text, badge(False).text] == ["✓ kept", "✗ broken"]
    assert document(element("td", {}, *breakable(("a", "b")))).endswith("<td>a/<wbr>b</td>\n")


def test_cards_and_tiles_show_names_and_values() -> None:
    made = document(cards([card("Run 1", "60 s", [("cost", "$1"), ("lost", ("0", " of 9"))])]))
    assert "<h3>Run 1<span>60 s</span></h3>" in made
    assert "<dt>lost</dt><dd>0 of 9</dd>" in made
    lost = document(tiles([Tile("Lost", "3", "of 9", is_bad=True)]))
    assert '<dd class="bad">3<span class="note">of 9</span></dd>' in lost


def test_a_figure_is_drawn_for_two_widths_with_one_legend() -> None:
    panel = Panel("q", "Queue", "requests", "text", (Line("mean", ((0.0, 1.0),), "c0"),), Axis(0.0, 2.0))
    group = PlotGroup("queues", "Queues", "", (panel,))
    made = document(element("main", {}, *figures(group, Backdrop(0.0, 10.0, (), (), ()))))
    assert made.count('class="plot"') == 2
    assert made.count('class="legend"') == 1
    assert 'data-plot="q"' in made
