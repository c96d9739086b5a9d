"""`argosy envoy bootstrap`: a configuration that any Envoy takes, and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from perf_command import ran

from argosy.errors import SpecError


def printed(*flags: str) -> dict[str, Any]:
    found = ran("envoy", "bootstrap", *flags)
    assert (found.code, found.stderr) == (0, "")
    return dict(yaml.safe_load(found.stdout))


def test_two_envoys_have_two_node_ids() -> None:
    assert printed()["node"]["id"] != printed()["node"]["id"]


def test_in_a_pod_the_node_id_is_the_pods_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD_NAME", "edge-7f6d-x2")
    assert printed()["node"]["id"] == "edge-7f6d-x2"
    assert printed("--node-id", "mine")["node"]["id"] == "mine"


def test_every_replica_of_the_operator_is_an_endpoint() -> None:
    found = printed("--ads", "[fd00::1]:18000", "--ads", "10.0.0.2:18001")
    (locality,) = found["static_resources"]["clusters"][0]["load_assignment"]["endpoints"]
    assert [row["endpoint"]["address"]["socket_address"] for row in locality["lb_endpoints"]] == [
        {"address": "fd00::1", "port_value": 18000},
        {"address": "10.0.0.2", "port_value": 18001},
    ]


def test_into_a_folder_it_writes_what_it_would_print(tmp_path: Path) -> None:
    found = ran("envoy", "bootstrap", "--node-id", "mine", "--directory", str(tmp_path / "new"))
    assert (found.code, found.stdout, found.stderr) == (0, "", "")
    assert (tmp_path / "new" / "bootstrap.yaml").read_text() == ran(
        "envoy", "bootstrap", "--node-id", "mine"
    ).stdout


@pytest.mark.parametrize("seen_at", ["", "/etc/argosy"])
def test_with_tls_it_writes_the_files_beside_it_where_envoy_will_see_them(
    tmp_path: Path, seen_at: str
) -> None:
    flags = ("--tls-cert", "/tls/tls.crt", "--tls-key", "/tls/tls.key", "--tls-ca", "/tls/ca.crt")
    place = ("--seen-at", seen_at) if seen_at else ()
    assert ran("envoy", "bootstrap", *flags, "--directory", str(tmp_path), *place).code == 0
    assert {each.name for each in tmp_path.iterdir()} == {
        "bootstrap.yaml",
        "certificate.yaml",
        "authority.yaml",
    }
    text = (tmp_path / "bootstrap.yaml").read_text()
    for name in ("certificate.yaml", "authority.yaml"):
        assert f"path: {seen_at or tmp_path}/{name}" in text


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--ads", "here"], "--ads: 'here' is not host:port, such as 127.0.0.1:18000"),
        (
            ["--ads", "::1:18000"],
            "--ads: '::1:18000' is an IPv6 address without brackets; write [::1]:18000",
        ),
        (["--stats-address", "x:y"], "--stats-address: 'x:y' is not host:port, such as 127.0.0.1:18000"),
        (
            ["--stats-address", "0.0.0.0:9901"],
            "--stats-address: '0.0.0.0:9901' needs a port of its own, such as 127.0.0.1:9902",
        ),
        (
            ["--stats-address", "localhost:9902"],
            "--stats-address: 'localhost:9902' needs an IP address to listen on, such as 127.0.0.1:9902",
        ),
        (
            ["--ads", "10.0.0.1:0"],
            "--ads: '10.0.0.1:0' needs a port from 1 to 65535, such as 127.0.0.1:18000",
        ),
        (
            ["--tls-cert", "a", "--tls-ca", "b"],
            "--tls-key: mutual TLS needs --tls-cert, --tls-key, --tls-ca together; give --tls-key too",
        ),
        (
            ["--tls-cert", "/a", "--tls-key", "b", "--tls-ca", "/c"],
            f"--tls-key: b needs to be absolute, such as {Path.cwd()}/b: Envoy reads it",
        ),
        (
            ["--tls-cert", "/a", "--tls-key", "/b", "--tls-ca", "/c"],
            "--directory: mutual TLS needs two files beside the bootstrap, by which Envoy reads renewed"
            " certificates: name a folder for all three",
        ),
        (
            ["--seen-at", "/etc/envoy"],
            "--seen-at: it says where Envoy sees the files of --directory: name that too",
        ),
        (
            ["--directory", "/dev/null"],
            "--directory: /dev/null/bootstrap.yaml cannot be written: File exists",
        ),
    ],
)
def test_a_flag_that_cannot_be_used_is_named(flags: list[str], sentence: str) -> None:
    with pytest.raises(SpecError) as raised:
        ran("envoy", "bootstrap", *flags)
    assert str(raised.value) == sentence


def test_an_operator_that_no_envoy_can_reach_is_refused_before_anything_is_looked_up() -> None:
    with pytest.raises(SpecError, match=r"^--ads: '\[::1\]:0' needs a port from 1 to 65535"):
        ran("sim", "envoy", "--ads", "[::1]:0")
