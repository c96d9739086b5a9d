"""HTML and SVG as a tree of elements.

Owns building and writing it. Text and attributes are escaped where the tree is written, so no
caller can forget it. Pure.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping

Element = ET.Element
Attributes = Mapping[str, str]


def element(tag: str, attributes: Attributes | None = None, *children: Element | str) -> Element:
    """An element with children in order; strings become text."""
    made = ET.Element(tag, {name: _printable(value) for name, value in (attributes or {}).items()})
    for child in children:
        append(made, child)
    return made


def append(parent: Element, child: Element | str) -> None:
    """Add a child at the end."""
    if isinstance(child, Element):
        parent.append(child)
    elif len(parent):
        parent[-1].tail = (parent[-1].tail or "") + _printable(child)
    else:
        parent.text = (parent.text or "") + _printable(child)


def document(root: Element) -> str:
    """The whole HTML document. The text of `style` is not escaped: only the package's own may go there."""
    return "<!doctype html>\n" + ET.tostring(root, encoding="unicode", method="html") + "\n"


def _printable(text: str) -> str:
    """Without control characters and lone surrogates, which no HTML file may contain."""
    return "".join("\N{REPLACEMENT CHARACTER}" if _is_unfit(ord(letter)) else letter for letter in text)


def _is_unfit(code: int) -> bool:
    is_control = code < 0x20 or 0x7F <= code < 0xA0
    is_no_character = 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE
    return (is_control and code not in (0x09, 0x0A)) or 0xD800 <= code <= 0xDFFF or is_no_character
