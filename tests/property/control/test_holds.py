"""A hold is a hold: prices, rates and SLOs may do what they like, no replica starts or goes until it ends."""

from __future__ import annotations

from builders import a_class, a_fleet, a_model, a_pool, some_nodes
from hypothesis import given, settings
from hypothesis import strategies as st
from small_fleet import World

from argosy.api import Fleet
from argosy.api.orders import PAUSED

EDITS = st.lists(
    st.tuples(
        st.sampled_from([1.0, 6.0, 20.0, 60.0]),
        st.sampled_from([0.2, 0.9, 9.0]),
        st.sampled_from([200.0, 2000.0, 9000.0]),
        st.sampled_from([0, 1, 4]),
    ),
    min_size=1,
    max_size=4,
)


def the_fleet(*, paused: bool) -> Fleet:
    fleet = a_fleet(stabilizationSeconds=0)
    annotations = {PAUSED: "a freeze"} if paused else {}
    return fleet.model_copy(
        update={"metadata": fleet.metadata.model_copy(update={"annotations": annotations})}
    )


@given(EDITS)
@settings(max_examples=12, deadline=None)
def test_while_planning_is_held_no_replica_starts_or_goes_and_afterwards_nothing_is_held(
    edits: list[tuple[float, float, float, int]],
) -> None:
    world = World(some_nodes("l40s", 6), the_fleet(paused=False), a_pool(), a_model(), a_class())
    world.settle()
    pods, revision = set(world.pods), world.applied.spec.revision
    world.apply(the_fleet(paused=True))
    for rate_per_s, price, ttft_ms, floor in edits:
        world.apply(a_pool(priceUsdPerHour=price))
        slo = {"ttft": {"p95Milliseconds": ttft_ms}}
        world.apply(a_class(rate_per_s=rate_per_s, slo=slo, minReplicas=floor))
        world.run(5.0)
        assert set(world.pods) == pods
        assert world.applied.spec.revision == revision
        assert not world.decisions[-1].alarm
    world.apply(the_fleet(paused=False))
    world.settle()
    fresh = World(
        some_nodes("l40s", 6),
        the_fleet(paused=False),
        *(item for (kind, _), item in world.objects.items() if kind is not Fleet),
    )
    fresh.settle()
    assert sum(world.replicas().values()) == sum(fresh.replicas().values())
