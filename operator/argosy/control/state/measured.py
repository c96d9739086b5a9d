"""A reading together with what its addresses and route cells belong to.

Owns the step from a snapshot to `demand.observed`'s input: the traffic loop counts with it, and
statuses show what was counted. Input: a snapshot. Output: `Measured`.
"""

from __future__ import annotations

from argosy.control.cells import known_cells
from argosy.control.state.owners import group_by_deployment
from argosy.demand.observed import Measured
from argosy.snapshot.fleet import FleetSnapshot


def measured(snapshot: FleetSnapshot) -> Measured:
    """The snapshot's reading; what belongs to no class or group that exists is left out."""
    cells = known_cells(snapshot)
    group_of = group_by_deployment(snapshot.engine_pods, cells.groups)
    return Measured(
        reading=snapshot.telemetry,
        now_s=snapshot.now_s,
        groups={p.address: group_of[p.deployment] for p in snapshot.engine_pods if p.deployment in group_of},
        classes={r.name: r.workload_class for r in cells.rows if r.workload_class in snapshot.classes},
    )
