"""Completing the caches in virtual time: an API server may be away for any time."""

from __future__ import annotations

import asyncio
import logging

import pytest
from builders import a_class, a_fleet
from memory_api_server import MemoryApiServer
from virtual_clock import VirtualClock, in_virtual_time, troubles_of

from argosy.api.kinds import WATCHED
from argosy.control.triggers import RESTORED
from argosy.errors import NextStep
from argosy.kube.store import Store
from argosy.reconcile.watch.watches import Change, Listeners, Watches
from argosy.snapshot.seen import SECOND_LOOK_S, KindState, problems


class Stage:
    """Watches over an API server that refuses its first listings."""

    def __init__(self, num_refused: int) -> None:
        self.server, self.store, self.clock = MemoryApiServer(), Store(WATCHED), VirtualClock()
        self.changes: list[Change] = []
        self.asked_s: list[float] = []
        listeners = Listeners(self.changes.append)
        self.watches = Watches(self.store, self.server, self.clock, troubles_of(self.clock), listeners)

        def refusal(call: object) -> NextStep | None:
            if len(self.asked_s) < num_refused:
                self.asked_s.append(round(self.clock.monotonic_s(), 3))
                return NextStep.RETRY
            return None

        self.server.refusal = refusal


@pytest.mark.parametrize(
    ("num_refused", "expected_s"),
    [(0, 0.0), (1, 0.2), (2, 0.7), (3, 1.7), (4, 3.7), (33, 61.7)],
)
@in_virtual_time
async def test_listings_are_tried_again_after_growing_delays_of_two_seconds_at_most(
    num_refused: int, expected_s: float
) -> None:
    stage = Stage(num_refused)
    await stage.watches.resync_until_complete()
    assert stage.clock.monotonic_s() == pytest.approx(expected_s)
    assert stage.store.is_synced


@pytest.mark.parametrize(
    ("status", "alarming"),
    [
        pytest.param(429, False, id="it asks to come again, as just after a kind was installed"),
        pytest.param(500, True, id="it fails"),
    ],
)
@in_virtual_time
async def test_a_start_is_alarming_in_the_log_only_where_something_is_wrong(
    status: int, alarming: bool, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(1)
    stage.server.status = status
    with caplog.at_level(logging.INFO):
        await stage.watches.resync_until_complete()
    assert "objects could not be listed" in caplog.text
    assert ("WARNING" in {record.levelname for record in caplog.records}) is alarming


@in_virtual_time
async def test_a_listing_reports_what_a_watch_has_missed_once() -> None:
    stage = Stage(0)
    stage.server.put("fleets", a_fleet().to_object())
    stage.server.put("workloadclasses", a_class().to_object())
    await stage.watches.resync()
    await stage.watches.resync()
    stage.server.drop("workloadclasses", "default/chat")
    await stage.watches.resync()
    assert len(stage.changes) == 2, "an absence is believed at the second look"
    await stage.clock.sleep(SECOND_LOOK_S)
    await stage.watches.resync()
    found = [(c.kind, c.previous is not None, c.current is not None) for c in stage.changes]
    assert found == [
        ("fleets", False, True),
        ("workloadclasses", False, True),
        ("workloadclasses", True, False),
    ]


@in_virtual_time
async def test_a_store_is_complete_only_once_every_kind_has_been_listed() -> None:
    stage = Stage(0)
    stage.server.refusal = lambda call: NextStep.RETRY if call.plural == "pods" else None
    task = asyncio.create_task(stage.watches.resync_until_complete())
    await stage.clock.sleep(60.0)
    assert (stage.store.is_synced, task.done()) == (False, False)
    stage.server.refusal = lambda call: None
    await task
    assert stage.store.is_synced


@in_virtual_time
async def test_an_item_of_a_listing_that_only_lacks_its_kind_is_no_change_and_was_not_missed() -> None:
    stage = Stage(0)
    missed: list[tuple[str, int]] = []
    stage.watches = Watches(
        stage.store,
        stage.server,
        stage.clock,
        troubles_of(stage.clock),
        Listeners(stage.changes.append, on_missed=lambda kind, number: missed.append((kind, number))),
    )
    node = stage.server.put("nodes", {"metadata": {"name": "n"}})
    task = asyncio.create_task(stage.watches.keep_synced(lambda began_s: None))
    await stage.clock.sleep(20.0)
    stage.watches.seen("nodes", {"type": "MODIFIED", "object": {**node, "kind": "Node", "apiVersion": "v1"}})
    stage.changes.clear()
    await stage.clock.sleep(100.0)
    assert (stage.changes, missed) == ([], [])
    stage.server.put("nodes", {"metadata": {"name": "n", "labels": {"a": "b"}}})
    await stage.clock.sleep(60.0)
    assert (len(stage.changes), missed) == (1, [("nodes", 1)])
    task.cancel()


@in_virtual_time
async def test_a_listing_that_lacks_every_node_is_believed_only_when_the_next_one_does_too() -> None:
    stage = Stage(0)
    for name in ("a", "b", "c"):
        stage.server.put("nodes", {"metadata": {"name": name}})
    await stage.watches.resync()
    nodes = stage.server.objects.pop("nodes")
    await stage.watches.resync()
    assert len(stage.store.of("nodes")) == 3
    stage.server.objects["nodes"] = nodes
    await stage.watches.resync()
    stage.server.objects.pop("nodes")
    await stage.watches.resync()
    assert len(stage.store.of("nodes")) == 3, "one full listing in between begins the look anew"
    await stage.watches.resync()
    assert dict(stage.store.of("nodes")) == {}


@in_virtual_time
async def test_after_a_restore_nothing_counts_as_created_and_every_kind_is_listed_anew() -> None:
    stage, relisted = Stage(0), list[tuple[str, str]]()
    stage.watches = Watches(
        stage.store,
        stage.server,
        stage.clock,
        troubles_of(stage.clock),
        Listeners(stage.changes.append, on_relisted=lambda kind, cause: relisted.append((kind, cause))),
    )
    chat = stage.server.put("workloadclasses", a_class().to_object())
    backup = stage.server.backup()
    await stage.watches.resync()
    stage.server.drop("workloadclasses", "default/chat")
    stage.watches.seen("workloadclasses", {"type": "DELETED", "object": chat})
    await stage.watches.resync()
    stage.changes.clear()
    stage.server.restore(backup)
    await stage.watches.resync(["nodes"])
    stage.watches.seen("workloadclasses", {"type": None, "object": chat})
    await stage.watches.resync()
    assert stage.changes == []
    assert {kind for kind, _ in relisted} == set(WATCHED)
    assert {cause for _, cause in relisted} == {RESTORED}
    assert list(stage.store.of("workloadclasses")) == ["default/chat"]


@in_virtual_time
async def test_autoscalers_that_may_not_be_listed_hold_nothing_up(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(0)
    stage.server.forbidden = {"horizontalpodautoscalers"}
    with caplog.at_level(logging.WARNING):
        await stage.watches.resync_until_complete()
        await stage.watches.resync_until_complete()
    assert stage.store.is_synced
    assert stage.store.kinds["horizontalpodautoscalers"].state is KindState.FORBIDDEN
    assert problems(stage.store.kinds.values(), 0.0) == ()
    said = [r.message for r in caplog.records if "horizontalpodautoscalers cannot be listed" in r.message]
    assert len(said) == 1
    assert "allow list and watch, as charts/argosy/files/operator-rbac.yaml does" in said[0]
