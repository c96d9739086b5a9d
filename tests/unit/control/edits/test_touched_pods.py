"""Whether another client has ended a pod: one decision at a time, each other explanation by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from builders import a_model, a_node, a_pod
from pictures import AWAKE_S, NOW_S, a_picture

from argosy.control.edits.found import BUDGET, COUNT, ORPHAN, POD, UNNAMED, Edit
from argosy.control.edits.mending import Mending
from argosy.control.edits.pods import SETTLED_S, with_pods
from argosy.control.memory import EditMemory, KnownCount, Mended
from argosy.keys import DeploymentKey, ModelKey
from argosy.snapshot.cluster import (
    LABEL_DEPLOYMENT,
    LABEL_MODEL,
    LABEL_TEMPLATE_HASH,
    DeploymentState,
    PodState,
)
from argosy.snapshot.fleet import FleetSnapshot

A, B = DeploymentKey("default/a"), DeploymentKey("default/b")
MODEL = ModelKey("default/llama")
MADE_S = NOW_S - 600.0


def a_replica(name: str, **fields: Any) -> PodState:
    chosen = {"deployment": A, "labels": {LABEL_TEMPLATE_HASH: "5d4f"}, "created_s": MADE_S}
    return a_pod(name, **{**chosen, **fields})


GONE, OLD, NEW = a_replica("gone"), a_replica("old"), a_replica("new", created_s=NOW_S)
"""The first has gone, the second is still there, the third is the successor of the first."""
THE_DEPLOYMENT = DeploymentState(A, 2, labels={LABEL_MODEL: "llama"}, created_s=MADE_S)


def known(*pods: PodState, count: int | None = 2, **fields: Any) -> EditMemory:
    counts = {} if count is None else {A: KnownCount(count)}
    return EditMemory(counts=counts, pods={A: {pod.key: pod for pod in pods}}, **fields)


def a_world(*pods: PodState, deployment: DeploymentState = THE_DEPLOYMENT, **fields: Any) -> FleetSnapshot:
    return a_picture(pods=pods, deployments=[deployment], models=[a_model()], **fields)


def a_mending(*contested: Edit, heals: Mapping[tuple[DeploymentKey, str], Mended] | None = None) -> Mending:
    return Mending((), (), contested, EditMemory(heals=heals or {}))


def looked(
    snapshot: FleetSnapshot,
    before: EditMemory,
    mending: Mending | None = None,
    lost: frozenset[str] = frozenset(),
) -> Mending:
    return with_pods(mending or a_mending(), snapshot, lost, "plan-000001", before)


def reported(found: Mending) -> list[tuple[str, str]]:
    return [(edit.about, edit.change) for edit in found.edits]


REPORT = [(POD, "gone")]


def test_a_pod_that_has_gone_is_reported_where_nothing_else_explains_it() -> None:
    found = looked(a_world(OLD, NEW), known(GONE, OLD))
    assert found.edits == (Edit(A, MODEL, POD, UNNAMED, 0.0, "gone"),)
    assert found.memory.pods == {A: {OLD.key: OLD, NEW.key: NEW}}
    assert looked(a_world(OLD, NEW), found.memory).edits == ()


def test_edits_of_other_kinds_stay_before_it() -> None:
    other = Edit(B, MODEL, COUNT, "kubectl", 0.0, "spec.replicas 3 -> 5")
    mending = replace(a_mending(), edits=(other,))
    assert reported(looked(a_world(OLD, NEW), known(GONE, OLD), mending)) == [(COUNT, other.change), *REPORT]


def test_until_its_successor_exists_it_is_remembered_and_not_reported() -> None:
    found = looked(a_world(OLD), known(GONE, OLD))
    assert reported(found) == []
    assert found.memory.pods == {A: {OLD.key: OLD, GONE.key: GONE}}
    later = replace(found.memory, counts={A: KnownCount(2)})
    assert reported(looked(a_world(OLD, NEW), later)) == REPORT


def test_a_pod_that_has_ended_by_itself_is_no_successor() -> None:
    failed = a_replica("failed", phase="Failed", created_s=NOW_S)
    found = looked(a_world(OLD, failed), known(GONE, OLD))
    assert reported(found) == []
    assert found.memory.pods == {A: {OLD.key: OLD, GONE.key: GONE}}


def test_a_successor_of_another_template_shows_an_exchange() -> None:
    other = replace(NEW, labels={LABEL_TEMPLATE_HASH: "9f8e"})
    assert reported(looked(a_world(OLD, other), known(GONE, OLD))) == []


def test_one_that_drains_is_as_good_as_gone() -> None:
    draining = replace(GONE, deleting=True)
    assert reported(looked(a_world(draining, OLD, NEW), known(GONE, OLD))) == REPORT
    assert reported(looked(a_world(draining, OLD), known(GONE, OLD))) == [], "it is no successor of its own"


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        pytest.param(replace(GONE, evicted=True), [], id="it is evicted"),
        pytest.param(replace(GONE, deletion_cost=-1000), [], id="Argosy has marked it"),
        pytest.param(replace(GONE, created_s=MADE_S - 1.0), [], id="of an earlier Deployment of this name"),
        pytest.param(replace(GONE, node="elsewhere"), [], id="its node is gone"),
        pytest.param(replace(GONE, node="cordoned"), [], id="its node is cordoned"),
        pytest.param(replace(GONE, node="down"), [], id="its node is not ready"),
        pytest.param(replace(GONE, node=""), REPORT, id="it had no node"),
        pytest.param(replace(GONE, labels={}), [], id="of another template"),
    ],
)
def test_what_explains_the_end_of_a_pod_is_no_edit(pod: PodState, expected: list[tuple[str, str]]) -> None:
    nodes = {n.name: n for n in (a_node("n"), a_node("cordoned", unschedulable=True))}
    nodes["down"] = replace(a_node("down"), ready=False)
    assert reported(looked(a_world(OLD, NEW, nodes=nodes), known(pod, OLD))) == expected


def test_a_lost_pod_and_one_that_ended_by_itself_are_no_edits() -> None:
    lost = frozenset({GONE.key})
    assert reported(looked(a_world(OLD, NEW), known(GONE, OLD), lost=lost)) == []
    failed = replace(GONE, phase="Failed")
    assert reported(looked(a_world(failed, OLD, NEW), known(GONE, OLD))) == []


@pytest.mark.parametrize(
    ("created_s", "expected"),
    [(None, REPORT), (GONE.created_s, REPORT), (GONE.created_s + 1.0, [])],
    ids=["it is not known since when", "as old as its Deployment", "older"],
)
def test_a_pod_of_this_deployment_is_as_old_at_most(
    created_s: float | None, expected: list[tuple[str, str]]
) -> None:
    deployment = replace(THE_DEPLOYMENT, created_s=created_s)
    assert reported(looked(a_world(OLD, NEW, deployment=deployment), known(GONE, OLD))) == expected


@pytest.mark.parametrize(
    ("before", "replicas", "expected"),
    [
        pytest.param(known(GONE, OLD, count=None), 2, [], id="nothing is known of its count"),
        pytest.param(known(GONE, OLD, count=1), 1, [], id="more pods than Argosy asked for"),
        pytest.param(known(GONE, OLD, count=2), 1, [], id="another client has lowered the count"),
        pytest.param(known(GONE, OLD, count=2), 2, REPORT, id="as many as Argosy asked for"),
        pytest.param(known(GONE, count=2), 2, REPORT, id="fewer: one had not started"),
    ],
)
def test_pods_that_go_with_a_count_are_no_edits(
    before: EditMemory, replicas: int, expected: list[tuple[str, str]]
) -> None:
    deployment = replace(THE_DEPLOYMENT, replicas=replicas)
    assert reported(looked(a_world(OLD, NEW, deployment=deployment), before)) == expected


def healed(seconds_ago: float, key: DeploymentKey = A, about: str = COUNT) -> Mending:
    at_s = AWAKE_S - seconds_ago
    return a_mending(heals={(key, about): Mended("kubectl", (at_s - 200.0, at_s - 100.0, at_s))})


@pytest.mark.parametrize(
    ("mending", "expected"),
    [
        pytest.param(healed(SETTLED_S - 0.1), [], id="its count was set back a moment ago"),
        pytest.param(healed(SETTLED_S), REPORT, id="pods have settled since"),
        pytest.param(healed(0.0, key=B), REPORT, id="another Deployment's was"),
        pytest.param(healed(0.0, about=BUDGET), REPORT, id="its budget ends no pod"),
        pytest.param(a_mending(Edit(A, MODEL, COUNT, "kubectl", 0.0, "")), [], id="its count is contested"),
        pytest.param(a_mending(Edit(B, MODEL, COUNT, "kubectl", 0.0, "")), REPORT, id="another's is"),
    ],
)
def test_pods_end_for_a_change_of_their_deployment_that_was_set_back(
    mending: Mending, expected: list[tuple[str, str]]
) -> None:
    assert reported(looked(a_world(OLD, NEW), known(GONE, OLD), mending)) == expected


# --- orphans --------------------------------------------------------------------------------------


def an_orphan(name: str = "stray", **fields: Any) -> PodState:
    chosen = {"deployment": DeploymentKey(), "origin": A, "lacking": (LABEL_DEPLOYMENT, LABEL_TEMPLATE_HASH)}
    return a_replica(name, **{**chosen, **fields})


def test_an_orphan_is_reported_with_its_labels_once_and_is_no_deleted_pod() -> None:
    stray = an_orphan("gone")
    found = looked(a_world(stray, OLD, NEW), known(GONE, OLD))
    labels = f"{LABEL_DEPLOYMENT}, {LABEL_TEMPLATE_HASH}"
    assert found.edits == (Edit(A, MODEL, ORPHAN, UNNAMED, 0.0, f"label {labels} of pod gone"),)
    assert found.memory.orphans == {stray.key}
    assert looked(a_world(stray, OLD, NEW), found.memory).edits == ()


def test_an_orphan_that_is_going_is_not_reported() -> None:
    assert looked(a_world(an_orphan(deleting=True), OLD, NEW), known(OLD, NEW)).edits == ()


def test_an_orphan_that_still_has_its_deployments_label_is_none_of_its_replicas() -> None:
    """Only the hash is gone."""
    stray = an_orphan("old", deployment=A, lacking=(LABEL_TEMPLATE_HASH,), labels={})
    found = looked(a_world(stray, NEW), known(OLD, NEW))
    assert reported(found) == [(ORPHAN, f"label {LABEL_TEMPLATE_HASH} of pod old")]
    assert found.memory.pods == {A: {NEW.key: NEW}}


def test_an_orphan_of_a_deployment_that_is_gone_is_reported_without_a_model() -> None:
    [edit] = looked(a_world(an_orphan(origin=B), OLD, NEW), known(OLD, NEW)).edits
    assert (edit.deployment, edit.model) == (B, ModelKey())


def test_without_a_plan_nothing_is_known_of_pods_and_the_rest_is_kept() -> None:
    memory = known(GONE, OLD, orphans=frozenset({"default/stray"}))
    mending = replace(a_mending(), memory=memory)
    found = with_pods(mending, a_world(OLD, NEW), frozenset(), "", memory)
    assert found == replace(mending, memory=replace(memory, pods={}, orphans=frozenset()))
