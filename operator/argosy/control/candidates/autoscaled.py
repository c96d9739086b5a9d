"""The numbers of replicas that autoscalers set, as facts of the sizing problem.

Owns which options are fixed and at how many replicas: at those that their Deployments ask for, without the
lost ones, as far as their pools have room beside each other; a ceiling or a budget that they alone exceed is
raised to what they take, because nothing of Argosy's can keep it. Input: a `PlanProblem`, the snapshot, and
the keys of lost pods. Output: the problem with fixed options.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from argosy.keys import DeploymentKey, ModelKey
from argosy.plan.packing import fits
from argosy.plan.problem import Option, PlanProblem
from argosy.snapshot.fleet import FleetSnapshot


def with_autoscaled(problem: PlanProblem, snapshot: FleetSnapshot, lost: frozenset[str]) -> PlanProblem:
    """The problem in which the options that autoscalers own have the numbers that these set."""
    owners = snapshot.count_owners
    owned = sorted((o for o in problem.options if o.name in owners), key=lambda o: o.name)
    if not owned:
        return problem
    counts = _counts(problem, owned, _asked(snapshot, owned, lost))
    options = tuple(
        _fixed(o, counts[o.name], owners[o.name].title) if o.name in owners else o for o in problem.options
    )
    return replace(
        problem,
        options=options,
        max_replicas=_ceilings(problem, owned, counts),
        budget_usd_per_hour=_budget(problem, owned, counts),
    )


def _fixed(option: Option, count: int, by: str) -> Option:
    return replace(option, least_replicas=count, most_replicas=count, fixed_by=by)


def _asked(snapshot: FleetSnapshot, owned: list[Option], lost: frozenset[str]) -> Mapping[DeploymentKey, int]:
    """Replicas that each Deployment asks for, without those that are lost: these serve nothing, and only
    another Deployment can stand in for them."""
    num_lost = Counter(
        p.deployment for p in snapshot.engine_pods if p.key in lost and p.is_active and not p.deleting
    )
    return {o.name: max(0, snapshot.deployments[o.name].replicas - num_lost[o.name]) for o in owned}


def _counts(
    problem: PlanProblem, owned: list[Option], asked: Mapping[DeploymentKey, int]
) -> dict[DeploymentKey, int]:
    """Of these as many as find room: those that run first, then one more of each in turn."""
    counts = {o.name: 0 for o in owned}
    nodes = {p.name: p.most_nodes for p in problem.pools}
    running = {o.name: min(asked[o.name], o.current_replicas + o.leaving_replicas) for o in owned}
    for wanted in (running, asked):
        growing = [o for o in owned if counts[o.name] < wanted[o.name]]
        while growing:
            for option in growing:
                more = {**counts, option.name: counts[option.name] + 1}
                if fits(nodes.get(option.pool, ()), _groups(owned, more, option.pool)):
                    counts = more
                else:
                    growing = [o for o in growing if o.name != option.name]
            growing = [o for o in growing if counts[o.name] < wanted[o.name]]
    return counts


def _groups(owned: list[Option], counts: Mapping[DeploymentKey, int], pool: str) -> Counter[int]:
    groups: Counter[int] = Counter()
    for option in owned:
        if option.pool == pool:
            groups[option.gpus] += max(0, counts[option.name] - option.anchored)
    return groups


def _ceilings(
    problem: PlanProblem, owned: list[Option], counts: Mapping[DeploymentKey, int]
) -> dict[ModelKey, int]:
    by_model: Counter[ModelKey] = Counter()
    for option in owned:
        by_model[option.model] += counts[option.name]
    return {model: max(ceiling, by_model[model]) for model, ceiling in problem.max_replicas.items()}


def _budget(problem: PlanProblem, owned: list[Option], counts: Mapping[DeploymentKey, int]) -> float | None:
    budget = problem.budget_usd_per_hour
    taken = math.fsum(o.price_usd_per_hour * counts[o.name] for o in owned)
    return None if budget is None else max(budget, taken)
