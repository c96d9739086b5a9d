"""How far a roll-out is, read off a running operator: every step of it, its end, and what stays said."""

from __future__ import annotations

import re
from itertools import pairwise

from operator_stage import OURS, Object, OperatorStage, condition, until
from watching import Watch

STEP = re.compile(
    r"Exchanged \d of 4 replicas: (\d) of 4 replicas of default/chat on l40s get requests"
    r"(?:, (\d) of the former plan still serve)?\."
)
END = (
    r"All 5 planned replicas got requests and none of the former plan was left on \S+Z,"
    r" \d+ s after the plan was applied\."
)


def test_a_roll_out_says_how_many_replicas_get_requests_until_all_do_and_its_end_stays_said(
    stage: OperatorStage,
) -> None:
    stage.patch("wclass", "chat", minReplicas=4)
    until(lambda: len(stage.ready_pods("chat")) == 4 and is_rolled_out(stage.applied()), "four replicas")
    former = stage.applied()
    with stage.load() as load, Watch(f"{stage.proxy}{OURS}/fleetplans") as seen:
        stage.patch("smodel", "llama-8b", engine={"maxNumSeqs": 100})
        plan = until(lambda: rolled_out_after(stage, former), "the exchange to be rolled out")
    assert load.lost == ()

    said = seen.conditions(plan, "Progressing")
    steps = [found.groups() for row in said if (found := STEP.fullmatch(row["message"]))]
    counts = [(int(ready), int(others or 0)) for ready, others in steps]
    assert counts[0] == (0, 4), said
    assert any(0 < ready < 4 for ready, _ in counts), said
    for (ready, others), (next_ready, next_others) in pairwise(counts):
        assert ready <= next_ready, said
        assert others >= next_others, said
    assert {row["status"] for row in said} == {"True"}
    assert re.fullmatch(END, said[-1]["message"]), said

    told = {event["reason"]: event["note"] for event in events_of(stage, plan)}
    assert STEP.fullmatch(told["Exchanging"])
    assert re.fullmatch(END, told["RolledOut"])

    ended = condition(plan, "RolledOut")
    assert (ended["status"], ended["message"]) == ("True", said[-1]["message"])
    [pod, *_] = stage.pods("chat")
    stage.kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false")
    until(lambda: condition(stage.class_of("chat"), "Ready")["status"] == "False", "the class to miss it")
    assert condition(stage.again(plan), "RolledOut") == ended, "what replicas do later is Ready's to say"


def is_rolled_out(plan: Object) -> bool:
    return condition(plan, "RolledOut").get("status") == "True"


def rolled_out_after(stage: OperatorStage, former: Object) -> Object:
    """The applied plan, where it is later than `former` and rolled out."""
    plan = stage.applied()
    is_later = plan["spec"]["revision"] > former["spec"]["revision"]
    return plan if is_later and is_rolled_out(plan) else {}


def events_of(stage: OperatorStage, item: Object) -> list[Object]:
    name = item["metadata"]["name"]
    return [e for e in stage.items("/apis/events.k8s.io/v1/events") if e["regarding"].get("name") == name]
