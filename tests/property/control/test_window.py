"""However prices, declared rates and SLOs come and go: plans follow at their pace and serve the demand."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from small_fleet import World, a_class, a_fleet, a_model, a_pool, some_nodes

from argosy.api import CustomResource
from argosy.control.revision.window import made_at_s

WINDOW_S = 60
SECONDS = 150
PERIOD_S = 2


@st.composite
def changes(draw: st.DrawFn) -> dict[int, list[CustomResource]]:
    """What a feed writes, by the instant (s) at which the operator next decides."""
    kinds = st.one_of(
        st.sampled_from([0.3, 0.5, 2.0, 6.0]).map(lambda usd: a_pool("h100", "H100", priceUsdPerHour=usd)),
        st.sampled_from([0.5, 0.9, 3.0]).map(lambda usd: a_pool(priceUsdPerHour=usd)),
        st.sampled_from([2.0, 4.0, 8.0, 16.0]).map(lambda rate: a_class(rate_per_s=rate)),
        st.sampled_from([1000, 2000]).map(lambda ms: a_class(slo={"ttft": {"p95Milliseconds": ms}})),
    )
    found: dict[int, list[CustomResource]] = {}
    for at_s in draw(st.lists(st.sampled_from(range(0, SECONDS, PERIOD_S)), min_size=4, max_size=25)):
        found.setdefault(at_s, []).append(draw(kinds))
    return found


@settings(max_examples=12, deadline=None)
@given(changes())
def test_a_change_within_the_window_of_the_last_is_made_only_where_that_could_not_serve(
    feed: dict[int, list[CustomResource]],
) -> None:
    nodes = [*some_nodes("l40s", 4), *some_nodes("h100", 4)]
    fleet = a_fleet(stabilizationSeconds=WINDOW_S)
    dear = a_pool("h100", "H100", priceUsdPerHour=6.0)
    world = World(nodes, fleet, a_pool(), dear, a_model(), a_class())
    world.rest()
    per_gpu, num_in_window = world.perf.per_gpu, 0
    for second in range(0, SECONDS, PERIOD_S):
        world.apply(*feed.get(second, ()))
        last, rate_per_s = world.applied, next(iter(world.snapshot().classes.values()))
        demand_per_s = rate_per_s.spec.traffic.requests_per_second
        carried_per_s = sum(d.replicas * per_gpu[d.pool.upper()] for d in last.spec.deployments)
        made_s = made_at_s(last)
        assert made_s is not None
        decision = world.act()
        if decision.new_plan is not None and world.now_s - made_s < WINDOW_S:
            before = {d.name: d.replicas for d in last.spec.deployments if d.replicas}
            after = {d.name: d.replicas for d in decision.new_plan.spec.deployments if d.replicas}
            assert before == after or carried_per_s < demand_per_s, "only danger is obeyed at once"
            num_in_window += 1
        # The plan that is followed carries the present demand: what waits costs money, never requests.
        planned_per_s = sum(d.replicas * per_gpu[d.pool.upper()] for d in world.applied.spec.deployments)
        assert planned_per_s >= demand_per_s
        world.now_s += PERIOD_S
        world.reconcile()
    world.now_s += 2 * WINDOW_S
    world.act()
    assert world.decide().waits_until_s is None, "nothing waits for good"
