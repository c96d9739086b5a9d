"""Which changes of the plan wait, because one was made a moment ago.

Owns the stabilisation of revisions. A price, a declared rate or an SLO that comes and goes every few
seconds would else make a revision each time, and start replicas that the next one removes before they
serve. So of such changes one is made, and the next waits until `spec.stabilizationSeconds` have passed
since, and since each replica that it started was made; or twice the time that these replicas take to load,
if longer. `growth` has what is done meanwhile. None waits where a node or replicas of the plan are lost, its
namespace is being deleted, or a user has edited anything else.

Input: what was sized, the plan found for it, and the last revision. Output: the `Window` that is open. When
the last revision was made is read from its status, so that a restarted operator knows it too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass

from argosy.api import FleetPlan
from argosy.api.conditions import ConditionType, find_condition
from argosy.api.fleet import Mode
from argosy.api.schema.timestamp import seconds_of
from argosy.control.memory import PlanInputs
from argosy.control.revision.edits import edits_digest
from argosy.control.revision.revision import SHARE_TOLERANCE
from argosy.control.sizing import Sizing
from argosy.control.state.counts import num_alive, num_serving
from argosy.control.state.nodes import closed_nodes, closed_pods, new_pod_nodes
from argosy.keys import CellName, DeploymentKey
from argosy.plan.kept import Earlier
from argosy.plan.problem import PlanProblem
from argosy.plan.solution import Plan
from argosy.snapshot.fleet import FleetSnapshot

LOAD_TIMES = 2.0
"""What a revision starts is kept for this many times the time that it takes to load: so it serves for as
long as it loaded before a price alone removes it. Not longer: one that never comes up holds nothing back."""


def last_revision(snapshot: FleetSnapshot) -> FleetPlan | None:
    """What a new revision must differ from: what Auto follows; else the last one that was made."""
    if snapshot.fleet_spec.mode is Mode.AUTO:
        return snapshot.applied_plan
    return max(snapshot.plans, key=lambda plan: plan.spec.revision, default=None)


@dataclass(frozen=True, slots=True)
class Window:
    """Until `until_s` (seconds since the epoch) nothing of `last` is taken away.

    young: Deployments of which `last` has started replicas
    """

    last: FleetPlan
    until_s: float
    young: frozenset[DeploymentKey]

    @property
    def earlier(self) -> Earlier:
        """What `last` has."""
        return Earlier(planned_counts(self.last), shares_of(self.last), SHARE_TOLERANCE)


def open_window(sizing: Sizing, problem: PlanProblem, found: Plan, made_for: PlanInputs) -> Window | None:
    """The window in which `found` waits; None where it is no change, or is made at once.

    made_for: what the last revision was made for, as far as this process knows it
    """
    snapshot, last = sizing.snapshot, last_revision(sizing.snapshot)
    if last is None or snapshot.fleet_spec.mode is Mode.OBSERVE or _is_same(last, problem, found):
        return None
    if last.spec.edits_digest != edits_digest(snapshot) or _has_failed(last, sizing, made_for):
        return None
    if any(name.namespace in snapshot.ending for name in planned_counts(last)):
        return None  # nothing is made there any more
    return _window(last, sizing, problem)


def counts_by_variant(problem: PlanProblem, plan: Plan) -> dict[str, int]:
    """A plan's replicas by variant."""
    counts: Counter[str] = Counter()
    for option in problem.options:
        counts[option.variant] += plan.replicas.get(option.name, 0)
    return {variant: count for variant, count in sorted(counts.items()) if count}


def made_at_s(plan: FleetPlan) -> float | None:
    """When a revision was made (seconds since the epoch), by the operator's own clock; None: not known."""
    dated = find_condition(plan.status.conditions, ConditionType.APPLIED)
    return seconds_of(dated.last_transition_time if dated else plan.metadata.creation_timestamp)


def _window(last: FleetPlan, sizing: Sizing, problem: PlanProblem) -> Window | None:
    """The window after the last revision; None where it has closed, or there is none."""
    snapshot, window_s = sizing.snapshot, float(sizing.snapshot.fleet_spec.stabilization_seconds)
    made_s = made_at_s(last)
    if window_s <= 0 or made_s is None:
        return None
    planned = planned_counts(last)
    pods = [p for p in snapshot.engine_pods if p.created_s >= made_s and p.deployment in planned]
    serving = num_serving(snapshot, sizing.lost)
    young = {p.deployment for p in pods} | {n for n, count in planned.items() if serving.get(n, 0) < count}
    load_s = _load_s({d.variant for d in last.spec.deployments if d.name in young}, problem)
    wait_s = max(window_s, LOAD_TIMES * load_s)
    # A replica that found room late: each is kept for a window. One made after the wait holds nothing back.
    late_s = max((p.created_s - made_s for p in pods if p.created_s - made_s < wait_s), default=0.0)
    wait_s = max(wait_s, late_s + window_s)
    age_s = snapshot.now_s - made_s
    # A revision from the future: clocks differ. By more than the wait it tells nothing.
    return Window(last, made_s + wait_s, frozenset(young)) if -wait_s <= age_s < wait_s else None


def _load_s(variants: Set[str], problem: PlanProblem) -> float:
    """The longest time to load among these variants, in whatever group."""
    return max((o.load_s for o in problem.options if o.variant in variants), default=0.0)


def _is_same(last: FleetPlan, problem: PlanProblem, found: Plan) -> bool:
    """Whether the plan found has the last one's cells and counts, and its shares but for noise.

    A number that an autoscaler has changed does not wait, nor do the shares of its group.
    """
    cells = {cell.name for cell in last.spec.cells} == {cell.name for cell in problem.cells}
    counts, now = planned_counts(last), {name: n for name, n in found.replicas.items() if n}
    changed = {
        o.name: o.group for o in problem.options if o.fixed_by and counts.get(o.name, 0) != now.get(o.name, 0)
    }
    anew = {cell.name for cell in problem.cells if cell.group in changed.values()}
    before, after = shares_of(last), found.shares
    shares = all(
        abs(before.get(pair, 0.0) - after.get(pair, 0.0)) <= SHARE_TOLERANCE
        for pair in before.keys() | after.keys()
        if pair[0] not in anew
    )
    is_same = all(counts.get(n, 0) == now.get(n, 0) for n in (counts.keys() | now.keys()) - changed.keys())
    return cells and shares and is_same


def _has_failed(last: FleetPlan, sizing: Sizing, made_for: PlanInputs) -> bool:
    """Whether a node of the plan takes no replicas any more (it is gone, closed or leaving), or replicas are
    lost, or run on such a node, that were not replaced.

    What the plan was made in spite of is no failure: replicas that leave a node and find no room stay.
    """
    known = made_for.closed.items() if made_for.plan == last.key else ()
    same = {name for name, leaves in closed_nodes(sizing.nodes).items() if (name, leaves) in known}
    takes_new = new_pod_nodes(sizing.nodes) | same
    planned = {d.name: d for d in last.spec.deployments if d.replicas}
    if any(place.node not in takes_new for d in planned.values() for place in d.nodes):
        return True
    pods = sizing.snapshot.pods
    closed = closed_pods(sizing.snapshot, sizing.nodes)
    failed = sizing.lost | {key for key in closed if pods[key].destination not in same}
    settled = num_alive(sizing.snapshot, failed)
    hit = {p.deployment for p in sizing.snapshot.engine_pods if p.key in failed and not p.deleting}
    return any(name in hit and settled[name] < d.replicas for name, d in planned.items())


def has_counts_of(found: Plan, plan: FleetPlan) -> bool:
    """Whether a plan that was found has the replicas of a revision."""
    return planned_counts(plan) == {name: count for name, count in found.replicas.items() if count}


def planned_counts(plan: FleetPlan) -> Mapping[DeploymentKey, int]:
    """The planned replicas of each Deployment that has any."""
    return {d.name: d.replicas for d in plan.spec.deployments if d.replicas}


def shares_of(plan: FleetPlan) -> dict[tuple[CellName, DeploymentKey], float]:
    """A revision's shares (0-1), positive ones only."""
    return {(c.name, s.deployment): s.share for c in plan.spec.cells for s in c.shares if s.share > 0}
