"""What a sharing group is called: claims of the plan before, names on running pods, and new ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import a_class, a_pod
from pictures import Entry, a_picture, a_plan

from argosy.control.candidates.group_keys import Membership, PlannedGroups, group_keys
from argosy.keys import ClassKey, DeploymentKey, GroupName, ModelKey
from argosy.snapshot.cluster import LABEL_GROUP, LABEL_MODEL, PodState, label_value
from argosy.snapshot.fleet import FleetSnapshot

LLAMA = frozenset({ModelKey("default/llama")})
LONG = "x" * 80


def key(name: str) -> ClassKey:
    return ClassKey(f"default/{name}")


def group(name: str) -> GroupName:
    return GroupName(f"default/{name}")


def sharing(*names: str, can_be_planned: bool = True, models: frozenset[ModelKey] = LLAMA) -> Membership:
    """The first is the oldest."""
    return Membership(tuple(map(key, names)), key(names[0]), models, can_be_planned)


def before(
    groups: dict[str, dict[str, float]], running: dict[tuple[str, str], int] | None = None
) -> PlannedGroups:
    """groups: the planned requests/s of each group's classes; running: pods by group and model."""
    return PlannedGroups(
        {key(name): group(each) for each, rates in groups.items() for name in rates},
        {key(name): rate for rates in groups.values() for name, rate in rates.items()},
        {(group(each), model): count for (each, model), count in (running or {}).items()},
    )


def names(planned: PlannedGroups, *memberships: Membership) -> list[str]:
    """The name of each membership, in the order in which they are given."""
    found = {each: its_group.name for each, its_group in group_keys(memberships, planned)}
    return [found[each] for each in memberships]


NOTHING = before({})


# --- claims ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("planned", "memberships", "expected"),
    [
        pytest.param({}, [("a",), ("b", "c")], ["a", "b"], id="new ones are named after the oldest class"),
        pytest.param({"g": {"a": 1.0}}, [("a", "b")], ["g"], id="a class joins"),
        pytest.param({"g": {"a": 1.0, "b": 1.0}}, [("b",)], ["g"], id="a class leaves"),
        pytest.param({"g": {"a": 1.0, "b": 2.0}}, [("a",), ("b",)], ["a", "g"], id="the larger part"),
        pytest.param(
            {"g": {"a": 2.0, "b": 1.0, "c": 1.5}}, [("a",), ("b", "c")], ["a", "g"], id="by its sum"
        ),
        pytest.param(
            {"g": {"a": 1.0, "b": 0.5, "c": 0.5}}, [("a",), ("b", "c")], ["a", "g"],
            id="of equal rates the part with more classes",
        ),
        pytest.param({"g": {"a": 1.0, "b": 1.0}}, [("b",), ("a",)], ["b", "g"], id="else the first by name"),
        pytest.param({"g": {"a": 1.0}, "h": {"b": 2.0}}, [("a", "b")], ["h"], id="they merge"),
        pytest.param(
            {"g": {"a": 1.0, "b": 3.0}, "h": {"c": 2.0}}, [("b", "c"), ("a",)], ["g", "a"],
            id="a name that goes to another part is not kept by the rest",
        ),
        pytest.param({"b": {"a": 1.0}}, [("a",), ("b",)], ["b", "b-2"], id="it is taken"),
        pytest.param(
            {"b": {"a": 1.0}, "b-2": {"c": 1.0}}, [("a",), ("b",), ("c",)], ["b", "b-3", "b-2"], id="two are"
        ),
    ],
)  # fmt: skip
def test_a_name_stays_with_the_most_requests_and_a_new_one_is_the_oldest_classs(
    planned: dict[str, dict[str, float]], memberships: list[tuple[str, ...]], expected: list[str]
) -> None:
    assert names(before(planned), *(sharing(*each) for each in memberships)) == expected


def test_what_nothing_can_serve_keeps_its_name_only_where_no_other_claims_it() -> None:
    planned = before({"g": {"a": 9.0, "b": 1.0}})
    assert names(planned, sharing("a", can_be_planned=False), sharing("b")) == ["a", "g"]
    assert names(planned, sharing("a", can_be_planned=False)) == ["g"]


def test_the_rate_of_a_group_is_that_of_its_classes() -> None:
    planned = before({"g": {"a": 1.0, "b": 2.5}, "h": {"c": 9.0}})
    assert planned.rate_of_group(group("g")) == 3.5


def test_a_name_fits_into_a_label() -> None:
    assert names(NOTHING, sharing(LONG)) == [label_value(LONG)]
    taken = before({label_value(LONG): {"a": 1.0}})
    [_, second] = names(taken, sharing("a"), sharing(LONG))
    assert second == label_value(f"{LONG}-2") != label_value(LONG)


# --- names on running pods ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("running", "expected"),
    [
        pytest.param({("old", "llama"): 1}, "old", id="pods that no class has"),
        pytest.param({("old", "llama"): 1, ("older", "llama"): 2}, "older", id="the most of them"),
        pytest.param({("b", "llama"): 2, ("a", "llama"): 2}, "a", id="of as many the first by name"),
        pytest.param({("old", "mistral"): 5}, "new", id="of another model"),
        pytest.param({("old", "llama"): 5, ("new", "llama"): 1}, "new", id="there are pods of its own name"),
        pytest.param({("old", "llama"): 0}, "new", id="none any more"),
        pytest.param({("a", "llama"): 1, ("b", "llama"): 1, ("b", "mistral"): 9}, "a", id="its models only"),
    ],
)  # fmt: skip
def test_a_new_group_takes_up_the_name_of_running_pods_of_its_models(
    running: dict[tuple[str, str], int], expected: str
) -> None:
    assert names(before({}, running), sharing("new")) == [expected]


def test_pods_of_several_models_of_a_group_are_added_up() -> None:
    both = LLAMA | {ModelKey("default/mistral")}
    running = {("old", "llama"): 3, ("mixed", "llama"): 2, ("mixed", "mistral"): 2}
    assert names(before({}, running), sharing("new", models=both)) == ["mixed"]


def test_pods_of_another_namespace_are_not_taken_up() -> None:
    planned = PlannedGroups({}, {}, {(GroupName("elsewhere/old"), "llama"): 3})
    assert names(planned, sharing("new")) == ["new"]


def test_a_name_on_pods_goes_to_one_group_and_not_to_one_that_another_class_would_have() -> None:
    planned = before({}, {("old", "llama"): 3})
    assert names(planned, sharing("a"), sharing("b")) == ["old", "b"]
    planned = before({}, {("b", "llama"): 3})
    assert names(planned, sharing("a"), sharing("b")) == ["a", "b"]
    kept = before({"g": {"b": 1.0}}, {("g", "llama"): 3})
    assert names(kept, sharing("a"), sharing("b")) == ["a", "g"]


def test_joined_memberships_keep_the_founder() -> None:
    assert sharing("a").joined_by(sharing("b", "c")) == sharing("a", "b", "c")


# --- from a snapshot ------------------------------------------------------------------------------


def a_replica(name: str, its_group: str, model: str = "llama", **fields: object) -> PodState:
    labels = {LABEL_GROUP: its_group, LABEL_MODEL: model}
    pod = a_pod(name, deployment=DeploymentKey("default/d"), labels=labels)
    return replace(pod, **fields)  # type: ignore[arg-type]


def of(*classes: str, **fields: object) -> PlannedGroups:
    snapshot: FleetSnapshot = a_picture(classes=map(a_class, classes), **fields)  # type: ignore[arg-type]
    return PlannedGroups.of(snapshot)


def test_the_applied_plan_tells_the_groups_else_the_newest() -> None:
    applied = a_plan(Entry("d", "applied", ("a",)), revision=1)
    newest = a_plan(Entry("d", "newest", ("a",)), revision=3, is_applied=False)
    older = a_plan(Entry("d", "older", ("a",)), revision=2, is_applied=False)
    assert of("a", plans=(applied, newest, older)).group_of == {key("a"): group("applied")}
    assert of("a", plans=(older, newest)).group_of == {key("a"): group("newest")}
    assert of("a") == PlannedGroups({}, {}, {})


def test_a_class_of_several_cells_has_the_group_of_the_first_and_the_sum_of_their_rates() -> None:
    plan = a_plan(Entry("d", "second", ("a",)), Entry("e", "first", ("b",)))
    second, first = plan.spec.cells
    cells = (
        second.model_copy(update={"name": "default/a/2", "requests_per_second": 2.0}),
        first.model_copy(update={"name": "default/a/1", "workload_class": key("a")}),
    )
    plan = plan.model_copy(update={"spec": plan.spec.model_copy(update={"cells": cells})})
    planned = of("a", plans=(plan,))
    assert planned.group_of == {key("a"): group("first")}
    assert planned.rate_per_s == {key("a"): 3.0}


def test_running_pods_count_by_group_and_model_where_no_class_has_the_group() -> None:
    plan = a_plan(Entry("d", "mine", ("a",)), Entry("e", "left", ("gone",)))
    pods = [
        a_replica("1", "left"),
        a_replica("2", "left"),
        a_replica("3", "left", "mistral"),
        a_replica("4", "left", deleting=True),
        a_replica("5", "mine"),
        a_replica("6", "unknown"),
        a_replica("7", "left", labels={LABEL_GROUP: "left"}),
        a_replica("8", "left", labels={LABEL_MODEL: "llama"}),
    ]
    planned = of("a", plans=(plan,), pods=pods)
    assert planned.running == {
        (group("left"), "llama"): 2,
        (group("left"), "mistral"): 1,
        (group("unknown"), "llama"): 1,
    }
