"""Tests on a real kind cluster, as `make kind` leaves it: `make test-kind`. Elsewhere they are skipped.

    cluster      the cluster of the current kubectl context, settled
    load         load(seconds) -> a running Job that sends chat requests through Envoy, from a pod

Each test leaves every node schedulable and every class Ready.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kind_cluster import SETTLED_S, Cluster, Load, kubectl
from waiting import until

LOAD = Path(__file__).parents[2] / "hack" / "kind" / "load.yaml"
# make passes settings on that are not set, as empty ones.
RATE = os.environ.get("RATE") or "4"
TAG = os.environ.get("TAG") or "dev"
ASKED_FOR = os.environ.get("ARGOSY_KIND") == "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A cluster is touched only where that was asked for; the documents' paths, which end it, come last."""
    items.sort(key=lambda item: item.path == Path(__file__).with_name("test_documents.py"))
    if ASKED_FOR:
        return
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="needs a kind cluster: make kind, then make test-kind"))


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster, settled."""
    found = Cluster()
    found.wait_until_settled()
    return found


@pytest.fixture
def load(cluster: Cluster) -> Iterator[Callable[[int], Load]]:
    """Start a load and return once it sends."""

    def start(seconds: int) -> Load:
        cluster.wait_until_settled()
        values = {"=RATE": f"={RATE}", "=SECONDS": f"={seconds}", ":dev": f":{TAG}"}
        manifest = LOAD.read_text()
        for written, value in values.items():
            manifest = manifest.replace(written, value)
        name = kubectl("create", "-f", "-", "-o", "name", stdin=manifest).strip().removeprefix("job.batch/")
        started = Load(name, seconds)
        until(started.sends, "the load", SETTLED_S)
        return started

    yield start
    for node in cluster.read("nodes"):
        if node["spec"].get("unschedulable"):
            kubectl("uncordon", node["metadata"]["name"])
    cluster.wait_until_settled()
