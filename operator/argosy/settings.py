"""What the person who starts a process sets: addresses, directories, limits.

Owns the process's settings as values. What a fleet's users set is in the custom resources
(`api`), never here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class EnvoyAdmin:
    """An Envoy's admin interface, for its counters and its view of endpoints."""

    node_id: str
    url: str


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """One operator process.

    kubeconfig: None inside a cluster
    xds_address: where the ADS server listens, `host:port` (port 0: a free one)
    http_address: where /healthz, /readyz and /metrics are served
    state_dir: the copy of the last xDS snapshot, the capacity cache and the calibrations live here
    prometheus_url: read metrics from Prometheus instead of scraping directly
    plan_time_limit_s: for one solve; what was cut short is reported with its gap
    """

    namespace: str = "argosy-system"
    kubeconfig: Path | None = None
    identity: str = "argosy-operator-0"
    xds_address: str = "127.0.0.1:18000"
    http_address: str = "127.0.0.1:18080"
    state_dir: Path = Path("argosy-state")
    envoys: tuple[EnvoyAdmin, ...] = field(default_factory=tuple)
    prometheus_url: str = ""
    plan_time_limit_s: float = 10.0
