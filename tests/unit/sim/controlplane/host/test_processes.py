"""Children are known again, ended politely, never mistaken for strangers, and never outlive us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from argosy_sim.controlplane.host.processes import (
    Ending,
    Identity,
    Launcher,
    Process,
    end,
    identify,
    is_running,
    resident_bytes,
    send,
)

Launch = Callable[..., Process]
IGNORES_SIGTERM = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
)


@pytest.fixture
def launcher() -> Launcher:
    return Launcher(os.environ, die_with_parent=True)


@pytest.fixture
def launch(launcher: Launcher, tmp_path: Path) -> Iterator[Launch]:
    started: list[Process] = []

    def run(*command: str) -> Process:
        process = launcher.launch("child", command or ("/bin/sleep", "60"), tmp_path / "child.log")
        started.append(process)
        return process

    yield run
    for process in started:
        launcher.end(process, 0.5)


def eventually(is_so: Callable[[], bool], within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.02)
    return is_so()


def is_program(process: Process, name: str) -> bool:
    return name in Path(f"/proc/{process.identity.pid}/comm").read_text()


def test_a_child_runs_in_a_session_of_its_own_until_it_is_ended(launch: Launch, launcher: Launcher) -> None:
    child = launch()
    assert is_running(child.identity)
    assert os.getsid(child.identity.pid) == child.identity.pid
    assert resident_bytes(child.identity) > 0
    assert launcher.end(child, 5.0) is Ending.TERMINATED
    assert not is_running(child.identity)
    assert resident_bytes(child.identity) == 0


def test_a_child_that_ignores_sigterm_is_killed_after_its_grace(launch: Launch, launcher: Launcher) -> None:
    child = launch(sys.executable, "-c", IGNORES_SIGTERM)
    assert eventually(lambda: child.log.read_text() == "1\n")
    assert launcher.end(child, 0.2) is Ending.KILLED
    assert not is_running(child.identity)


def test_ending_twice_says_that_it_was_gone(launch: Launch, launcher: Launcher) -> None:
    child = launch()
    launcher.end(child, 5.0)
    assert launcher.end(child, 5.0) is Ending.GONE


def test_a_child_that_was_not_recorded_can_still_be_killed(launcher: Launcher, launch: Launch) -> None:
    children = [launch(), launch()]
    launcher.kill_all()
    assert [is_running(child.identity) for child in children] == [False, False]


@pytest.mark.parametrize(
    "stranger",
    [
        pytest.param(lambda it: replace(it, start_ticks=it.start_ticks - 1), id="the pid was used again"),
        pytest.param(lambda it: replace(it, boot_id="another"), id="the machine was started again"),
    ],
)
def test_a_stranger_with_a_recorded_pid_is_left_alone(
    stranger: Callable[[Identity], Identity], launch: Launch
) -> None:
    child = launch()
    recorded = stranger(child.identity)
    assert not is_running(recorded)
    assert end(recorded, 0.0) is Ending.GONE
    assert send(recorded, signal.SIGKILL) is False
    assert is_running(child.identity)


def test_a_zombie_is_not_running(launch: Launch) -> None:
    child = launch("/bin/true")
    assert eventually(lambda: not is_running(child.identity))


LEADER_ENDS_FIRST = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_zombie_with_a_living_thread_is_running_and_can_be_ended(
    launch: Launch, launcher: Launcher
) -> None:
    child = launch(sys.executable, "-c", LEADER_ENDS_FIRST)
    status = Path(f"/proc/{child.identity.pid}/status")
    assert eventually(lambda: "State:\tZ" in status.read_text())
    assert is_running(child.identity)
    assert launcher.end(child, 5.0) is Ending.TERMINATED


def test_a_name_with_parentheses_and_spaces_does_not_confuse_the_start_time(
    tmp_path: Path, launch: Launch
) -> None:
    odd = tmp_path / "a ) R 1 (b"
    odd.symlink_to("/bin/sleep")
    child = launch(str(odd), "60")
    assert eventually(lambda: is_program(child, odd.name))
    assert identify(child.identity.pid) == child.identity


def test_a_child_outlives_the_thread_that_asked_for_it(launch: Launch) -> None:
    children: list[Process] = []

    def ask() -> None:
        children.append(launch())
        # Only once the request to the kernel has been made does the thread's end matter.
        assert eventually(lambda: is_program(children[0], "sleep"))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    time.sleep(0.3)  # the kernel's signal, if it came, would come at once
    assert is_running(children[0].identity)


def test_children_do_not_see_settings_meant_for_the_developer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETCD_NAME", "theirs")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test")
    launcher = Launcher(os.environ, die_with_parent=True)
    child = launcher.launch("env", ["/usr/bin/env"], tmp_path / "env.log")
    assert eventually(lambda: "PATH=" in child.log.read_text())
    launcher.end(child, 1.0)
    names = {line.split("=")[0] for line in child.log.read_text().splitlines()}
    assert names & {"ETCD_NAME", "HTTPS_PROXY"} == set()


PARENT = """
import os, sys, time
from pathlib import Path
from argosy_sim.controlplane.host.processes import Launcher
launcher = Launcher(os.environ, die_with_parent=sys.argv[1] == "yes")
child = launcher.launch("child", ["/bin/sleep", "60"], Path(sys.argv[2]))
print(child.identity.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("die_with_parent", "survives"),
    [
        pytest.param("yes", False, id="a demo's or a test's child goes with it"),
        pytest.param("no", True, id="a fleet that is up stays up"),
    ],
)
def test_what_becomes_of_a_child_whose_parent_is_killed(
    die_with_parent: str, survives: bool, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", PARENT, die_with_parent, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        child = identify(pid)
        assert child is not None
        # Until the wrapper has become the program the request may not have been made yet.
        assert eventually(lambda: "sleep" in Path(f"/proc/{pid}/comm").read_text())
        parent.kill()
    try:
        assert eventually(lambda: is_running(child) == survives, within_s=2.0)
        time.sleep(0.2)
        assert is_running(child) == survives
    finally:
        end(child, 1.0)
