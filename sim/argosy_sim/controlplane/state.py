"""Owns what is on disk for one control plane: the layout of its directory and `state.json`.

`state.json` is written after every process that is started, so that a start which is cut off
at any point can be cleaned up by another process. It is removed last.

    state.json  lock          what runs, and the lock for changing it
    admin.kubeconfig          for kubectl
    ca.crt                    the authority of the API server's certificate and of kubelet.crt
    kubelet.crt  kubelet.key  for a kubelet server on 127.0.0.1 (`kubectl logs`)
    pki/  etcd/  logs/        the components' own
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from argosy_sim.controlplane.binaries import Binaries
from argosy_sim.controlplane.credentials.certificates import Certificates, KeyPair
from argosy_sim.controlplane.credentials.kubeconfig import (
    Cluster,
    certificate_user,
    kubeconfig,
    write,
    write_private,
)
from argosy_sim.controlplane.errors import StateDirectoryInUseError
from argosy_sim.controlplane.host.processes import Process, is_running


@dataclass(frozen=True, slots=True)
class Ports:
    """The loopback ports of one control plane."""

    api_server: int
    etcd_client: int
    etcd_peer: int


@dataclass(frozen=True, slots=True)
class ControlPlaneState:
    """What runs in a state directory. `started_at_s` is Unix time."""

    server_url: str
    ports: Ports
    binaries: Binaries
    processes: tuple[Process, ...]
    started_at_s: float
    kubeconfigs: Mapping[str, Path]

    def with_process(self, process: Process) -> ControlPlaneState:
        """Return this state with a process added, or replaced by name."""
        others = tuple(other for other in self.processes if other.name != process.name)
        return replace(self, processes=(*others, process))

    def process(self, name: str) -> Process | None:
        """Return the process of a component, None if it was never started."""
        return next((process for process in self.processes if process.name == name), None)

    def without_processes(self) -> ControlPlaneState:
        """Return this state before anything was started."""
        return replace(self, processes=())

    def running(self) -> tuple[Process, ...]:
        """Return the processes that are alive, in starting order."""
        return tuple(process for process in self.processes if is_running(process.identity))


_STATE = TypeAdapter(ControlPlaneState)


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths inside a state directory."""

    directory: Path

    @property
    def state(self) -> Path:
        """`state.json`."""
        return self.directory / "state.json"

    @property
    def lock(self) -> Path:
        """Held while a control plane is being started or ended here."""
        return self.directory / "lock"

    @property
    def admin_kubeconfig(self) -> Path:
        """The administrator's kubeconfig (kubectl only)."""
        return self.directory / "admin.kubeconfig"

    @property
    def etcd(self) -> Path:
        """etcd's data."""
        return self.directory / "etcd"

    @property
    def etcd_next(self) -> Path:
        """Data that is about to take the place of etcd's: a backup that is being put back."""
        return self.directory / "etcd.next"

    def log(self, component: str) -> Path:
        """Where a component's output goes."""
        return self.directory / "logs" / f"{component}.log"

    @property
    def audit_policy(self) -> Path:
        """Which requests the API server records; no file: none."""
        return self.directory / "pki" / "audit-policy.yaml"

    def pki(self, name: str) -> Path:
        """A key or certificate of the components' own."""
        return self.directory / "pki" / name

    def exported(self, name: str) -> Path:
        """`ca.crt`, `kubelet.crt` or `kubelet.key`."""
        return self.directory / name

    def load(self) -> ControlPlaneState | None:
        """Read `state.json`; None if there is none.

        Raises `StateDirectoryInUseError` if another program wrote it.
        """
        try:
            return _STATE.validate_json(self.state.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise StateDirectoryInUseError(
                f"{self.state} was not written by this version of argosy; use another directory or remove it"
            ) from error

    def save(self, state: ControlPlaneState) -> None:
        """Write `state.json`, never half."""
        write_private(self.state, _STATE.dump_json(state, indent=2))

    def require_unused(self) -> None:
        """Raise `StateDirectoryInUseError` unless a control plane may be started here."""
        state = self.load()
        if state is not None:
            running = state.running()
            if running:
                names = ", ".join(f"{process.name} (pid {process.identity.pid})" for process in running)
                raise StateDirectoryInUseError(
                    f"a control plane is running in {self.directory}: {names}; end it with `argosy sim down`"
                )
            return
        foreign = [path.name for path in self._owned() if path.exists() and path != self.directory / "logs"]
        if foreign:
            raise StateDirectoryInUseError(
                f"{self.directory} holds {', '.join(foreign)}, but no state.json of a control plane; "
                "name another directory"
            )

    def clear(self, *, keep_logs: bool) -> None:
        """Remove what a control plane left here: the names of this layout and no others."""
        for path in self._owned():
            if keep_logs and path.name == "logs":
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        self.state.unlink(missing_ok=True)

    def _owned(self) -> tuple[Path, ...]:
        names = (
            "admin.kubeconfig",
            "ca.crt",
            "kubelet.crt",
            "kubelet.key",
            "pki",
            "etcd",
            "etcd.next",
            "logs",
        )
        return tuple(self.directory / name for name in names)

    def write_credentials(self, certificates: Certificates, server_url: str) -> None:
        """Write every key, certificate and kubeconfig."""
        for name, pair in {
            "front-proxy-ca": certificates.front_proxy_ca,
            "api-server": certificates.api_server,
            "api-server-to-kubelet": certificates.api_server_to_kubelet,
            "admin": certificates.admin,
        }.items():
            write_private(self.pki(f"{name}.crt"), pair.certificate_pem)
            write_private(self.pki(f"{name}.key"), pair.key_pem)
        write_private(self.pki("service-account.key"), certificates.service_account_key_pem)
        write_private(self.exported("ca.crt"), certificates.ca.certificate_pem)
        write_private(self.exported("kubelet.crt"), certificates.kubelet.certificate_pem)
        write_private(self.exported("kubelet.key"), certificates.kubelet.key_pem)
        users: dict[Path, tuple[str, KeyPair]] = {
            self.admin_kubeconfig: ("admin", certificates.admin),
            self.pki("kube-controller-manager.kubeconfig"): (
                "controller-manager",
                certificates.controller_manager,
            ),
            self.pki("kube-scheduler.kubeconfig"): ("scheduler", certificates.scheduler),
        }
        cluster = Cluster(server_url, certificates.ca.certificate_pem)
        for path, (name, pair) in users.items():
            write(path, kubeconfig(cluster, name, certificate_user(pair.certificate_pem, pair.key_pem)))
