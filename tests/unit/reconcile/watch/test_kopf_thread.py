"""kopf as the operator runs it."""

import asyncio
import gc
import getpass
import threading
from pathlib import Path

import kopf
import pytest

from argosy.reconcile.clock import SystemClock
from argosy.reconcile.watch.kopf_thread import STUCK_AFTER, Backoffs, Found, KopfThread, _run_kopf

KUBECONFIG = """
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
clusters: [{name: c, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: u, user: {}}]
"""


def test_watches_run_as_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unnamed() -> str:
        raise KeyError("getpwuid(): uid not found: 65532")

    monkeypatch.setattr(getpass, "getuser", unnamed)
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(KUBECONFIG)
    stop = threading.Event()
    stop.set()
    _run_kopf(kubeconfig, frozenset({"pods"}), Found(lambda kind, event: None), stop)


def test_what_ends_kopf_is_raised_at_once_though_a_thread_waits_for_the_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As where the API server answers 401: kopf has a thread wait for its flag, and tasks that all fail."""

    async def refused() -> None:
        raise RuntimeError("401")

    async def operator(*, stop_flag: threading.Event, **_: object) -> None:
        asyncio.get_running_loop().run_in_executor(None, stop_flag.wait)
        await asyncio.wait([asyncio.create_task(refused())])
        raise RuntimeError("ran out of valid credentials")

    monkeypatch.setattr(kopf, "operator", operator)
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(KUBECONFIG)
    stop, ended = threading.Event(), list[str]()

    def watch() -> None:
        try:
            _run_kopf(kubeconfig, frozenset({"pods"}), Found(lambda kind, event: None), stop)
        except RuntimeError as error:
            ended.append(str(error))

    thread = threading.Thread(target=watch)
    thread.start()
    thread.join(10.0)
    has_ended = not thread.is_alive()
    stop.set()
    thread.join()
    gc.collect()
    assert (has_ended, ended) == (True, ["ran out of valid credentials"])
    assert caplog.messages == []


def test_watches_that_end_start_again_after_the_pause_that_is_asked_for_and_a_stop_ends_it() -> None:
    starts: list[frozenset[str]] = []
    ended: list[str] = []
    is_third = asyncio.Event()

    def failing(kubeconfig: Path | None, kinds: frozenset[str], found: Found, stop: threading.Event) -> None:
        starts.append(kinds)
        raise RuntimeError(f"refused: {len(starts)}")

    async def pause_s(error: BaseException | None) -> float:
        ended.append(str(error))
        if len(ended) < 3:
            return 0.0
        is_third.set()
        return 3600.0

    async def run() -> None:
        thread = KopfThread(Found(lambda kind, event: None), SystemClock(), pause_s, failing)
        thread.watch(frozenset({"pods"}))
        running = asyncio.create_task(thread.run(None))
        await is_third.wait()
        thread.stop()
        await running

    asyncio.run(asyncio.wait_for(run(), 30.0))
    assert ended == ["refused: 1", "refused: 2", "refused: 3"]
    assert starts == [frozenset({"pods"})] * 3


def test_what_ends_watches_that_others_have_replaced_is_no_line_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    started = [threading.Event(), threading.Event()]
    ends: list[str] = []

    def watching(kubeconfig: Path | None, kinds: frozenset[str], found: Found, stop: threading.Event) -> None:
        started[len(kinds) - 1].set()
        stop.wait(10.0)
        if len(kinds) == 1:
            raise RuntimeError("401")

    async def pause_s(error: BaseException | None) -> float:
        ends.append(str(error))
        return 0.0

    async def run() -> None:
        thread = KopfThread(Found(lambda kind, event: None), SystemClock(), pause_s, watching)
        running = asyncio.create_task(thread.run(None))
        for kinds, has_started in zip(({"pods"}, {"pods", "nodes"}), started, strict=True):
            thread.watch(frozenset(kinds))
            assert await asyncio.to_thread(has_started.wait, 10.0)
        thread.stop()
        await running

    asyncio.run(asyncio.wait_for(run(), 30.0))
    gc.collect()
    assert (ends, caplog.messages) == ([], [])


def test_a_request_that_keeps_failing_is_noticed_and_repeated_for_ever() -> None:
    stuck: list[int] = []
    pauses = iter(Backoffs(lambda: stuck.append(1)))
    assert [next(pauses) for _ in range(STUCK_AFTER - 1)] == [0.2, 0.5]
    assert stuck == []
    assert [next(pauses) for _ in range(60)][-1] == 2.0
    assert len(stuck) == (60 + STUCK_AFTER - 1) // STUCK_AFTER
