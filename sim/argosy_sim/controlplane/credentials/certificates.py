"""Owns the keys and certificates of one control plane. Pure: the time comes in, bytes go out.

EC P-256 throughout: a whole set takes some hundredths of a second. Two authorities: one for
servers and clients, one for the front proxy, so that no client certificate can pose as the
proxy that names users in headers.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID_FOR = dt.timedelta(days=365)
# For a client whose clock is a little behind, the certificates must be valid already.
BACKDATED_BY = dt.timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key, both PEM."""

    certificate_pem: bytes
    key_pem: bytes


@dataclass(frozen=True, slots=True)
class CertificateSubject:
    """The subject of a certificate: Kubernetes reads the user from CN and its groups from O."""

    common_name: str
    organizations: tuple[str, ...] = ()

    def to_name(self) -> x509.Name:
        """Return the X.509 name."""
        groups = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in self.organizations]
        return x509.Name([*groups, x509.NameAttribute(NameOID.COMMON_NAME, self.common_name)])


@dataclass(frozen=True, slots=True)
class Certificates:
    """Everything the four processes, kubectl and a kubelet server need."""

    ca: KeyPair
    front_proxy_ca: KeyPair
    api_server: KeyPair
    api_server_to_kubelet: KeyPair
    admin: KeyPair
    controller_manager: KeyPair
    scheduler: KeyPair
    kubelet: KeyPair
    service_account_key_pem: bytes


class Authority:
    """A self-signed certificate authority."""

    def __init__(self, common_name: str, now: dt.datetime) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._now = now
        self._name = CertificateSubject(common_name).to_name()
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        builder = self._builder(self._name, self._key.public_key()).add_extension(constraints, critical=True)
        self.certificate = builder.add_extension(_ca_key_usage(), critical=True).sign(
            self._key, hashes.SHA256()
        )

    @property
    def pair(self) -> KeyPair:
        """The authority's own certificate and key."""
        return KeyPair(_pem(self.certificate), _key_pem(self._key))

    def issue_client(self, subject: CertificateSubject) -> KeyPair:
        """Return a client certificate."""
        return self._issue(subject, (), ExtendedKeyUsageOID.CLIENT_AUTH)

    def issue_server(self, subject: CertificateSubject, hosts: Sequence[str]) -> KeyPair:
        """Return a serving certificate for host names and addresses."""
        return self._issue(subject, hosts, ExtendedKeyUsageOID.SERVER_AUTH)

    def _issue(
        self, subject: CertificateSubject, hosts: Sequence[str], usage: x509.ObjectIdentifier
    ) -> KeyPair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(subject.to_name(), key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if hosts:
            names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        return KeyPair(_pem(builder.sign(self._key, hashes.SHA256())), _key_pem(key))

    def _builder(self, subject: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - BACKDATED_BY)
            .not_valid_after(self._now + VALID_FOR)
            .add_extension(authority, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        )


def issue_all(now: dt.datetime) -> Certificates:
    """Make the certificates of one control plane; `now` is timezone-aware."""
    authority = Authority("argosy-ca", now)
    api_hosts = (
        "127.0.0.1",
        "10.0.0.1",  # the first address of --service-cluster-ip-range: the `kubernetes` Service
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    )
    return Certificates(
        ca=authority.pair,
        front_proxy_ca=Authority("argosy-front-proxy-ca", now).pair,
        api_server=authority.issue_server(CertificateSubject("kube-apiserver"), api_hosts),
        # No group: all it may do is call kubelets, which know it by this name.
        api_server_to_kubelet=authority.issue_client(CertificateSubject("kube-apiserver-kubelet-client")),
        admin=authority.issue_client(CertificateSubject("admin", ("system:masters",))),
        controller_manager=authority.issue_client(CertificateSubject("system:kube-controller-manager")),
        scheduler=authority.issue_client(CertificateSubject("system:kube-scheduler")),
        kubelet=authority.issue_server(CertificateSubject("virtual-kubelet"), ("127.0.0.1", "localhost")),
        service_account_key_pem=_key_pem(ec.generate_private_key(ec.SECP256R1())),
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _ca_key_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        # "EC PRIVATE KEY": the form that Kubernetes reads for service account tokens too.
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
