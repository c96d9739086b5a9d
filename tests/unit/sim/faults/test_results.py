"""What a case's record is judged by, and how the table shows it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from argosy.client.records import Outcome as Ending
from argosy.client.records import RequestRecord
from argosy.errors import SpecError
from argosy_sim.faults import table, verdicts
from argosy_sim.faults.case import Before, Case, Result, judged
from argosy_sim.faults.cases import CASES, ELSEWHERE, chosen
from argosy_sim.faults.outcome import Judgement, Outcome, Said
from argosy_sim.faults.picture import Picture
from argosy_sim.faults.reading import Reader
from argosy_sim.faults.record import Recorder
from argosy_sim.faults.world import World

ISSUE_ROWS = {f"B{n}" for n in (*range(1, 10), *range(14, 20), *range(21, 27)) if n not in (22,)}
PASSING_ROWS = {f"P{n}" for n in range(1, 22)}


def pod(name: str, *, is_ready: bool = True, is_leaving: bool = False) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": "default", "uid": f"uid-{name}"}
    metadata["labels"] = {"argosy.dev/sharing-group": "chat", "argosy.dev/pool": "l40s"}
    if is_leaving:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return {"metadata": metadata, "status": {"conditions": [row("Ready", is_ready)]}}


def row(kind: str, is_true: bool) -> dict[str, str]:
    return {"type": kind, "status": "True" if is_true else "False", "reason": kind, "message": ""}


def plan(revision: int, replicas: int) -> dict[str, Any]:
    deployments = [{"replicas": replicas}] if replicas else []
    spec = {"revision": revision, "trigger": f"trigger {revision}", "deployments": deployments}
    metadata = {"name": f"plan-{revision:06d}"}
    status = {"conditions": [row("Applied", True)]}
    return {"kind": "FleetPlan", "metadata": metadata, "spec": spec, "status": status}


def picture(
    *pods: dict[str, Any],
    at_s: float = 0.0,
    plans: Iterable[dict[str, Any]] = (),
    endpoints: dict[str, bool] | None = None,
    is_class_ready: bool = True,
) -> Picture:
    status = {"observedGeneration": 1, "conditions": [row("Ready", is_class_ready)]}
    chat = {"kind": "WorkloadClass", "metadata": {"name": "chat", "generation": 1}, "status": status}
    healthy = {f"default/{p['metadata']['name']}": True for p in pods}
    return Picture(
        at_s=at_s,
        fleets=(),
        classes=(chat,),
        models=(),
        plans=tuple(plans) or (plan(1, len(pods)),),
        deployments=(),
        pods=pods,
        endpoints=healthy if endpoints is None else endpoints,
    )


def request(number: int, ending: Ending = Ending.COMPLETED, status: int = 200) -> RequestRecord:
    return RequestRecord(f"chat-{number}", "chat", ending, float(number), 10, 10, number + 1.0, status=status)


def outcome(*pictures: Picture, **fields: Any) -> Outcome:
    values: dict[str, Any] = {
        "records": (request(0),),
        "recovery_s": 2.5,
        "revisions": (),
        "last_revision_before": 7,
        "said": (),
        "events": (),
        "pods": (),
        "kept": {},
    }
    return Outcome(pictures=pictures or (picture(pod("a")),), **{**values, **fields})


class Eventless(Reader):
    """An API server that knows of no event."""

    def __init__(self) -> None:
        pass

    async def events(self) -> list[tuple[str, str, str]]:
        return []


async def nothing(world: World) -> None:
    raise AssertionError(world)


def case(*judgements: Judgement) -> Case:
    return Case("X1", "a case", Before(4, 16, "17.4 s", None), nothing, lambda _: judgements)


def test_every_row_of_the_review_is_a_case_or_has_a_reason_why_it_is_not() -> None:
    ids = [each.id for each in CASES]
    assert len(ids) == len(set(ids))
    assert set(ids) | set(ELSEWHERE) == ISSUE_ROWS | PASSING_ROWS
    assert not set(ids) & set(ELSEWHERE)


def test_cases_are_chosen_by_id_in_the_tables_order() -> None:
    assert {each.id for each in chosen("p7, B1")} == {"B1", "P7"}
    assert chosen(None) == CASES


@pytest.mark.parametrize("only", ["B99", "B1,B99", "", ","])
def test_an_id_that_is_no_cases_is_refused_with_those_that_are(only: str) -> None:
    with pytest.raises(SpecError, match=r"is no case; there are .*B1\b"):
        chosen(only)


def test_a_world_is_whole_only_if_what_is_planned_is_ready_and_in_envoys_rotation() -> None:
    assert picture(pod("a"), pod("b")).is_whole()
    assert not picture(pod("a"), plans=[plan(1, 2)]).is_whole()
    assert not picture(pod("a", is_ready=False)).is_whole()
    assert not picture(pod("a"), endpoints={"default/a": False}).is_whole()
    assert not picture(pod("a"), endpoints={}).is_whole()
    assert not picture(pod("a"), is_class_ready=False).is_whole()
    assert not picture(plans=[plan(1, 0)]).is_whole()


def test_a_missed_slo_keeps_a_world_from_being_whole_but_where_a_case_allows_it() -> None:
    missed, other = picture(pod("a"), is_class_ready=False), picture(pod("a"), is_class_ready=False)
    missed.classes[0]["status"]["conditions"][0]["reason"] = "SloMissed"
    assert not missed.is_whole()
    assert missed.is_whole_but_slo()
    assert not other.is_whole_but_slo()


async def test_an_api_server_that_did_not_answer_after_the_disturbance_counts_as_time_to_recover() -> None:
    recorder = Recorder(Eventless())
    recorder.struck_s = 1.0
    recorder.pictures += [picture(pod("a"), at_s=0.5), picture(pod("a"), at_s=31.0)]
    recorder.blind_s += [29.5]
    found = await recorder.outcome(recorder.held_since(Picture.is_whole), [], [])
    assert found.recovery_s == 28.5


def test_a_world_with_replicas_of_a_class_that_is_gone_is_not_at_rest() -> None:
    gone = pod("b")
    gone["metadata"]["labels"]["argosy.dev/sharing-group"] = "gone"
    assert picture(pod("a")).is_at_rest()
    assert picture(pod("a"), gone).is_whole()
    assert not picture(pod("a"), gone).is_at_rest()


def test_a_pod_on_its_way_out_does_not_count() -> None:
    leaving = picture(pod("a"), pod("b", is_leaving=True), plans=[plan(1, 1)], endpoints={"default/a": True})
    assert leaving.is_whole()
    assert leaving.uids() == {"uid-a"}


def test_a_lost_request_fails_the_case_and_is_named_by_its_status() -> None:
    lost = request(1, Ending.HTTP_ERROR, 503)
    found = verdicts.loses_at_most(outcome(records=(request(0), lost)), 0)
    assert (found.holds, found.found) == (False, "1 x chat: 503")
    assert verdicts.loses_at_most(outcome(records=(lost,)), 1, "it was sent to the dead engine").holds


def test_a_pod_that_was_started_in_between_is_found_though_it_is_gone_at_the_end() -> None:
    kept, more = picture(pod("a")), picture(pod("a"), pod("b"))
    assert verdicts.keeps_pods(outcome(kept, kept)).holds
    found = verdicts.keeps_pods(outcome(kept, more, kept))
    assert (found.holds, found.found) == (False, "0 went, 1 were started")


def test_a_revision_that_starts_again_fails() -> None:
    assert verdicts.numbers_go_on(outcome(revisions=(8,))).holds
    assert verdicts.numbers_go_on(outcome()).holds
    assert not verdicts.numbers_go_on(outcome(revisions=(1, 8))).holds


def test_a_plan_of_nothing_is_found_and_its_trigger_shown() -> None:
    seen = outcome(picture(pod("a")), picture(pod("a"), plans=[plan(1, 1), plan(8, 0)]), revisions=(8,))
    assert not verdicts.always_planned(seen).holds
    assert verdicts.revises_at_most(seen, 0).found == "8: trigger 8"


def test_sentences_are_found_by_object_and_time() -> None:
    said = Said(3.0, "WorkloadClass chat", "Ready", "False", "Unplaceable", "no node for 2 of 3")
    seen = outcome(said=(said,))
    assert verdicts.says(seen, "no node", "WorkloadClass", within_s=5.0).holds
    assert not verdicts.says(seen, "no node", "WorkloadClass", within_s=2.0).holds
    assert not verdicts.says(seen, "no node", "Fleet").holds
    assert not verdicts.never_says(seen, "^False Unplaceable").holds
    assert verdicts.never_says(seen, "^True").holds


def test_an_engine_that_ends_before_it_served_is_named() -> None:
    pods = ({"event": "bound", "pod": "default/x"}, {"event": "terminating", "pod": "default/x"})
    assert verdicts.starts_nothing_for_nothing(outcome(pods=pods)).found == "default/x"
    served = (*pods, {"event": "ready", "pod": "default/x"})
    assert verdicts.starts_nothing_for_nothing(outcome(pods=served)).holds


def test_a_case_that_does_not_recover_in_time_fails_whatever_else_holds() -> None:
    result = judged(case(Judgement("all is well", True)), outcome(recovery_s=None))
    assert not result.holds
    assert table.verdict(result) == "fails 1 of 2"
    assert table.recovery(result) == "never"


def test_a_row_shows_each_figure_before_and_after() -> None:
    shown = table.row(judged(case(), outcome(revisions=(8, 9))))
    assert shown == ("X1", "a case", "4/16 -> 0/1", "17.4 s -> 2.5 s", "- -> 2", "ok")


def test_a_case_that_could_not_be_carried_out_is_no_success_and_says_why() -> None:
    result = Result(case(), None, (), "NotAtRestError: rest did not come within 150 s")
    assert not result.holds
    assert table.failing([result]) == [
        "X1 was not carried out: NotAtRestError: rest did not come within 150 s"
    ]
    assert table.row(result)[-1] == "not carried out"


def test_the_document_has_every_sentence_with_its_verdict_and_no_figure_that_is_not_a_number() -> None:
    result = judged(case(Judgement("no Deployment is left", False, "a Deployment")), outcome(recovery_s=None))
    document = json.loads(json.dumps(table.document([result]), allow_nan=False))
    (found,) = document["cases"]
    assert found["before"] == {"lost": 4, "of": 16, "recovery": "17.4 s", "revisions": None}
    assert found["after"] == {"lost": 0, "of": 1, "recoverySeconds": None, "revisions": 0}
    assert found["judgements"][1] == {
        "sentence": "no Deployment is left",
        "holds": False,
        "found": "a Deployment",
    }
    assert found["holds"] is False
