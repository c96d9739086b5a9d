"""HTML tables, and the marks that cells carry: verdicts, alarms, breakable paths.

Owns how a table is built. Input: column names and cells. Output: elements. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from argosy_sim.report.markup import Element, element

Cell = str | Element | Sequence["str | Element"]


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]], style: str = "") -> Element:
    """A table. A row may start with its id as `#id`.

    A column whose name ends in `>` holds numbers; one that ends in `~` holds words that a small
    screen may leave out (with the style `compact`). Raises ValueError where a row's length is not
    that of the columns.
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
        made.append(element("td", {"data-label": name, "class": style}, *parts(cell)))
    return made


def parts(cell: Cell) -> Sequence[str | Element]:
    """A cell's content as a list of children."""
    return [cell] if isinstance(cell, (str, Element)) else cell


def badge(is_kept: bool) -> Element:
    """A verdict as a sign and a word: colour alone would not reach every reader."""
    word = "✓ kept" if is_kept else "✗ broken"
    return element("span", {"class": "good" if is_kept else "bad"}, word)


def alarm(text: str, is_alarming: bool) -> Element:
    """The text, marked where it is alarming."""
    return element("span", {"class": "bad"} if is_alarming else {}, text)


def breakable(path: Sequence[str]) -> list[str | Element]:
    """The parts of a path joined by slashes, after which a narrow column may break the line."""
    first, *rest = path
    return [first, *(part for word in rest for part in ("/", element("wbr"), word))]
