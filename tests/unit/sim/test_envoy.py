"""When an Envoy that was started counts as up; a small HTTP server stands for its admin interface."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from argosy_sim.controlplane.errors import StartError
from argosy_sim.controlplane.host.ports import LOOPBACK
from argosy_sim.controlplane.host.processes import Identity, Process, identify
from argosy_sim.envoy import refused_listener, wait_until_live


class Admin(BaseHTTPRequestHandler):
    """As Envoy before its first configuration: alive, not ready; its first answers may be refusals."""

    refusals = 0
    listeners: ClassVar[list[dict[str, object]]] = []

    def do_GET(self) -> None:
        if self.path.startswith("/config_dump"):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"configs": Admin.listeners}).encode())
            return
        is_live = self.path == "/server_info" and Admin.refusals == 0
        Admin.refusals = max(0, Admin.refusals - 1)
        self.send_response(200 if is_live else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing: the output belongs to the tests."""


@pytest.fixture
def admin_port() -> Iterator[int]:
    server = HTTPServer((LOOPBACK, 0), Admin)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def running(tmp_path: Path) -> Process:
    identity = identify(os.getpid())
    assert identity is not None
    return Process("envoy", identity, tmp_path / "log")


def test_a_proxy_for_the_internet_is_not_asked_for_an_envoy_on_this_machine(
    running: Process, admin_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    wait_until_live(running, admin_port)


def test_an_answer_other_than_200_is_waited_out(running: Process, admin_port: int) -> None:
    Admin.refusals = 2
    wait_until_live(running, admin_port)
    assert Admin.refusals == 0


def test_an_envoy_that_ends_is_refused_with_the_end_of_its_log(tmp_path: Path, admin_port: int) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {number}\n" for number in range(20)))
    gone = Process("envoy", Identity(os.getpid(), 0, ""), log)
    with pytest.raises(
        StartError, match=r"Envoy ended at once; the end of .*/log:\nline 10\n(.*\n)*line 19$"
    ):
        wait_until_live(gone, admin_port)


@pytest.mark.parametrize(
    ("listeners", "expected"),
    [
        pytest.param([{"active_state": {}}, {"error_state": {"details": "taken"}}], "taken", id="refused"),
        pytest.param([{"active_state": {}}], "", id="taken"),
        pytest.param([], "", id="none came"),
    ],
)
def test_an_envoy_that_refuses_its_listener_is_found_by_its_own_words(
    admin_port: int, monkeypatch: pytest.MonkeyPatch, listeners: list[dict[str, object]], expected: str
) -> None:
    monkeypatch.setattr("argosy_sim.envoy.FIRST_LISTENER_S", 0.3)
    monkeypatch.setattr(Admin, "listeners", listeners)
    assert refused_listener(admin_port) == expected
