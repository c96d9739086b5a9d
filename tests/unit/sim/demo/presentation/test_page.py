"""The report's page and terminal text: what they say, and that they say it whatever happened."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from demo_evidence import L40S, PLANS, answered, broken, edited, good_evidence, slow
from rich.console import Console

from argosy_sim.demo.evidence import Evidence
from argosy_sim.demo.judgement.judge import judge
from argosy_sim.demo.presentation import page, summary, terminal
from argosy_sim.demo.presentation.panels import backdrop, colour_by_variant, groups
from argosy_sim.demo.presentation.series import share_bins
from argosy_sim.demo.story import default_story

HOSTILE = '<script>alert("x")</script> & [bold]b[/bold] \x1b[31m'


def html(evidence: Evidence) -> str:
    return page.render(evidence, judge(evidence))


def text(evidence: Evidence, width: int = 100) -> str:
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as capture:
        terminal.show(evidence, judge(evidence), console)
    return capture.get()


def nothing_happened() -> Evidence:
    return replace(
        good_evidence(),
        story=default_story(rate_factor=0.0),
        requests=(),
        plans=(),
        replicas=(),
        shares=(),
        dead_node=None,
        memory_bytes={},
    )


class Structure(HTMLParser):
    """Tags, and every attribute that could make a browser fetch something."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]
        self.ids += [value or "" for name, value in attrs if name == "id"]


def structure(evidence: Evidence) -> Structure:
    parsed = Structure()
    parsed.feed(html(evidence))
    return parsed


def test_the_page_needs_nothing_but_itself() -> None:
    parsed = structure(good_evidence())
    assert {link for link in parsed.links if not link.startswith("#")} == {"data:,"}
    assert not {"script", "img", "iframe", "object", "embed"} & set(parsed.tags)
    assert not re.search(r"@import|url\(|https?:", html(good_evidence()))
    assert len(html(good_evidence())) < 2 * 2**20


def test_ids_are_unique_and_links_lead_somewhere() -> None:
    parsed = structure(good_evidence())
    assert len(parsed.ids) == len(set(parsed.ids))
    assert {link[1:] for link in parsed.links if link.startswith("#")} <= set(parsed.ids)


def test_strings_from_the_run_are_text_and_nothing_else() -> None:
    evidence = replace(
        good_evidence(),
        plans=(replace(PLANS[0], trigger=HOSTILE, reasons=(HOSTILE,)), *PLANS[1:]),
        trace=HOSTILE,
        left_running=(HOSTILE,),
        memory_bytes={HOSTILE: 1},
    )
    assert "script" not in structure(evidence).tags
    assert "\x1b" not in html(evidence)
    assert "[bold]b[/bold]" in text(evidence), "rich must not read it as its own markup"


def test_what_was_not_judged_is_named_everywhere_and_is_no_promise() -> None:
    evidence = replace(
        good_evidence(), not_judged=("a node that falls silent: only a machine's end does that",)
    )
    judgement = judge(evidence)
    assert judgement.promises == judge(good_evidence()).promises
    assert "A node that falls silent: only a machine" in html(evidence)
    assert "Not judged: a node that falls silent" in text(evidence)
    assert summary.report(judgement, evidence.not_judged)["not_judged"] == list(evidence.not_judged)


@pytest.mark.parametrize("key", ["story", "rate", "replicas", "cost", "ttft", "itl", "e2e", "shares"])
def test_every_plot_over_time_is_there(key: str) -> None:
    assert key in [group.key for group in groups(good_evidence())]
    assert f'data-group="{key}"' in html(good_evidence())


def test_the_page_names_each_plan_with_its_reasons() -> None:
    shown = html(good_evidence())
    for plan in PLANS:
        assert f'id="plan-{plan.revision}"' in shown
        for sentence in (plan.trigger, *plan.reasons):
            assert sentence in shown


@pytest.mark.parametrize(
    "evidence",
    [
        pytest.param(nothing_happened, id="nothing at all"),
        pytest.param(lambda: replace(good_evidence(), plans=()), id="no plan"),
        pytest.param(lambda: replace(good_evidence(), requests=(), shares=()), id="no request"),
        pytest.param(lambda: replace(good_evidence(), requests=(answered("chat-0", 1.0),)), id="one request"),
        pytest.param(lambda: edited(good_evidence(), broken), id="everything lost"),
        pytest.param(lambda: edited(good_evidence(), slow), id="everything slow"),
    ],
)
def test_a_page_and_a_terminal_text_come_of_any_run(evidence: object) -> None:
    run = evidence()  # type: ignore[operator]
    assert not re.search(r"\b(nan|inf)\b", html(run)), "no figure without a value"
    assert judge(run).is_kept is False
    assert "broken" in text(run)


@pytest.mark.parametrize("width", [80, 100, 140])
def test_the_terminal_text_stays_within_its_width_without_colour(width: int) -> None:
    shown = text(good_evidence(), width)
    assert max(len(line) for line in shown.splitlines()) <= width
    assert "\x1b" not in shown
    assert "All 13 promises were kept" in " ".join(shown.split())


def test_the_terminal_says_in_words_what_was_broken() -> None:
    shown = text(edited(good_evidence(), lambda r: broken(r) if r.arrival_s < 10 else r))
    assert re.search(r"attainment/chat/steady +BROKEN", shown)
    assert re.search(r"lost +BROKEN", shown)
    assert re.search(r"cost +kept", shown)


def test_share_bins_count_every_request_that_envoy_sent() -> None:
    evidence = good_evidence()
    for name in ("chat", "batch"):
        sampled = sum(sum(s.by_class[name].values()) for s in evidence.shares)
        assert sum(sum(b.requests.values()) for b in share_bins(evidence, name)) == sampled
    assert share_bins(evidence, "unknown") == ()


def test_variants_have_colours_of_their_own_apart_from_the_classes() -> None:
    styles = colour_by_variant(good_evidence())
    assert len(set(styles.values())) == len(styles) == 2
    assert not {"c0", "c1"} & set(styles.values())
    assert styles[L40S] == "c3"


def test_the_time_shown_begins_at_most_forty_seconds_before_act_one() -> None:
    early = replace(good_evidence(), plans=(replace(PLANS[0], at_s=-300.0), *PLANS[1:]))
    assert backdrop(early).start_s == -40.0
    assert backdrop(good_evidence()).start_s == -30.0
    assert backdrop(nothing_happened()).start_s == 0.0
