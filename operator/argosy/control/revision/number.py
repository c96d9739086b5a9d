"""The number of the next FleetPlan revision: higher than any that was ever seen.

Owns the rule. FleetPlans may be deleted, restored from a backup, or gone with their CRD, while Envoys
still have the routes of a later one: a number that starts again would look old to them. Input: a
snapshot. Output: a number.
"""

from __future__ import annotations

from argosy.control.state.routable import RECONNECT_S
from argosy.snapshot.fleet import FleetSnapshot

ADOPTED_LIMIT = 999_999_999
"""A larger number in an Envoy's version, a FleetPlan's name or the state directory is not adopted: at a
revision per second it would be reached after 31 years, so it is a mistake."""


def is_known(snapshot: FleetSnapshot) -> bool:
    """Whether the largest number is known: not yet while engines run, nothing says for which plan, and the
    Envoys that have its routes may still connect to this process."""
    engines_run = any(pod.ready for pod in snapshot.engine_pods)
    is_new = snapshot.now_s - snapshot.routing.since_s < RECONNECT_S
    is_seen = snapshot.plans or snapshot.remembered_revision or snapshot.routing.envoys
    return bool(is_seen) or not (engines_run and is_new)


def next_revision(snapshot: FleetSnapshot) -> int:
    """1 + the largest of the plans' revisions, the connected Envoys' and the remembered one."""
    seen = (snapshot.remembered_revision, *(envoy.revision for envoy in snapshot.routing.envoys))
    planned = (plan.spec.revision for plan in snapshot.plans)
    return 1 + max((0, *planned, *(number for number in seen if number <= ADOPTED_LIMIT)))
