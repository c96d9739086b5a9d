"""An exchange on a nearly full pool: how many revisions it takes, and what is said of it meanwhile."""

from __future__ import annotations

from small_fleet import World, a_class, a_fleet, a_model, a_pool, some_nodes

from argosy.control.memory import ControlMemory
from argosy.control.steps import gate_steps

FASTER_BATCHES = a_model(engine={"maxNumSeqs": 128})


def a_full_pool(num_gpus: int = 10, replicas: int = 10) -> World:
    """As many replicas at rest as asked for, on nodes of two GPUs."""
    nodes = some_nodes("l40s", num_gpus // 2)
    world = World(nodes, a_fleet(), a_pool(), a_model(), a_class(rate_per_s=4.0 * replicas))
    world.rest()
    assert len(world.pods) == replicas
    return world


def revisions(world: World) -> int:
    return sum(d.new_plan is not None for d in world.decisions)


def test_the_exchange_of_a_full_pool_is_one_revision() -> None:
    world = a_full_pool()
    before = revisions(world)
    world.serving_over_time.clear()
    world.apply(FASTER_BATCHES)
    world.settle()
    assert revisions(world) - before == 1
    assert world.replicas() == {"l40s/chat": 10}
    assert {p.deployment for p in world.pods.values()} == {
        d.name for d in world.applied.spec.deployments if d.replicas
    }
    assert min(world.serving_over_time) == 9


def test_a_process_that_starts_in_the_middle_of_an_exchange_goes_on_with_it() -> None:
    world = a_full_pool()
    world.apply(FASTER_BATCHES)
    world.run(60)
    revision = world.applied.spec.revision
    assert len(world.deployments) == 2
    world.memory = ControlMemory()
    world.settle()
    assert (world.applied.spec.revision, len(world.deployments)) == (revision, 1)
    assert world.replicas() == {"l40s/chat": 10}


def test_gates_between_two_decisions_open_only_where_the_plan_has_listed_a_place() -> None:
    """A place that placement found later is given by the decision that finds it."""
    world = a_full_pool()
    world.apply(FASTER_BATCHES)
    world.act()
    assert any(p.gated for p in world.pods.values())
    assert gate_steps(world.snapshot()) == ()


def test_a_listed_place_that_is_lost_is_a_revision_of_its_own() -> None:
    world = a_full_pool(num_gpus=12, replicas=4)
    before = revisions(world)
    world.kill_node(world.applied.spec.deployments[0].nodes[0].node)
    world.run(60)
    assert revisions(world) - before == 1
