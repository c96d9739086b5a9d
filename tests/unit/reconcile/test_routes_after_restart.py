"""Routes of what is not seen stay as Envoys have them: after a restart, and until the plan without it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from builders import a_class, a_fleet, a_model, a_pool
from virtual_clock import in_virtual_time
from virtual_shell import VirtualShell

from argosy.kube.identity import ClusterIdentity
from argosy.reconcile.loops.publish import Publisher
from argosy.reconcile.watch.snapshots import HANDOVER_S
from argosy.route.table import Claim, RequestMatch
from argosy.xds import snapshot_file
from argosy.xds.server import AdsServer
from argosy.xds.snapshot import TypeUrl

CHAT, BATCH, NEW = "default/chat", "default/batch", "default/new"
GRACE_S = 300


def by_header(value: str) -> dict[str, list[dict[str, str]]]:
    return {"headers": [{"name": "x-class", "value": value}]}


def the_match(value: str) -> RequestMatch:
    return RequestMatch(headers=(("x-class", value),))


class Gateway:
    """A process with its publisher; one replica of a model serves class chat, another's class batch."""

    def __init__(self, directory: Path, before: Gateway | None = None, cluster: str = "") -> None:
        """cluster: its uid, empty where the process does not know it"""
        self.shell = VirtualShell(directory, before.shell if before else None)
        self.ads, self.cluster = AdsServer(times=self.shell.clock), ClusterIdentity(cluster)
        self.publisher = Publisher(
            self.shell.state.snapshots, self.ads, self.shell.clock, directory, self.cluster
        )
        self.publisher.serve_copy()

    def apply_all(self) -> None:
        self.shell.a_small_fleet(num_nodes=6)
        self.shell.apply(a_fleet(deletionGraceSeconds=GRACE_S), a_model("other"))
        self.shell.apply(a_class(match=by_header("chat")))
        self.shell.apply(a_class("batch", match=by_header("batch"), models=[{"name": "other"}]))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self.shell.running():
            task = asyncio.create_task(self._publish())
            yield
            assert not task.done()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _publish(self) -> None:
        while True:
            self.publisher.publish_now()
            await self.shell.clock.sleep(1.0)

    async def sleep(self, seconds: float) -> None:
        await self.shell.clock.sleep(seconds)

    @property
    def claims(self) -> tuple[Claim, ...]:
        assert self.ads.current is not None
        return self.ads.current.former.claims

    @property
    def classes(self) -> set[str]:
        return {claim.class_key for claim in self.claims}

    def match_of(self, key: str) -> RequestMatch:
        return next(claim.match for claim in self.claims if claim.class_key == key)

    @property
    def clusters(self) -> frozenset[str]:
        assert self.ads.current is not None
        return frozenset(self.ads.current.resources(TypeUrl.CLUSTER).by_name)


async def gone_while_it_runs(directory: Path, plural: str, key: str, cluster: str = "") -> Gateway:
    """A process that ends while the grace of a deleted object runs."""
    before = Gateway(directory, cluster=cluster)
    before.apply_all()
    async with before.running():
        await before.sleep(60.0)
        assert before.classes == {CHAT, BATCH}
        before.shell.server.drop(plural, key)
        await before.sleep(20.0)
        assert before.classes == {CHAT, BATCH}
    return before


@pytest.mark.parametrize(("plural", "key"), [("workloadclasses", CHAT), ("servedmodels", "default/llama")])
@in_virtual_time
async def test_in_the_middle_of_a_grace_new_classes_and_edited_ones_are_routed_within_seconds(
    tmp_path: Path, plural: str, key: str
) -> None:
    before = await gone_while_it_runs(tmp_path, plural, key)
    fresh = Gateway(tmp_path, before)
    async with fresh.running():
        await fresh.sleep(5.0)
        served, chat = fresh.clusters, fresh.match_of(CHAT)
        assert chat == the_match("chat")
        fresh.shell.apply(a_class("new", match=by_header("new"), models=[{"name": "other"}]))
        fresh.shell.apply(a_class("batch", match=by_header("edited"), models=[{"name": "other"}]))
        await fresh.sleep(3.0)
        assert fresh.classes == {CHAT, BATCH, NEW}
        assert fresh.match_of(BATCH) == the_match("edited")
        assert fresh.match_of(CHAT) == chat
        assert served <= fresh.clusters
        await fresh.sleep(GRACE_S + 60.0)
        assert fresh.classes == {BATCH, NEW} | ({CHAT} if plural == "servedmodels" else set())


@in_virtual_time
async def test_in_the_middle_of_a_grace_a_price_moves_what_is_seen_and_nothing_else(tmp_path: Path) -> None:
    before = await gone_while_it_runs(tmp_path, "workloadclasses", CHAT)
    fresh = Gateway(tmp_path, before)
    async with fresh.running():
        await fresh.sleep(5.0)
        was = fresh.ads.current
        assert was is not None
        fresh.shell.apply(a_class("batch", 24.0, match=by_header("batch"), models=[{"name": "other"}]))
        fresh.shell.apply(a_pool(priceUsdPerHour=0.5))
        await fresh.sleep(60.0)
        now = fresh.ads.current
        assert now is not None
        assert now.revision > was.revision
        assert fresh.match_of(CHAT) == the_match("chat")
        assert len(now.endpoint_addresses) > len(was.endpoint_addresses)
        assert now.endpoint_addresses >= was.endpoint_addresses


@in_virtual_time
async def test_an_unseen_classs_requests_follow_its_replicas_and_not_the_copy(tmp_path: Path) -> None:
    before = await gone_while_it_runs(tmp_path, "workloadclasses", CHAT)
    fresh = Gateway(tmp_path, before)
    async with fresh.running():
        await fresh.sleep(5.0)
        assert fresh.ads.current is not None
        gone = next(p for p in fresh.shell.state.snapshot().engine_pods if "chat" in p.labels.values())
        fresh.shell.server.drop("pods", gone.key)
        await fresh.sleep(3.0)
        assert gone.address not in fresh.ads.current.endpoint_addresses


@in_virtual_time
async def test_without_a_copy_all_routes_stay_as_envoys_have_them_and_the_log_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = await gone_while_it_runs(tmp_path, "workloadclasses", CHAT)
    (tmp_path / snapshot_file.FILE_NAME).unlink()
    fresh = Gateway(tmp_path, before)
    async with fresh.running():
        await fresh.sleep(GRACE_S / 2)
        assert fresh.ads.current is None
        assert "WorkloadClass default/chat is named by what runs for it and is not seen" in caplog.text
        await fresh.sleep(GRACE_S)
        assert fresh.classes == {BATCH}


@in_virtual_time
async def test_the_copy_of_another_cluster_stands_in_for_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = await gone_while_it_runs(tmp_path, "workloadclasses", CHAT, "uid-there")
    fresh = Gateway(tmp_path, before)
    copy = fresh.ads.current
    assert copy is not None, "it is not known yet that the copy is another cluster's"
    fresh.cluster.uid = "uid-here"
    async with fresh.running():
        await fresh.sleep(5.0)
        assert fresh.ads.current is copy
        assert "has no copy of the routes that Envoys have for it" in caplog.text


@in_virtual_time
async def test_a_pool_that_is_not_seen_holds_no_route_up(tmp_path: Path) -> None:
    before = await gone_while_it_runs(tmp_path, "gpupools", "l40s")
    (tmp_path / snapshot_file.FILE_NAME).unlink()
    fresh = Gateway(tmp_path, before)
    async with fresh.running():
        await fresh.sleep(3.0)
        assert fresh.classes == {CHAT, BATCH}


@in_virtual_time
async def test_a_class_whose_grace_has_ended_is_routed_until_the_plan_without_it_but_not_for_long(
    tmp_path: Path,
) -> None:
    """Class new has taken over chat's match: before the next plan no replica serves it."""
    gateway = Gateway(tmp_path)
    gateway.apply_all()
    async with gateway.running():
        await gateway.sleep(60.0)
        gateway.shell.apply(a_class("new", match=by_header("chat")))
        await gateway.sleep(10.0)
        assert gateway.classes == {CHAT, BATCH}
        gateway.shell.decider.takes_s = 60.0  # no decision is carried out meanwhile
        gateway.shell.server.drop("workloadclasses", CHAT)
        await gateway.sleep(5.0)
    gateway.publisher.publish_now()
    assert gateway.classes == {CHAT, BATCH, NEW}
    assert [claim.class_key for claim in gateway.claims if claim.match == the_match("chat")] == [CHAT, NEW]
    await gateway.sleep(HANDOVER_S)
    gateway.publisher.publish_now()
    assert gateway.classes == {BATCH, NEW}
