"""What every Deployment was made for, also where no object of it is left: by the plan, or by its labels."""

from __future__ import annotations

import pytest
from builders import a_class, a_model, a_pod, a_pool
from pictures import NOW_S, Entry, a_picture, a_plan

from argosy.api import GPUPool, ServedModel, WorkloadClass
from argosy.api.schema.timestamp import rfc3339
from argosy.control.picture.named import Makers, makers_by_deployment, missing_since
from argosy.keys import ClassKey, DeploymentKey, GroupName
from argosy.snapshot.cluster import LABEL_GROUP, LABEL_MODEL, LABEL_POOL, DeploymentState, label_value
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.seen import ObjectRef, Seen

A = DeploymentKey("default/a")
CHAT, CODE = ClassKey("default/chat"), ClassKey("default/code")
MADE_S = NOW_S - 3600.0
PLAN = a_plan(Entry("a", "chat", ("chat", "code")), made=rfc3339(MADE_S))
LONG = "x" * 80


def of_class(name: str) -> ObjectRef:
    return ObjectRef(WorkloadClass.PLURAL, f"default/{name}")


def of_model(name: str) -> ObjectRef:
    return ObjectRef(ServedModel.PLURAL, f"default/{name}")


def of_pool(name: str) -> ObjectRef:
    return ObjectRef(GPUPool.PLURAL, name)


def labels(group: str = "chat", model: str = "llama", pool: str = "l40s") -> dict[str, str]:
    return {LABEL_GROUP: group, LABEL_MODEL: model, LABEL_POOL: pool}


ALL = {"classes": [a_class("chat"), a_class("code")], "models": [a_model()], "pools": [a_pool()]}


def without(*names: str) -> dict[str, list[object]]:
    return {field: [i for i in items if i.metadata.name not in names] for field, items in ALL.items()}  # type: ignore[attr-defined]


def makers(snapshot: FleetSnapshot) -> Makers:
    return makers_by_deployment(snapshot)[A]


# --- by the plan ----------------------------------------------------------------------------------


def test_a_planned_deployment_is_made_for_the_classes_of_its_group_its_model_and_its_pool() -> None:
    found = makers(a_picture(plans=(PLAN,), **ALL))
    assert found == Makers(GroupName("default/chat"), frozenset({CHAT, CODE}), frozenset(), MADE_S)


@pytest.mark.parametrize(
    ("gone", "missing"), [("code", of_class("code")), ("llama", of_model("llama")), ("l40s", of_pool("l40s"))]
)
def test_what_a_plan_names_and_nothing_shows_is_missing(gone: str, missing: ObjectRef) -> None:
    found = makers(a_picture(plans=(PLAN,), **without(gone)))  # type: ignore[arg-type]
    assert found.missing == {missing}
    assert found.classes == ({CHAT} if gone == "code" else {CHAT, CODE})


def test_another_groups_classes_are_not_its_own() -> None:
    plan = a_plan(Entry("a", "chat", ("chat",)), Entry("b", "code", ("code",)))
    found = makers_by_deployment(a_picture(plans=(plan,), **without("code")))  # type: ignore[arg-type]
    assert found[A].missing == frozenset()
    assert found[DeploymentKey("default/b")].missing == {of_class("code")}


def test_the_plans_word_goes_before_the_labels() -> None:
    state = DeploymentState(A, 1, created_s=NOW_S, labels=labels("other", "other", "other"))
    found = makers(a_picture(plans=(PLAN,), deployments=[state], **ALL))
    assert (found.group, found.missing, found.since_s) == ("default/chat", frozenset(), MADE_S)


# --- by its labels --------------------------------------------------------------------------------


def a_deployment(**fields: str) -> DeploymentState:
    return DeploymentState(A, 1, created_s=MADE_S, labels=labels(**fields))


def test_without_a_plan_a_deployment_is_made_for_what_its_labels_name() -> None:
    found = makers(a_picture(deployments=[a_deployment()], **ALL))
    assert found == Makers(GroupName("default/chat"), frozenset({CHAT}), frozenset(), MADE_S)


def test_the_group_of_any_plan_tells_which_classes_a_label_stands_for() -> None:
    former = a_plan(Entry("former", "chat", ("code",)), is_applied=False)
    found = makers(a_picture(plans=(former,), deployments=[a_deployment()], **without("chat", "code")))  # type: ignore[arg-type]
    assert found.missing == {of_class("code")}
    assert found.classes == frozenset()


def test_what_a_label_names_and_nothing_shows_is_missing() -> None:
    state = a_deployment(group="gone", model="lost", pool="away")
    found = makers(a_picture(deployments=[state], **ALL))
    assert found.missing == {of_class("gone"), of_model("lost"), of_pool("away")}
    assert found.group == "default/gone"


def test_a_model_of_another_namespace_is_not_the_one_that_a_label_names() -> None:
    model = a_model()
    elsewhere = model.model_copy(
        update={"metadata": model.metadata.model_copy(update={"namespace": "elsewhere"})}
    )
    found = makers(a_picture(deployments=[a_deployment()], classes=ALL["classes"], models=[elsewhere],
                             pools=ALL["pools"]))  # fmt: skip
    assert found.missing == {of_model("llama")}


def test_a_name_that_is_longer_than_a_label_is_known_by_as_much_as_the_label_holds() -> None:
    shown = label_value(LONG)
    state = a_deployment(group=shown, model=shown, pool=shown)
    whole = {
        "classes": [a_class(LONG)],
        "models": [a_model(LONG)],
        "pools": [a_pool(LONG, nodeSelector={"gpu": "l40s"})],
    }
    found = makers(a_picture(deployments=[state], **whole))
    assert (found.group, found.missing) == (f"default/{LONG}", frozenset())


LABELLED = label_value(LONG)


@pytest.mark.parametrize(
    ("deleted", "expected"),
    [
        pytest.param(of_model(LONG), {of_model(LONG), of_pool(LABELLED)}, id="the model"),
        pytest.param(of_pool(LONG), {of_model(LABELLED), of_pool(LONG)}, id="the pool"),
        pytest.param(of_model("other"), {of_model(LABELLED), of_pool(LABELLED)}, id="another model"),
        pytest.param(of_class(LONG), {of_model(LABELLED), of_pool(LABELLED)}, id="a class of this name"),
        pytest.param(
            ObjectRef(ServedModel.PLURAL, f"elsewhere/{LONG}"),
            {of_model(LABELLED), of_pool(LABELLED)},
            id="one of another namespace",
        ),
    ],
)
def test_a_deleted_object_is_named_by_its_whole_name(deleted: ObjectRef, expected: set[ObjectRef]) -> None:
    state = a_deployment(model=LABELLED, pool=LABELLED)
    seen = Seen(deleted=frozenset({deleted}))
    assert makers(a_picture(deployments=[state], classes=ALL["classes"], seen=seen)).missing == expected


def test_a_deployment_that_the_applied_plan_does_not_name_is_known_by_its_labels() -> None:
    other = a_plan(Entry("other", "code", ("code",)))
    found = makers_by_deployment(a_picture(plans=(other,), deployments=[a_deployment()], **ALL))
    assert found[A] == Makers(GroupName("default/chat"), frozenset({CHAT}), frozenset(), MADE_S)
    assert found[DeploymentKey("default/other")].group == "default/code"


def test_what_is_found_is_in_the_order_of_keys() -> None:
    """So that two processes say the same of it."""
    plan = a_plan(*(Entry(name, "chat", ("chat",)) for name in "zxcvb"))
    states = [DeploymentState(DeploymentKey(f"default/{name}"), 1, labels=labels()) for name in "qwa"]
    assert [key.name for key in makers_by_deployment(a_picture(plans=(plan,), deployments=states))] == [
        *"abcqvwxz"
    ]


def test_a_deployment_whose_labels_were_taken_is_known_by_those_of_its_pods() -> None:
    bare = DeploymentState(A, 1, created_s=MADE_S)
    pod = a_pod("p", deployment=A, labels=labels(model="lost"))
    assert makers(a_picture(deployments=[bare], pods=[pod], **ALL)).missing == {of_model("lost")}
    own = DeploymentState(A, 1, created_s=MADE_S, labels=labels())
    assert makers(a_picture(deployments=[own], pods=[pod], **ALL)).missing == frozenset(), "its own go first"
    assert makers_by_deployment(a_picture(deployments=[bare], **ALL)) == {}


# --- since when -----------------------------------------------------------------------------------


def some_makers(since_s: float | None, *missing: ObjectRef) -> Makers:
    return Makers(GroupName("default/chat"), frozenset(), frozenset(missing), since_s)


@pytest.mark.parametrize(
    ("times", "expected"),
    [([1.0, 3.0, 2.0], 3.0), ([None, 2.0], 2.0), ([2.0, None], 2.0), ([None, None], None), ([0.0], 0.0)],
)
def test_what_is_missing_existed_at_the_latest_instant_that_any_maker_knows(
    times: list[float | None], expected: float | None
) -> None:
    found = missing_since(some_makers(at_s, of_pool("l40s")) for at_s in times)
    assert found == {of_pool("l40s"): expected}


def test_each_missing_object_has_its_own_time() -> None:
    found = missing_since([some_makers(1.0, of_pool("a")), some_makers(2.0, of_pool("b")), some_makers(3.0)])
    assert found == {of_pool("a"): 1.0, of_pool("b"): 2.0}
