"""Owns the life of one control plane: start, readiness, a killed API server, a restored etcd, stop.

    with ControlPlane.start(directory) as control_plane:
        kubectl --kubeconfig {control_plane.admin_kubeconfig} get nodes

    async with running(directory) as control_plane: ...

Ready about five seconds after the start, on any free ports, so that fleets run side by side.
Ends only processes that it started, and all of them: leaving the block ends them in order, and if
this process is killed the kernel ends them (`ControlPlaneOptions.die_with_parent`).
Linux only.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import re
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from argosy.errors import ArgosyError
from argosy_sim.controlplane import backups, components
from argosy_sim.controlplane.binaries import Binaries, binaries
from argosy_sim.controlplane.credentials.certificates import issue_all
from argosy_sim.controlplane.errors import (
    BackupError,
    PortTakenError,
    StartError,
    StateDirectoryInUseError,
)
from argosy_sim.controlplane.gobuild import Say
from argosy_sim.controlplane.host.locks import exclusive
from argosy_sim.controlplane.host.ports import LOOPBACK, free_ports, require_free
from argosy_sim.controlplane.host.processes import Ending, Launcher, Process, is_running, send
from argosy_sim.controlplane.readiness import DEFAULT_SERVICE_ACCOUNT, READY, answers_ok
from argosy_sim.controlplane.state import ControlPlaneState, Layout, Ports

# Graceful ends take 0.1 s each (measured); an API server with open watches would wait for them.
STOP_GRACE_S = 3.0
# Ready after 5 s on two idle cores (measured); 60 s lets a crowded machine be slow.
START_TIMEOUT_S = 60.0
_POLL_S = 0.05
_CLASH_RETRIES = 3
_LOG_LINES_SHOWN = 15


def silent(line: str) -> None:
    """Say nothing."""
    del line


@dataclass(frozen=True, slots=True)
class ControlPlaneOptions:
    """How a control plane is started.

    `api_port`: a port the user insists on; None takes a free one. `die_with_parent`: the kernel
    ends the processes with this one; off where they are to live on (`argosy sim up`).
    `audit_policy`: which requests the API server records (`audit.k8s.io/v1`, as YAML); empty: none.
    """

    api_port: int | None = None
    die_with_parent: bool = True
    audit_policy: str = ""


class ControlPlane:
    """A running control plane, and the paths of what it offers. Made by `start` or `attach`."""

    def __init__(self, layout: Layout, state: ControlPlaneState, launcher: Launcher) -> None:
        self._layout = layout
        self._state = state
        self._launcher = launcher
        self._aborted = threading.Event()

    @classmethod
    def start(
        cls, state_dir: Path, options: ControlPlaneOptions = ControlPlaneOptions(), say: Say = silent
    ) -> ControlPlane:
        """Start a control plane in `state_dir` and return once it is ready.

        Builds missing programs first. Raises `MissingBinaryError`, `BuildError`, `PortTakenError` (a named
        port), `StateDirectoryInUseError` or `StartError`; nothing is left running then.
        """
        return _Start(state_dir, options, say).run()

    @classmethod
    def attach(cls, state_dir: Path) -> ControlPlane:
        """Return the control plane that another process started in `state_dir`.

        Raises `StateDirectoryInUseError` if none is recorded there.
        """
        layout = Layout(state_dir.resolve())
        state = layout.load()
        if state is None:
            raise StateDirectoryInUseError(f"no control plane was started in {layout.directory}")
        return cls(layout, state, Launcher(os.environ, die_with_parent=False))

    @property
    def state_dir(self) -> Path:
        """The directory that holds everything."""
        return self._layout.directory

    @property
    def server_url(self) -> str:
        """The API server's address, `https://127.0.0.1:PORT`."""
        return self._state.server_url

    @property
    def admin_kubeconfig(self) -> Path:
        """The administrator's kubeconfig. For kubectl: programs get a ServiceAccount's."""
        return self._layout.admin_kubeconfig

    @property
    def ca_certificate(self) -> Path:
        """The authority's certificate: vouches for the API server and the kubelet server."""
        return self._layout.exported("ca.crt")

    @property
    def kubelet_certificate(self) -> Path:
        """A serving certificate for 127.0.0.1 that the API server trusts of a kubelet."""
        return self._layout.exported("kubelet.crt")

    @property
    def kubelet_key(self) -> Path:
        """The key of `kubelet_certificate`."""
        return self._layout.exported("kubelet.key")

    @property
    def binaries(self) -> Binaries:
        """The programs in use, `kubectl` among them."""
        return self._state.binaries

    @property
    def state(self) -> ControlPlaneState:
        """Ports and processes as recorded."""
        return self._state

    def log(self, component: str) -> Path:
        """Return the path of a component's output."""
        return self._layout.log(component)

    def is_ready(self) -> bool:
        """Whether the API server says that it is ready."""
        return answers_ok(self._layout, self._state.ports.api_server, READY)

    def kill_api_server(self) -> None:
        """End the API server at once, as a crash would; its data stays in etcd."""
        self._kill(components.API_SERVER)

    def start_api_server(self) -> None:
        """Start the API server again on the same port and data; returns once it is ready."""
        require_free(self._state.ports.api_server)
        self._launch(components.API_SERVER)
        self._await("the API server's /readyz", self.is_ready)

    def restart_api_server(self) -> None:
        """Kill the API server and start it again on the same port and data."""
        self.kill_api_server()
        self.start_api_server()

    def take_backup(self, to: Path) -> None:
        """Copy etcd's data to the new directory `to`, while everything runs. Raises `BackupError`."""
        with exclusive(self._layout.lock):
            self._read_again()
            etcd = self._state.process(components.ETCD)
            if etcd is None:
                raise BackupError("etcd was not started: there is nothing to copy")
            backups.take(self._layout, self._state.started_at_s, etcd.identity, to)

    def restore_backup(self, backup: Path) -> None:
        """Put the data of an earlier moment back, as an administrator does who restores etcd.

        All programs end at once and are started again, on the same ports: of a Kubernetes whose etcd is
        restored the controllers have to forget too. Returns once the API server is ready.
        Raises `BackupError` (nothing has changed then), `PortTakenError` or `StartError` (everything has
        ended then: only `stop` is left).
        """
        with exclusive(self._layout.lock):
            self._read_again()
            backups.prepare(self._layout, self._state.started_at_s, backup)
            for component in components.STOP_ORDER:
                self._kill(component)
            backups.put_back(self._layout)
            self._state = self._state.without_processes()
            try:
                for port in astuple(self._state.ports):
                    require_free(port)
                self._bring_up()
            except BaseException:
                self._end_processes()
                raise

    def _read_again(self) -> None:
        """What is recorded now: another process may have restarted a component.

        Raises `BackupError` where this control plane was ended.
        """
        recorded = self._layout.load()
        if recorded is None or recorded.started_at_s != self._state.started_at_s:
            raise BackupError(f"the control plane in {self.state_dir} was ended; start one first")
        self._state = recorded

    @property
    def kubectl(self) -> Path:
        """The kubectl that fits."""
        return self.binaries.kubectl

    @property
    def processes(self) -> tuple[Process, ...]:
        """Its components' processes."""
        return tuple(self.state.processes)

    def service_account_kubeconfig(self, namespace: str, name: str, path: Path) -> Path:
        """Write a ServiceAccount's kubeconfig; see `accounts`. What it may do is the caller's RBAC."""
        from argosy_sim.controlplane.credentials import accounts  # loads the Kubernetes client

        return accounts.service_account_kubeconfig(
            self.admin_kubeconfig, accounts.Account(namespace, name), path
        )

    def stop(self) -> dict[str, Ending]:
        """End every process in order, forget the state, keep the logs. May be called again.

        Returns how each component ended; empty if another process ended this control plane before.
        """
        with exclusive(self._layout.lock):
            recorded = self._layout.load()
            if recorded is None or recorded.started_at_s != self._state.started_at_s:
                return {}  # the directory may be another control plane's by now
            self._state = recorded  # another process may have restarted a component
            endings = self._end_processes()
            self._layout.clear(keep_logs=True)
            return endings

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _kill(self, component: str) -> None:
        process = self._state.process(component)
        if process is not None:
            send(process.identity, signal.SIGKILL)
            self._launcher.end(process, STOP_GRACE_S)

    def _end_processes(self) -> dict[str, Ending]:
        processes = {process.name: process for process in self._state.processes}
        in_order = [processes[name] for name in components.STOP_ORDER if name in processes]
        try:
            return {process.name: self._launcher.end(process, STOP_GRACE_S) for process in in_order}
        except BaseException:
            # A second Ctrl-C during the wait: kill at once, but still leave no process.
            for process in in_order:
                send(process.identity, signal.SIGKILL)
            raise

    def _bring_up(self) -> None:
        """Start everything."""
        self._launch(components.ETCD)
        self._launch(components.API_SERVER)
        self._await("the API server's /readyz", self.is_ready)
        self._launch(components.CONTROLLER_MANAGER)
        self._launch(components.SCHEDULER)
        port = self._state.ports.api_server
        self._await(
            "the default service account", lambda: answers_ok(self._layout, port, DEFAULT_SERVICE_ACCOUNT)
        )

    def _launch(self, component: str) -> None:
        command = components.command(component, self._layout, self._state)
        process = self._launcher.launch(component, command, self._layout.log(component))
        self._state = self._state.with_process(process)
        self._layout.save(self._state)

    def _await(self, what: str, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not is_so():
            for process in self._state.processes:
                if not is_running(process.identity):
                    raise self._ended_early(process)
            if self._aborted.is_set():
                raise StartError(f"the start was cancelled while waiting for {what}")
            if time.monotonic() > deadline:
                raise StartError(
                    f"{what} took longer than {START_TIMEOUT_S:.0f} s; "
                    f"the end of the API server's log:\n{_tail(self.log(components.API_SERVER))}"
                )
            time.sleep(_POLL_S)

    def _ended_early(self, process: Process) -> PortTakenError | StartError:
        words = _tail(process.log)
        clash = re.search(rf"{re.escape(LOOPBACK)}:(\d+).*address already in use", words)
        if clash:
            return PortTakenError(int(clash.group(1)))
        return StartError(
            f"{process.name} ended while the control plane was starting; the end of its log:\n{words}"
        )


class _Start:
    """One start, which other threads may cancel (`abort`)."""

    def __init__(self, state_dir: Path, options: ControlPlaneOptions, say: Say) -> None:
        self._layout = Layout(state_dir.expanduser().resolve())
        self._options = options
        self._tell = say
        self._aborted = threading.Event()

    def _say(self, line: str) -> None:
        if self._aborted.is_set():
            raise StartError("the start was cancelled")  # ends a build, which reports its progress
        self._tell(line)

    def abort(self) -> None:
        """Make `run` end what it started and raise `StartError`."""
        self._aborted.set()

    def run(self) -> ControlPlane:
        """Start; raises as `ControlPlane.start` does."""
        if sys.platform != "linux":
            raise StartError("the embedded control plane runs on Linux only")
        if self._options.api_port is not None:
            require_free(self._options.api_port, "--api-port")
        programs = binaries(self._say)
        with exclusive(self._layout.lock):
            self._layout.require_unused()
            for attempt in range(1, _CLASH_RETRIES + 1):
                try:
                    return self._attempt(programs)
                except PortTakenError as clash:
                    if attempt == _CLASH_RETRIES or clash.port == self._options.api_port:
                        raise
                    self._say(f"Port {clash.port} was taken meanwhile; trying others.")
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _attempt(self, programs: Binaries) -> ControlPlane:
        self._layout.clear(keep_logs=False)
        control_plane = self._prepare(programs)
        try:
            control_plane._bring_up()
        except BaseException:
            # Under the lock already, so not by `stop`. The logs stay, for the cause.
            control_plane._end_processes()
            control_plane._launcher.kill_all()
            self._layout.clear(keep_logs=True)
            raise
        return control_plane

    def _prepare(self, programs: Binaries) -> ControlPlane:
        free = free_ports(3)
        ports = Ports(self._options.api_port or free[0], etcd_client=free[1], etcd_peer=free[2])
        state = ControlPlaneState(
            server_url=f"https://{LOOPBACK}:{ports.api_server}",
            ports=ports,
            binaries=programs,
            processes=(),
            started_at_s=time.time(),
            kubeconfigs={"admin": self._layout.admin_kubeconfig},
        )
        # First: if the start is interrupted later, this shows whose directory it is.
        self._layout.save(state)
        self._layout.write_credentials(issue_all(dt.datetime.now(dt.UTC)), state.server_url)
        if self._options.audit_policy:
            self._layout.audit_policy.write_text(self._options.audit_policy)
        launcher = Launcher(os.environ, die_with_parent=self._options.die_with_parent)
        control_plane = ControlPlane(self._layout, state, launcher)
        control_plane._aborted = self._aborted
        return control_plane


@asynccontextmanager
async def running(
    state_dir: Path,
    options: ControlPlaneOptions = ControlPlaneOptions(),
    say: Say = silent,
) -> AsyncIterator[ControlPlane]:
    """Run a control plane for the length of a block without blocking the event loop.

    `say` is called from another thread. Cancelling while it starts ends what was started.
    """
    start = _Start(state_dir, options, say)
    starting = asyncio.ensure_future(asyncio.to_thread(start.run))
    try:
        control_plane = await asyncio.shield(starting)
    except asyncio.CancelledError:
        start.abort()
        with suppress(ArgosyError):
            control_plane = await starting
            await asyncio.to_thread(control_plane.stop)
        raise
    try:
        yield control_plane
    finally:
        await asyncio.shield(asyncio.to_thread(control_plane.stop))


def _tail(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return "(no log)"
    return "\n".join(lines[-_LOG_LINES_SHOWN:]) or "(its log is empty)"
