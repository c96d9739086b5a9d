"""What holds of any run: nothing is counted twice or not at all, and costs add up."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pytest
from demo_evidence import INFINITY, answered, good_evidence, replica
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.client.records import Outcome, RequestRecord
from argosy_sim.demo.evidence import Evidence, ReplicaSeen
from argosy_sim.demo.judgement.fleet_cost import gpu_spans
from argosy_sim.demo.judgement.judge import judge
from argosy_sim.demo.presentation.summary import report
from argosy_sim.measures.cost import PriceStep, cost_rate, cost_usd, price_usd_per_hour
from argosy_sim.measures.steps import Span, Steps
from argosy_sim.report.markup import document, element

# Quarters of a second are exact in binary, so brute force sees the same edges.
seconds = st.integers(-80, 1200).map(lambda quarter: quarter / 4)


@st.composite
def records(draw: st.DrawFn) -> RequestRecord:
    name = draw(st.sampled_from(("chat", "batch")))
    arrival_s = draw(seconds)
    endpoint = draw(st.sampled_from([None, *(f"{r.address}:8000" for r in good_evidence().replicas)]))
    return answered(
        f"{name}-0",
        arrival_s,
        outcome=draw(st.sampled_from(Outcome)),
        endpoint=endpoint,
        end_s=arrival_s + draw(st.integers(0, 30)),
        attempts=draw(st.sampled_from((None, 1, 2))),
        header_s=draw(st.sampled_from((None, arrival_s + 1))),
    )


@st.composite
def lives(draw: st.DrawFn) -> ReplicaSeen:
    node = draw(st.sampled_from(("l40s-1", "h100-1")))
    ends = {name: draw(st.none() | seconds) for name in ("silent_s", "gone_s")}
    made = replica(f"chat-{node}", node, draw(seconds), **ends)
    return replace(made, gpus=draw(st.integers(1, 8)))


@st.composite
def prices(draw: st.DrawFn) -> tuple[PriceStep, ...]:
    first = [PriceStep(pool, -INFINITY, draw(st.integers(0, 9))) for pool in ("l40s", "h100")]
    later = draw(
        st.lists(
            st.builds(PriceStep, st.sampled_from(("l40s", "h100")), seconds, st.integers(0, 9)),
            max_size=3,
            unique_by=lambda price: (price.pool, price.at_s),
        )
    )
    return (*first, *later)


@given(st.lists(records(), max_size=30))
@settings(max_examples=60, deadline=None)
def test_every_request_is_in_one_act_and_has_one_fate(requests: list[RequestRecord]) -> None:
    judgement = judge(replace(good_evidence(), requests=tuple(requests)))
    counts = judgement.counts
    assert counts.offered == len(requests)
    assert counts.completed == sum(record.outcome is Outcome.COMPLETED for record in requests)
    assert counts.completed + counts.lost + counts.lost_in_flight == counts.offered
    for act in judgement.acts:
        for of_class in act.classes.values():
            shares = (of_class.attainment, of_class.recovery_attainment)
            assert all(share is None or 0 <= share <= 1 for share in shares)
    lost = next(promise for promise in judgement.promises if promise.name == "lost")
    assert lost.kept is (counts.lost == 0 and bool(requests))


def brute_force_usd(evidence: Evidence, start_s: float, end_s: float) -> float:
    """A sum over quarters of a second, in which nothing changes."""
    total = 0.0
    for quarter in range(int(start_s * 4), int(end_s * 4)):
        at_s = quarter / 4
        for seen in evidence.replicas:
            ends = [end for end in (seen.silent_s, seen.gone_s) if end is not None]
            if seen.bound_s <= at_s < min([INFINITY, *ends]):
                total += seen.gpus * price_usd_per_hour(evidence.prices, seen.pool, at_s) / 4 / 3600
    return total


@given(st.lists(lives(), max_size=5), prices())
@settings(max_examples=40, deadline=None)
def test_the_cost_of_an_act_is_what_adding_up_its_quarters_gives(
    replicas: list[ReplicaSeen], seen: tuple[PriceStep, ...]
) -> None:
    evidence = replace(good_evidence(), replicas=tuple(replicas), prices=seen, requests=())
    for act in judge(evidence).acts:
        expected = brute_force_usd(evidence, act.act.start_s, act.act.end_s)
        assert act.cost_usd == pytest.approx(expected, abs=1e-9)
    whole = cost_usd(cost_rate(gpu_spans(evidence), evidence.prices), 0, 240)
    assert sum(act.cost_usd for act in judge(evidence).acts) == pytest.approx(whole, abs=1e-9)


@given(st.lists(st.builds(Span, seconds, seconds, st.integers(1, 9)), max_size=8), seconds)
def test_steps_are_the_sum_of_the_spans_that_are_on(spans: list[Span], at_s: float) -> None:
    expected = sum(span.amount for span in spans if span.start_s <= at_s < span.end_s)
    assert Steps.of_spans(spans).at(at_s) == expected


@given(st.lists(records(), max_size=10))
@settings(max_examples=30, deadline=None)
def test_the_report_of_any_run_has_only_finite_numbers(requests: list[RequestRecord]) -> None:
    def finite(value: object) -> bool:
        if isinstance(value, dict):
            return all(map(finite, value.values()))
        if isinstance(value, list):
            return all(map(finite, value))
        return not isinstance(value, float) or abs(value) < INFINITY

    assert finite(report(judge(replace(good_evidence(), requests=tuple(requests)))))


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.attribute: str | None = None
        self.num_tags = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.num_tags += 1
        self.attribute = dict(attrs).get("title")

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text())
def test_any_text_is_read_back_as_text(text: str) -> None:
    reader = Reader()
    reader.feed(document(element("p", {"title": text}, text)))
    reader.close()
    expected = "".join(_readable(letter) for letter in text)
    assert reader.num_tags == 1
    assert reader.text.strip("\n") == expected.strip("\n")
    assert reader.attribute is not None


def _readable(letter: str) -> str:
    code = ord(letter)
    is_control = (code < 32 and letter not in "\t\n") or 0x7F <= code < 0xA0
    unfit = is_control or 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE
    return "\N{REPLACEMENT CHARACTER}" if unfit else letter
