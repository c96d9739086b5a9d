from __future__ import annotations

import datetime as dt
import ipaddress

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from argosy_sim.controlplane.credentials.certificates import Certificates, KeyPair, issue_all

NOW = dt.datetime(2026, 3, 1, 12, 0, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return issue_all(NOW)


def parsed(pair: KeyPair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.certificate_pem)


def usages(pair: KeyPair) -> list[x509.ObjectIdentifier]:
    return list(parsed(pair).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


@pytest.mark.parametrize(
    ("name", "user", "groups"),
    [
        ("admin", "admin", ["system:masters"]),
        ("controller_manager", "system:kube-controller-manager", []),
        ("scheduler", "system:kube-scheduler", []),
        ("api_server_to_kubelet", "kube-apiserver-kubelet-client", []),
    ],
)
def test_a_client_certificate_names_its_user_and_nothing_more(
    name: str, user: str, groups: list[str], certificates: Certificates
) -> None:
    pair = getattr(certificates, name)
    subject = parsed(pair).subject
    assert [part.value for part in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == [user]
    assert [part.value for part in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == groups
    assert usages(pair) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    parsed(pair).verify_directly_issued_by(parsed(certificates.ca))


@pytest.mark.parametrize("name", ["api_server", "kubelet"])
def test_a_serving_certificate_is_for_loopback(name: str, certificates: Certificates) -> None:
    pair = getattr(certificates, name)
    names = parsed(pair).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert ipaddress.ip_address("127.0.0.1") in names.get_values_for_type(x509.IPAddress)
    assert "localhost" in names.get_values_for_type(x509.DNSName)
    assert usages(pair) == [ExtendedKeyUsageOID.SERVER_AUTH]
    parsed(pair).verify_directly_issued_by(parsed(certificates.ca))


def test_pods_may_reach_the_api_server_by_its_service_name(certificates: Certificates) -> None:
    names = parsed(certificates.api_server).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert "kubernetes.default.svc" in names.value.get_values_for_type(x509.DNSName)


def test_no_client_certificate_can_pose_as_the_front_proxy(certificates: Certificates) -> None:
    with pytest.raises((ValueError, InvalidSignature)):
        parsed(certificates.admin).verify_directly_issued_by(parsed(certificates.front_proxy_ca))


def test_certificates_hold_from_a_little_before_now_for_a_year(certificates: Certificates) -> None:
    certificate = parsed(certificates.api_server)
    assert certificate.not_valid_before_utc == NOW - dt.timedelta(minutes=5)
    assert certificate.not_valid_after_utc == NOW + dt.timedelta(days=365)


def test_a_key_belongs_to_its_certificate(certificates: Certificates) -> None:
    key = serialization.load_pem_private_key(certificates.kubelet.key_pem, password=None)
    assert key.public_key() == parsed(certificates.kubelet).public_key()


def test_two_control_planes_do_not_trust_each_other(certificates: Certificates) -> None:
    with pytest.raises((ValueError, InvalidSignature)):
        parsed(issue_all(NOW).admin).verify_directly_issued_by(parsed(certificates.ca))
