"""Whether the picture as a whole can be believed.

Owns the reasons to change nothing: a kind that is missing, forbidden or not listed; nodes that are all
not Ready while engines on them answer. Engines that stop together are doubted by `state.silence`.
Input: a snapshot. Output: a `Doubt`, or None.
"""

from __future__ import annotations

from dataclasses import dataclass

from argosy.api import FleetPlan, ServedModel, WorkloadClass
from argosy.control.state.silence import declared_dead_pods
from argosy.route.table import FormerRoutes
from argosy.snapshot import EndpointHealth, fresh
from argosy.snapshot.cluster import NodeState, PodState
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.seen import ObjectRef

FRESH_S = 10.0
"""A reading older than five iterations of the traffic loop shows nothing any more."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why nothing is concluded from the picture: a sentence with the remedy.

    is_served: engines are known to answer all the same, so what was Ready stays so
    """

    sentence: str
    is_served: bool = False


def doubt(snapshot: FleetSnapshot) -> Doubt | None:
    """Why the picture cannot be believed; None where it can."""
    if problems := snapshot.seen.problems(snapshot.monotonic_s):
        return Doubt("; ".join(problems))
    return _nodes_gone(snapshot)


def routes_doubt(snapshot: FleetSnapshot, plan: FleetPlan | None, former: FormerRoutes | None) -> str:
    """Why routes of this snapshot and plan would lack some that are in force; empty where they would not.

    Only where no version of what is missing is known, after a restart, and Envoys' routes for it are not
    known either. former: what Envoys have; None where that is not known
    """
    for ref in sorted(snapshot.seen.absent, key=str):
        if not _is_routed_on(ref, former):
            return (
                f"{ref} is named by what runs for it and is not seen, and this process has no copy of the"
                " routes that Envoys have for it"
            )
    if plan is None and any(p.ready for p in snapshot.engine_pods):
        return "engines run and no FleetPlan says what for; the next decision makes one"
    return ""


def _is_routed_on(ref: ObjectRef, former: FormerRoutes | None) -> bool:
    """Whether the former routes hold what routes need of an object. They need nothing of a GPUPool."""
    if ref.plural == WorkloadClass.PLURAL:
        return former is not None and ref.key in former.classes
    return ref.plural != ServedModel.PLURAL or former is not None


def _expected(snapshot: FleetSnapshot) -> list[PodState]:
    """The engine pods that the kubelet calls ready."""
    return [p for p in snapshot.engine_pods if p.ready and p.address and not p.deleting]


def _nodes_gone(snapshot: FleetSnapshot) -> Doubt | None:
    """No node is left, by the API server's word, while engines on those nodes answer.

    What answers on a node that is declared dead is no reason to doubt it.
    """
    dead = declared_dead_pods(snapshot)
    bound = [p for p in _expected(snapshot) if p.node and p.key not in dead]
    members = {n.name: n for n in _pool_members(snapshot)}
    members |= {p.node: snapshot.nodes[p.node] for p in bound if p.node in snapshot.nodes}
    if any(node.ready for node in members.values()):
        return None
    answering = [p for p in bound if _answers(snapshot, p.address)]
    if not answering:
        return None
    found = f"{len(members)} nodes match and none is Ready" if members else "no node matches any more"
    verb = "engine answers" if len(answering) == 1 else "engines answer"
    return Doubt(
        f"{found}, while {len(answering)} {verb}; check that the kubelets reach the API server",
        is_served=True,
    )


def _pool_members(snapshot: FleetSnapshot) -> list[NodeState]:
    selectors = [pool.spec.node_selector.items() for pool in snapshot.pools.values()]
    return [n for n in snapshot.nodes.values() if any(s <= n.labels.items() for s in selectors)]


def _answers(snapshot: FleetSnapshot, address: str) -> bool:
    """Whether the last scrape of an engine succeeded, or Envoy calls it healthy."""
    reading, now_s = snapshot.telemetry, snapshot.now_s
    sample = reading.engines.get(address)
    if sample is not None and address not in reading.unanswered_since_s:
        return fresh(sample, now_s, FRESH_S) is not None
    health = reading.endpoints.get(address)
    return health is not None and fresh(health, now_s, FRESH_S) is EndpointHealth.HEALTHY
