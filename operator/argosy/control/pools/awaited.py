"""Replicas for which nodes have to come: which of those without a node they are.

Owns the division of what placement finds no node for: as many as the nodes hold that the plan asks for wait
for these; so do the successors of replicas on leaving nodes, which would else stay there. The others lack
room. Input: a plan and its placement. Output: replicas by Deployment, and the placement without them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from argosy.control.memory import ControlMemory
from argosy.control.pools.to_come import observed_nodes
from argosy.keys import DeploymentKey
from argosy.place.solution import Placement, Unplaced
from argosy.plan.problem import PlanProblem
from argosy.plan.solution import Plan
from argosy.snapshot.fleet import FleetSnapshot


def with_observed_nodes(snapshot: FleetSnapshot, memory: ControlMemory) -> ControlMemory:
    """The memory with what the pods show of nodes that autoscalers bring."""
    nodes = observed_nodes(snapshot, memory.planning.nodes)
    return memory.with_planning(replace(memory.planning, nodes=nodes))


def split_awaited(
    problem: PlanProblem, plan: Plan, placement: Placement, snapshot: FleetSnapshot
) -> tuple[Mapping[DeploymentKey, int], Placement]:
    """Replicas that wait for nodes to come, and the placement of the others."""
    options = {o.name: o for o in problem.options}
    limits = {p.name: p.to_come for p in problem.pools}
    gpus_left: dict[str, int] = {}
    for pool, number in plan.to_come.items():
        to_come = limits[pool]
        gpus_left[pool] = number * to_come.gpus if to_come is not None else 0
    awaited, unplaced, staying = Counter[DeploymentKey](), list[Unplaced](), list[str]()

    def take(name: DeploymentKey, replicas: int) -> int:
        option = options[name]
        taken = min(replicas, gpus_left.get(option.pool, 0) // option.gpus)
        if taken:
            gpus_left[option.pool] -= taken * option.gpus
            awaited[name] += taken
        return taken

    for each in placement.unplaced:
        left = each.replicas - take(each.option, each.replicas)
        if left:
            unplaced.append(replace(each, replicas=left))
    for key in placement.staying:
        if not take(snapshot.pods[key].deployment, 1):
            staying.append(key)
    return dict(awaited), replace(placement, unplaced=tuple(unplaced), staying=tuple(staying))
