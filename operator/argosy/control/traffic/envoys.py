"""Events about Envoys that have routes of a later FleetPlan than the API server has.

Owns their sentences. Input: a snapshot. Output: events of Fleet; the first word is the Envoy, so that
each is posted once per Envoy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from argosy.api import Fleet
from argosy.api.schema.timestamp import rfc3339
from argosy.control.decision import EventRecord
from argosy.snapshot.fleet import FleetSnapshot


def envoy_events(snapshot: FleetSnapshot) -> Iterator[EventRecord]:
    """Envoys that are ahead, and those that were led back; none without a Fleet that could have them."""
    if snapshot.fleet is None:
        return
    latest = max((plan.spec.revision for plan in snapshot.plans), default=0)
    for envoy in snapshot.routing.envoys:
        if envoy.is_ahead:
            until = rfc3339(math.ceil(envoy.served_at_s or snapshot.now_s))
            message = (
                f"{envoy.node_id}: this Envoy has routes of FleetPlan revision {envoy.revision}, and the"
                f" latest that the API server has is {latest}; it keeps them until {until} or a little"
                " longer, then it is served the applied plan"
            )
            yield EventRecord(Fleet.KIND, snapshot.fleet.key, "Warning", "EnvoyAhead", message)
        elif envoy.left_revision:
            message = (
                f"{envoy.node_id}: this Envoy had routes of FleetPlan revision {envoy.left_revision}, which"
                " the API server does not have; it is served the applied plan again"
            )
            yield EventRecord(Fleet.KIND, snapshot.fleet.key, "Normal", "EnvoyLedBack", message)
