"""The report's page in a real browser: nothing fetched, nothing complained of, nothing cut or empty.

Chromium runs headless on a copy of the page. The copy has one script, which the page itself never
has: it writes what the browser laid out into the document, which Chromium then prints.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from functools import cache
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from demo_evidence import broken, edited, good_evidence, slow

from argosy_sim.demo.evidence import Evidence
from argosy_sim.demo.judgement.judge import judge
from argosy_sim.demo.presentation import page
from argosy_sim.report.page import CONTENT_POLICY

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDE_PX, NARROW_PX = 1100, 500  # headless Chromium has no narrower window than 500
TIMEOUT_S = 60

MEASURE = """
const box = (e) => { const r = e.getBoundingClientRect();
  return {left: r.left, right: r.right, top: r.top, bottom: r.bottom}; };
const shown = (e) => e.getBoundingClientRect().width > 0;
const plots = [...document.querySelectorAll('figure')].map((figure) => {
  const svg = [...figure.querySelectorAll('svg.plot')].filter(shown)[0];
  return {name: figure.dataset.plot, num_drawn: [...figure.querySelectorAll('svg.plot')].filter(shown).length,
    box: box(svg), label: svg.getAttribute('aria-labelledby').split(' ')
      .map((id) => document.getElementById(id).textContent),
    marks: [...svg.querySelectorAll('.mark')].map(box),
    texts: [...svg.querySelectorAll('text')].map((t) => ({...box(t), text: t.textContent,
      kind: t.className.baseVal, px: parseFloat(getComputedStyle(t).fontSize)})),
    strokes: [...svg.querySelectorAll('path.line')].map((p) => getComputedStyle(p).stroke)};
});
const seen = {plots, width: document.documentElement.scrollWidth, window: window.innerWidth};
document.body.innerHTML = '';
document.body.append(Object.assign(document.createElement('pre'), {textContent: JSON.stringify(seen)}));
"""


@dataclass(frozen=True)
class Visit:
    """What Chromium printed: the document, and what it complained of."""

    document: str
    complaints: tuple[str, ...]


@cache
def chromium() -> str:
    for program in PROGRAMS:
        if found := shutil.which(program):
            return found
    pytest.skip(f"no Chromium here (looked for {', '.join(PROGRAMS)}): the page is not opened")


def visit(html: str, folder: Path, width_px: int = WIDE_PX, *options: str) -> Visit:
    file = folder / "report.html"
    file.write_text(html, encoding="utf-8")
    program = chromium()
    ran = subprocess.run(
        [
            program,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--enable-logging=stderr",
            f"--user-data-dir={folder / 'profile'}",
            f"--window-size={width_px},2000",
            *options,
            "--dump-dom",
            file.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    complaints = tuple(line for line in ran.stderr.splitlines() if "CONSOLE" in line)
    return Visit(ran.stdout, complaints)


def rendered(evidence: Evidence) -> str:
    return page.render(evidence, judge(evidence))


def laid_out(html: str, folder: Path, width_px: int) -> dict[str, Any]:
    permitted = html.replace(CONTENT_POLICY, CONTENT_POLICY + "; script-src 'unsafe-inline'")
    with_script = permitted.replace("</body>", f"<script>{MEASURE}</script></body>")
    document = visit(with_script, folder, width_px).document
    found = re.search(r"<pre>(.*)</pre>", document, re.DOTALL)
    assert found, document[-2000:]
    measured: dict[str, Any] = json.loads(unescape(found[1]))
    return measured


def bad_evidence() -> Evidence:
    """A run with slow, lost and unplanned moments: other scales and marks than a good one's."""
    evidence = edited(good_evidence(), lambda r: slow(r, 15_000) if 62 < r.arrival_s < 80 else r)
    evidence = edited(evidence, lambda r: broken(r) if 200 < r.arrival_s < 203 else r)
    return replace(evidence, left_running=("envoy",))


def test_the_page_opens_without_a_complaint(tmp_path: Path) -> None:
    opened = visit(rendered(good_evidence()), tmp_path)
    assert opened.complaints == ()
    assert opened.document.count("<figure") == opened.document.count("</figure>") > 10


def test_the_browser_refuses_whatever_the_page_would_fetch_or_run(tmp_path: Path) -> None:
    smuggled = '<img src="http://192.0.2.1/x.png"><script>document.title = "ran"</script></body>'
    opened = visit(rendered(good_evidence()).replace("</body>", smuggled), tmp_path)
    complaints = " ".join(opened.complaints)
    assert "192.0.2.1" in complaints
    assert (
        "Executing inline script violates" in complaints or "Refused to execute inline script" in complaints
    )
    assert "<title>ran</title>" not in opened.document


@pytest.mark.parametrize("width_px", [pytest.param(WIDE_PX, id="wide"), pytest.param(NARROW_PX, id="narrow")])
@pytest.mark.parametrize(
    "run", [pytest.param(good_evidence, id="good"), pytest.param(bad_evidence, id="bad")]
)
def test_every_plot_has_marks_and_room_and_no_label_is_cut(run: Any, width_px: int, tmp_path: Path) -> None:
    seen = laid_out(rendered(run()), tmp_path, width_px)
    assert seen["width"] <= seen["window"], "nothing makes the page scroll sideways"
    assert len(seen["plots"]) == 13
    for plot in seen["plots"]:
        name, box = plot["name"], plot["box"]
        assert plot["num_drawn"] == 1, f"{name}: one drawing for this width"
        assert all(plot["label"]), f"{name}: named and described for readers who cannot see it"
        assert box["right"] - box["left"] > 250, name
        assert box["bottom"] - box["top"] > 80, name
        assert any(m["right"] > m["left"] or m["bottom"] > m["top"] for m in plot["marks"]), (
            f"{name} is empty"
        )
        assert all(stroke not in ("none", "") for stroke in plot["strokes"]), f"{name}: a line has no colour"
        for text in plot["texts"]:
            assert text["left"] >= 0, f"{name}: {text['text']} is cut on the left"
            assert text["right"] <= seen["window"], f"{name}: {text['text']} is cut on the right"
            assert text["px"] >= 10, f"{name}: {text['text']} is too small"


@pytest.mark.parametrize("width_px", [pytest.param(WIDE_PX, id="wide"), pytest.param(NARROW_PX, id="narrow")])
def test_labels_of_one_kind_do_not_overlap(width_px: int, tmp_path: Path) -> None:
    seen = laid_out(rendered(good_evidence()), tmp_path, width_px)
    overlaps = [
        (plot["name"], one["text"], other["text"])
        for plot in seen["plots"]
        for number, one in enumerate(plot["texts"])
        for other in plot["texts"][:number]
        if one["kind"].split()[0] == other["kind"].split()[0]
        and one["left"] < other["right"] - 0.5
        and other["left"] < one["right"] - 0.5
        and one["top"] < other["bottom"] - 2
        and other["top"] < one["bottom"] - 2
    ]
    assert overlaps == []
