"""What a FleetPlan can hold, and what is left out of one that would be too large.

Owns the bounds of a revision: its size in bytes and the lengths of its lists. Counts, shares and
cells stay: routes and roll-outs need them. Left out are first what only people read (the most
expensive alternatives and the last reasons), then the nodes of the Deployments with the most of
them; a last reason gives the number. Input and output: a FleetPlan's spec.
"""

from __future__ import annotations

from argosy.api.fleetplan import CellShare, FleetPlanSpec, PlannedDeployment, PlanReason

MAX_BYTES = 512 * 1024
"""etcd refuses objects over 1.5 MB; the status and the API server's own book-keeping come on top."""

MAX_DEPLOYMENTS = 512
MAX_CELLS = 512
MAX_SHARES = 32
MAX_NODES = 256

_KEPT_SENTENCES = 16
"""Reasons and alternatives that a plan keeps where all would be too many."""


def largest_shares(shares: tuple[CellShare, ...]) -> tuple[CellShare, ...]:
    """The shares that a cell can list, in their order; those left out go to the others in proportion."""
    if len(shares) <= MAX_SHARES:
        return shares
    kept = set(sorted(range(len(shares)), key=lambda i: (-shares[i].share, i))[:MAX_SHARES])
    whole = sum(s.share for s in shares)
    listed = sum(shares[i].share for i in kept)
    scale = whole / listed if listed else 0.0
    return tuple(
        s.model_copy(update={"share": min(1.0, round(s.share * scale, 6))})
        for i, s in enumerate(shares)
        if i in kept
    )


def size_bytes(spec: FleetPlanSpec) -> int:
    """Bytes of the spec as it is sent to the API server."""
    return len(spec.model_dump_json(by_alias=True, exclude_none=True).encode())


def bounded(spec: FleetPlanSpec) -> FleetPlanSpec:
    """`spec`, cut to `MAX_BYTES`."""
    if size_bytes(spec) <= MAX_BYTES:
        return spec
    left_out = max(0, len(spec.reasons) - _KEPT_SENTENCES) + max(0, len(spec.alternatives) - _KEPT_SENTENCES)
    shorter = spec.model_copy(
        update={
            "reasons": (*spec.reasons[:_KEPT_SENTENCES], _summary(f"{left_out} reasons and alternatives")),
            "alternatives": spec.alternatives[:_KEPT_SENTENCES],
        }
    )
    excess_bytes = size_bytes(shorter) - MAX_BYTES
    return shorter if excess_bytes <= 0 else _without_nodes(shorter, excess_bytes)


def _without_nodes(spec: FleetPlanSpec, excess_bytes: int) -> FleetPlanSpec:
    """Leave out the longest lists of nodes until enough is saved; placement is made again from the world."""
    bare: set[str] = set()
    margin_bytes = 1024  # the summary's own
    for entry in sorted(spec.deployments, key=lambda d: (-len(d.nodes), d.name)):
        if excess_bytes + margin_bytes <= 0:
            break
        bare.add(entry.name)
        excess_bytes -= _nodes_bytes(entry)
    summary = _summary(f"the nodes of {len(bare)} Deployments")
    return spec.model_copy(
        update={
            "deployments": tuple(
                d.model_copy(update={"nodes": ()}) if d.name in bare else d for d in spec.deployments
            ),
            "reasons": (*spec.reasons, summary),
        }
    )


def _nodes_bytes(entry: PlannedDeployment) -> int:
    return sum(len(n.model_dump_json(by_alias=True)) + 1 for n in entry.nodes)


def _summary(what: str) -> PlanReason:
    return PlanReason(code="Summarised", message=f"{what} are left out: the plan would be too large.")
