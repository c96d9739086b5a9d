"""KEDA's operator beside the stage, and a ScaledObject: the far side of a coexistence.

Owns its start and its end, after which the stage is as before. Without KEDA's metrics server, so that
ScaledObjects act by their bounds and by activation alone. Output: kubectl shows what KEDA does.
"""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from operator_stage import OperatorStage, until

from argosy.certificates.issuing import Subject, certificates_pem, issue, key_pem, make_authority
from argosy.certificates.reading import Usage
from argosy_sim.controlplane.binaries import keda
from argosy_sim.controlplane.host.ports import LOOPBACK, free_ports

KINDS = ("scaledobjects", "scaledjobs", "triggerauthentications", "clustertriggerauthentications")
DAY = dt.timedelta(days=1)


@contextmanager
def running_keda(stage: OperatorStage, directory: Path) -> Iterator[None]:
    """KEDA's operator as a process, with its custom resources installed."""
    found = keda()
    stage.kubectl("apply", "--server-side", "-f", str(found.definitions))
    until(lambda: all(is_established(stage, crd) for crd in KINDS), "KEDA's kinds")
    metrics, probes, service = free_ports(3)
    command = [str(shutil.which("env")), f"KUBECONFIG={stage.stage.control_plane.admin_kubeconfig}"]
    command += ["KEDA_CLUSTER_OBJECT_NAMESPACE=default", "POD_NAMESPACE=default", "WATCH_NAMESPACE=default"]
    command += [str(found.operator)]
    command += [f"--metrics-bind-address={LOOPBACK}:{metrics}", f"--cert-dir={certificates(directory)}"]
    command += [f"--health-probe-bind-address={LOOPBACK}:{probes}"]
    command += [f"--metrics-service-bind-address={LOOPBACK}:{service}"]
    stage.stage.launch("keda", command)
    try:
        yield
    finally:
        stage.kubectl("delete", "scaledobjects", "--all", "--timeout=30s")
        stage.stage.end("keda")
        stage.kubectl("delete", "-f", str(found.definitions), "--timeout=30s")


def is_established(stage: OperatorStage, plural: str) -> bool:
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.keda.sh"
    item = stage.read(path)
    return any(
        c["type"] == "Established" and c["status"] == "True"
        for c in item.get("status", {}).get("conditions") or ()
    )


def certificates(directory: Path) -> Path:
    """Those that KEDA's metrics service asks for; nothing connects to it here."""
    directory.mkdir(parents=True, exist_ok=True)
    now = dt.datetime.now(dt.UTC)
    authority = make_authority(now, DAY)
    pair = issue(authority, Subject("keda-operator", Usage.SERVER), now, DAY)
    (directory / "ca.crt").write_bytes(certificates_pem(authority.certificate))
    (directory / "tls.crt").write_bytes(certificates_pem(pair.certificate))
    (directory / "tls.key").write_bytes(key_pem(pair))
    return directory


def scaled_object(deployment: str, least: int, most: int) -> dict[str, Any]:
    """As a user of KEDA writes it. Its trigger is active all day."""
    window = {"timezone": "UTC", "start": "0 0 * * *", "end": "59 23 * * *", "desiredReplicas": str(least)}
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "chat", "namespace": "default"},
        "spec": {
            "scaleTargetRef": {"name": deployment},
            "minReplicaCount": least,
            "maxReplicaCount": most,
            "pollingInterval": 2,
            "triggers": [{"type": "cron", "metadata": window}],
        },
    }
