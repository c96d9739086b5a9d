"""Snapshots and plans put together by hand, for what a decision says of part of a picture.

Owns `a_picture` and `a_plan`. Input: the fields that a test is about. Output: values, as the operator
reads them; nothing is decided.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from builders import a_fleet, a_node, parsed

from argosy.api import CustomResource, FleetPlan
from argosy.api.conditions import Condition, ConditionStatus
from argosy.api.fleetplan import FleetPlanStatus
from argosy.snapshot.cluster import DeploymentState, PodState
from argosy.snapshot.fleet import FleetSnapshot

NOW_S = 1_700_000_000.0
AWAKE_S = 5000.0
"""The process's monotonic clock: far from the time of day."""


@dataclass(frozen=True)
class Entry:
    """A Deployment of a plan, with the classes of its sharing group."""

    name: str
    group: str
    classes: tuple[str, ...]
    model: str = "llama"
    pool: str = "l40s"
    replicas: int = 1


def a_plan(*entries: Entry, revision: int = 1, made: str | None = None, is_applied: bool = True) -> FleetPlan:
    """made: its creation time (RFC 3339)."""
    groups = {entry.group: entry.classes for entry in entries}
    spec = {
        "revision": revision,
        "trigger": "a test",
        "costUsdPerHour": 1.0,
        "solver": {"status": "Optimal"},
        "deployments": [_deployment(entry) for entry in entries],
        "cells": [_cell(f"default/{name}", group) for group, classes in groups.items() for name in classes],
    }
    plan = parsed(FleetPlan, f"plan-{revision:06d}", spec)
    metadata = plan.metadata.model_copy(update={"creation_timestamp": made})
    applied = Condition(type="Applied", status=ConditionStatus.TRUE, reason="Applied")
    status = FleetPlanStatus(conditions=(applied,) if is_applied else ())
    return plan.model_copy(update={"metadata": metadata, "status": status})


def _deployment(entry: Entry) -> dict[str, Any]:
    return {
        "name": f"default/{entry.name}",
        "namespace": "default",
        "deployment": entry.name,
        "model": entry.model,
        "variant": "v",
        "pool": entry.pool,
        "sharingGroup": f"default/{entry.group}",
        "tensorParallel": 1,
        "gpusPerReplica": 1,
        "replicas": entry.replicas,
    }


def _cell(name: str, group: str) -> dict[str, Any]:
    return {
        "name": name,
        "workloadClass": name,
        "sharingGroup": f"default/{group}",
        "requestsPerSecond": 1.0,
        "capacityRequestsPerSecond": 4.0,
    }


def a_picture(
    *,
    pools: Iterable[CustomResource] = (),
    models: Iterable[CustomResource] = (),
    classes: Iterable[CustomResource] = (),
    pods: Iterable[PodState] = (),
    deployments: Iterable[DeploymentState] = (),
    **fields: Any,
) -> FleetSnapshot:
    """Fleet/default in mode Auto, and one node `n`."""
    chosen: Mapping[str, Any] = {
        "fleet": a_fleet(),
        "pools": {item.key: item for item in pools},
        "models": {item.key: item for item in models},
        "classes": {item.key: item for item in classes},
        "pods": {pod.key: pod for pod in pods},
        "deployments": {state.key: state for state in deployments},
        "policies": {},
        "plans": (),
        "nodes": {"n": a_node("n")},
        "now_s": NOW_S,
        "monotonic_s": AWAKE_S,
    }
    return FleetSnapshot(**{**chosen, **fields})
