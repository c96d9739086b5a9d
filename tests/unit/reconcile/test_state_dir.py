"""A disk that is full, or a directory that is not ours: nothing that serves or decides waits for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import a_class
from settled_shell import settled
from virtual_clock import in_virtual_time
from virtual_shell import VirtualShell

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


@in_virtual_time
async def test_processes_that_start_with_empty_state_directories_keep_what_runs_and_count_on(
    tmp_path: Path,
) -> None:
    before = await settled(tmp_path / "before")
    pods, plans = set(before.server.of("pods")), sorted(before.server.of("fleetplans"))
    after = VirtualShell(tmp_path / "after", before)
    async with after.running():
        await after.clock.sleep(60.0)
        assert (set(after.server.of("pods")), sorted(after.server.of("fleetplans"))) == (pods, plans)
        after.apply(a_class(rate_per_s=16.0))
        await after.clock.sleep(5.0)
        numbers = [plan["spec"]["revision"] for plan in after.server.of("fleetplans").values()]
        assert max(numbers) == len(plans) + 1
        assert pods <= set(after.server.of("pods"))
