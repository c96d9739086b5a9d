"""Owns child processes: starts them, recognises them later, and ends them. Linux only.

A process is identified by pid *and* start time, so that `argosy sim down`, minutes later and from
another process, does not end an unrelated process that got the pid since. Processes are not looked
up by name.

Children run in a session of their own: Ctrl-C at a terminal reaches only this process, which stops
them in order. With `die_with_parent` the kernel ends them if this process cannot.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from argosy_sim.controlplane.host import die_with_parent as _wrapper
from argosy_sim.controlplane.host import outlive_parent as _orphaner

# PR_SET_PDEATHSIG fires when the *thread* that forked ends. All forks therefore happen on this
# one thread, which lives as long as the interpreter, whichever thread or event loop asks.
_FORKER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="argosy-forker")

_ENVIRONMENT_KEPT = ("PATH", "HOME", "TMPDIR", "TZ", "LANG", "GOMAXPROCS", "GODEBUG")


@dataclass(frozen=True, slots=True)
class Identity:
    """Identifies a process: a pid is reused, (pid, start time, boot) is not."""

    pid: int
    start_ticks: int
    boot_id: str


@dataclass(frozen=True, slots=True)
class Process:
    """A child as written to the state file. `log` holds its output."""

    name: str
    identity: Identity
    log: Path


class Ending(StrEnum):
    """How a process came to its end."""

    GONE = "gone"
    """It had ended before."""
    TERMINATED = "terminated"
    """It ended within its grace after SIGTERM."""
    KILLED = "killed"
    """It needed SIGKILL."""


def identify(pid: int) -> Identity | None:
    """Return the process that has this pid now; None if there is none.

    A zombie counts as none once its last thread is gone: until then it was observed to hold its ports.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # proc(5): the name in parentheses may hold anything, so count fields after its end.
    fields = stat[stat.rindex(")") + 2 :].split()
    state, num_threads, start_ticks = fields[0], int(fields[17]), int(fields[19])
    has_ended = state in ("Z", "X") and num_threads <= 1
    return None if has_ended else Identity(pid, start_ticks, boot_id)


def is_running(identity: Identity) -> bool:
    """Whether this very process is alive."""
    return identify(identity.pid) == identity


def thread_states(identity: Identity) -> tuple[str, ...]:
    """The state of each thread as proc(5) has it (`T`: stopped by a signal); empty if the process is gone."""
    found = []
    for stat in Path(f"/proc/{identity.pid}/task").glob("*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            text = stat.read_text()
            found.append(text[text.rindex(")") + 2])
    return tuple(found) if is_running(identity) else ()


def resident_bytes(identity: Identity) -> int:
    """Memory of a process in bytes; 0 if it is gone."""
    if not is_running(identity):
        return 0
    try:
        pages = int(Path(f"/proc/{identity.pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what children may see of our environment.

    etcd reads every flag from ETCD_*, clients follow HTTPS_PROXY and KUBECONFIG: a developer's
    settings would reach into the fleet.
    """
    return {name: environment[name] for name in _ENVIRONMENT_KEPT if name in environment}


def send(identity: Identity, number: signal.Signals) -> bool:
    """Send a signal to this very process; False if it is gone."""
    try:
        handle = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return False
    try:
        return _send(handle, identity, number)
    finally:
        os.close(handle)


def end(identity: Identity, grace_s: float) -> Ending:
    """SIGTERM, then SIGKILL after `grace_s`; returns once the process has ended."""
    try:
        handle = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return Ending.GONE
    try:
        if not _send(handle, identity, signal.SIGTERM):
            return Ending.GONE
        if _ended_within(handle, grace_s):
            return Ending.TERMINATED
        _send(handle, identity, signal.SIGKILL)
        _ended_within(handle, 10.0)
        return Ending.KILLED
    finally:
        os.close(handle)


def _send(handle: int, identity: Identity, number: signal.Signals) -> bool:
    # The handle pins the process: if it is the right one now, the signal cannot reach another.
    if not is_running(identity):
        return False
    try:
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    return True


def _ended_within(handle: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


def launch_orphan(environment: Mapping[str, str], name: str, command: Sequence[str], log: Path) -> Process:
    """Start `command` without a parent, its output appended to `log`: it outlives this process.

    A command that cannot be run ends at once, with the cause in `log`.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    reading, writing = os.pipe()
    argv = [sys.executable, "-I", "-S", str(_orphaner.__file__), str(writing), *command]
    with open(reading, "rb") as answer, log.open("ab") as output:  # noqa: PTH123  (a descriptor)
        try:
            subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=child_environment(environment),
                start_new_session=True,
                pass_fds=(writing,),
                check=True,
            )
        finally:
            os.close(writing)
        pid = int(answer.read())
    return Process(name, identify(pid) or Identity(pid, 0, ""), log)


class Launcher:
    """Starts children and reaps them.

    `die_with_parent`: the kernel kills them when this Python process ends, however it ends.
    Without it they live on (`argosy sim up`).
    """

    def __init__(self, environment: Mapping[str, str], *, die_with_parent: bool) -> None:
        self._environment = child_environment(environment)
        self._die_with_parent = die_with_parent
        self._children: dict[Identity, subprocess.Popen[bytes]] = {}

    def launch(self, name: str, command: Sequence[str], log: Path) -> Process:
        """Start `command` with its output appended to `log`; raises `OSError` if it cannot be run."""
        log.parent.mkdir(parents=True, exist_ok=True)
        argv = list(command)
        if self._die_with_parent:
            argv = [sys.executable, "-I", "-S", str(_wrapper.__file__), str(os.getpid()), *argv]
        return Process(name, _FORKER.submit(self._fork, argv, log).result(), log)

    def _fork(self, argv: list[str], log: Path) -> Identity:
        with log.open("ab") as output:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
        # A child that ended within a millisecond has no identity any more, but must still be reaped.
        identity = identify(child.pid) or Identity(child.pid, 0, "")
        self._children[identity] = child
        return identity

    def end(self, process: Process, grace_s: float) -> Ending:
        """End a process of this or of an earlier launcher, and reap it if it is our child."""
        ending = end(process.identity, grace_s)
        child = self._children.pop(process.identity, None)
        if child is not None:
            child.wait()
        return ending

    def kill_all(self) -> None:
        """Kill and reap every child that is left, also one whose `launch` was interrupted."""
        # On the forking thread, hence after a fork that is under way.
        _FORKER.submit(self._kill_all).result()

    def _kill_all(self) -> None:
        while self._children:
            _, child = self._children.popitem()
            child.kill()
            child.wait()
