"""Quotas that leave room for what stays: what runs or is set elsewhere is no choice of the planner's.

Owns that one rule. Input and output: a `PlanProblem`.
"""

from __future__ import annotations

from dataclasses import replace

from argosy.plan.problem import PlanProblem


def with_room_for_least(problem: PlanProblem) -> PlanProblem:
    """The problem in which every quota leaves at least what the replicas that stay take."""
    least = {o.name: o.least_replicas for o in problem.options if o.least_replicas}
    if not least or not problem.quotas:
        return problem
    quotas = tuple(replace(q, units=max(q.units, q.taken(least))) for q in problem.quotas)
    return replace(problem, quotas=quotas)
