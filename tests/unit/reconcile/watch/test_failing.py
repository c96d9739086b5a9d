"""Watches that fail: the others go on, users learn which one and why, and the pauses are bounded."""

from __future__ import annotations

import asyncio
import itertools
import logging

import pytest
from memory_api_server import Call, MemoryApiServer
from virtual_clock import VirtualClock, in_virtual_time, troubles_of

from argosy.api.kinds import WATCHED
from argosy.errors import NextStep, Obstacle
from argosy.kube.store import Store
from argosy.reconcile.watch.failing import EVERY, LONGEST_S, LONGEST_TOGETHER_S
from argosy.reconcile.watch.watches import QUICK_S, Change, Listeners, Watches
from argosy.snapshot.scaling.autoscalers import AUTOSCALERS

ENDED = RuntimeError("kopf has ended")


class Stage:
    """A process whose watches end by themselves."""

    def __init__(self) -> None:
        self.server, self.store, self.clock = MemoryApiServer(), Store(WATCHED), VirtualClock()
        self.troubles = troubles_of(self.clock)
        self.changes: list[Change] = []
        self.pictures: list[str] = []
        self.shown: list[set[str]] = []
        listeners = Listeners(
            self.changes.append, self.pictures.append, on_failing=lambda kinds: self.shown.append(set(kinds))
        )
        self.watches = Watches(self.store, self.server, self.clock, self.troubles, listeners)

    def refuse_watches(self, *kinds: str, status: int = 403) -> None:
        self.server.obstacle, self.server.status = Obstacle.FORBIDDEN, status
        self.server.refusal = lambda call: (
            NextStep.RETRY if call.verb == "watch" and call.plural in kinds else None
        )

    async def synced(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self.watches.keep_synced(lambda began_s: None))
        await self.clock.sleep(1.0)
        return task


@in_virtual_time
async def test_a_watch_that_is_refused_is_left_out_and_named_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage()
    stage.refuse_watches("pods")
    task = await stage.synced()
    with caplog.at_level(logging.WARNING):
        assert await stage.watches.watches_ended(ENDED) <= 1.0, "the other kinds are watched at once"
        await stage.clock.sleep(600.0)
    assert stage.shown == [{"pods"}]
    assert stage.watches.watched == frozenset(WATCHED) - {"pods"}
    assert [line for line in stage.troubles.lasting() if line.startswith("watch of pods: ")]
    assert stage.store.kinds["pods"].unwatched
    assert [kind for kind, seen in stage.store.kinds.items() if seen.unwatched] == ["pods"]
    lines = [record.getMessage() for record in caplog.records if "watch of pods" in record.getMessage()]
    assert len(lines) <= 5, "one line, and reminders that become rare"
    task.cancel()


@in_virtual_time
async def test_changes_of_a_kind_that_is_not_watched_are_found_by_the_quick_listings() -> None:
    stage = Stage()
    stage.refuse_watches("nodes")
    task = await stage.synced()
    await stage.watches.watches_ended(ENDED)
    await stage.clock.sleep(20.0)
    stage.server.put("nodes", {"metadata": {"name": "n"}})
    await stage.clock.sleep(QUICK_S + 2.0)
    assert [(change.kind, change.previous) for change in stage.changes] == [("nodes", None)]
    await stage.clock.sleep(60.0)
    assert stage.watches.watched == frozenset(WATCHED) - {"nodes"}
    task.cancel()


@in_virtual_time
async def test_a_watch_that_is_allowed_again_is_found_within_a_minute_and_all_is_well() -> None:
    stage = Stage()
    stage.refuse_watches("pods", "nodes")
    task = await stage.synced()
    await stage.watches.watches_ended(ENDED)
    await stage.clock.sleep(600.0)
    stage.refuse_watches()
    await stage.clock.sleep(LONGEST_S + 2 * QUICK_S)
    assert stage.shown[-1] == set()
    assert stage.watches.watched == frozenset(WATCHED)
    assert stage.troubles.lasting() == ()
    assert not any(seen.unwatched for seen in stage.store.kinds.values())
    assert len(stage.pictures) >= 2, "Fleet says that they fail, and that they work"
    task.cancel()


@in_virtual_time
async def test_a_refused_watch_is_asked_for_ever_more_rarely() -> None:
    stage = Stage()
    asked_s: list[float] = []

    def refusal(call: Call) -> NextStep | None:
        if call != Call("watch", "pods"):
            return None
        asked_s.append(stage.clock.monotonic_s())
        return NextStep.RETRY

    stage.server.refusal, stage.server.status = refusal, 403
    task = await stage.synced()
    await stage.watches.watches_ended(ENDED)
    await stage.clock.sleep(3600.0)
    pauses = [later - earlier for earlier, later in itertools.pairwise(asked_s)]
    assert max(pauses) <= LONGEST_S + 2 * QUICK_S
    assert 3600 / (LONGEST_S + 2 * QUICK_S) < len(pauses) < 3600 / (LONGEST_S / 2)
    assert len({round(pause, 1) for pause in pauses[8:]}) > 1, "jitter"
    task.cancel()


@in_virtual_time
async def test_watches_that_fail_together_start_again_with_growing_pauses_until_they_last(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage()
    task = await stage.synced()
    pauses = []
    with caplog.at_level(logging.WARNING):
        for _ in range(12):
            pauses.append(await stage.watches.watches_ended(ENDED))
            await stage.clock.sleep(pauses[-1])
    assert 0.5 <= pauses[0] <= 1.0
    assert LONGEST_TOGETHER_S / 2 <= pauses[-1] <= LONGEST_TOGETHER_S
    assert stage.shown == [{EVERY}]
    assert stage.watches.watched == frozenset(WATCHED)
    assert [line for line in stage.troubles.lasting() if line.startswith("watches: ") and str(ENDED) in line]
    assert len([record for record in caplog.records if "the watches ended" in record.getMessage()]) <= 4
    await stage.clock.sleep(60.0)
    assert (stage.shown[-1], stage.troubles.lasting()) == (set(), ())
    assert 0.5 <= await stage.watches.watches_ended(ENDED) <= 1.0
    task.cancel()


@in_virtual_time
async def test_watches_that_end_because_every_one_is_refused_start_again_with_growing_pauses() -> None:
    stage = Stage()
    stage.refuse_watches(*WATCHED, status=401)
    task = await stage.synced()
    pauses = []
    for _ in range(8):
        pauses.append(await stage.watches.watches_ended(ENDED))
        await stage.clock.sleep(pauses[-1])
    assert 0.5 <= pauses[0] <= 1.0
    assert LONGEST_TOGETHER_S / 2 <= pauses[-1] <= LONGEST_TOGETHER_S
    assert stage.shown == [{EVERY}]
    task.cancel()


@in_virtual_time
async def test_an_api_server_that_refuses_every_watch_is_one_sentence_until_it_does_not() -> None:
    stage = Stage()
    stage.refuse_watches(*WATCHED, status=401)
    task = await stage.synced()
    stage.watches.watch_stuck()
    await stage.clock.sleep(600.0)
    assert stage.shown == [{EVERY}]
    assert len(stage.troubles.lasting()) == 1
    stage.refuse_watches()
    await stage.clock.sleep(60.0)
    assert (stage.shown[-1], stage.troubles.lasting()) == (set(), ())
    task.cancel()


@in_virtual_time
async def test_a_watch_that_kopf_repeats_in_vain_is_found_and_left_out() -> None:
    stage = Stage()
    stage.refuse_watches("nodes")
    task = await stage.synced()
    stage.watches.watch_stuck()
    await stage.clock.sleep(15.0 + QUICK_S)
    assert stage.shown == [{"nodes"}]
    assert stage.watches.watched == frozenset(WATCHED) - {"nodes"}
    assert [line for line in stage.troubles.lasting() if line.startswith("watch of nodes: ")]
    task.cancel()


@in_virtual_time
async def test_watches_that_fail_because_the_api_server_is_away_are_not_called_refused() -> None:
    stage = Stage()
    stage.refuse_watches(*WATCHED, status=0)
    task = await stage.synced()
    stage.watches.watch_stuck()
    await stage.clock.sleep(60.0)
    assert (stage.shown, stage.watches.watched) == ([], frozenset(WATCHED))
    task.cancel()


@in_virtual_time
async def test_a_kind_that_cannot_even_be_listed_is_reported_as_that_alone() -> None:
    stage = Stage()
    stage.refuse_watches("pods")
    task = await stage.synced()
    await stage.watches.watches_ended(ENDED)
    stage.server.forbidden.add("pods")
    await stage.clock.sleep(30.0)
    assert stage.shown[-1] == set()
    assert "pods" not in stage.watches.watched
    assert stage.troubles.lasting() == ()
    task.cancel()


@in_virtual_time
async def test_of_watches_that_failed_together_those_that_still_do_are_named_alone() -> None:
    stage = Stage()
    stage.refuse_watches(*WATCHED)
    task = await stage.synced()
    stage.watches.watch_stuck()
    await stage.clock.sleep(120.0)
    assert stage.shown == [{EVERY}]
    stage.refuse_watches("pods")
    await stage.clock.sleep(120.0)
    assert stage.shown[-1] == {"pods"}
    assert stage.watches.watched == frozenset(WATCHED) - {"pods"}
    assert [kind for kind, seen in stage.store.kinds.items() if seen.unwatched] == ["pods"]
    task.cancel()


@pytest.mark.parametrize("verb", ["list and watch", "the kind"])
@in_virtual_time
async def test_watches_work_again_though_a_kind_that_can_be_done_without_went_meanwhile(verb: str) -> None:
    stage = Stage()
    task = await stage.synced()
    await stage.watches.watches_ended(ENDED)
    gone = AUTOSCALERS if verb == "list and watch" else "routerpolicies"
    if verb == "the kind":
        stage.server.uninstall(gone)
    else:
        stage.server.forbidden.add(gone)
    await stage.clock.sleep(120.0)
    assert (stage.shown[-1], stage.troubles.lasting()) == (set(), ())
    assert not any(seen.unwatched for seen in stage.store.kinds.values())
    assert stage.watches.watched == frozenset(WATCHED) - {gone}
    task.cancel()


@pytest.mark.parametrize("kinds", [("pods",), tuple(WATCHED)], ids=["one", "all"])
@in_virtual_time
async def test_a_request_without_an_answer_is_no_proof_that_a_refused_watch_works(
    kinds: tuple[str, ...],
) -> None:
    stage = Stage()
    stage.refuse_watches(*kinds)
    task = await stage.synced()
    stage.watches.watch_stuck()
    await stage.clock.sleep(120.0)
    assert len(stage.shown) == 1
    stage.refuse_watches(*kinds, status=0)
    await stage.clock.sleep(300.0)
    assert len(stage.shown) == 1, "nothing is said to work before it is known"
    stage.refuse_watches()
    await stage.clock.sleep(LONGEST_S + 60.0)
    assert (stage.shown[-1], stage.troubles.lasting()) == (set(), ())
    task.cancel()
