"""Every rule of a plan prints as a sentence: what breaks it, the value found, the value needed."""

from dataclasses import replace
from typing import Any

import pytest

from argosy.plan.check import violations
from argosy.plan.problem import Cell, Option, PlanProblem, PoolLimit, Quota
from argosy.plan.solution import Plan, Shortfall, ShortfallCause, SolveReport, SolveStatus
from argosy.plan.violation import ViolationCode

# Two classes share a group on one L40S each way; a third group is short of its second replica.
PROBLEM = PlanProblem(
    cells=(
        Cell("d/chat", "d/shared", 1.0, 2),
        Cell("d/code", "d/shared", 1.0, 2),
        Cell("d/b", "d/b", 2.0, 1),
    ),
    options=(
        Option("d/s-1", "d/shared", "d/llama", "l40s", 1, 1.0, 20.0),
        Option("d/b-1", "d/b", "d/llama", "l40s", 1, 1.0, 20.0),
        Option("d/b-2", "d/b", "d/small", "a10", 1, 0.5, 20.0),
    ),
    pools=(PoolLimit("l40s", (2, 1)), PoolLimit("a10", (1,))),
    capacity_per_s={("d/chat", "d/s-1"): 2.5, ("d/code", "d/s-1"): 2.5, ("d/b", "d/b-1"): 2.0},
    min_replicas={"d/shared": 1, "d/b": 1},
    max_replicas={"d/llama": 2},
    budget_usd_per_hour=2.0,
    quotas=(
        Quota(
            "q", "ResourceQuota d/gpus leaves 2 of 4 nvidia.com/gpu", "raise it", 2, {"d/s-1": 1, "d/b-1": 1}
        ),
    ),
)
STAYING = replace(PROBLEM, options=tuple(replace(o, least_replicas=1) for o in PROBLEM.options))
ADOPTED = replace(PROBLEM, options=tuple(replace(o, most_replicas=0) for o in PROBLEM.options))
SHORT = Shortfall("d/b", 0.4, ShortfallCause.REPLICA_LIMIT, "model d/llama may have 2 replicas")
GOOD = Plan(
    replicas={"d/s-1": 1, "d/b-1": 1, "d/b-2": 0},
    shares={("d/chat", "d/s-1"): 1.0, ("d/code", "d/s-1"): 1.0, ("d/b", "d/b-1"): 0.8},
    shortfalls=(SHORT,),
    cost_usd_per_hour=2.0,
    report=SolveReport(SolveStatus.OPTIMAL, 2.0, 2.0, 0.0, 0.1),
)

SENTENCES: dict[ViolationCode, tuple[dict[str, Any], str]] = {
    ViolationCode.UNKNOWN_NAME: (
        {"replicas": {"d/x": 1}},
        "the plan names Deployment d/x: a name that the sizing problem has is needed",
    ),
    ViolationCode.BAD_COUNT: (
        {"replicas": {"d/s-1": 1.5}},
        "Deployment d/s-1 has 1.5 replicas: a whole number from 0 to 1000000 is needed",
    ),
    ViolationCode.USELESS_REPLICA: (
        {"replicas": {**GOOD.replicas, "d/b-2": 1}},
        "Deployment d/b-2 has 1 replica and can serve no route cell of sharing group d/b: "
        "0 replicas are needed",
    ),
    ViolationCode.BELOW_LEAST: (
        {"replicas": GOOD.replicas},
        "Deployment d/b-2 has 0 replicas: at least 1 must stay",
    ),
    ViolationCode.ABOVE_MOST: (
        {"replicas": GOOD.replicas},
        "Deployment d/s-1 has 1 replica: at most 0 can be there",
    ),
    ViolationCode.SHARE_RANGE: (
        {"shares": {("d/chat", "d/s-1"): float("nan")}},
        "the share of d/chat -> d/s-1 is nan: a number from 0 to 1 is needed",
    ),
    ViolationCode.SHARE_WITHOUT_CAPACITY: (
        {"shares": {**GOOD.shares, ("d/b", "d/b-2"): 0.2}},
        "route cell d/b sends a share of 0.2 to Deployment d/b-2, which cannot serve it within its SLO: "
        "a share of 0 is needed",
    ),
    ViolationCode.SHARE_OUTSIDE_GROUP: (
        {"shares": {**GOOD.shares, ("d/b", "d/s-1"): 0.2}},
        "route cell d/b sends a share of 0.2 to Deployment d/s-1, of sharing group d/shared: "
        "one of its own group d/b is needed",
    ),
    ViolationCode.SHARE_WITHOUT_REPLICA: (
        {"replicas": {"d/s-1": 0, "d/b-1": 1}},
        "route cell d/chat sends a share of 1 to Deployment d/s-1, which has 0 replicas: "
        "at least 1 is needed",
    ),
    ViolationCode.NOT_SERVED: (
        {"shares": {**GOOD.shares, ("d/chat", "d/s-1"): 0.9}},
        "the shares of route cell d/chat sum to 0.900000: 1.000000 is needed, 1 less its unserved share",
    ),
    ViolationCode.SHORTFALL_WRONG: (
        {"shortfalls": (replace(SHORT, missing_per_s=3.0),)},
        "the shortfall of route cell d/b is 3.0 req/s: more than 0 and at most its rate of 2.0 is needed",
    ),
    ViolationCode.SHORTFALL_NEEDLESS: (
        {
            "shares": {**GOOD.shares, ("d/b", "d/b-1"): 0.6},
            "shortfalls": (replace(SHORT, missing_per_s=0.8),),
        },
        "route cell d/b lacks 0.8 req/s although Deployment d/b-1 has 0.4 req/s to spare: "
        "at most 0.002 req/s may be missing then",
    ),
    ViolationCode.OVERLOAD: (
        {"shares": {**GOOD.shares, ("d/b", "d/b-1"): 1.0}, "shortfalls": ()},
        "Deployment d/b-1 has 1 replica and is sent the work of 1.0000: at most 0.8000 is allowed",
    ),
    ViolationCode.BELOW_FLOOR: (
        {"unmet_floors": {"d/shared": 1}},
        "sharing group d/shared has 1 replica, its floor is 1, "
        "and its number of missing replicas is stated as 1: 0 is needed",
    ),
    ViolationCode.FLOOR_NEEDLESSLY_UNMET: (
        {"replicas": {"d/s-1": 0, "d/b-1": 1}, "unmet_floors": {"d/shared": 1}},
        "sharing group d/shared has 0 replicas, its floor is 1, "
        "and one more replica of Deployment d/s-1 fits: it is needed",
    ),
    ViolationCode.ABOVE_CEILING: (
        {"replicas": {"d/s-1": 2, "d/b-1": 1}},
        "model d/llama has 3 replicas: at most 2 is allowed",
    ),
    ViolationCode.ABOVE_QUOTA: (
        {"replicas": {"d/s-1": 2, "d/b-1": 1}},
        "ResourceQuota d/gpus leaves 2 of 4 nvidia.com/gpu: at most 2 can be taken, and the replicas take 3",
    ),
    ViolationCode.OVER_BUDGET: (
        {"replicas": {"d/s-1": 2, "d/b-1": 1}},
        "the fleet costs $3.0000/h: at most its budget of $2.0000/h is allowed",
    ),
    ViolationCode.COST_WRONG: (
        {"cost_usd_per_hour": 1.5},
        "the stated cost is $1.5000/h: $2.0000/h is needed, the replicas' price",
    ),
    ViolationCode.DOES_NOT_FIT: (
        {"replicas": {"d/s-1": 3, "d/b-1": 1}},
        "GPUPool l40s should hold 4 replicas of 1 GPU: nodes with room for all are needed, "
        "it has nodes of 1, 2 GPUs",
    ),
    ViolationCode.TOO_MANY_NODES: (
        {"to_come": {"l40s": 1}},
        "GPUPool l40s should get 1 node: at most 0 may come",
    ),
    ViolationCode.REPORT_WRONG: (
        {"report": replace(GOOD.report, bound_usd_per_hour=3.0)},
        "the report's bound is 3.0 $/h: at most its objective of 2.0 $/h is needed",
    ),
}


def test_the_plan_is_sound_before_it_is_broken() -> None:
    assert violations(PROBLEM, GOOD) == ()


@pytest.mark.parametrize("code", list(ViolationCode))
def test_every_rule_prints_as_a_sentence(code: ViolationCode) -> None:
    changes, sentence = SENTENCES[code]
    problem = {ViolationCode.BELOW_LEAST: STAYING, ViolationCode.ABOVE_MOST: ADOPTED}.get(code, PROBLEM)
    found = violations(problem, replace(GOOD, **changes))
    assert sentence in [str(v) for v in found if v.code is code], [str(v) for v in found]
