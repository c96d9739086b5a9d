"""The FleetPlan of one cell, for tests of routes: only its shares matter.

Owns its builder. Input: the shares. Output: a `FleetPlan`, as the API server would hand it out.
"""

from __future__ import annotations

from collections.abc import Mapping

from argosy.api import FleetPlan, InvalidObject


def plan(shares: Mapping[str, float], revision: int = 7, cell: str = "default/chat") -> FleetPlan:
    """One cell, of the class and the sharing group of the same name, with its shares by Deployment."""
    deployments = [
        {
            "name": name,
            "namespace": "default",
            "deployment": name.split("/")[1],
            "model": "m",
            "variant": "v",
            "pool": "p",
            "sharingGroup": cell,
            "tensorParallel": 1,
            "gpusPerReplica": 1,
            "replicas": 1,
        }
        for name in shares
    ]
    cells = [
        {
            "name": cell,
            "workloadClass": cell,
            "sharingGroup": cell,
            "requestsPerSecond": 1.0,
            "shares": [{"deployment": name, "share": share} for name, share in shares.items()],
            "capacityRequestsPerSecond": 1.0,
        }
    ]
    spec = {
        "revision": revision,
        "trigger": "t",
        "costUsdPerHour": 1.0,
        "deployments": deployments,
        "cells": cells,
        "solver": {"status": "Optimal"},
    }
    found = FleetPlan.from_object({"metadata": {"name": f"plan-{revision}"}, "spec": spec})
    assert not isinstance(found, InvalidObject), found.message
    return found
