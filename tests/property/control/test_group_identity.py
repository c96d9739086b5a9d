"""Whoever joins or leaves a group, in whatever order: its replicas and what they carry stay as they are."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from small_fleet import World, a_class, a_fleet, a_model, a_pool, some_nodes, steps_of

from argosy.api import WorkloadClass
from argosy.rollout import CreateDeployment, ScaleDeployment

NAMES = [f"c{i}" for i in range(5)]
MEMBERS = st.sets(st.sampled_from(NAMES), min_size=1, max_size=5)


def members_become(world: World, names: set[str]) -> None:
    """Renamed, added and removed in one go, as an applied folder does."""
    for name in NAMES:
        key = f"default/{name}"
        if name in names and key not in world.of(WorkloadClass):
            world.apply(a_class(name, rate_per_s=0.1))
        elif name not in names and key in world.of(WorkloadClass):
            world.delete(WorkloadClass, key)


@given(story=st.lists(MEMBERS, min_size=2, max_size=5))
@settings(max_examples=20, deadline=None)
def test_members_change_no_template_no_label_and_no_name(story: list[set[str]]) -> None:
    world = World(some_nodes("l40s", 2), a_fleet(), a_pool(), a_model())
    members_become(world, story[0])
    world.settle()
    [pod] = world.pods.values()
    templates = {key: world.template_of(key) for key in world.deployments}
    former = story[0]
    for names in story[1:]:
        # A group lives as long as one of its classes does.
        kept = names if names & former else names | {min(former)}
        members_become(world, kept)
        for _ in range(3):
            decision = world.act()
            assert [s for s in steps_of(decision) if isinstance(s, CreateDeployment | ScaleDeployment)] == []
            world.now_s += 1.0
            world.reconcile()
        assert {c.workload_class.name for c in world.applied.spec.cells} == kept
        assert {key: world.template_of(key) for key in world.deployments} == templates
        assert list(world.pods) == [pod.key]
        former = kept


@given(order=st.permutations(NAMES), priorities=st.lists(st.sampled_from([50, 100]), min_size=5, max_size=5))
@settings(max_examples=15, deadline=None)
def test_groups_do_not_depend_on_the_order_in_which_objects_are_listed(
    order: list[str], priorities: list[int]
) -> None:
    def plan(names: list[str]) -> dict[str, str]:
        world = World(some_nodes("l40s", 3), a_fleet(), a_pool(), a_model())
        for name in names:
            world.apply(a_class(name, rate_per_s=0.1, priority=priorities[NAMES.index(name)]))
        world.act()
        return {c.workload_class: c.sharing_group for c in world.applied.spec.cells}

    assert plan(order) == plan(NAMES)
