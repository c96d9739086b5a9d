"""What is done within the window after a revision: replicas are added where they are missing, none removed.

Owns the choice between the plan found and one that keeps all that the last revision has. First its counts
and shares as they are, in its own sharing groups: enough where it serves no less than the plan found. Else
what is missing is added to it; groups may split for that, and none merge. The plan found is made at once only
where what is missing finds no room beside all that stays, and it takes no replica that was started a moment
ago, or else a class would get nothing at all.

Input: the plan found, and how to size and solve again. Output: the `Choice` that is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from argosy.control.candidates.variants import variants_of
from argosy.control.cells import RouteCells, cells_of_plan
from argosy.control.memory import PlanInputs
from argosy.control.revision.decided import Waiting
from argosy.control.revision.window import (
    Window,
    counts_by_variant,
    has_counts_of,
    open_window,
    planned_counts,
)
from argosy.control.sizing import Sizing, with_staying
from argosy.control.state.restarts import adopted_workload, ordered_restarts, workload_of
from argosy.keys import DeploymentKey
from argosy.manifests import EngineWorkload
from argosy.plan.check import violations
from argosy.plan.kept import kept, serves_as_much, starves
from argosy.plan.problem import PlanProblem
from argosy.plan.solution import Plan
from argosy.snapshot.fleet import FleetSnapshot

Solve = Callable[[PlanProblem], Plan]
Resize = Callable[[RouteCells | None], Sizing]
"""Sizes the same snapshot for these cells; None: for groups that split and do not merge."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A plan, and what it answers.

    waiting: the change that waits meanwhile
    former:  what runs those of its replicas that no class can use now, by Deployment
    """

    sizing: Sizing
    problem: PlanProblem
    plan: Plan
    waiting: Waiting | None = None
    former: Mapping[DeploymentKey, EngineWorkload] = field(default_factory=dict)


def chosen(found: Choice, resize: Resize, solve: Solve, made_for: PlanInputs) -> Choice:
    """`found`, or what is kept and added instead of it while a window is open.

    made_for: what the last revision was made for, as far as this process knows it
    """
    window = open_window(found.sizing, found.problem, found.plan, made_for)
    if window is None:
        return found
    former = _workloads(found.sizing.snapshot, window)
    if former is None:
        return found
    same = _kept(found, resize(cells_of_plan(window.last)), window)
    choice = same or _grown(found, resize(None), window, solve)
    return found if choice is None else replace(choice, former=former)


def _workloads(snapshot: FleetSnapshot, window: Window) -> dict[DeploymentKey, EngineWorkload] | None:
    """What runs the last revision's replicas; None where a template is not what it was: a restart was ordered
    since, say."""
    orders, found = ordered_restarts(snapshot), dict[DeploymentKey, EngineWorkload]()
    for entry in window.last.spec.deployments:
        if (adopted := adopted_workload(snapshot, entry)) is not None:
            found[entry.name] = adopted
            continue
        model = snapshot.models.get(entry.model_key)
        named = (v for v in variants_of(snapshot, model) if v.name == entry.variant) if model else ()
        for variant in named:
            found[entry.name] = workload_of(snapshot, orders, variant, entry.sharing_group)
        if entry.replicas and (entry.name not in found or found[entry.name].key != entry.name):
            return None
    return found


def _kept(found: Choice, sizing: Sizing, window: Window) -> Choice | None:
    """The last revision as it is; None where it serves less than `found`."""
    problem = with_staying(sizing, window.last.spec.deployments)
    plan = kept(problem, found.plan, window.earlier)
    return Choice(sizing, problem, plan, _waiting(found, plan, window)) if plan is not None else None


def _grown(found: Choice, sizing: Sizing, window: Window, solve: Solve) -> Choice | None:
    """The last revision with what it lacks; None where `found` is better and takes nothing young."""
    problem = with_staying(sizing, window.last.spec.deployments)
    plan = solve(problem)
    if violations(problem, plan):
        return None  # what stays breaks a rule itself: a budget, say
    if not serves_as_much(problem, plan, found.plan) and (
        starves(problem, plan, found.plan) or not _takes_young(found, window)
    ):
        return None
    is_same = has_counts_of(plan, window.last)
    return Choice(sizing, problem, plan, _waiting(found, plan, window) if is_same else None)


def _takes_young(found: Choice, window: Window) -> bool:
    """Whether `found` takes replicas of a Deployment of which the last revision has started some."""
    before = planned_counts(window.last)
    return any(found.plan.replicas.get(name, 0) < before[name] for name in window.young)


def _waiting(found: Choice, plan: Plan, window: Window) -> Waiting:
    variants = counts_by_variant(found.problem, found.plan)
    workloads = found.sizing.resolution.workloads()
    return Waiting(plan, found.plan, variants, workloads, window.last.spec.revision, window.until_s)
