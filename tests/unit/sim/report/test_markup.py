"""Elements as text."""

from __future__ import annotations

from argosy_sim.report.markup import document, element


def test_text_after_a_child_stays_behind_it() -> None:
    made = element("p", {"class": 'a"b'}, "1 < 2", element("b", {}, "x"), " & ", "y")
    assert document(made) == '<!doctype html>\n<p class="a&quot;b">1 &lt; 2<b>x</b> &amp; y</p>\n'
