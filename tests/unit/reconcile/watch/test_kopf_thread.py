"""kopf as the operator runs it."""

import asyncio
import getpass
import threading
from pathlib import Path

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


def test_a_request_that_keeps_failing_is_noticed_and_repeated_for_ever() -> None:
    stuck: list[int] = []
    pauses = iter(Backoffs(lambda: stuck.append(1)))
    assert [next(pauses) for _ in range(STUCK_AFTER - 1)] == [0.2, 0.5]
    assert stuck == []
    assert [next(pauses) for _ in range(60)][-1] == 2.0
    assert len(stuck) == (60 + STUCK_AFTER - 1) // STUCK_AFTER
