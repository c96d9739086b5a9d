"""Settings of one process, from its command line: addresses, directories, limits.

Owns them as values. Settings of a fleet are in the custom resources (`api`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from argosy.addresses import DEFAULT_ADS


@dataclass(frozen=True, slots=True)
class EnvoyAdmin:
    """An Envoy's admin interface: its counters, and its view of the endpoints."""

    node_id: str
    url: str


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of one side of mutual TLS: its certificate, its key, the authority of the other side."""

    certificate: Path
    key: Path
    authority: Path


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """One operator process.

    kubeconfig: file of the API server's address and credentials; None inside a cluster
    identity: name in the Lease; empty: the one that the state directory keeps, or a new one
    xds_address: address of the ADS server, `host:port` (port 0: a free one)
    xds_tls: what the ADS server shows of itself and asks of Envoys; None: it speaks without TLS
    certificates: what the Secrets of its certificates are called, without `-ca`, `-server`, `-envoy`, for the
        leader to renew; empty: it renews none
    http_address: address of /healthz, /readyz and /metrics, `host:port`
    envoys: Envoys that are read at this address, whatever they announce themselves
    state_dir: directory of the last xDS snapshot, the capacity cache and the calibrations
    prometheus_url: Prometheus to read metrics from; empty: scrape the engines directly
    plan_time_limit_s: time limit of one solve, and 1.25 of it of both where a decision solves twice; a solve
        that it stops is reported with its gap
    """

    namespace: str = "argosy-system"
    kubeconfig: Path | None = None
    identity: str = ""
    xds_address: str = DEFAULT_ADS
    xds_tls: TlsFiles | None = None
    certificates: str = ""
    http_address: str = "127.0.0.1:18080"
    state_dir: Path = Path("argosy-state")
    envoys: tuple[EnvoyAdmin, ...] = field(default_factory=tuple)
    prometheus_url: str = ""
    plan_time_limit_s: float = 10.0
