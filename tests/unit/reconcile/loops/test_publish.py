"""The publishing loop in virtual time: when routes are published, and what is never published."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from builders import a_class, a_fleet
from virtual_clock import VirtualClock, in_virtual_time

from argosy.api import CustomResource, FleetPlan, ObjectMeta
from argosy.api.conditions import Condition, ConditionStatus
from argosy.api.fleetplan import FleetPlanSpec, FleetPlanStatus, SolverReport
from argosy.api.kinds import WATCHED
from argosy.errors import InvariantError
from argosy.kube.identity import ClusterIdentity
from argosy.kube.store import Store
from argosy.reconcile.loops.publish import SETTLE_S, Publisher
from argosy.reconcile.watch.snapshots import Snapshots
from argosy.snapshot.cluster import LABEL_DEPLOYMENT, LABEL_GROUP, LABEL_MANAGED_BY, MANAGED_BY
from argosy.snapshot.fleet import EnvoyState
from argosy.xds import snapshot_file
from argosy.xds.server import AdsServer
from argosy.xds.snapshot import TypeUrl

SPEC = FleetPlanSpec(
    revision=17, trigger="a test", cost_usd_per_hour=0.0, solver=SolverReport(status="Optimal")
)
APPLIED = FleetPlanStatus(
    conditions=(Condition(type="Applied", status=ConditionStatus.TRUE, reason="Applied"),)
)


HERE = ClusterIdentity("uid-here")


class Stage:
    """A publisher, the store that it reads and what it has published."""

    def __init__(self, directory: Path, cluster: ClusterIdentity | None = None) -> None:
        self.store, self.ads, self.clock = Store(WATCHED), AdsServer(), VirtualClock()
        self.publisher = Publisher(Snapshots(self.store), self.ads, self.clock, directory, cluster or HERE)
        self.is_synced = True
        self.published_s: list[float] = []
        self._version = 0

    def apply(self, item: CustomResource, **metadata: Any) -> None:
        self._version += 1
        body = item.to_object()
        body["metadata"] |= {"resourceVersion": str(self._version), **metadata}
        self.store.put(type(item).PLURAL, body)
        self.publisher.note(type(item).PLURAL)

    @property
    def version(self) -> str:
        return self.ads.current.version if self.ads.current else ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        loop = asyncio.create_task(self.publisher.run(lambda: self.is_synced))
        yield
        assert not loop.done()
        loop.cancel()
        with suppress(asyncio.CancelledError):
            await loop


@in_virtual_time
async def test_changes_that_come_together_are_published_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    stage = Stage(tmp_path)
    async with stage.running():
        await stage.clock.sleep(1.0)
        assert stage.version == ""
        for port in (10000, 10001, 10002):
            stage.apply(a_fleet(gateway={"port": port}))
        await stage.clock.sleep(SETTLE_S / 2)
        assert stage.version == ""
        await stage.clock.sleep(SETTLE_S)
    assert caplog.messages == [f"Envoys get routes {stage.version}"]


@in_virtual_time
async def test_after_a_change_the_routes_are_compiled_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, compiled_s = Stage(tmp_path), list[float]()
    monkeypatch.setattr(
        stage.publisher, "publish_now", lambda: compiled_s.append(round(stage.clock.monotonic_s(), 3))
    )
    async with stage.running():
        stage.apply(a_fleet())
        await stage.clock.sleep(1.0)
        stage.apply(a_fleet(gateway={"port": 10001}))
        await stage.clock.sleep(1.0)
    assert compiled_s == [SETTLE_S, 1.0 + SETTLE_S]


@in_virtual_time
async def test_without_a_copy_nothing_is_served_and_since_when_it_serves_is_known(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(tmp_path)
    stage.publisher.serve_copy()
    assert (stage.version, caplog.messages) == ("", [])
    started_s = stage.clock.now_s()
    await stage.clock.sleep(5.0)
    assert stage.publisher.view(()).since_s == started_s


@in_virtual_time
async def test_a_change_of_what_routes_do_not_depend_on_publishes_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    async with stage.running():
        await stage.clock.sleep(0.5)
        stage.publisher.note("nodes")
        stage.publisher.note("deployments")
        await stage.clock.sleep(60.0)
    assert stage.version == ""


@in_virtual_time
async def test_nothing_is_published_before_the_caches_are_complete(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.is_synced = False
    async with stage.running():
        stage.apply(a_fleet())
        await stage.clock.sleep(10.0)
        assert stage.version == ""
        stage.is_synced = True
        stage.apply(a_class())
        await stage.clock.sleep(1.0)
    assert stage.version != ""


@in_virtual_time
async def test_until_the_caches_are_complete_the_copy_of_the_process_before_is_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = Stage(tmp_path)
    before.apply(a_fleet(gateway={"port": 10007}))
    before.publisher.publish_now()
    after = Stage(tmp_path)
    after.publisher.serve_copy()
    assert after.version == before.version != ""
    assert caplog.messages == []


@in_virtual_time
async def test_of_a_copy_that_names_no_cluster_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Stage(tmp_path, ClusterIdentity()).publisher.publish_now()
    Stage(tmp_path, ClusterIdentity()).publisher.serve_copy()
    (said,) = caplog.messages
    assert "its own is not known" in said


@in_virtual_time
async def test_a_state_directory_that_cannot_be_written_keeps_no_route_from_envoys(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    stage = Stage(tmp_path / "file")
    stage.publisher.publish_now()
    assert stage.version != ""
    (said,) = caplog.messages
    assert said.startswith(f"the copy of the xDS snapshot was not written to {tmp_path / 'file'}: ")


@in_virtual_time
async def test_the_log_has_one_line_for_each_revision(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    stage = Stage(tmp_path)
    plan = FleetPlan(metadata=ObjectMeta(name="plan-000017"), spec=SPEC, status=APPLIED)
    for item in (a_fleet(), a_fleet(gateway={"port": 10001}), plan, a_fleet(gateway={"port": 10002})):
        stage.apply(item)
        stage.publisher.publish_now()
    revisions = [message.removeprefix("Envoys get routes ")[:8] for message in caplog.messages]
    assert revisions == ["00000000", "00000017"]


@in_virtual_time
async def test_the_copy_of_another_cluster_is_not_served_and_the_remedy_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = Stage(tmp_path, ClusterIdentity("uid-there"))
    before.apply(a_fleet(gateway={"port": 10007}))
    before.publisher.publish_now()
    after = Stage(tmp_path)
    after.publisher.serve_copy()
    assert after.version == ""
    (said,) = caplog.messages
    assert said.endswith(
        "it is of the cluster whose namespace kube-system has the uid uid-there, and this process serves the"
        " one with uid-here; give the operator of each cluster a --state-dir of its own"
    )


@in_virtual_time
async def test_where_the_cluster_is_not_known_the_copy_is_served_and_what_is_known_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = Stage(tmp_path, ClusterIdentity("uid-there"))
    before.publisher.publish_now()
    unknown = ClusterIdentity()
    unknown.why_unknown = "the API server did not answer within 2 s"
    after = Stage(tmp_path, unknown)
    after.publisher.serve_copy()
    assert after.version == before.version
    assert caplog.messages == [
        "the copy is served without knowing that it is of this cluster: its own is uid-there, the present"
        " one's uid could not be read: the API server did not answer within 2 s"
    ]
    unknown.uid = "uid-here"
    after.publisher.learned_cluster()
    assert caplog.messages[-1].startswith(
        "Envoys have the copy of the routes until the caches are complete, but it is of the cluster whose"
    )


@in_virtual_time
async def test_routes_that_were_published_before_the_cluster_was_known_are_marked_with_it_later(
    tmp_path: Path,
) -> None:
    cluster = ClusterIdentity()
    stage = Stage(tmp_path, cluster)
    stage.publisher.publish_now()
    cluster.uid = "uid-here"
    stage.publisher.learned_cluster()
    saved = snapshot_file.load(tmp_path, "uid-here")
    assert isinstance(saved, snapshot_file.SavedSnapshot)
    assert saved.cluster == "uid-here"


class BrokenClock(VirtualClock):
    """Raises `error` until it is None."""

    error: Exception | None = None

    def now_s(self) -> float:
        if self.error is not None:
            raise self.error
        return super().now_s()


@pytest.mark.parametrize("error", [InvariantError("two parts disagree"), KeyError("a bug")])
@in_virtual_time
async def test_an_error_while_routes_are_compiled_publishes_nothing_and_does_not_end_the_loop(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    stage, clock = Stage(tmp_path), BrokenClock()
    stage.publisher = Publisher(Snapshots(stage.store), stage.ads, clock, tmp_path, HERE)
    async with stage.running():
        clock.error = error
        stage.apply(a_class())
        await clock.sleep(1.0)
        assert stage.version == ""
        clock.error = None
        stage.apply(a_fleet())
        await clock.sleep(1.0)
    assert stage.version != ""
    assert any("the routes were not published" in message for message in caplog.messages)


@in_virtual_time
async def test_an_envoy_of_this_replica_is_believed_before_the_others(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.publisher.publish_now()
    view = stage.publisher.view((EnvoyState("b", "v1"), EnvoyState("a", "v2")))
    assert (view.version, [e.node_id for e in view.envoys]) == (stage.version, ["a", "b"])
    assert snapshot_file.load(tmp_path) is not None


@in_virtual_time
async def test_an_envoy_that_went_from_here_to_another_replica_is_not_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path)
    monkeypatch.setattr(AdsServer, "gone_at_s", {"moved": 1.0, "gone": 2.0, "back": 3.0})
    monkeypatch.setattr(stage.ads, "envoys", lambda: (EnvoyState("back", "v1"),))
    monkeypatch.setattr(stage.ads, "endpoints_by_version", lambda: {"v1": frozenset({"10.0.0.1:8000"})})
    view = stage.publisher.view((EnvoyState("moved", "v1"),))
    assert view.gone_at_s == {"gone": 2.0}
    assert view.endpoints_by_version == {"v1": {"10.0.0.1:8000"}}


@in_virtual_time
async def test_an_envoy_with_later_routes_than_this_replica_is_reported_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path)
    ahead = EnvoyState("edge", "v9", refused_version="v8", message="cannot bind", is_ahead=True)
    monkeypatch.setattr(stage.ads, "envoys", lambda: (ahead,))
    assert stage.publisher.own_envoys() == (ahead,)
    assert stage.publisher.view(()).envoys == (ahead,)


@in_virtual_time
async def test_engines_that_run_without_any_plan_keep_the_routes_that_envoys_have(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(tmp_path)
    labels = {LABEL_MANAGED_BY: MANAGED_BY, LABEL_DEPLOYMENT: "engine", LABEL_GROUP: "chat"}
    ready = [{"type": "Ready", "status": "True"}]
    pod = {
        "metadata": {
            "namespace": "default",
            "name": "p",
            "uid": "p",
            "labels": labels,
            "resourceVersion": "1",
        },
        "spec": {"nodeName": "n"},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": ready},
    }
    stage.store.put("pods", pod)
    async with stage.running():
        for port in (10000, 10001):
            stage.apply(a_fleet(gateway={"port": port}))
            await stage.clock.sleep(1.0)
    assert stage.version == ""
    (warning,) = [m for m in caplog.messages if "not published anew" in m]
    assert "engines run and no FleetPlan says what for" in warning
    stage.apply(FleetPlan(metadata=ObjectMeta(name="plan-000017"), spec=SPEC, status=APPLIED))
    stage.publisher.publish_now()
    assert stage.version.startswith("00000017-")
    assert len(caplog.messages) == 1


async def test_a_deleted_plan_leaves_the_routes_as_they_are(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.apply(a_class())
    plan = FleetPlan(metadata=ObjectMeta(name="plan-000017"), spec=SPEC, status=APPLIED)
    stage.apply(plan)
    stage.publisher.publish_now()
    served = stage.version
    assert served.startswith("00000017-")
    stage.store.drop("fleetplans", {**plan.to_object(), "metadata": {"name": "plan-000017"}})
    assert not stage.store.of("fleetplans")
    stage.publisher.publish_now()
    assert stage.version == served
    stage.apply(a_fleet(gateway={"port": 10007}))
    stage.publisher.publish_now()
    assert stage.version == served
    assert stage.ads.current is not None
    assert stage.ads.current.resources(TypeUrl.LISTENER).version.startswith("00000017-"), "and go on"


@in_virtual_time
async def test_envoys_of_one_node_id_at_two_replicas_are_both_shown_as_sharing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path)
    monkeypatch.setattr(stage.ads, "envoys", lambda: (EnvoyState("edge", "v1"), EnvoyState("other", "v1")))
    view = stage.publisher.view((EnvoyState("edge", "v1", is_duplicate=True),))
    assert [(e.node_id, e.is_duplicate) for e in view.envoys] == [
        ("edge", True),
        ("edge", True),
        ("other", False),
    ]
