"""Mutual TLS with a real operator: a command makes Secrets, the leader renews them, Envoy connects."""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_certificates import DAY, LOOPBACK, in_folder, made
from operator_stage import REPOSITORY, OperatorStage, until

from argosy.certificates.reading import CERTIFICATE, Files
from argosy.certificates.renewal import Held
from argosy.certificates.wanted import Part, Wanted
from argosy.settings import TlsFiles
from argosy_sim.controlplane.host.processes import Launcher
from argosy_sim.envoy import EnvoySettings, find_envoy, prepare, wait_until_live

NAMES = {part: f"argosy-xds-{part}" for part in Part}
SECRETS = "/api/v1/namespaces/argosy-system/secrets"
RBAC = REPOSITORY / "charts" / "argosy" / "files" / "certificates-rbac.yaml"


@pytest.fixture
def allowed(stage: OperatorStage) -> Iterator[None]:
    """The operator's account may keep the Secrets of certificates, and nothing of them stays."""
    objects = [each for each in yaml.safe_load_all(RBAC.read_text()) if each]
    stage.apply(*objects)
    yield
    stage.delete(*objects)
    stage.kubectl("delete", "secret", "-n", "argosy-system", "--ignore-not-found", *NAMES.values())


def certificates(stage: OperatorStage, *flags: str) -> subprocess.CompletedProcess[str]:
    """The command, with the rights of the operator's account."""
    account = str(stage.operator_kubeconfig("operator-0"))
    command = [sys.executable, "-m", "argosy", "certificates", "--json", "--kubeconfig", account, *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def reasons(found: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert found.returncode == 0, found
    return {row["part"]: row["renewed_because"] for row in json.loads(found.stdout)["certificates"]}


def read(stage: OperatorStage, part: Part) -> Files:
    data = stage.read(f"{SECRETS}/{NAMES[part]}").get("data") or {}
    return {name: base64.b64decode(value) for name, value in data.items()}


def write(stage: OperatorStage, held: Held) -> None:
    """As they were made so long ago."""
    for part, files in held.items():
        data = {name: base64.b64encode(content).decode() for name, content in files.items()}
        metadata = {"name": NAMES[part], "namespace": "argosy-system"}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
        stage.apply({**body, "type": "kubernetes.io/tls"})


def test_a_role_of_three_names_suffices_to_make_secrets_and_nothing_is_made_twice(
    stage: OperatorStage, allowed: None
) -> None:
    first = certificates(stage, "--host", LOOPBACK)
    assert reasons(first) == dict.fromkeys(Part, "there was none")
    before = {part: stage.read(f"{SECRETS}/{NAMES[part]}") for part in Part}
    assert {secret["type"] for secret in before.values()} == {"kubernetes.io/tls"}
    assert reasons(certificates(stage)) == dict.fromkeys(Part)
    assert {part: stage.read(f"{SECRETS}/{NAMES[part]}") for part in Part} == before
    other = certificates(stage, "--name", "other", "--host", LOOPBACK)
    assert other.returncode == 3
    assert "secrets" in other.stderr
    assert "certificates-rbac.yaml" in other.stderr


def test_the_leader_renews_and_its_envoy_connects_once_both_have_their_files(
    stage: OperatorStage, allowed: None, tmp_path: Path
) -> None:
    now = dt.datetime.now(dt.UTC)
    write(stage, made(now - 60 * DAY, Wanted((LOOPBACK,), 90 * DAY, 730 * DAY)))
    due = read(stage, Part.SERVER)
    stage.end_operator(stage.holder())
    server, client = (
        TlsFiles(*(tmp_path / part / name for name in ("tls.crt", "tls.key", "ca.crt")))
        for part in ("server", "envoy")
    )
    for part in ("server", "envoy"):
        (tmp_path / part).mkdir()
    flags = ("--xds-tls-cert", str(server.certificate), "--xds-tls-key", str(server.key))
    operator = stage.start_operator(
        "operator-0",
        *flags,
        "--xds-tls-ca",
        str(server.authority),
        "--certificates",
        "argosy-xds",
        ready=False,
    )
    launcher = Launcher(os.environ, die_with_parent=True)
    try:
        # Envoy and operator run without certificates; the leader has renewed those in the Secrets.
        address = (LOOPBACK, stage.xds_ports["operator-0"])
        envoy = EnvoySettings("secured", (address,), tmp_path, find_envoy(), tls=client)
        prepared = prepare(envoy)
        process = launcher.launch("envoy", prepared.command, tmp_path / "envoy.log")
        wait_until_live(process, prepared.admin_port)
        until(lambda: read(stage, Part.SERVER)[CERTIFICATE] != due[CERTIFICATE], "a new certificate")
        until(
            lambda: "tls.crt cannot be read: No such file" in stage.log("operator-0"),
            "the missing file in the log",
        )
        assert operator.metric("argosy_envoys_connected") == 0

        for part in (Part.SERVER, Part.ENVOY):  # as kubelets bring them
            in_folder(tmp_path, part, read(stage, part))
        until(lambda: operator.metric("argosy_envoys_connected") == 1, "the Envoy with a certificate")
        name = 'argosy_certificate_expiry_seconds{certificate="envoy"}'
        left_s = until(lambda: operator.metric(name), "the metric")
        assert 89 * DAY.total_seconds() < left_s < 90 * DAY.total_seconds()
        # The stage's own Envoy has none, and tries all the while.
        assert "ssl_transport_security" not in stage.log("operator-0")
    finally:
        launcher.kill_all()
        stage.end_operator("operator-0")
