"""Options whose replicas the cluster refuses for a reason that planning cannot count: left alone for a while.

Owns when an option is left alone, for how long, and when that ends: when the object that refused changes, or
the pause has run out. Each refusal in a row doubles the pause. An option whose pause is over is planned as
any other; the pause is remembered until its replicas are admitted, so that what is refused again waits
longer. Input: the snapshot, and what was remembered. Output: `Quarantine`s by option.
"""

from __future__ import annotations

import math

from argosy.control.memory import Quarantine, Quarantines
from argosy.control.refused.evidence import Evidence, by_option, evidence, option_of, refuser_text
from argosy.control.refused.quotas import digest, is_counted
from argosy.control.state.waiting import STUCK_AFTER_S
from argosy.keys import DeploymentKey, NamespacedName
from argosy.snapshot.admission.words import ClusterRefusal, Refuser
from argosy.snapshot.cluster import LABEL_VARIANT
from argosy.snapshot.fleet import FleetSnapshot

REFUSED_AFTER_S = 10.0
"""A refusal that lasts so long is not the moment in which a namespace or a webhook starts."""
UNSCHEDULED_S = 30.0
"""The scheduler tries again whenever a node or a volume changes."""
PINNED_S = 2.0 * STUCK_AFTER_S
"""A pod that does not fit its node is first replaced on another one (`state.waiting`)."""
TRIED_WITHIN_S = 120.0
"""Once the object that refused has changed, an old refusal is not believed for so long: Kubernetes makes
refused pods again with growing pauses, and the condition stays until then."""
FIRST_S, LONGEST_S = 60.0, 1800.0
"""The first pause, and the longest."""


def quarantined(before: Quarantines, snapshot: FleetSnapshot) -> dict[NamespacedName, Quarantine]:
    """What is left alone now, and what was and may be again; by option."""
    if not before and not snapshot.deployments and not snapshot.refused_writes:
        return {}
    every = evidence(snapshot)
    now = by_option({key: each for key, each in every.items() if not _is_planned_for(key, each, snapshot)})
    found: dict[NamespacedName, Quarantine] = {}
    for option in sorted({*before, *now}):
        each = _next(option, before.get(option), now.get(option), snapshot)
        if each is not None:
            found[option] = each
    return found


def _next(
    option: NamespacedName, was: Quarantine | None, now: Evidence | None, snapshot: FleetSnapshot
) -> Quarantine | None:
    if was is not None and (changed := _content(was.refusal, snapshot, option)) != was.content and changed:
        was = Quarantine(was.refusal, snapshot.now_s, 0, changed, snapshot.now_s)
    if was is not None and was.is_active(snapshot.now_s):
        return was
    if now is not None and _lasts(now, snapshot.now_s) and _is_believed(now, was, snapshot.now_s):
        num = (was.num if was is not None else 0) + 1
        until_s = math.ceil(snapshot.now_s + min(LONGEST_S, FIRST_S * 2 ** min(num - 1, 10)))
        return Quarantine(now.refusal, until_s, num, _content(now.refusal, snapshot, option))
    if was is None or _is_admitted(option, was, snapshot) or _is_forgotten(was, snapshot.now_s):
        return None
    return was


def _content(refusal: ClusterRefusal, snapshot: FleetSnapshot, option: NamespacedName) -> str:
    text = refuser_text(refusal, snapshot, option.namespace)
    return digest(text) if text else ""


def _lasts(now: Evidence, now_s: float) -> bool:
    least_s = REFUSED_AFTER_S
    if now.refusal.refuser is Refuser.SCHEDULER:
        least_s = max(now.awaits_s, PINNED_S if now.is_pinned else UNSCHEDULED_S)
    return now_s - now.since_s >= least_s


def _is_believed(now: Evidence, was: Quarantine | None, now_s: float) -> bool:
    if was is None or was.believed_s is None:
        return True
    return now.since_s > was.believed_s or now_s - was.believed_s >= TRIED_WITHIN_S


def _is_admitted(option: NamespacedName, was: Quarantine, snapshot: FleetSnapshot) -> bool:
    """Whether a replica of it has found a node since the pause ended."""
    return any(
        pod.node and pod.created_s >= was.until_s
        for pod in snapshot.engine_pods
        if option_of(pod.namespace, pod.labels.get(LABEL_VARIANT, "")) == option
    )


def _is_forgotten(was: Quarantine, now_s: float) -> bool:
    """A while after the longest pause nothing of it is known any more."""
    return now_s - was.until_s >= LONGEST_S


def _is_planned_for(key: DeploymentKey, found: Evidence, snapshot: FleetSnapshot) -> bool:
    """Whether the planner counts what the quota has refused."""
    quota, state = snapshot.quotas.get(found.refusal.key), snapshot.deployments.get(key)
    if found.refusal.refuser is not Refuser.QUOTA or quota is None or state is None:
        return False
    resources = [name for name in found.refusal.resource.split(",") if name]
    return bool(resources) and is_counted(quota, resources, state.template)


def look_again_s(found: Quarantines, snapshot: FleetSnapshot) -> float | None:
    """When to decide again because of a refusal (seconds since the epoch); None: no refusal asks for it."""
    ends = [each.until_s for each in found.values() if each.is_active(snapshot.now_s)]
    for each in evidence(snapshot).values():
        for least_s in (REFUSED_AFTER_S, UNSCHEDULED_S, PINNED_S, each.awaits_s):
            if (at_s := each.since_s + least_s) > snapshot.now_s:
                ends.append(at_s)
    return min(ends, default=None)
