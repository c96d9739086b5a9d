"""Which request, plan and replica counts where, and what an act came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from demo_evidence import (
    H100,
    L40S,
    PLANS,
    REPLICAS,
    answered,
    broken,
    edited,
    good_evidence,
    replica,
    slow,
)

from argosy.client.records import Outcome, RequestRecord
from argosy.engine.stationarity import Stationarity
from argosy_sim.demo.evidence import Evidence
from argosy_sim.demo.judgement.attribution import act_at, dead_node
from argosy_sim.demo.judgement.judge import ActJudgement, judge
from argosy_sim.demo.judgement.shocks import recovery_windows
from argosy_sim.demo.story import Shock, Story

DEAD = REPLICAS[2]
ON_DEAD = f"{DEAD.address}:8000"


def with_requests(*records: RequestRecord) -> Evidence:
    return replace(good_evidence(), requests=records)


def without_shocks(story: Story) -> Story:
    return replace(story, acts=tuple(replace(act, shock=Shock.NONE) for act in story.acts))


@pytest.mark.parametrize(
    ("at_s", "expected"),
    [
        pytest.param(-24.0, "steady", id="before act 1 is act 1's"),
        pytest.param(0.0, "steady", id="the start belongs to the act"),
        pytest.param(59.999, "steady", id="just before the end"),
        pytest.param(60.0, "burst", id="an end is the next act's start"),
        pytest.param(240.0, "price change", id="the last end is the last act's"),
        pytest.param(251.0, "price change", id="and so is what follows"),
    ],
)
def test_every_moment_belongs_to_one_act(at_s: float, expected: str) -> None:
    assert act_at(good_evidence().story, at_s).name == expected
    counts = {act.act.name: act.counts.offered for act in judge(with_requests(answered("chat-0", at_s))).acts}
    assert [name for name, offered in counts.items() if offered] == [expected]


def test_a_good_run_keeps_every_promise_and_its_counts_add_up() -> None:
    evidence = good_evidence()
    judgement = judge(evidence)
    assert judgement.broken == ()
    assert judgement.is_kept
    for act in judgement.acts:
        counts = act.counts
        assert counts.offered == counts.completed + counts.lost + counts.lost_in_flight
    assert judgement.counts.offered == len(evidence.requests)
    assert judgement.counts.lost_in_flight > 0
    assert judgement.counts.retried > 0


def test_plans_belong_to_the_act_in_which_they_were_decided() -> None:
    revisions = [[plan.revision for plan in act.plans] for act in judge(good_evidence()).acts]
    assert revisions == [[1], [2], [3, 4], [5]]


# Recovery windows: load delay 18 s + 15 s.


@pytest.mark.parametrize(
    ("arrival_s", "attainment", "recovery_attainment"),
    [
        pytest.param(59.999, None, None, id="before the burst, in another act"),
        pytest.param(60.0, None, 0.0, id="the shock itself is inside"),
        pytest.param(93.0, None, 0.0, id="the last moment is inside"),
        pytest.param(93.001, 0.0, None, id="after it the promise holds again"),
    ],
)
def test_a_request_counts_inside_or_outside_the_recovery_window_by_its_arrival(
    arrival_s: float, attainment: float | None, recovery_attainment: float | None
) -> None:
    chat = judge(with_requests(slow(answered("chat-0", arrival_s)))).acts[1].classes["chat"]
    assert (chat.attainment, chat.recovery_attainment) == (attainment, recovery_attainment)


def test_a_window_longer_than_its_act_reaches_into_the_next() -> None:
    evidence = replace(with_requests(answered("chat-0", 121.0)), load_delay_s=50.0)
    evidence = replace(
        evidence,
        story=replace(
            evidence.story,
            acts=tuple(
                replace(act, shock=Shock.BURST if act.name == "burst" else Shock.NONE)
                for act in evidence.story.acts
            ),
        ),
    )
    assert [(w.start_s, w.end_s) for w in recovery_windows(evidence)] == [(60.0, 125.0)]
    assert judge(evidence).acts[2].classes["chat"].recovery_attainment == 1.0


# Losses


def on_dead(**changes: object) -> RequestRecord:
    return broken(replace(answered("chat-0", 118.0, endpoint=ON_DEAD), **changes), end_s=137.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("record", "is_in_flight"),
    [
        pytest.param(on_dead(), True, id="its header was out when the node fell silent"),
        pytest.param(replace(on_dead(), outcome=Outcome.TIMED_OUT), True, id="not cut, but timed out"),
        pytest.param(on_dead(endpoint=DEAD.address), True, id="an endpoint without a port"),
        pytest.param(on_dead(sent_s=122.399), True, id="sent just before it left rotation"),
        pytest.param(on_dead(sent_s=122.4), False, id="sent when it had left rotation"),
        pytest.param(on_dead(header_s=None), False, id="no header: must complete elsewhere"),
        pytest.param(
            replace(on_dead(header_s=None), outcome=Outcome.CONNECT_ERROR), False, id="never connected"
        ),
        pytest.param(
            replace(on_dead(), outcome=Outcome.HTTP_ERROR, status=504), False, id="refused with a status"
        ),
        pytest.param(on_dead(endpoint=f"{REPLICAS[0].address}:8000"), False, id="cut on a living node"),
        pytest.param(on_dead(endpoint=None), False, id="its replica is unknown"),
        pytest.param(replace(on_dead(), end_s=119.0), False, id="cut before the node died"),
    ],
)
def test_only_what_the_dead_node_had_in_flight_is_counted_apart(
    record: RequestRecord, is_in_flight: bool
) -> None:
    act = judge(with_requests(record)).acts[act_index(record)]
    assert act.counts.lost_in_flight == int(is_in_flight)
    assert act.counts.lost == int(not is_in_flight)


def act_index(record: RequestRecord) -> int:
    return int(record.arrival_s // 60)


@pytest.mark.parametrize(
    ("sent_s", "expected"),
    [
        pytest.param(132.09, True, id="within 12 s of the silence"),
        pytest.param(132.1, False, id="later it should have been out of rotation"),
    ],
)
def test_twelve_seconds_are_assumed_where_leaving_rotation_was_not_observed(
    sent_s: float, expected: bool
) -> None:
    replicas = tuple(replace(r, unhealthy_s=None) if r is DEAD else r for r in REPLICAS)
    node = dead_node(replace(good_evidence(), replicas=replicas))
    assert node.had_in_flight(on_dead(sent_s=sent_s)) is expected


def test_a_node_that_is_taken_away_is_judged_as_a_dead_one_and_decided_on_sooner() -> None:
    evidence = with_requests(on_dead())
    acts = tuple(
        replace(act, shock=Shock.NODE_REMOVAL) if act.shock is Shock.NODE_DEATH else act
        for act in evidence.story.acts
    )
    removed = replace(evidence, story=replace(evidence.story, acts=acts))
    silence, removal = (
        {decision.shock: decision.bound_s for decision in judge(each).decisions}
        for each in (evidence, removed)
    )
    assert judge(removed).counts == judge(evidence).counts
    assert removal[Shock.NODE_REMOVAL] < silence[Shock.NODE_DEATH]


def test_without_a_dead_node_every_loss_is_lost() -> None:
    evidence = replace(with_requests(on_dead()), dead_node=None)
    counts = judge(evidence).acts[1].counts
    assert (counts.lost, counts.lost_in_flight) == (1, 0)


def test_an_address_given_again_is_another_replica() -> None:
    successor = replace(
        replica("chat-l40s-z", "l40s-6", 150.0), address=DEAD.address
    )  # after the dead one was gone
    gone = replace(DEAD, gone_s=149.0)
    evidence = replace(good_evidence(), replicas=(gone, successor))
    late = broken(answered("chat-0", 170.0, endpoint=ON_DEAD))
    assert not dead_node(evidence).had_in_flight(late)


def test_a_replica_that_never_had_an_address_served_nothing() -> None:
    nowhere = replace(DEAD, address="")
    evidence = replace(good_evidence(), replicas=(nowhere,))
    assert not dead_node(evidence).had_in_flight(on_dead(endpoint="127.1.0.9"))


def test_a_loss_in_flight_is_counted_apart_from_attainment_outside_recovery_windows() -> None:
    # 118 s lies in the burst's act and outside every recovery window.
    act = judge(with_requests(on_dead(), answered("chat-1", 118.5))).acts[1]
    assert (act.classes["chat"].attainment, act.counts.lost_in_flight) == (1.0, 1)


def test_another_loss_at_the_same_time_keeps_no_term() -> None:
    elsewhere = on_dead(endpoint="127.1.0.9")
    act = judge(with_requests(elsewhere, answered("chat-1", 118.5))).acts[1]
    assert (act.classes["chat"].attainment, act.counts.lost) == (0.5, 1)


# Recovery


def recovered(records: Sequence[RequestRecord]) -> list[float | None]:
    return [act.recovery_s for act in judge(with_requests(*records)).acts]


def chat(arrivals_s: Sequence[float], slow_until_s: float) -> list[RequestRecord]:
    records = [answered(f"chat-{number}", arrival_s) for number, arrival_s in enumerate(arrivals_s)]
    return [slow(record) if record.arrival_s < slow_until_s else record for record in records]


def test_recovery_is_the_start_of_the_first_ten_calm_seconds() -> None:
    # One request per second from 60.5 on; 60.5 to 71.5 are slow: calm begins just after 71.5.
    records = chat([60.5 + second for second in range(59)], slow_until_s=72.0)
    assert recovered(records)[1] == pytest.approx(11.6)


def test_an_act_that_is_calm_from_its_shock_on_recovers_at_once() -> None:
    assert recovered(chat([60.5, 61.5], slow_until_s=0))[1] == 0.0


def test_nine_calm_seconds_at_the_end_of_the_act_are_no_recovery() -> None:
    records = chat([60.0 + second for second in range(60)], slow_until_s=111.5)
    assert recovered(records)[1] is None
    just = chat([60.0 + second for second in range(60)], slow_until_s=109.5)
    assert recovered(just)[1] == pytest.approx(49.1)


def test_silence_of_all_classes_is_no_recovery_but_silence_of_one_is() -> None:
    assert recovered([])[1] is None
    assert recovered([answered("batch-0", 65.0)])[1] == 0.0


def test_recovery_waits_for_every_class() -> None:
    late_batch = slow(answered("batch-1", 80.0))
    records = [*chat([60.5 + second for second in range(59)], slow_until_s=0), late_batch]
    assert recovered(records)[1] == 0.0
    assert recovered([slow(answered("batch-0", 69.0)), *records])[1] == pytest.approx(9.1)


def test_acts_without_a_shock_have_nothing_to_recover_from() -> None:
    evidence = good_evidence()
    assert judge(evidence).acts[0].recovery_s is None
    calm = judge(replace(evidence, story=without_shocks(evidence.story)))
    assert {act.recovery_s for act in calm.acts} == {None}
    assert calm.decisions == ()
    assert calm.acts[1].classes["chat"].recovery_attainment is None


# Decisions


@pytest.mark.parametrize(
    ("at_s", "expected_s", "is_in_time"),
    [
        pytest.param(60.0, 0.0, True, id="at once"),
        pytest.param(70.0, 10.0, True, id="exactly at the bound"),
        pytest.param(70.001, 10.001, False, id="just past it"),
        pytest.param(59.9, None, False, id="before the shock: an answer to something else"),
        pytest.param(120.0, None, False, id="in the next act"),
    ],
)
def test_a_shock_is_decided_on_within_ten_seconds(
    at_s: float, expected_s: float | None, is_in_time: bool
) -> None:
    plans = (PLANS[0], replace(PLANS[1], at_s=at_s), *PLANS[2:])
    judgement = judge(replace(good_evidence(), plans=plans))
    burst = judgement.decisions[0]
    assert burst.decided_within_s == (None if expected_s is None else pytest.approx(expected_s))
    assert burst.is_in_time is is_in_time
    assert judgement.is_kept is is_in_time, "the exit code considers it, although no promise names it"


def test_a_plan_that_was_not_applied_decides_nothing() -> None:
    plans = tuple(replace(plan, is_applied=plan.revision != 2) for plan in PLANS)
    judgement = judge(replace(good_evidence(), plans=plans))
    assert judgement.decisions[0].decided_within_s is None
    assert not judgement.is_kept


# New replicas


def first_request_s(act: ActJudgement) -> float | None:
    return act.first_request_on_new_replica_s


def test_the_longest_first_request_of_an_acts_new_replicas_is_told() -> None:
    d, e = REPLICAS[4], REPLICAS[5]
    assert d.ready_s == e.ready_s == 85.1
    records = (
        answered("chat-0", 85.5, sent_s=85.6, endpoint=f"{d.address}:8000"),
        answered("chat-1", 85.7, sent_s=85.8, endpoint=f"{d.address}:8000"),
        answered("chat-2", 86.5, sent_s=86.6, endpoint=f"{e.address}:8000"),
    )
    acts = judge(with_requests(*records)).acts
    assert first_request_s(acts[1]) == pytest.approx(1.5)
    assert [first_request_s(act) for act in (acts[0], acts[2], acts[3])] == [None, None, None]


def test_a_retried_request_reached_the_replica_when_its_header_came() -> None:
    new = REPLICAS[4]
    retried = answered("chat-0", 80.0, sent_s=80.0, header_s=86.1, attempts=2, endpoint=f"{new.address}:8000")
    assert first_request_s(judge(with_requests(retried)).acts[1]) == pytest.approx(1.0)


def test_the_first_plans_replicas_are_not_new() -> None:
    judgement = judge(good_evidence())
    assert [new.replica.pod for new in judgement.new_replicas] == [
        "chat-l40s-d",
        "chat-l40s-e",
        "chat-h100-a",
    ]


def test_the_rate_at_a_new_replicas_cluster_is_the_storys_times_the_plans_share() -> None:
    split = {"chat": {L40S: 0.25, H100: 0.75}, "batch": {L40S: 1.0}}
    plans = (*PLANS[:4], replace(PLANS[4], shares=split))
    news = judge(replace(good_evidence(), plans=plans)).new_replicas
    assert [new.offered_per_s for new in news] == [16.0, 16.0, 6.0]
    assert judge(replace(good_evidence(), plans=())).new_replicas[0].offered_per_s == 0.0


def test_percentiles_are_of_completed_requests_only() -> None:
    judgement = judge(edited(good_evidence(), lambda r: broken(r) if r.arrival_s < 60 else r))
    steady = judgement.acts[0].classes["chat"]
    assert (steady.ttft_ms, steady.itl_ms, steady.e2e_ms) == (None, None, None)
    assert steady.attainment == 0.0


def test_an_act_in_which_a_class_falls_behind_has_the_word_and_no_interval() -> None:
    evidence = good_evidence()
    count = 600
    sent_s = [0.1 * place for place in range(count)]
    behind = [
        replace(answered(f"chat-{place}", at_s), sent_s=at_s, end_s=at_s + 1.0 + 0.5 * at_s)
        for place, at_s in enumerate(sent_s)
    ]
    steady = judge(replace(evidence, requests=tuple(behind))).acts[0].classes["chat"]
    assert steady.verdict.word == "overloaded"
    assert steady.attainment is not None
    assert steady.attainment_interval is None
    known = judge(evidence).acts[0].classes["chat"]
    assert known.verdict.state is Stationarity.STATIONARY
    assert known.attainment_interval is not None
