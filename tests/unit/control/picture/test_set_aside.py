"""Groups of which a maker is not seen: what is kept of them, and that planning sees only their GPUs."""

from __future__ import annotations

from builders import a_class, a_model, a_pod, a_pool
from pictures import Entry, a_picture, a_plan

from argosy.api import GPUPool, WorkloadClass
from argosy.control.picture.set_aside import SetAside, set_aside, taken_over, without
from argosy.control.revision import bounds
from argosy.keys import ClassKey, DeploymentKey, GroupName
from argosy.snapshot.cluster import DeploymentState
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.seen import ObjectRef, Seen

A, B, C = (DeploymentKey(f"default/{name}") for name in "abc")
CHAT, CODE, DOCS = (ClassKey(f"default/{name}") for name in ("chat", "code", "docs"))
CHAT_GROUP = GroupName("default/chat")
H100 = ObjectRef(GPUPool.PLURAL, "h100")
"""Chat and code share replicas in two pools, of which one is absent; docs has its own."""
PLAN = a_plan(
    Entry("a", "chat", ("chat", "code"), pool="h100"),
    Entry("b", "chat", ("chat", "code")),
    Entry("c", "docs", ("docs",)),
    revision=3,
)
CLASSES = [a_class("chat"), a_class("code"), a_class("docs")]


def a_world(*absent: ObjectRef, classes: list[WorkloadClass] | None = None) -> FleetSnapshot:
    names = (A, B, C)
    return a_picture(
        classes=CLASSES if classes is None else classes,
        models=[a_model()],
        pools=[a_pool()],
        plans=(PLAN,),
        pods=[a_pod(f"{name.name}-0", deployment=name) for name in names],
        deployments=[DeploymentState(name, 1) for name in names],
        protected=dict.fromkeys(names, 1),
        seen=Seen(absent=frozenset(absent)),
    )


def test_the_whole_group_is_kept_as_soon_as_a_maker_of_one_deployment_is_absent() -> None:
    kept = set_aside(a_world(H100))
    assert (kept.deployments, kept.groups) == ({A, B}, {CHAT_GROUP})
    assert kept.classes == {CHAT: {H100}, CODE: {H100}}


def test_what_is_missing_and_not_absent_sets_nothing_aside() -> None:
    assert set_aside(a_world()) == SetAside()
    other = ObjectRef(GPUPool.PLURAL, "elsewhere")
    assert set_aside(a_world(other)) == SetAside()


def test_a_class_says_all_that_its_group_misses() -> None:
    gone = ObjectRef(WorkloadClass.PLURAL, CODE)
    kept = set_aside(a_world(H100, gone, classes=[CLASSES[0], CLASSES[2]]))
    assert kept.classes == {CHAT: {H100, gone}}
    assert kept.deployments == {A, B}


def test_planning_sees_of_a_kept_group_only_that_its_gpus_are_taken() -> None:
    snapshot = a_world(H100)
    seen = without(snapshot, set_aside(snapshot))
    assert set(seen.classes) == {DOCS}
    assert set(seen.deployments) == set(seen.protected) == {C}
    assert {key: pod.deployment for key, pod in seen.pods.items()} == {
        "default/a-0": "",
        "default/b-0": "",
        "default/c-0": C,
    }
    assert [pod.devices for pod in seen.pods.values()] == [pod.devices for pod in snapshot.pods.values()]
    [plan] = seen.plans
    assert [d.name for d in plan.spec.deployments] == [C]
    assert [c.workload_class for c in plan.spec.cells] == [DOCS]
    assert (plan.key, plan.spec.revision) == (PLAN.key, 3)


def test_where_nothing_is_kept_planning_sees_the_snapshot_itself() -> None:
    snapshot = a_world()
    assert without(snapshot, SetAside()) is snapshot


def test_what_is_kept_of_a_class_or_of_a_deployment_alone_is_left_out_too() -> None:
    snapshot = a_world()
    assert set(without(snapshot, SetAside(classes={CHAT: frozenset()})).classes) == {CODE, DOCS}
    assert set(without(snapshot, SetAside(frozenset({A}))).deployments) == {B, C}


# --- the next revision ----------------------------------------------------------------------------

NEXT = a_plan(Entry("d", "new", ("new",)), revision=4)


def test_the_next_revision_takes_the_kept_groups_over() -> None:
    kept = SetAside(frozenset({A, B}), frozenset({CHAT_GROUP}))
    found = taken_over(NEXT, PLAN, kept, {})
    assert [d.name.name for d in found.spec.deployments] == ["d", "a", "b"]
    assert [c.workload_class.name for c in found.spec.cells] == ["new", "chat", "code"]
    assert (found.key, found.spec.revision) == (NEXT.key, 4)


def test_without_a_kept_group_or_an_applied_plan_nothing_is_taken_over() -> None:
    assert taken_over(NEXT, PLAN, SetAside(), {}) is NEXT
    assert taken_over(NEXT, None, SetAside(groups=frozenset({CHAT_GROUP})), {}) is NEXT


def test_a_revision_is_no_longer_than_the_api_server_accepts() -> None:
    many = tuple(
        NEXT.spec.deployments[0].model_copy(update={"name": f"default/d{number:03d}"})
        for number in range(bounds.MAX_DEPLOYMENTS)
    )
    cells = tuple(
        NEXT.spec.cells[0].model_copy(update={"name": f"default/c{number:03d}"})
        for number in range(bounds.MAX_CELLS)
    )
    full = NEXT.model_copy(
        update={"spec": NEXT.spec.model_copy(update={"deployments": many, "cells": cells})}
    )
    found = taken_over(full, PLAN, SetAside(groups=frozenset({CHAT_GROUP})), {}).spec
    assert len(found.deployments) == bounds.MAX_DEPLOYMENTS
    assert len(found.cells) == bounds.MAX_CELLS
