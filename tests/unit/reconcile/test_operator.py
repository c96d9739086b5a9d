"""How the parts of one process are connected: what a watch reports reaches the loops that wait for it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio import client

from argosy.api.kinds import WATCHED
from argosy.files.incarnation import begin
from argosy.kube.identity import ClusterIdentity
from argosy.reconcile.clock import SystemClock
from argosy.reconcile.loops.traffic import TrafficLoop
from argosy.reconcile.operator import _Process
from argosy.settings import OperatorSettings
from argosy.snapshot.cluster import LABEL_DEPLOYMENT, LABEL_MANAGED_BY, MANAGED_BY


def an_engine(version: int, ready: bool) -> dict[str, Any]:
    """A pod of Argosy's as the API server sends it."""
    return {
        "metadata": {
            "name": "llama-a",
            "namespace": "default",
            "uid": "u",
            "resourceVersion": str(version),
            "labels": {LABEL_MANAGED_BY: MANAGED_BY, LABEL_DEPLOYMENT: "llama"},
        },
        "spec": {"nodeName": "n"},
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": str(ready)}],
        },
    }


def test_a_pod_that_becomes_ready_or_ceases_to_be_wakes_the_traffic_loop_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[str] = []
    monkeypatch.setattr(TrafficLoop, "endpoints_changed", lambda self: woken.append("endpoints"))

    async def run() -> None:
        settings = OperatorSettings(state_dir=tmp_path)
        incarnation = begin(tmp_path, "me")
        async with client.ApiClient(client.Configuration()) as api_client:
            process = _Process(settings, api_client, SystemClock(), incarnation, ClusterIdentity())
            for kind in WATCHED:
                process._store.replace(kind, [], 1)
            process._watches.seen("pods", {"type": "ADDED", "object": an_engine(2, ready=False)})
            assert woken == []
            process._watches.seen("pods", {"type": "MODIFIED", "object": an_engine(3, ready=True)})
            assert woken == ["endpoints"]
            process._watches.seen("pods", {"type": "MODIFIED", "object": an_engine(4, ready=False)})
            assert woken == ["endpoints"] * 2
            await process.close()

    asyncio.run(run())
