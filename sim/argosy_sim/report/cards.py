"""Cards and tiles: a few named facts under a heading, or single figures in large type.

Owns their layout. Input: names and cells. Output: elements. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from argosy_sim.report.markup import Element, element
from argosy_sim.report.tables import Cell, parts

Fact = tuple[str, Cell]
"""A name and its value."""


def cards(made: Iterable[Element]) -> Element:
    """Cards side by side, as many in a row as the screen takes."""
    return element("div", {"class": "cards"}, *made)


def card(title: str, note: str, facts: Sequence[Fact]) -> Element:
    """A heading with a note beside it, and the facts below in their order."""
    return element(
        "section",
        {"class": "card"},
        element("h3", {}, title, element("span", {}, note)),
        element("dl", {}, *(part for name, value in facts for part in _fact(name, value))),
    )


def _fact(name: str, value: Cell) -> Iterable[Element]:
    yield element("dt", {}, name)
    yield element("dd", {}, *parts(value))


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure in large type: its name above, a note below, `is_bad` in the colour of an alarm."""

    name: str
    value: str
    note: str
    is_bad: bool = False


def tiles(shown: Iterable[Tile]) -> Element:
    """Tiles in a row."""
    return element("dl", {"class": "tiles"}, *(_tile(tile) for tile in shown))


def _tile(tile: Tile) -> Element:
    note = element("span", {"class": "note"}, tile.note)
    figure = element("dd", {"class": "bad"} if tile.is_bad else {}, tile.value, note)
    return element("div", {}, element("dt", {}, tile.name), figure)
