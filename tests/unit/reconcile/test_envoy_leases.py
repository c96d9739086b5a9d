"""Envoys that are connected to other replicas of the operator."""

from __future__ import annotations

import json
from typing import Any

import pytest

from argosy.reconcile.envoy_leases import ANNOTATION, envoys_of, has_expired, lease_name
from argosy.snapshot.fleet import EnvoyState

RENEWED = "2026-01-01T00:00:00.000000Z"
NOW_S = 1767225600.0  # the same instant


def a_lease(name: str, envoys: Any, renewed: str = RENEWED) -> dict[str, Any]:
    text = envoys if isinstance(envoys, str) else json.dumps(envoys)
    return {
        "metadata": {"name": name, "namespace": "argosy-system", "annotations": {ANNOTATION: text}},
        "spec": {"renewTime": renewed, "leaseDurationSeconds": 12},
    }


EDGE = {"node_id": "edge-1", "acknowledged_version": "00000003-ab", "refused_version": "", "message": ""}


@pytest.mark.parametrize(
    ("lease", "expected"),
    [
        pytest.param(
            a_lease("other", [EDGE]), (EnvoyState("edge-1", "00000003-ab"),), id="of another replica"
        ),
        pytest.param(a_lease("own", [EDGE]), (), id="one's own counts from memory"),
        pytest.param(a_lease("other", [EDGE], "2025-12-31T23:59:47Z"), (), id="a replica that is gone"),
        pytest.param(a_lease("other", "not JSON"), (), id="an annotation that is no JSON"),
        pytest.param(a_lease("other", [{"id": "x"}]), (), id="rows of another shape"),
        pytest.param({"metadata": {"name": "other"}}, (), id="a Lease that was never renewed"),
    ],
)
def test_the_leases_list_envoys_of_other_living_replicas(
    lease: dict[str, Any], expected: tuple[EnvoyState, ...]
) -> None:
    assert envoys_of([lease], "own", NOW_S) == expected


@pytest.mark.parametrize(("after_s", "expired"), [(0.0, False), (12.0, False), (12.1, True)])
def test_a_replica_counts_as_alive_for_its_leases_duration(after_s: float, expired: bool) -> None:
    assert has_expired(a_lease("other", []), NOW_S + after_s) is expired


def test_a_lease_is_named_after_its_replica_whatever_it_is_called() -> None:
    assert lease_name("Host_7:1234") == "argosy-envoys-host-7-1234"
