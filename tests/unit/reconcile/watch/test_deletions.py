"""Looks at definitions, one by one: what each of the API server's answers means for a kind."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import pytest
from builders import a_class
from memory_api_server import INSTALLED, MemoryApiServer
from virtual_clock import VirtualClock, in_virtual_time

from argosy.api.kinds import WATCHED
from argosy.api.schema.timestamp import rfc3339
from argosy.errors import NextStep
from argosy.kube.store import Store
from argosy.reconcile.watch.deletions import Deletions
from argosy.snapshot.seen import SECOND_LOOK_S, KindState, ObjectRef

CLASSES = "workloadclasses"
DEFINITION = f"{CLASSES}.argosy.dev"


class Stage:
    """A store in which every kind has been listed, and an API server that has them all installed."""

    def __init__(self) -> None:
        self.server, self.store, self.clock = MemoryApiServer(), Store(WATCHED), VirtualClock()
        self.deletions = Deletions(self.store, self.server, self.clock)
        for kind in WATCHED:
            self.store.replace(kind, [], 0)

    def put_state(self, state: KindState) -> None:
        self.store.note(replace(self.store.kinds[CLASSES], state=state))

    async def looked(self) -> KindState:
        await self.deletions.look(CLASSES)
        return self.store.kinds[CLASSES].state

    def lose_a_class(self, name: str = "chat", created: str | None = None) -> ObjectRef:
        """It was there, and is gone from the store."""
        body = a_class(name).to_object()
        body["metadata"]["creationTimestamp"] = created or rfc3339(self.clock.now_s())
        self.store.put(CLASSES, body)
        self.store.drop(CLASSES, body)
        return ObjectRef(CLASSES, f"default/{name}")

    def believed(self) -> list[str]:
        return [item["metadata"]["name"] for item in self.deletions.believed(CLASSES)]


def nothing(server: MemoryApiServer) -> None:
    """All kinds are installed."""


def uninstalled(server: MemoryApiServer) -> None:
    server.uninstall(CLASSES)


def going(server: MemoryApiServer) -> None:
    server.of("customresourcedefinitions")[DEFINITION]["metadata"]["deletionTimestamp"] = INSTALLED


def forbidden(server: MemoryApiServer) -> None:
    server.forbidden.add("customresourcedefinitions")


@pytest.mark.parametrize("before", list(KindState))
@pytest.mark.parametrize(
    ("answer", "after"),
    [
        pytest.param(uninstalled, dict.fromkeys(KindState, KindState.MISSING), id="not installed"),
        pytest.param(going, dict.fromkeys(KindState, KindState.TERMINATING), id="being deleted"),
        pytest.param(nothing, {KindState.TERMINATING: KindState.SEEN}, id="installed"),
        pytest.param(forbidden, {KindState.TERMINATING: KindState.SEEN}, id="may not be looked at"),
    ],
)
@in_virtual_time
async def test_a_definition_that_is_there_makes_no_kind_seen_that_could_not_be_listed(
    before: KindState, answer: Callable[[MemoryApiServer], None], after: dict[KindState, KindState]
) -> None:
    stage = Stage()
    answer(stage.server)
    stage.put_state(before)
    assert await stage.looked() is after.get(before, before)


@in_virtual_time
async def test_a_permission_that_is_missing_is_a_warning_once_until_it_is_there_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage()
    forbidden(stage.server)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await stage.looked()
        assert len(caplog.messages) == 1
        assert "allow it get on customresourcedefinitions" in caplog.messages[0]
        stage.server.forbidden.clear()
        await stage.looked()
        forbidden(stage.server)
        await stage.looked()
        assert len(caplog.messages) == 2


@in_virtual_time
async def test_an_api_server_that_is_away_is_no_missing_permission(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    stage.server.refusal = lambda call: NextStep.RETRY
    with caplog.at_level(logging.WARNING):
        assert await stage.looked() is KindState.SEEN
    assert caplog.messages == []


@in_virtual_time
async def test_a_reported_deletion_is_believed_at_once_and_an_absence_at_the_second_look() -> None:
    stage = Stage()
    reported = stage.lose_a_class("reported")
    stage.lose_a_class("absent")
    stage.deletions.report(reported)
    await stage.looked()
    assert stage.believed() == ["reported"]
    await stage.clock.sleep(SECOND_LOOK_S - 0.5)
    assert stage.believed() == []
    await stage.clock.sleep(0.5)
    assert stage.believed() == ["absent"]
    assert stage.deletions.waiting() == frozenset()


@in_virtual_time
async def test_an_object_that_comes_back_and_goes_again_is_looked_at_from_the_beginning() -> None:
    stage = Stage()
    ref = stage.lose_a_class()
    await stage.looked()
    assert stage.believed() == []
    stage.deletions.report(ref)
    stage.store.put(CLASSES, a_class().to_object() | {"metadata": {**METADATA, "uid": "another"}})
    assert stage.believed() == []
    await stage.clock.sleep(SECOND_LOOK_S)
    stage.store.drop(CLASSES, {"metadata": {**METADATA, "uid": "another"}})
    assert stage.deletions.waiting() == {CLASSES}
    assert stage.believed() == [], "neither the report nor the first look was about this one"


METADATA = {
    "name": "chat",
    "namespace": "default",
    "resourceVersion": "9",
    "creationTimestamp": "2024-01-01T00:00:00Z",
}


@in_virtual_time
async def test_what_is_older_than_its_definition_went_with_an_earlier_one_and_is_never_believed_deleted() -> (
    None
):
    stage = Stage()
    stage.server.install(rfc3339(stage.clock.now_s()), CLASSES)
    ref = stage.lose_a_class(created=rfc3339(stage.clock.now_s() - 1.0))
    stage.deletions.report(ref)
    await stage.looked()
    await stage.clock.sleep(2 * SECOND_LOOK_S)
    assert stage.believed() == []
    assert stage.deletions.waiting() == {CLASSES}


@in_virtual_time
async def test_a_clock_that_is_set_brings_no_second_look_and_its_time_is_when_the_deletion_was_known() -> (
    None
):
    stage = Stage()
    stage.lose_a_class()
    await stage.looked()
    assert stage.believed() == []
    stage.clock.jump(3600.0)
    assert stage.believed() == []
    await stage.clock.sleep(SECOND_LOOK_S)
    assert stage.believed() == ["chat"]
    assert stage.store.parting(CLASSES)["default/chat"].deleted_s == stage.clock.now_s()


@in_virtual_time
async def test_a_report_holds_until_the_definition_could_be_looked_at_whatever_is_asked_of_other_kinds() -> (
    None
):
    stage = Stage()
    reported = stage.lose_a_class("reported")
    stage.lose_a_class("absent")
    stage.deletions.report(reported)
    assert stage.believed() == [], "its definition has not been looked at"
    assert stage.deletions.believed("gpupools") == []
    await stage.looked()
    assert stage.believed() == ["reported"]
    await stage.clock.sleep(SECOND_LOOK_S)
    assert stage.deletions.believed("gpupools") == []
    assert stage.believed() == ["absent"]
