"""ConfigMaps by name, from an API server that also fails: silence is never an absence."""

from __future__ import annotations

import base64
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio import client
from memory_api_server import MemoryApiServer
from virtual_clock import VirtualClock, in_virtual_time, troubles_of

from argosy.errors import NextStep
from argosy.kube.api import ApiServer
from argosy.reconcile.clock import SystemClock
from argosy.reconcile.reporting.troubles import LASTING_S
from argosy.reconcile.watch import profile_files
from argosy.reconcile.watch.profile_files import FIRST_ATTEMPTS, ProfileFiles, ProfileFilesView
from argosy.snapshot.fleet import ProfileFileKey
from argosy.snapshot.kubernetes import config_map_files

ONE = ProfileFileKey("team", "measured", "one.json")
TWO = ProfileFileKey("team", "measured", "two.json")
ELSEWHERE = ProfileFileKey("team", "elsewhere", "one.json")
MAPS = "/api/v1/namespaces/team/configmaps"


class FakeApiServer:
    """ConfigMaps by path. Counts what it is asked; `failures` are answered before the truth."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.asked: Counter[str] = Counter()
        self.failures: list[tuple[int, str]] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def put(self, name: str, data: dict[str, str], binary: dict[str, bytes] | None = None) -> None:
        coded = {key: base64.b64encode(value).decode() for key, value in (binary or {}).items()}
        self.objects[f"{MAPS}/{name}"] = {"kind": "ConfigMap", "data": data, "binaryData": coded}

    async def answer(self, request: web.Request) -> web.Response:
        self.asked[f"{request.method} {request.path}"] += 1
        self.meanwhile()
        if self.failures:
            status, text = self.failures.pop(0)
            return web.Response(status=status, text=text, content_type="application/json")
        found = self.objects.get(request.path)
        if found is None:
            body = {"kind": "Status", "reason": "NotFound", "message": "not found", "code": 404}
            return web.json_response(body, status=404)
        return web.json_response(found)


class Stage:
    """The API server, the copy that is kept of it, and what is named at the moment."""

    def __init__(self, server: FakeApiServer, files: ProfileFiles) -> None:
        self.server, self.files = server, files
        self.named: frozenset[ProfileFileKey] = frozenset()

    async def refresh(self, *named: ProfileFileKey) -> tuple[str, ...]:
        self.named = frozenset(named) or self.named
        return await self.files.refresh(lambda: self.named)

    @property
    def view(self) -> ProfileFilesView:
        return self.files.view


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(profile_files, "RETRY_S", 0.0)
    server, app = FakeApiServer(), web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    async with TestServer(app) as running:
        settings = client.Configuration()
        settings.host = str(running.make_url("")).rstrip("/")
        async with client.ApiClient(settings) as api_client:
            yield Stage(
                server, ProfileFiles(ApiServer(api_client), SystemClock(), troubles_of(SystemClock()))
            )


FORBIDDEN = (403, '{"message": "configmaps is forbidden"}')


async def test_both_kinds_of_data_are_read_with_one_question_per_config_map(stage: Stage) -> None:
    stage.server.put("measured", {"one.json": "{é}"}, {"two.json": b"\xff\x00"})
    assert await stage.refresh(ONE, TWO) == ()
    assert stage.view == ProfileFilesView({ONE: "{é}".encode(), TWO: b"\xff\x00"}, {})
    await stage.refresh()
    assert stage.server.asked == {f"GET {MAPS}/measured": 2}


async def test_what_the_api_server_says_is_not_there_is_missing_and_not_unread(stage: Stage) -> None:
    stage.server.put("measured", {"one.json": "1"})
    await stage.refresh(ONE, TWO, ELSEWHERE)
    assert stage.view == ProfileFilesView({ONE: b"1"}, {})


async def test_without_a_name_nothing_is_asked(stage: Stage) -> None:
    assert await stage.refresh() == ()
    assert stage.server.asked == {}


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(FORBIDDEN, id="forbidden"),
        pytest.param((500, "{}"), id="out of order"),
        pytest.param((404, "<html>no such page</html>"), id="a proxy knows no such page"),
        pytest.param((200, "[]"), id="a proxy answers something else"),
    ],
)
async def test_what_was_seen_stays_while_the_api_server_fails(stage: Stage, failure: tuple[int, str]) -> None:
    stage.server.put("measured", {"one.json": "1"})
    await stage.refresh(ONE, TWO)
    stage.server.failures = [failure]
    assert await stage.refresh() == ()
    assert stage.view == ProfileFilesView({ONE: b"1"}, {})


async def test_a_failure_that_passes_is_no_reason_to_decide_without_the_file(stage: Stage) -> None:
    stage.server.put("measured", {"one.json": "1"})
    stage.server.failures = [(500, "{}")] * (FIRST_ATTEMPTS - 1)
    await stage.refresh(ONE)
    assert stage.view == ProfileFilesView({ONE: b"1"}, {})


async def test_what_was_never_seen_is_unread_with_the_api_servers_words_until_it_is_seen(
    stage: Stage,
) -> None:
    stage.server.put("measured", {"one.json": "1"})
    stage.server.failures = [FORBIDDEN] * FIRST_ATTEMPTS
    await stage.refresh(ONE)
    assert stage.view.files == {}
    assert stage.view.unread == {ONE: f"GET {MAPS}/measured: 403 configmaps is forbidden"}
    await stage.refresh()
    assert stage.view == ProfileFilesView({ONE: b"1"}, {})


async def test_a_key_that_is_named_later_is_unread_though_its_config_map_was_seen(stage: Stage) -> None:
    stage.server.put("measured", {"one.json": "1", "two.json": "2"})
    await stage.refresh(ONE)
    stage.server.failures = [FORBIDDEN] * FIRST_ATTEMPTS
    await stage.refresh(ONE, TWO)
    assert (stage.view.files, list(stage.view.unread)) == ({ONE: b"1"}, [TWO])


async def test_a_key_that_is_named_later_is_asked_for_again_though_its_config_map_was_seen(
    stage: Stage,
) -> None:
    stage.server.put("measured", {"one.json": "1", "two.json": "2"})
    await stage.refresh(ONE)
    stage.server.failures = [(500, "{}")]
    await stage.refresh(ONE, TWO)
    assert stage.view == ProfileFilesView({ONE: b"1", TWO: b"2"}, {})


async def test_a_change_is_told_once_whether_a_file_comes_goes_or_differs(stage: Stage) -> None:
    assert await stage.refresh(ONE, TWO, ELSEWHERE) == ()  # the first sight is no change
    stage.server.put("measured", {"one.json": "1", "two.json": "2"})
    assert await stage.refresh() == ("team/measured",)
    stage.server.put("measured", {"one.json": "1", "two.json": "3", "unnamed": "x"})
    stage.server.put("elsewhere", {"one.json": "4"})
    assert await stage.refresh() == ("team/elsewhere", "team/measured")
    stage.server.put("elsewhere", {"one.json": "4", "unnamed": "y"})
    assert await stage.refresh() == ()
    del stage.server.objects[f"{MAPS}/measured"]
    assert await stage.refresh() == ("team/measured",)
    assert stage.view == ProfileFilesView({ELSEWHERE: b"4"}, {})


async def test_what_comes_to_be_named_while_others_are_read_is_read_too(stage: Stage) -> None:
    stage.server.put("measured", {"one.json": "1"})
    stage.server.put("elsewhere", {"one.json": "2"})

    def name_another() -> None:
        stage.named = frozenset({ONE, ELSEWHERE})

    stage.server.meanwhile = name_another
    await stage.refresh(ONE)
    assert stage.view.files == {ONE: b"1", ELSEWHERE: b"2"}


async def test_what_is_named_no_longer_is_forgotten(stage: Stage) -> None:
    stage.server.put("measured", {"one.json": "1", "two.json": "2"})
    await stage.refresh(ONE, TWO)
    await stage.refresh(TWO)
    assert stage.view.files == {TWO: b"2"}
    stage.server.failures = [FORBIDDEN] * FIRST_ATTEMPTS
    await stage.refresh(ONE, TWO)
    assert list(stage.view.unread) == [ONE]


@pytest.mark.parametrize(
    ("config_map", "files"),
    [
        pytest.param({}, {}, id="an empty one"),
        pytest.param({"data": None, "binaryData": None}, {}, id="null for nothing"),
        pytest.param({"data": ["a"]}, {}, id="a list for a map"),
        pytest.param({"data": {"a": 5}}, {"a": b"5"}, id="a number in a hand-written file"),
        pytest.param({"binaryData": {"a": "aGk\n="}}, {"a": b"hi"}, id="folded by an editor"),
        pytest.param({"binaryData": {"a": "%%é"}}, {"a": "%%é".encode()}, id="not base64"),
        pytest.param({"data": {"a": "\ud800"}}, {"a": b"?"}, id="half a character"),
    ],
)
def test_a_config_map_is_read_whatever_it_holds(config_map: dict[str, Any], files: dict[str, bytes]) -> None:
    assert config_map_files(config_map) == files


# --- when it asks again, in virtual time ----------------------------------------------------------


@pytest.mark.parametrize(
    ("num_refused", "expected_s", "is_read"),
    [
        pytest.param(0, [0.0], True, id="at once"),
        pytest.param(2, [0.0, 0.5, 1.0], True, id="after two failures"),
        pytest.param(9, [0.0, 0.5, 1.0], False, id="given up after three"),
    ],
)
@in_virtual_time
async def test_a_file_without_a_copy_is_fetched_three_times_half_a_second_apart(
    num_refused: int, expected_s: list[float], is_read: bool
) -> None:
    server, clock, asked_s = MemoryApiServer(), VirtualClock(), list[float]()
    metadata = {"name": "measured", "namespace": "team"}
    server.put("configmaps", {"metadata": metadata, "data": {"one.json": "1"}})

    def refusal(call: object) -> NextStep | None:
        asked_s.append(clock.monotonic_s())
        return NextStep.RETRY if len(asked_s) <= num_refused else None

    server.refusal = refusal
    files = ProfileFiles(server, clock, troubles_of(clock))
    await files.refresh(lambda: frozenset({ONE}))
    assert (asked_s, list(files.view.files) == [ONE], list(files.view.unread) == [ONE]) == (
        expected_s,
        is_read,
        not is_read,
    )


@in_virtual_time
async def test_a_file_with_a_copy_is_fetched_once_and_decisions_do_not_wait() -> None:
    server, clock = MemoryApiServer(), VirtualClock()
    metadata = {"name": "measured", "namespace": "team"}
    server.put("configmaps", {"metadata": metadata, "data": {"one.json": "1"}})
    files = ProfileFiles(server, clock, troubles_of(clock))
    await files.refresh(lambda: frozenset({ONE}))
    server.refusal = lambda call: NextStep.RETRY
    await files.refresh(lambda: frozenset({ONE}))
    assert (clock.monotonic_s(), files.view.files) == (0.0, {ONE: b"1"})


@in_virtual_time
async def test_a_config_map_that_is_not_read_is_a_warning_and_the_process_stays_ready(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server, clock = MemoryApiServer(), VirtualClock()
    troubles = troubles_of(clock)
    files = ProfileFiles(server, clock, troubles)
    server.refusal = lambda call: NextStep.RETRY
    with caplog.at_level(logging.INFO):
        await files.refresh(lambda: frozenset({ONE}))
        assert caplog.messages[-1].startswith(
            "ConfigMap team/measured: it was not read, its last copy is used: "
        )
        await clock.sleep(LASTING_S)
        assert troubles.lasting() == ()
        server.refusal = lambda call: None
        await files.refresh(lambda: frozenset({ONE}))
    assert caplog.messages[-1].startswith("ConfigMap team/measured: works again")


@in_virtual_time
async def test_a_config_map_that_is_named_no_longer_is_no_trouble() -> None:
    server, clock = MemoryApiServer(), VirtualClock()
    troubles = troubles_of(clock)
    files = ProfileFiles(server, clock, troubles)
    server.refusal = lambda call: NextStep.RETRY
    await files.refresh(lambda: frozenset({ONE, ELSEWHERE}))
    await files.refresh(lambda: frozenset({ELSEWHERE}))
    await clock.sleep(LASTING_S)
    assert troubles.lasting_activities() == ("ConfigMap team/elsewhere",)
