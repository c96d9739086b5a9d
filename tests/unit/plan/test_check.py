"""The specification of plans: a good plan passes, and each way to break one is named."""

import math
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from argosy.plan.check import violations
from argosy.plan.problem import Cell, Option, PlanProblem, PoolLimit
from argosy.plan.solution import Plan, Shortfall, ShortfallCause, SolveReport, SolveStatus
from argosy.plan.violation import Violation, ViolationCode

# chat on one H100 pair and two L40S; batch asks more than its one L40S carries, and nothing is left.
PROBLEM = PlanProblem(
    cells=(Cell("chat", "chat", 10.0, 2), Cell("idle", "chat", 0.0, 2), Cell("batch", "batch", 2.0, 1)),
    options=(
        Option("chat-h100", "chat", "llama", "h100", 2, 6.0, 60.0),
        Option("chat-l40s", "chat", "llama", "l40s", 1, 1.0, 20.0),
        Option("batch-l40s", "batch", "llama", "l40s", 1, 1.0, 20.0),
        Option("batch-a10", "batch", "small", "a10", 1, 0.5, 20.0),
    ),
    pools=(PoolLimit("h100", (2,)), PoolLimit("l40s", (2, 1)), PoolLimit("a10", (1, 1))),
    capacity_per_s={
        ("chat", "chat-h100"): 10.0,
        ("chat", "chat-l40s"): 2.5,
        ("idle", "chat-l40s"): 2.5,
        ("batch", "batch-l40s"): 2.0,
        ("batch", "chat-l40s"): 9.0,  # of another group: of no use
    },
    min_replicas={"chat": 2, "batch": 1},
    max_replicas={"llama": 4},
    headroom=0.8,
    budget_usd_per_hour=9.0,
)
SHORT = Shortfall("batch", 0.4, ShortfallCause.POOL_FULL, "pool l40s has 3 GPUs and 4 are needed")
GOOD = Plan(
    replicas={"chat-h100": 1, "chat-l40s": 2, "batch-l40s": 1, "batch-a10": 0},
    shares={
        ("chat", "chat-h100"): 0.7,
        ("chat", "chat-l40s"): 0.3,
        ("idle", "chat-l40s"): 1.0,
        ("batch", "batch-l40s"): 0.8,
    },
    shortfalls=(SHORT,),
    cost_usd_per_hour=9.0,
    report=SolveReport(SolveStatus.OPTIMAL, 9.0, 9.0, 0.0, 0.1),
)

Change = Callable[[Plan], Plan]


def counts(**changed: int) -> Change:
    def change(plan: Plan) -> Plan:
        replicas = {**plan.replicas, **{k.replace("_", "-"): n for k, n in changed.items()}}
        prices = {o.name: o.price_usd_per_hour for o in PROBLEM.options}
        cost = sum(prices.get(o, 0.0) * n for o, n in replicas.items())
        return replace(plan, replicas=replicas, cost_usd_per_hour=cost)

    return change


def shares(changed: dict[tuple[str, str], float]) -> Change:
    return lambda plan: replace(plan, shares={**plan.shares, **changed})


def short(**changed: Any) -> Change:
    return lambda plan: replace(plan, shortfalls=(replace(SHORT, **changed),))


def report(**changed: Any) -> Change:
    return lambda plan: replace(plan, report=replace(plan.report, **changed))


def test_a_sound_plan_has_no_violation() -> None:
    assert violations(PROBLEM, GOOD) == ()


@pytest.mark.parametrize(
    ("change", "code", "subject"),
    [
        pytest.param(counts(chat_b200=1), ViolationCode.UNKNOWN_NAME, "chat-b200", id="an unknown option"),
        pytest.param(
            shares({("video", "chat-l40s"): 0.1}),
            ViolationCode.UNKNOWN_NAME,
            "video",
            id="an unknown cell",
        ),
        pytest.param(
            lambda p: replace(p, unmet_floors={"video": 1}),
            ViolationCode.UNKNOWN_NAME,
            "video",
            id="an unknown floor",
        ),
        pytest.param(counts(chat_l40s=-1), ViolationCode.BAD_COUNT, "chat-l40s", id="less than no replica"),
        pytest.param(
            lambda p: replace(p, replicas={**p.replicas, "chat-l40s": 1.5}),
            ViolationCode.BAD_COUNT,
            "chat-l40s",
            id="half a replica",
        ),
        pytest.param(
            counts(batch_a10=1),
            ViolationCode.USELESS_REPLICA,
            "batch-a10",
            id="a replica that can serve no cell",
        ),
        pytest.param(
            shares({("chat", "chat-l40s"): -0.3}),
            ViolationCode.SHARE_RANGE,
            "chat -> chat-l40s",
            id="a negative share",
        ),
        pytest.param(
            shares({("chat", "chat-l40s"): math.nan}),
            ViolationCode.SHARE_RANGE,
            "chat -> chat-l40s",
            id="a share that is no number",
        ),
        pytest.param(
            shares({("idle", "chat-l40s"): 0.5, ("idle", "chat-h100"): 0.5}),
            ViolationCode.SHARE_WITHOUT_CAPACITY,
            "idle -> chat-h100",
            id="a share to what cannot serve it",
        ),
        pytest.param(
            shares({("batch", "batch-l40s"): 0.7, ("batch", "chat-l40s"): 0.1}),
            ViolationCode.SHARE_OUTSIDE_GROUP,
            "batch -> chat-l40s",
            id="a share across the border of its group",
        ),
        pytest.param(
            counts(chat_l40s=0),
            ViolationCode.SHARE_WITHOUT_REPLICA,
            "chat -> chat-l40s",
            id="a share to no replica",
        ),
        pytest.param(
            shares({("chat", "chat-l40s"): 0.2}), ViolationCode.NOT_SERVED, "chat", id="a tenth forgotten"
        ),
        pytest.param(
            shares({("chat", "chat-l40s"): 0.4}), ViolationCode.NOT_SERVED, "chat", id="110 % served"
        ),
        pytest.param(
            shares({("idle", "chat-l40s"): 0.0}), ViolationCode.NOT_SERVED, "idle", id="no weights for none"
        ),
        pytest.param(
            lambda p: replace(p, shortfalls=()),
            ViolationCode.NOT_SERVED,
            "batch",
            id="a shortfall not booked",
        ),
        pytest.param(
            short(missing_per_s=0.3), ViolationCode.NOT_SERVED, "batch", id="a shortfall booked too small"
        ),
        pytest.param(
            short(missing_per_s=-0.4), ViolationCode.SHORTFALL_WRONG, "batch", id="a negative shortfall"
        ),
        pytest.param(
            short(message=" "), ViolationCode.SHORTFALL_WRONG, "batch", id="a shortfall without a sentence"
        ),
        pytest.param(
            short(cause=ShortfallCause.NO_VARIANT), ViolationCode.SHORTFALL_WRONG, "batch", id="a false cause"
        ),
        pytest.param(
            short(cause=ShortfallCause.NO_NODES), ViolationCode.SHORTFALL_WRONG, "batch", id="nodes denied"
        ),
        pytest.param(
            lambda p: replace(p, shortfalls=(SHORT, SHORT)),
            ViolationCode.SHORTFALL_WRONG,
            "batch",
            id="a shortfall booked twice",
        ),
        pytest.param(
            lambda p: short(missing_per_s=0.8)(shares({("batch", "batch-l40s"): 0.6})(p)),
            ViolationCode.SHORTFALL_NEEDLESS,
            "batch",
            id="a shortfall beside an idle replica",
        ),
        pytest.param(
            shares({("chat", "chat-h100"): 0.85, ("chat", "chat-l40s"): 0.15}),
            ViolationCode.OVERLOAD,
            "chat-h100",
            id="a replica filled beyond the headroom",
        ),
        pytest.param(counts(batch_l40s=0), ViolationCode.BELOW_FLOOR, "batch", id="a group below its floor"),
        pytest.param(
            lambda p: replace(p, unmet_floors={"chat": 1}),
            ViolationCode.BELOW_FLOOR,
            "chat",
            id="a met floor booked",
        ),
        pytest.param(
            counts(chat_l40s=3), ViolationCode.ABOVE_CEILING, "llama", id="a model above its ceiling"
        ),
        pytest.param(counts(chat_l40s=3), ViolationCode.OVER_BUDGET, "budget", id="a fleet over the budget"),
        pytest.param(
            counts(chat_l40s=3), ViolationCode.DOES_NOT_FIT, "l40s", id="more groups than the pool holds"
        ),
        pytest.param(
            counts(chat_h100=2), ViolationCode.DOES_NOT_FIT, "h100", id="a pair with no node of its own"
        ),
        pytest.param(
            lambda p: replace(p, cost_usd_per_hour=8.0),
            ViolationCode.COST_WRONG,
            "cost",
            id="a cost stated too low",
        ),
        pytest.param(
            lambda p: replace(p, cost_usd_per_hour=math.nan),
            ViolationCode.COST_WRONG,
            "cost",
            id="a NaN cost",
        ),
        pytest.param(report(status="Perfect"), ViolationCode.REPORT_WRONG, "status", id="an unknown status"),
        pytest.param(
            report(objective_usd_per_hour=math.inf),
            ViolationCode.REPORT_WRONG,
            "objective",
            id="an endless objective",
        ),
        pytest.param(
            report(bound_usd_per_hour=10.0),
            ViolationCode.REPORT_WRONG,
            "bound",
            id="a bound above the objective",
        ),
    ],
)
def test_a_broken_plan_is_caught_and_the_rule_named(
    change: Change, code: ViolationCode, subject: str
) -> None:
    found = violations(PROBLEM, change(GOOD))
    assert (code, subject) in {(v.code, v.subject) for v in found}, found


@pytest.mark.parametrize(
    ("capacity_per_s", "share", "nodes", "is_needless"),
    [
        # One replica; at a rate of 100 req/s a thousandth is 0.1 req/s.
        pytest.param(200.0, 0.99, 1, True, id="1 % of the rate beside an idle half"),
        pytest.param(200.0, 0.9995, 1, False, id="less than a thousandth beside an idle half"),
        pytest.param(50.0, 0.49, 1, True, id="half of the rate beside an idle 1 %"),
        pytest.param(50.0, 0.4995, 1, False, id="half of the rate beside less than an idle thousandth"),
        pytest.param(1.0, 0.01, 2, True, id="room for one more replica that carries 1 %"),
        pytest.param(1.0, 0.01, 1, False, id="no room for it"),
        pytest.param(0.05, 0.0005, 2, False, id="room for one that carries less than a thousandth"),
    ],
)
def test_a_shortfall_is_needless_where_a_thousandth_of_the_rate_is_missing_and_could_be_served(
    capacity_per_s: float, share: float, nodes: int, is_needless: bool
) -> None:
    problem = PlanProblem(
        cells=(Cell("chat", "chat", 100.0, 1),),
        options=(Option("one", "chat", "llama", "l40s", 1, 1.0, 0.0),),
        pools=(PoolLimit("l40s", (1,) * nodes),),
        capacity_per_s={("chat", "one"): capacity_per_s},
        headroom=1.0,
    )
    plan = Plan(
        replicas={"one": 1},
        shares={("chat", "one"): share},
        shortfalls=(replace(SHORT, cell="chat", missing_per_s=100.0 * (1 - share)),),
        cost_usd_per_hour=1.0,
        report=SolveReport(SolveStatus.OPTIMAL, 1.0, 1.0, 0.0, 0.1),
    )
    expected = [ViolationCode.SHORTFALL_NEEDLESS] if is_needless else []
    assert [v.code for v in violations(problem, plan)] == expected


def test_an_unmet_floor_is_allowed_only_where_nothing_more_fits() -> None:
    problem = replace(
        PROBLEM, min_replicas={"chat": 2, "batch": 2}, max_replicas={}, budget_usd_per_hour=None
    )
    booked = replace(GOOD, unmet_floors={"batch": 1})
    assert violations(problem, booked) == ()
    roomier = replace(problem, pools=(PoolLimit("h100", (2,)), PoolLimit("l40s", (2, 2))))
    assert [v.code for v in violations(roomier, booked)] == [
        ViolationCode.SHORTFALL_NEEDLESS,
        ViolationCode.FLOOR_NEEDLESSLY_UNMET,
    ]


def test_every_violation_is_a_sentence_and_pickles() -> None:
    (found,) = violations(PROBLEM, counts(batch_a10=1)(replace(GOOD, cost_usd_per_hour=9.0)))[:1]
    assert isinstance(found, Violation)
    assert pickle.loads(pickle.dumps(found)) == found
    assert len(found.message.split()) > 4


def anchored(**fields: int) -> PlanProblem:
    """The same with some of batch's replicas on nodes that take no new ones."""
    options = [replace(o, **fields) if o.name == "batch-l40s" else o for o in PROBLEM.options]
    return replace(PROBLEM, options=tuple(options), budget_usd_per_hour=12.0, max_replicas={})


@pytest.mark.parametrize(
    ("problem", "codes"),
    [
        pytest.param(anchored(current_replicas=1, closed_replicas=1), [], id="on a closed node"),
        pytest.param(anchored(leaving_replicas=1), [], id="on a node that is leaving"),
        pytest.param(anchored(current_replicas=1), ["DoesNotFit"], id="it needs a node as others do"),
    ],
)
def test_a_replica_where_no_new_one_may_start_takes_no_room_from_others(
    problem: PlanProblem, codes: list[str]
) -> None:
    plan = replace(
        counts(batch_l40s=2)(GOOD), shortfalls=(), shares={**GOOD.shares, ("batch", "batch-l40s"): 1.0}
    )
    assert [v.code for v in violations(problem, plan)] == codes


def test_a_shortfall_is_needless_while_a_replica_on_a_leaving_node_could_serve() -> None:
    problem = anchored(leaving_replicas=2)
    assert [v.code for v in violations(problem, GOOD)] == [ViolationCode.SHORTFALL_NEEDLESS]
