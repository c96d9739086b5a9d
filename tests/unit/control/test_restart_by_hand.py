"""`kubectl rollout restart` of an engine Deployment: an exchange like any other, and once."""

from __future__ import annotations

import pytest
from restarted import restarted
from small_fleet import World, a_class, a_fleet, a_model, a_pool, some_nodes

from argosy.control.triggers import trigger_of
from argosy.snapshot.cluster import ANNOTATION_RESTARTED

FIRST, LATER = "2026-01-01T12:00:00+01:00", "2026-01-01T11:30:00Z"
"""The later one comes first in the order of texts."""


def a_world(num_nodes: int = 2, rate_per_s: float = 9.0, exchange: str = "Wait") -> World:
    model = a_model(exchange=exchange)
    world = World(some_nodes("l40s", num_nodes), a_fleet(), a_pool(), model, a_class(rate_per_s=rate_per_s))
    world.settle()
    return world


def restart(world: World, at: str) -> str:
    """As kubectl does it; returns the Deployment."""
    [(name, found)] = [(n, d) for n, d in world.deployments.items() if d.replicas]
    world.deployments[name] = restarted(found, at)
    return name


def running(world: World) -> tuple[str, dict[str, str]]:
    """The only Deployment, and the annotations that its pods get."""
    [name] = world.deployments
    return name, world.template_of(name)["metadata"].get("annotations", {})


@pytest.mark.parametrize("num_nodes", [4, 2], ids=["with room for all", "on a full pool"])
def test_every_replica_is_exchanged_once_with_the_annotation_and_no_promise_is_broken(num_nodes: int) -> None:
    world = a_world(num_nodes)
    before, num_wanted = set(world.pods), len(world.pods)
    old = restart(world, FIRST)
    world.serving_over_time.clear()
    world.settle()
    new, annotations = running(world)
    assert (new != old, annotations) == (True, {ANNOTATION_RESTARTED: FIRST})
    assert not before & set(world.pods)
    assert min(world.serving_over_time) >= num_wanted - (num_nodes == 2)
    revision, pods = world.applied.spec.revision, set(world.pods)
    world.run(30.0)
    assert (world.applied.spec.revision, set(world.pods)) == (revision, pods)


def test_an_order_given_during_an_exchange_is_obeyed_as_well() -> None:
    world = a_world(4)
    restart(world, FIRST)
    world.run(5.0)
    [new] = [n for n in world.deployments if world.template_of(n)["metadata"].get("annotations")]
    world.deployments[new] = restarted(world.deployments[new], LATER)
    world.settle()
    assert running(world)[1] == {ANNOTATION_RESTARTED: LATER}


def test_a_restarted_deployment_that_is_deleted_is_made_again_as_it_was_under_the_same_revision() -> None:
    world = a_world(4)
    restart(world, FIRST)
    world.settle()
    (name, _), revision = running(world), world.applied.spec.revision
    del world.deployments[name]
    for pod in [p.key for p in world.pods.values()]:
        world.delete_pod(pod)
    world.settle()
    assert running(world)[0] == name
    assert world.applied.spec.revision == revision


def test_an_edited_rate_after_a_restart_restarts_nothing_again() -> None:
    world = a_world(4)
    restart(world, FIRST)
    world.rest()
    name, pods = running(world)[0], set(world.pods)
    world.apply(a_class(rate_per_s=14.0))
    world.rest()
    assert running(world)[0] == name
    assert pods < set(world.pods)


def test_the_only_replica_of_a_full_pool_is_restarted_as_spec_exchange_says() -> None:
    for exchange, is_kept in (("Wait", True), ("BriefOutage", False)):
        world = World(
            some_nodes("l40s", 1, gpus=1),
            a_fleet(),
            a_pool(),
            a_model(exchange=exchange),
            a_class(rate_per_s=1.0),
        )
        world.settle()
        [pod] = world.pods
        restart(world, FIRST)
        world.run(90.0)
        assert (pod in world.pods) is is_kept


def test_the_order_names_itself_as_the_cause_of_a_decision() -> None:
    def item(**annotations: str) -> dict[str, object]:
        template = {"metadata": {"annotations": annotations}}
        return {"metadata": {"name": "a", "namespace": "n"}, "spec": {"template": template}}

    found = trigger_of("deployments", item(), item(**{ANNOTATION_RESTARTED: FIRST}))
    assert found is not None
    assert found.message == "a restart of Deployment n/a was ordered (kubectl rollout restart)"
    assert not found.is_progress
    other = trigger_of("deployments", item(), item(**{"prometheus.io/scrape": "true"}))
    assert other is not None
    assert other.is_progress
