"""`argosy envoy bootstrap`: a configuration that any Envoy takes, and refusals."""

from __future__ import annotations

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
    ],
)
def test_a_flag_that_cannot_be_used_is_named(flags: list[str], sentence: str) -> None:
    with pytest.raises(SpecError) as raised:
        ran("envoy", "bootstrap", *flags)
    assert str(raised.value) == sentence


def test_an_operator_that_no_envoy_can_reach_is_refused_before_anything_is_looked_up() -> None:
    with pytest.raises(SpecError, match=r"^--ads: '\[::1\]:0' needs a port from 1 to 65535"):
        ran("sim", "envoy", "--ads", "[::1]:0")
