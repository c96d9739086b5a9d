"""What users' specs say, as digests: all of them but for prices, declared rates and SLOs; and each as it is.

Owns what counts as an edit that is obeyed at once. Input: a snapshot. Output: a digest, which a FleetPlan
keeps: where it differs from the present one, a user has edited something else since. And a digest of each
object, which tells an edited object from one that is not seen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from argosy.api import CustomResource, Fleet
from argosy.api.crd.resource import ObjectMeta
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.seen import ObjectRef

_FLEETING: dict[str, tuple[tuple[str, ...], ...]] = {
    "WorkloadClass": (("slo",), ("traffic", "requestsPerSecond")),
    "GPUPool": (("priceUsdPerHour",),),
}
"""Paths of the fields that may follow a feed: their changes are stabilised."""


def edits_digest(snapshot: FleetSnapshot) -> str:
    """Equal for equal specs but for prices, declared rates and SLOs, and equal Deployments of users."""
    content = hashlib.sha256()
    for item in _objects(snapshot):
        spec = json.dumps(_lasting(item), sort_keys=True)
        content.update(f"{item.KIND}\0{item.key}\0{spec}\0".encode())
    for key, state in sorted(snapshot.deployments.items()):
        if state.adoption is not None:
            variant = state.adoption.variant.name if state.adoption.variant else ""
            content.update(f"{key}\0{state.adoption.workload_class}\0{variant}\0".encode())
    return content.hexdigest()[:16]


def spec_digests(snapshot: FleetSnapshot) -> dict[ObjectRef, str]:
    """Of each object that users edit."""
    return {
        ObjectRef(item.PLURAL, item.key): _digest(json.dumps(item.to_object()["spec"], sort_keys=True))
        for item in _objects(snapshot)
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _objects(snapshot: FleetSnapshot) -> Iterator[CustomResource]:
    if snapshot.fleet is not None:
        yield snapshot.fleet
    elif snapshot.last_fleet_spec is not None:
        # Its settings hold: that the object is gone changes nothing.
        yield Fleet(metadata=ObjectMeta(name="default"), spec=snapshot.last_fleet_spec)
    for by_key in (snapshot.pools, snapshot.models, snapshot.classes, snapshot.policies):
        yield from (item for _, item in sorted(by_key.items()))


def _lasting(item: CustomResource) -> dict[str, Any]:
    """The spec without the fields that come and go."""
    spec: dict[str, Any] = item.to_object()["spec"]
    for *folders, name in _FLEETING.get(item.KIND, ()):
        place = spec
        for folder in folders:
            place = place[folder]
        place.pop(name, None)
    return spec
