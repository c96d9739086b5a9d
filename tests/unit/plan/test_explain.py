"""The sentences of a plan: they state the figures, and name the field that would change them."""

from dataclasses import replace
from typing import Any

import pytest

from argosy.plan.problem import Cell, Option, PlanProblem, PoolLimit
from argosy.plan.solution import Plan
from argosy.plan.solve import solve

CHAT = PlanProblem(
    cells=(Cell("chat", "chat", 16.0, 1),),
    options=(
        Option("l40s-tp1", "chat", "llama", "l40s", 1, 0.9, 0.0),
        Option("h100-tp1", "chat", "llama", "h100", 1, 6.0, 0.0),
        Option("h100-tp2", "chat", "llama", "h100", 2, 12.0, 0.0),
    ),
    pools=(PoolLimit("l40s", (2,) * 6), PoolLimit("h100", (2,))),
    capacity_per_s={("chat", "l40s-tp1"): 4.51, ("chat", "h100-tp1"): 9.0, ("chat", "h100-tp2"): 30.0},
)


def sentence(plan: Plan, code: str) -> str:
    return next(r.message for r in plan.reasons if r.code == code)


def test_the_binding_capacity_is_stated_with_its_figures() -> None:
    assert sentence(solve(CHAT), "Capacity") == (
        "chat has a demand of 16.0 req/s; one replica of l40s-tp1 carries 4.51 within its SLO; "
        "with 20 % kept free that takes 5"
    )


def test_a_floor_that_binds_is_stated() -> None:
    plan = solve(replace(CHAT, min_replicas={"chat": 7}))
    assert sentence(plan, "Floor") == (
        "chat has a demand of 16.0 req/s, which fewer replicas would carry; "
        "its floor keeps 7 replicas of l40s-tp1 ($6.30/h)"
    )


def test_every_single_option_plan_is_looked_at() -> None:
    plan = solve(CHAT)
    assert [(a.description, a.cost_usd_per_hour, a.reason) for a in plan.alternatives] == [
        (
            "chat on h100-tp1 alone (3 replicas)",
            None,
            "it takes 3 GPUs and pool h100 can give groups of 1 at most 2",
        ),
        ("chat on h100-tp2 alone (1 replica)", 12.0, "$7.50/h more expensive"),
    ]
    assert sentence(plan, "Chosen").endswith(
        "next best, chat on h100-tp2 alone (1 replica): $7.50/h more expensive"
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(
            {"pools": (PoolLimit("l40s", (2, 2)),)},
            "chat lacks 1.6 req/s of 16.0 req/s: pool l40s has 4 GPUs and 5 are needed; "
            "add nodes to GPUPool l40s or lower the demand of chat",
            id="a full pool",
        ),
        pytest.param(
            {"pools": ()},
            "chat lacks 16.0 req/s of 16.0 req/s: "
            "pool h100 would have to hold 1 GPU on one node and it has no node, "
            "pool l40s would have to hold 1 GPU on one node and it has no node; "
            "add nodes to GPUPool h100 or l40s",
            id="no nodes",
        ),
        pytest.param(
            {"max_replicas": {"llama": 0}},
            "chat lacks 16.0 req/s of 16.0 req/s: model llama may have 0 replicas and 5 are needed; "
            "raise the replica bounds of its ServedModel or lower the demand",
            id="a ceiling of none",
        ),
        pytest.param(
            {"capacity_per_s": {}},
            "chat lacks 16.0 req/s of 16.0 req/s: no variant of chat can serve it within its SLO; "
            "loosen spec.slo of its WorkloadClass or allow another model or GPUPool",
            id="no variant",
        ),
        pytest.param(
            {"budget_usd_per_hour": 4.0},
            "chat lacks 1.6 req/s of 16.0 req/s: the budget is $4.00/h and $4.50/h is needed, "
            "for 1 more replica of l40s-tp1; raise the budget of the Fleet or lower the demand",
            id="a budget",
        ),
    ],
)
def test_a_shortfall_names_its_cause_and_its_cure(change: dict[str, Any], expected: str) -> None:
    plan = solve(replace(CHAT, **change))
    assert [s.message for s in plan.shortfalls] == [expected]


def test_a_pool_with_too_few_free_gpus_on_one_node_is_not_called_full() -> None:
    problem = PlanProblem(
        cells=(Cell("chat", "chat", 2.0, 1),),
        options=(Option("pair", "chat", "llama", "l40s", 2, 2.0, 0.0),),
        pools=(PoolLimit("l40s", (1, 1, 1, 3)),),
        capacity_per_s={("chat", "pair"): 1.0},
        headroom=1.0,
    )
    (short,) = solve(problem).shortfalls
    assert short.message == (
        "chat lacks 1.0 req/s of 2.0 req/s: pool l40s has 6 GPUs, but no node has 2 left together for pair; "
        "add nodes to GPUPool l40s or lower the demand of chat"
    )


# Two classes in one group; nothing can serve `vision`.
SHARED = PlanProblem(
    cells=(Cell("chat", "shared", 3.0, 1), Cell("code", "shared", 3.0, 1), Cell("vision", "shared", 9.0, 1)),
    options=(
        Option("small", "shared", "llama", "l40s", 1, 1.0, 0.0),
        Option("large", "shared", "llama", "h100", 1, 6.0, 0.0),
    ),
    pools=(PoolLimit("l40s", (8,)), PoolLimit("h100", (8,))),
    capacity_per_s={
        ("chat", "small"): 5.0,
        ("code", "small"): 5.0,
        ("chat", "large"): 9.0,
        ("code", "large"): 9.0,
    },
)


TITLE = "sharing group shared (chat, code, vision)"


def test_a_group_is_explained_by_the_cells_that_can_be_served() -> None:
    plan = solve(SHARED)
    assert [s.cell for s in plan.shortfalls] == ["vision"]
    assert sentence(plan, "Capacity") == (
        f"{TITLE} has a demand of 6.0 req/s; one replica of small carries 5.00 within its SLO; "
        "with 20 % kept free that takes 2"
    )
    assert [(a.description, a.reason) for a in plan.alternatives] == [
        (f"{TITLE} on large alone (1 replica)", "$4.00/h more expensive")
    ]


def test_a_floor_of_a_group_counts_only_the_cells_that_can_be_served() -> None:
    assert sentence(solve(replace(SHARED, min_replicas={"shared": 3})), "Floor") == (
        f"{TITLE} has a demand of 6.0 req/s, which fewer replicas would carry; "
        "its floor keeps 3 replicas of small ($3.00/h)"
    )


def test_a_group_of_which_only_an_unservable_cell_has_demand_is_on_its_floor() -> None:
    cells = tuple(replace(c, rate_per_s=9.0 if c.name == "vision" else 0.0) for c in SHARED.cells)
    plan = solve(replace(SHARED, cells=cells, min_replicas={"shared": 1}))
    assert [(r.code, r.message) for r in plan.reasons] == [
        (
            "Floor",
            f"{TITLE} has no demand that it can serve now; its floor of 1 keeps 1 replica of small ($1.00/h)",
        )
    ]


def test_a_group_without_demand_whose_floor_cannot_be_met_is_not_said_to_have_none() -> None:
    idle = replace(SHARED, cells=(Cell("chat", "shared", 0.0, 1),), pools=(), min_replicas={"shared": 1})
    assert [r.code for r in solve(idle).reasons] == ["FloorUnmet"]


def test_an_option_that_can_serve_no_cell_is_no_alternative_on_a_floor() -> None:
    """It is the cheaper one, and without demand there is no cell that speaks against it."""
    idle = PlanProblem(
        cells=(Cell("chat", "chat", 0.0, 1),),
        options=(
            Option("able", "chat", "llama", "l40s", 1, 4.0, 0.0),
            Option("unable", "chat", "tiny", "l40s", 1, 1.0, 0.0),
        ),
        pools=(PoolLimit("l40s", (8,)),),
        capacity_per_s={("chat", "able"): 5.0},
        min_replicas={"chat": 1},
    )
    plan = solve(idle)
    assert plan.replicas == {"able": 1, "unable": 0}
    assert [(a.description, a.cost_usd_per_hour, a.reason) for a in plan.alternatives] == [
        ("chat on unable alone", None, "it can serve no route cell of the group within the SLO")
    ]


@pytest.mark.parametrize("rate_per_s", [pytest.param(3.0, id="demand"), pytest.param(0.0, id="a floor only")])
def test_of_two_options_at_one_price_the_name_decides_and_the_plan_states_it(rate_per_s: float) -> None:
    twins = PlanProblem(
        cells=(Cell("chat", "chat", rate_per_s, 1),),
        options=tuple(Option(name, "chat", "llama", "l40s", 1, 4.0, 0.0) for name in ("first", "second")),
        pools=(PoolLimit("l40s", (8,)),),
        capacity_per_s={("chat", "first"): 5.0, ("chat", "second"): 5.0},
        min_replicas={"chat": 1},
    )
    plan = solve(twins)
    assert plan.replicas == {"first": 1, "second": 0}
    assert [(a.description, a.cost_usd_per_hour, a.reason) for a in plan.alternatives] == [
        ("chat on second alone (1 replica)", 4.0, "costs the same; fewer changes, then the name decided")
    ]
