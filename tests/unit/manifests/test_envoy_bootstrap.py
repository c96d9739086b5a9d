"""Envoy's bootstrap as a value, and the address that an Envoy announces."""

from __future__ import annotations

from pathlib import Path

import pytest

from argosy.manifests.envoy_bootstrap import STATS_KEY, EnvoyBootstrap, bootstrap, files, stats_url
from argosy.settings import TlsFiles

ADS = (("127.0.0.1", 18000),)


@pytest.mark.parametrize(
    ("announced", "url"),
    [
        pytest.param("10.0.0.7:9902", "http://10.0.0.7:9902", id="an address"),
        pytest.param("edge-0.edge:9902", "http://edge-0.edge:9902", id="a name"),
        pytest.param("[fd00::7]:9902", "http://[fd00::7]:9902", id="an IPv6 address"),
        pytest.param("0.0.0.0:9902", "http://10.9.9.9:9902", id="all addresses: the connection's"),
        pytest.param("[::]:9902", "http://10.9.9.9:9902", id="all IPv6 addresses: the connection's"),
        pytest.param("", "", id="nothing"),
        pytest.param("10.0.0.7", "", id="no port"),
        pytest.param("10.0.0.7:", "", id="an empty port"),
        pytest.param("10.0.0.7:0", "", id="no real port"),
        pytest.param("10.0.0.7:70000", "", id="too high a port"),
        pytest.param(":9902", "", id="no host"),
        pytest.param("http://10.0.0.7:9902", "", id="a URL"),
        pytest.param("user@10.0.0.7:9902", "", id="a user"),
        pytest.param("10.0.0.7/admin?:9902", "", id="a path"),
    ],
)
def test_an_announced_address_is_a_url_or_nothing(announced: str, url: str) -> None:
    assert stats_url(announced, "10.9.9.9") == url


def test_all_addresses_of_an_unknown_peer_are_nothing() -> None:
    assert stats_url("0.0.0.0:9902", "") == ""


def test_counters_on_all_addresses_of_ipv6_are_on_those_of_ipv4_too() -> None:
    """Envoy refuses the field beside any other address."""
    found = bootstrap(EnvoyBootstrap("edge", ADS, 9901, ("::", 9902)))
    (listener,) = found["static_resources"]["listeners"]
    assert listener["address"]["socket_address"] == {
        "address": "::",
        "port_value": 9902,
        "ipv4_compat": True,
    }
    one = bootstrap(EnvoyBootstrap("edge", ADS, 9901, ("fd00::7", 9902)))["static_resources"]["listeners"][0]
    assert "ipv4_compat" not in one["address"]["socket_address"]


def test_the_admin_interface_listens_on_loopback_whatever_the_counters_do() -> None:
    found = bootstrap(EnvoyBootstrap("edge", ADS, 9901, ("0.0.0.0", 9902)))
    assert found["admin"]["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 9901}
    (listener,) = found["static_resources"]["listeners"]
    assert listener["address"]["socket_address"] == {"address": "0.0.0.0", "port_value": 9902}
    assert found["node"]["metadata"] == {STATS_KEY: "0.0.0.0:9902"}


@pytest.mark.parametrize(
    ("hosts", "kind"),
    [(("10.0.0.1", "fd00::1"), "STATIC"), (("argosy.argosy-system.svc",), "STRICT_DNS")],
    ids=["addresses", "a name"],
)
def test_operators_are_found_by_address_or_by_name(hosts: tuple[str, ...], kind: str) -> None:
    found = bootstrap(EnvoyBootstrap("edge", tuple((host, 18000) for host in hosts)))
    ads = found["static_resources"]["clusters"][0]
    assert (ads["name"], ads["type"]) == ("argosy-ads", kind)


def test_an_operator_by_name_beside_one_by_address_is_looked_up() -> None:
    found = bootstrap(EnvoyBootstrap("edge", (("10.0.0.1", 18000), ("argosy.svc", 18000))))
    assert found["static_resources"]["clusters"][0]["type"] == "STRICT_DNS"


def test_an_announced_ipv6_address_is_one_that_the_operator_can_read() -> None:
    metadata = bootstrap(EnvoyBootstrap("edge", ADS, stats=("fd00::7", 9902)))["node"]["metadata"]
    assert stats_url(metadata[STATS_KEY], "10.9.9.9") == "http://[fd00::7]:9902"
    assert metadata == {STATS_KEY: "[fd00::7]:9902"}


TLS = TlsFiles(Path("/tls/tls.crt"), Path("/tls/tls.key"), Path("/authority/ca.crt"))


def test_with_tls_the_operators_name_is_compared_with_its_certificate() -> None:
    found = bootstrap(EnvoyBootstrap("edge", (("argosy.svc", 1), ("10.0.0.1", 2)), tls=TLS))
    context = found["static_resources"]["clusters"][0]["transport_socket"]["typed_config"]
    validation = context["common_tls_context"]["combined_validation_context"]
    assert validation["default_validation_context"]["match_typed_subject_alt_names"] == [
        {"san_type": "DNS", "matcher": {"exact": "argosy.svc"}},
        {"san_type": "IP_ADDRESS", "matcher": {"exact": "10.0.0.1"}},
    ]


def test_with_tls_the_certificates_come_from_files_that_are_read_again_when_their_folder_changes() -> None:
    found = files(EnvoyBootstrap("edge", ADS, tls=TLS, directory=Path("/etc/argosy")))
    assert list(found) == ["bootstrap.yaml", "certificate.yaml", "authority.yaml"]
    context = found["bootstrap.yaml"]["static_resources"]["clusters"][0]["transport_socket"]["typed_config"]
    common = context["common_tls_context"]
    (certificate,) = common["tls_certificate_sds_secret_configs"]
    authority = common["combined_validation_context"]["validation_context_sds_secret_config"]
    for config, name, folder in (
        (certificate, "certificate", "/tls"),
        (authority, "authority", "/authority"),
    ):
        assert config["sds_config"]["path_config_source"] == {
            "path": f"/etc/argosy/{name}.yaml",
            "watched_directory": {"path": folder},
        }
        (secret,) = found[f"{name}.yaml"]["resources"]
        assert secret["name"] == config["name"]
        assert secret[{"certificate": "tls_certificate", "authority": "validation_context"}[name]][
            "watched_directory"
        ] == {"path": folder}


def test_without_tls_there_is_one_file_and_no_transport_socket() -> None:
    found = files(EnvoyBootstrap("e", ADS))
    assert list(found) == ["bootstrap.yaml"]
    assert "transport_socket" not in found["bootstrap.yaml"]["static_resources"]["clusters"][0]
