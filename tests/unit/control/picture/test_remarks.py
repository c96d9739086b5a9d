"""What each status says where part of the picture is missing: a remark is made on what is ready, and once."""

from __future__ import annotations

import pytest
from builders import a_class, a_pool
from pictures import NOW_S, a_picture

from argosy.api import Fleet, FleetPlan, GPUPool, InvalidObject, WorkloadClass
from argosy.api.conditions import Condition, ConditionStatus, Reason
from argosy.api.fleet import FleetStatus
from argosy.api.gpupool import GPUPoolStatus
from argosy.api.schema.timestamp import rfc3339
from argosy.api.workloadclass import WorkloadClassStatus
from argosy.control.decision import StatusUpdate
from argosy.control.picture.remarks import named, ready_update, remarked
from argosy.control.picture.set_aside import SetAside
from argosy.keys import ClassKey
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.seen import KindSeen, KindState, ObjectRef, Seen

LONG_AGO = "2023-01-01T00:00:00Z"
BAD = ObjectRef(WorkloadClass.PLURAL, "default/bad")
NOTHING = SetAside()


def a_condition(type: str, status: str, reason: str = "Before") -> Condition:
    return Condition(type=type, status=ConditionStatus(status), reason=reason, last_transition_time=LONG_AGO)


def of_fleet(status: str = "True") -> StatusUpdate:
    return StatusUpdate(
        Fleet.PLURAL,
        "default",
        FleetStatus(conditions=(a_condition("Ready", status),), current_plan="plan-000004"),
    )


def of_class(name: str = "chat", *conditions: Condition) -> StatusUpdate:
    found = conditions or (a_condition("Ready", "True"),)
    return StatusUpdate(
        WorkloadClass.PLURAL, f"default/{name}", WorkloadClassStatus(conditions=found, replicas_ready=2)
    )


def an_invalid(*conditions: Condition) -> InvalidObject:
    found = WorkloadClass.from_object(
        {
            "metadata": {"name": "bad", "namespace": "default", "uid": "u", "generation": 7},
            "spec": {"models": 1},
            "status": {"conditions": [each.model_dump(by_alias=True, mode="json") for each in conditions]},
        }
    )
    assert isinstance(found, InvalidObject)
    return found


def rows(update: StatusUpdate) -> dict[str, tuple[str, str]]:
    return {c.type: (c.status.value, c.reason) for c in update.status.conditions}


def said(update: StatusUpdate, type: str = "Ready") -> str:
    return next(c.message for c in update.status.conditions if c.type == type)


def remarks(snapshot: FleetSnapshot, *updates: StatusUpdate, waiting: str = "") -> tuple[StatusUpdate, ...]:
    return remarked(snapshot, updates, NOTHING, waiting)


# --- Fleet ----------------------------------------------------------------------------------------

UNSEEN = Seen(unseen=frozenset({ObjectRef(GPUPool.PLURAL, "h100")}))
ABSENT = Seen(absent=frozenset({ObjectRef(GPUPool.PLURAL, "h100")}))
PLAN_ONLY = Seen(unseen=frozenset({ObjectRef(FleetPlan.PLURAL, "plan-000001")}))


@pytest.mark.parametrize(
    ("seen", "waiting", "expected"),
    [
        pytest.param(Seen(), "", ("True", "Before"), id="nothing is missing"),
        pytest.param(UNSEEN, "", ("True", "OwnerNotSeen"), id="an object is not seen any more"),
        pytest.param(ABSENT, "", ("True", "OwnerNotSeen"), id="one was never seen"),
        pytest.param(PLAN_ONLY, "", ("True", "Before"), id="a plan that is gone is written again"),
        pytest.param(Seen(), "five of six", ("True", "RemovalWaits"), id="a removal waits"),
        pytest.param(UNSEEN, "five of six", ("True", "RemovalWaits"), id="both"),
    ],
)
def test_a_fleet_that_is_ready_stays_so_and_says_what_is_missing_or_waits(
    seen: Seen, waiting: str, expected: tuple[str, str]
) -> None:
    snapshot = a_picture(seen=seen)
    fleet, other = remarks(snapshot, of_fleet(), of_class(), waiting=waiting)
    assert rows(fleet)["Ready"] == expected
    assert (waiting in said(fleet)) or not waiting
    assert ("GPUPool h100" in said(fleet)) is (expected[1] == "OwnerNotSeen")
    assert fleet.status.current_plan == "plan-000004"  # type: ignore[union-attr]
    assert other == of_class()


@pytest.mark.parametrize("status", ["False", "Unknown"])
def test_a_fleet_that_is_not_ready_says_why_already(status: str) -> None:
    assert remarks(a_picture(seen=UNSEEN), of_fleet(status), waiting="five of six") == (of_fleet(status),)


def test_without_a_fleet_object_or_a_condition_there_is_nothing_to_remark_on() -> None:
    assert remarks(a_picture(fleet=None), of_fleet(), waiting="five of six") == (of_fleet(),)
    bare = StatusUpdate(Fleet.PLURAL, "default", FleetStatus())
    assert remarks(a_picture(), bare, waiting="five of six") == (bare,)


def test_a_remark_keeps_the_time_since_when_it_is_ready() -> None:
    [fleet] = remarks(a_picture(), of_fleet(), waiting="five of six")
    [ready] = fleet.status.conditions
    assert ready.last_transition_time == LONG_AGO


# --- objects that cannot be read ------------------------------------------------------------------


def test_an_object_that_is_used_as_it_last_could_be_read_is_ready_and_not_accepted() -> None:
    item = an_invalid()
    snapshot = a_picture(invalid=(item,), seen=Seen(outdated=frozenset({BAD})))
    update = of_class("bad", a_condition("Ready", "True"), a_condition("Accepted", "True"))
    last = of_class("bad", a_condition("Accepted", "False"))
    [found] = remarks(snapshot, update, last)
    assert rows(found) == {"Ready": ("True", "LastReadableUsed"), "Accepted": ("False", "InvalidSpec")}
    assert item.message in said(found)
    assert item.message in said(found, "Accepted")
    accepted = next(c for c in found.status.conditions if c.type == "Accepted")
    assert (accepted.observed_generation, accepted.last_transition_time) == (7, rfc3339(NOW_S))


def test_what_is_used_as_it_last_could_be_read_and_does_not_serve_says_why() -> None:
    snapshot = a_picture(invalid=(an_invalid(),), seen=Seen(outdated=frozenset({BAD})))
    [found] = remarks(snapshot, of_class("bad", a_condition("Ready", "False", "PoolFull")))
    assert rows(found) == {"Ready": ("False", "PoolFull"), "Accepted": ("False", "InvalidSpec")}


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        pytest.param((a_condition("Ready", "True"),), "True", id="what runs for it goes on"),
        pytest.param((a_condition("Ready", "False"),), "Unknown", id="it was not ready"),
        pytest.param((a_condition("Accepted", "True"),), "Unknown", id="no word of Ready"),
    ],
)
def test_an_object_of_which_no_version_can_be_read_keeps_a_true_ready(
    before: tuple[Condition, ...], expected: str
) -> None:
    item = an_invalid(*before)
    snapshot = a_picture(invalid=(item,), seen=Seen(absent=frozenset({BAD})))
    accepted = of_class("bad", a_condition("Accepted", "False", "InvalidSpec"))
    [found] = remarks(snapshot, accepted)
    assert rows(found) == {"Ready": (expected, "KeptUnread"), "Accepted": ("False", "InvalidSpec")}
    assert item.message in said(found)


def test_an_unreadable_object_that_nothing_runs_for_gets_no_remark() -> None:
    update = of_class("bad", a_condition("Accepted", "False", "InvalidSpec"))
    assert remarks(a_picture(invalid=(an_invalid(),)), update) == (update,)


def test_fleet_names_the_watches_that_fail_unless_it_says_something_graver() -> None:
    why = "the operator's account may not watch pods"
    kinds = {
        "pods": KindSeen("pods", KindState.SEEN, unwatched=why),
        "nodes": KindSeen("nodes", KindState.SEEN),
    }
    [found] = remarks(a_picture(seen=Seen(kinds=kinds)), of_fleet())
    assert rows(found) == {"Ready": ("True", "WatchFails")}
    assert said(found) == (
        f"No watch reports changes of pods, so listings find them some seconds late: {why}."
    )
    [graver] = remarks(a_picture(seen=Seen(kinds=kinds)), of_fleet(), waiting="a removal waits")
    assert rows(graver) == {"Ready": ("True", "RemovalWaits")}


# --- classes that are kept, and a picture that is not believed ------------------------------------


def test_kept_classes_say_what_their_group_misses() -> None:
    refs = {name: frozenset({ObjectRef(GPUPool.PLURAL, name)}) for name in ("l40s", "h100")}
    snapshot = a_picture(classes=[a_class("chat"), a_class("code")])
    kept = SetAside(classes={ClassKey("default/code"): refs["h100"], ClassKey("default/chat"): refs["l40s"]})
    first, chat, code = remarked(snapshot, (of_fleet(),), kept, "")
    assert first == of_fleet()
    assert [(each.kind, each.key) for each in (chat, code)] == [
        (WorkloadClass.PLURAL, "default/chat"),
        (WorkloadClass.PLURAL, "default/code"),
    ]
    assert rows(chat) == {"Ready": ("Unknown", "OwnerNotSeen")}, "it never was ready"
    assert "GPUPool l40s" in said(chat)
    assert "GPUPool h100" in said(code)


def test_a_kept_class_that_was_ready_stays_so() -> None:
    chat = a_class().model_copy(
        update={"status": WorkloadClassStatus(conditions=(a_condition("Ready", "True"),))}
    )
    kept = SetAside(classes={ClassKey("default/chat"): frozenset({ObjectRef(GPUPool.PLURAL, "l40s")})})
    [found] = remarked(a_picture(classes=[chat]), (), kept, "")
    assert rows(found) == {"Ready": ("True", "OwnerNotSeen")}


@pytest.mark.parametrize(
    ("before", "stays", "expected"),
    [("True", True, "True"), ("True", False, "Unknown"), ("False", True, "Unknown"), (None, True, "Unknown")],
)
def test_ready_stays_true_only_where_it_was_and_engines_go_on(
    before: str | None, stays: bool, expected: str
) -> None:
    conditions = (a_condition("Ready", before),) if before else ()
    item = a_pool().model_copy(update={"status": GPUPoolStatus(conditions=conditions, total_gpus=8)})
    found = ready_update(a_picture(), item, Reason.PICTURE_INCOMPLETE, "a sentence", stays=stays)
    assert (found.kind, found.key, rows(found)) == (
        GPUPool.PLURAL,
        "l40s",
        {"Ready": (expected, "PictureIncomplete")},
    )
    assert found.status.observed_generation == 1
    [condition] = found.status.conditions
    is_same = before == expected
    assert condition.last_transition_time == (LONG_AGO if is_same else rfc3339(NOW_S))
    assert found.status.model_fields_set == {"observed_generation", "conditions"}, "other fields stay"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["b", "a"], "GPUPool a, GPUPool b"),
        (["c", "b", "a"], "GPUPool a, GPUPool b, GPUPool c"),
        (["e", "d", "c", "b", "a"], "GPUPool a, GPUPool b, GPUPool c and 2 more"),
    ],
)
def test_a_sentence_names_three_objects_by_name_and_counts_the_others(
    names: list[str], expected: str
) -> None:
    assert named(ObjectRef(GPUPool.PLURAL, name) for name in names) == expected
