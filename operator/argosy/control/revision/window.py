"""Which change of the plan waits, because one was made a moment ago and nothing is in danger.

Owns the stabilisation of revisions. A price, a declared rate or an SLO that comes and goes every few
seconds would else make a revision each time, and start replicas that the next one removes before they
serve. So of such changes one is made, and the next waits until `spec.stabilizationSeconds` have passed
since, or twice the time that the replicas take to load that it started, if longer. It does not wait where the
present plan would serve less, breaks a rule of the check, has lost a node or replicas, or where a user
has edited anything else.

Input: what was sized, the plan found for it, and the last revision. Output: what is kept meanwhile. When
the last revision was made is read from its status, so that a restarted operator knows it too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from argosy.api import FleetPlan
from argosy.api.conditions import ConditionType, find_condition
from argosy.api.fleet import Mode
from argosy.api.schema.timestamp import seconds_of
from argosy.control.revision.decided import Waiting
from argosy.control.revision.edits import edits_digest
from argosy.control.revision.revision import SHARE_TOLERANCE
from argosy.control.sizing import Sizing
from argosy.control.state.counts import num_alive, num_serving
from argosy.control.state.nodes import closed_pods, new_pod_nodes
from argosy.keys import CellName, DeploymentKey
from argosy.plan.kept import Earlier, kept
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


def waiting(sizing: Sizing, problem: PlanProblem, found: Plan) -> Waiting | None:
    """What is kept instead of `found`, and until when; None where `found` is made at once."""
    snapshot, last = sizing.snapshot, last_revision(sizing.snapshot)
    if last is None or snapshot.fleet_spec.mode is Mode.OBSERVE or _is_same(last, problem, found):
        return None
    until_s = _until_s(last, sizing, problem)
    if until_s is None or last.spec.edits_digest != edits_digest(snapshot) or _has_failed(last, sizing):
        return None
    plan = kept(problem, found, _earlier(last))
    return (
        None
        if plan is None
        else Waiting(plan, found, variants_of(problem, found), last.spec.revision, until_s)
    )


def variants_of(problem: PlanProblem, plan: Plan) -> dict[str, int]:
    """A plan's replicas by variant."""
    counts: Counter[str] = Counter()
    for option in problem.options:
        counts[option.variant] += plan.replicas.get(option.name, 0)
    return {variant: count for variant, count in sorted(counts.items()) if count}


def made_at_s(plan: FleetPlan) -> float | None:
    """When a revision was made (seconds since the epoch), by the operator's own clock; None: not known."""
    dated = find_condition(plan.status.conditions, ConditionType.APPLIED)
    return seconds_of(dated.last_transition_time if dated else plan.metadata.creation_timestamp)


def _until_s(last: FleetPlan, sizing: Sizing, problem: PlanProblem) -> float | None:
    """When the wait after the last revision ends; None where it has ended, or there is none."""
    window_s = float(sizing.snapshot.fleet_spec.stabilization_seconds)
    made_s = made_at_s(last)
    if window_s <= 0 or made_s is None:
        return None
    wait_s = max(window_s, LOAD_TIMES * _load_s(last, made_s, sizing, problem))
    age_s = sizing.snapshot.now_s - made_s
    # A revision from the future: clocks differ. By more than the wait it tells nothing.
    return made_s + wait_s if -wait_s <= age_s < wait_s else None


def _load_s(last: FleetPlan, made_s: float, sizing: Sizing, problem: PlanProblem) -> float:
    """The longest time to load among the planned Deployments of which a replica was started since."""
    serving = num_serving(sizing.snapshot, sizing.lost)
    started = {p.deployment for p in sizing.snapshot.engine_pods if p.created_s >= made_s}
    started |= {name for name, count in counts_of(last).items() if serving.get(name, 0) < count}
    return max((o.load_s for o in problem.options if o.name in started & counts_of(last).keys()), default=0.0)


def _is_same(last: FleetPlan, problem: PlanProblem, found: Plan) -> bool:
    """Whether the plan found has the last one's cells and counts, and its shares but for noise."""
    cells = {cell.name for cell in last.spec.cells} == {cell.name for cell in problem.cells}
    before, after = shares_of(last), found.shares
    shares = all(
        abs(before.get(pair, 0.0) - after.get(pair, 0.0)) <= SHARE_TOLERANCE
        for pair in before.keys() | after.keys()
    )
    return cells and shares and counts_of(last) == {n: count for n, count in found.replicas.items() if count}


def _has_failed(last: FleetPlan, sizing: Sizing) -> bool:
    """Whether a node of the plan takes no replicas any more (it is gone, closed or leaving), or replicas are
    lost, or run on such a node, that were not replaced."""
    takes_new = new_pod_nodes(sizing.nodes)
    planned = {d.name: d for d in last.spec.deployments if d.replicas}
    if any(place.node not in takes_new for d in planned.values() for place in d.nodes):
        return True
    failed = sizing.lost | closed_pods(sizing.snapshot, sizing.nodes)
    settled = num_alive(sizing.snapshot, failed)
    hit = {p.deployment for p in sizing.snapshot.engine_pods if p.key in failed and not p.deleting}
    return any(name in hit and settled[name] < d.replicas for name, d in planned.items())


def _earlier(last: FleetPlan) -> Earlier:
    return Earlier(counts_of(last), shares_of(last), SHARE_TOLERANCE)


def counts_of(plan: FleetPlan) -> Mapping[DeploymentKey, int]:
    """A revision's replicas by Deployment, positive ones only."""
    return {d.name: d.replicas for d in plan.spec.deployments if d.replicas}


def shares_of(plan: FleetPlan) -> dict[tuple[CellName, DeploymentKey], float]:
    """A revision's shares (0-1), positive ones only."""
    return {(c.name, s.deployment): s.share for c in plan.spec.cells for s in c.shares if s.share > 0}
