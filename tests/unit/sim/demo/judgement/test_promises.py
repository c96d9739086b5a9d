"""Each promise can be kept, broken, and kept or broken just at its bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from demo_evidence import H100, L40S, PLANS, REPLICAS, answered, broken, edited, good_evidence, replica, slow

from argosy.client.records import RequestRecord
from argosy.snapshot import Slo, SloTerm, Term
from argosy_sim.demo.evidence import Evidence, StaticPeak
from argosy_sim.demo.judgement.judge import judge
from argosy_sim.demo.judgement.promises import Promise
from argosy_sim.demo.story import default_story

NAMES = [
    *(f"attainment/chat/{act}" for act in ("steady", "burst", "node dies", "price change")),
    *(f"attainment/batch/{act}" for act in ("steady", "burst", "node dies", "price change")),
    "lost",
    "cost",
    "routable",
    "checked",
    "clean_exit",
]


def promise(evidence: Evidence, name: str) -> Promise:
    return next(p for p in judge(evidence).promises if p.name == name)


def test_the_promises_are_those_of_the_specification() -> None:
    assert [p.name for p in judge(good_evidence()).promises] == NAMES


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        pytest.param(
            "attainment/chat/steady",
            lambda e: edited(e, lambda r: slow(r) if r.arrival_s < 9 and r.class_name == "chat" else r),
            id="chat is slow for nine seconds of the first act",
        ),
        pytest.param(
            "attainment/batch/price change",
            lambda e: edited(e, lambda r: slow(r) if r.arrival_s > 213 and r.class_name == "batch" else r),
            id="batch is slow at the end",
        ),
        pytest.param(
            "lost",
            lambda e: edited(e, lambda r: broken(r) if r is e.requests[30] else r),
            id="one request in all is lost",
        ),
        pytest.param(
            "cost",
            lambda e: replace(e, static_peak=StaticPeak({"l40s": 4}, "four")),
            id="a smaller fleet would have cost less",
        ),
        pytest.param(
            "routable",
            lambda e: with_replica(e, replace(REPLICAS[4], healthy_s=86.2)),
            id="a replica was routable 1.1 s after Ready",
        ),
        pytest.param(
            "checked",
            lambda e: replace(e, plans=(*PLANS[:4], replace(PLANS[4], passed_check=False))),
            id="the last plan was applied although its check failed",
        ),
        pytest.param("clean_exit", lambda e: replace(e, left_running=("envoy",)), id="Envoy still runs"),
    ],
)
def test_a_broken_promise_is_named_and_it_alone(name: str, spoil: Callable[[Evidence], Evidence]) -> None:
    judgement = judge(spoil(good_evidence()))
    assert [p.name for p in judgement.broken] == [name]
    assert not judgement.is_kept


def with_replica(evidence: Evidence, changed: object) -> Evidence:
    index = next(i for i, r in enumerate(REPLICAS) if r.pod == changed.pod)  # type: ignore[attr-defined]
    replicas = (*REPLICAS[:index], changed, *REPLICAS[index + 1 :])
    return replace(evidence, replicas=replicas)  # type: ignore[arg-type]


# Attainment


def twenty(num_slow: int) -> tuple[RequestRecord, ...]:
    records = [answered(f"chat-{number}", 1.0 + number) for number in range(20)]
    return tuple(slow(r) if number < num_slow else r for number, r in enumerate(records))


@pytest.mark.parametrize(
    ("num_slow", "kept", "measured"),
    [
        pytest.param(0, True, 1.0, id="all"),
        pytest.param(1, True, 0.95, id="exactly the percentile"),
        pytest.param(2, False, 0.90, id="one request fewer"),
    ],
)
def test_attainment_is_kept_at_exactly_its_percentile(num_slow: int, kept: bool, measured: float) -> None:
    steady = promise(replace(good_evidence(), requests=twenty(num_slow)), "attainment/chat/steady")
    assert (steady.kept, steady.measured, steady.bound) == (kept, measured, 0.95)


def test_each_term_is_judged_against_its_own_percentile() -> None:
    evidence = replace(good_evidence(), requests=twenty(2))
    p90 = Slo((SloTerm(Term.TTFT, 0.90, 2000.0), SloTerm(Term.ITL, 0.99, 100.0)))
    chat, batch = evidence.story.classes
    lenient = replace(evidence, story=replace(evidence.story, classes=(replace(chat, slo=p90), batch)))
    steady = promise(lenient, "attainment/chat/steady")
    assert (steady.kept, steady.measured, steady.bound) == (True, 0.90, 0.90)
    p99 = Slo((SloTerm(Term.TTFT, 0.90, 2000.0), SloTerm(Term.ITL, 0.99, 39.0)))
    strict = replace(evidence, story=replace(evidence.story, classes=(replace(chat, slo=p99), batch)))
    steady = promise(strict, "attainment/chat/steady")
    assert (steady.kept, steady.measured, steady.bound) == (False, 0.0, 0.99)


def test_an_attainment_without_a_request_is_not_kept() -> None:
    silent = replace(good_evidence(), requests=())
    steady = promise(silent, "attainment/chat/steady")
    assert (steady.kept, steady.measured, steady.bound) == (False, None, 0.95)
    only_recovering = replace(good_evidence(), requests=(answered("chat-0", 61.0),))
    assert not promise(only_recovering, "attainment/chat/burst").kept


def test_an_attainment_without_a_request_is_kept_where_the_act_plans_none() -> None:
    silent = replace(good_evidence(), requests=(), story=default_story(rate_factor=0.0))
    judgement = judge(silent)
    attainments = [p for p in judgement.promises if p.name.startswith("attainment/")]
    assert {(p.kept, p.measured) for p in attainments} == {(True, None)}
    assert promise(silent, "lost") == Promise("lost", False, None, 0.0, "no request was offered")


# Cost


def test_the_same_cost_as_the_static_peak_is_not_below_it() -> None:
    kept_throughout = tuple(replica(f"chat-l40s-{letter}", f"l40s-{letter}", -30.0) for letter in "abc")
    peak = StaticPeak({"l40s": 3}, "three")
    evidence = replace(good_evidence(), replicas=kept_throughout, static_peak=peak)
    cost = promise(evidence, "cost")
    assert cost.measured == pytest.approx(cost.bound)
    assert not promise(replace(evidence, static_peak=StaticPeak({"l40s": 3}, "")), "cost").kept
    assert promise(replace(evidence, replicas=kept_throughout[:2]), "cost").kept


def test_a_run_without_a_replica_proves_no_saving() -> None:
    cost = promise(replace(good_evidence(), replicas=()), "cost")
    assert (cost.kept, cost.measured) == (False, None)


# Routable


@pytest.mark.parametrize(
    ("life", "kept", "measured"),
    [
        pytest.param({"healthy_s": 86.125}, True, 1.0, id="exactly at the bound"),
        pytest.param({"healthy_s": 86.15}, False, 1.025, id="just past it"),
        pytest.param({"healthy_s": 85.0}, True, 0.0, id="healthy a moment before the log says Ready"),
        pytest.param({"healthy_s": None}, False, 154.875, id="never, until the run ended"),
        pytest.param({"healthy_s": None, "gone_s": 90.125}, False, 5.0, id="never, until it was deleted"),
        pytest.param({"healthy_s": None, "gone_s": 85.625}, True, None, id="deleted too soon to judge"),
        pytest.param({"ready_s": None, "healthy_s": None}, True, None, id="it never became Ready"),
    ],
)
def test_a_new_replica_is_routable_within_a_second_of_ready(
    life: dict[str, float | None], kept: bool, measured: float | None
) -> None:
    alone = replica("chat-l40s-x", "l40s-5", 60.0, **{"ready_s": 85.125, **life})
    evidence = replace(good_evidence(), replicas=(*REPLICAS[:1], alone), requests=asked_of(alone.address))
    routable = promise(evidence, "routable")
    assert (routable.kept, routable.bound) == (kept, 1.0)
    assert routable.measured == (None if measured is None else pytest.approx(measured))


def asked_of(address: str, at_s: float = 85.5) -> tuple[RequestRecord, ...]:
    return (answered("chat-0", at_s, sent_s=at_s, endpoint=f"{address}:8000"),)


@pytest.mark.parametrize(
    ("first_s", "share", "kept", "measured"),
    [
        pytest.param(87.0, 1.0, True, 0.0, id="exactly two seconds after Ready"),
        pytest.param(87.25, 1.0, False, 2.25, id="later, at 16 requests/s"),
        pytest.param(87.25, 0.3125, False, 2.25, id="later, at exactly 5 requests/s"),
        pytest.param(87.25, 0.31, True, 0.0, id="later, but at fewer than 5 requests/s: chance"),
        pytest.param(None, 1.0, False, 155.0, id="never asked"),
        pytest.param(None, 0.1, True, 0.0, id="never asked, nor was it likely"),
    ],
)
def test_a_first_request_is_judged_where_the_class_asks_often(
    first_s: float | None, share: float, kept: bool, measured: float
) -> None:
    alone = replica("chat-l40s-x", "l40s-5", 60.0, ready_s=85.0, healthy_s=85.0)
    shares = {"chat": {L40S: share, H100: 1 - share}, "batch": {L40S: 1.0}}
    evidence = replace(
        good_evidence(),
        replicas=(alone,),
        plans=(replace(PLANS[1], shares=shares),),
        requests=() if first_s is None else asked_of(alone.address, first_s),
    )
    routable = promise(evidence, "routable")
    assert (routable.kept, routable.measured) == (kept, measured)
    assert routable.bound == (1.0 if kept else 2.0), "the bound that the number is measured against"


def test_a_run_that_needs_no_new_replica_has_nothing_to_route() -> None:
    old = tuple(r for r in REPLICAS if r.ready_s is not None and r.ready_s <= 0)
    routable = promise(replace(good_evidence(), replicas=old), "routable")
    assert (routable.kept, routable.measured) == (True, None)
    assert "no replica became Ready after act 1 began" in routable.detail


# Checked, clean exit


def test_a_plan_that_failed_its_check_and_was_not_applied_breaks_nothing() -> None:
    refused = replace(PLANS[4], revision=6, at_s=190.0, passed_check=False, is_applied=False)
    checked = promise(replace(good_evidence(), plans=(*PLANS, refused)), "checked")
    assert (checked.kept, checked.measured) == (True, 0.0)


def test_a_run_without_an_applied_plan_proves_no_check() -> None:
    checked = promise(replace(good_evidence(), plans=()), "checked")
    assert (checked.kept, checked.measured) == (False, None)


def test_what_still_runs_is_counted_and_named() -> None:
    left = promise(replace(good_evidence(), left_running=("etcd", "envoy")), "clean_exit")
    assert (left.kept, left.measured, left.detail) == (False, 2.0, "left running: etcd, envoy")
