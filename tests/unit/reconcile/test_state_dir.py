"""A disk that is full, or a directory that is not ours: nothing that serves or decides waits for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from argosy.api.kinds import WATCHED
from argosy.kube.identity import ClusterIdentity
from argosy.kube.store import Store
from argosy.reconcile.clock import SystemClock
from argosy.reconcile.loops.publish import Publisher
from argosy.reconcile.watch.snapshots import Snapshots
from argosy.xds.server import AdsServer


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    """A directory that cannot be made: a file is in its way."""
    (tmp_path / "state").write_text("a file where the directory should be")
    return tmp_path / "state"


def test_routes_are_published_though_their_copy_cannot_be_written(
    nowhere: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ads = AdsServer()
    snapshots = Snapshots(Store(WATCHED))
    Publisher(snapshots, ads, SystemClock(), nowhere, ClusterIdentity()).publish_now()
    assert ads.current is not None
    assert [str(nowhere) in message for message in caplog.messages] == [True]
