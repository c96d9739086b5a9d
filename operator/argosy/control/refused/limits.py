"""Refusals of the cluster as limits of the sizing problem.

Owns which options get no more replicas than they have: those that are left alone for a while, where another
option of their group could serve instead. Where none could, they stay: Kubernetes goes on trying. Input: a
`PlanProblem`, the quarantines, what each Deployment would run. Output: the problem with its limits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from argosy.api.schema.timestamp import rfc3339
from argosy.control.memory import Quarantine, Quarantines
from argosy.control.refused.evidence import option_of
from argosy.control.refused.quotas import quota_limits
from argosy.keys import DeploymentKey, NamespacedName
from argosy.manifests import EngineWorkload, pod_template
from argosy.plan.problem import Option, PlanProblem
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.serving import is_alive


@dataclass(frozen=True, slots=True)
class Refusing:
    """What limits are made of. lost: keys of pods whose capacity does not count"""

    snapshot: FleetSnapshot
    quarantines: Quarantines
    workloads: Mapping[DeploymentKey, EngineWorkload]
    lost: frozenset[str]

    def option_key(self, option: Option) -> NamespacedName:
        """What an option of the problem is called among the quarantines."""
        return option_of(option.name.namespace, option.variant)


def with_refusals(problem: PlanProblem, refusing: Refusing) -> PlanProblem:
    """The problem in which what the cluster refuses is not asked for."""
    return replace(_with_quotas(problem, refusing), options=_capped(problem, refusing))


def _with_quotas(problem: PlanProblem, refusing: Refusing) -> PlanProblem:
    snapshot = refusing.snapshot
    if not snapshot.quotas:
        return problem
    namespaces = {quota.key.namespace for quota in snapshot.quotas.values()}
    templates: dict[DeploymentKey, Mapping[str, Any]] = {
        key: pod_template(workload)
        for key, workload in refusing.workloads.items()
        if key.namespace in namespaces and workload.adopted is None
    }
    # Replicas of former plans go, and what users run and nothing plans stays.
    templates |= {
        key: state.template
        for key, state in snapshot.deployments.items()
        if key not in templates and (not state.is_adopted or key in refusing.workloads)
    }
    return replace(problem, quotas=quota_limits(snapshot, templates))


def _capped(problem: PlanProblem, refusing: Refusing) -> tuple[Option, ...]:
    snapshot = refusing.snapshot
    active = {key: each for key, each in refusing.quarantines.items() if each.is_active(snapshot.now_s)}
    held = {
        o.name for o in problem.options if not _is_users(o, refusing) and refusing.option_key(o) in active
    }
    if not held:
        return problem.options
    able = {o.group for o in problem.options if o.name not in held and _may_grow(o, problem)}
    num_there = Counter(
        p.deployment
        for p in snapshot.engine_pods
        if is_alive(p, refusing.lost) and (p.node or p.unschedulable_since_s is None)
    )
    return tuple(
        replace(o, most_replicas=num_there[o.name], held_by=held_text(active[refusing.option_key(o)]))
        if o.name in held and o.group in able
        else o
        for o in problem.options
    )


def held_text(found: Quarantine) -> str:
    """`ResourceQuota a/b refuses its replicas (...), which are tried again at ...`."""
    refusal, until = found.refusal, rfc3339(found.until_s)
    return f"{refusal.name} refuses its replicas ({refusal.problem}), which are tried again at {until}"


def _is_users(option: Option, refusing: Refusing) -> bool:
    state = refusing.snapshot.deployments.get(option.name)
    return state is not None and state.is_adopted


def _may_grow(option: Option, problem: PlanProblem) -> bool:
    """Whether a replica of it could serve a cell of its group on a node of its pool."""
    nodes = next((p.node_gpus for p in problem.pools if p.name == option.pool), ())
    is_able = any(
        problem.capacity_per_s.get((c.name, option.name), 0.0) > 0
        for c in problem.cells
        if c.group == option.group
    )
    return is_able and option.most_replicas is None and option.gpus <= max(nodes, default=0)
