"""Certificates and keys, read from PEM and judged.

Owns what makes a pair or a list of authorities usable. Input: bytes of a file or of a Secret, and where they
are from. Output: parsed certificates; `SpecError` with a sentence where they cannot be used. Any type of key
is read: cert-manager and companies' own authorities use others than Argosy.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID

from argosy.errors import SpecError

CERTIFICATE = "tls.crt"
KEY = "tls.key"
AUTHORITY = "ca.crt"
"""Keys of a Secret of type kubernetes.io/tls, as cert-manager writes it too; names of files in a folder."""

Files = Mapping[str, bytes]
"""Contents of one Secret or folder, by name."""


class Usage(StrEnum):
    """Which side of a connection a certificate is for."""

    SERVER = ExtendedKeyUsageOID.SERVER_AUTH.dotted_string
    CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH.dotted_string


@dataclass(frozen=True, slots=True)
class LoadedPair:
    """A certificate and the private key that belongs to it."""

    certificate: x509.Certificate
    key: CertificateIssuerPrivateKeyTypes

    def issued(self, certificate: x509.Certificate) -> bool:
        """Whether this pair's key signed the certificate."""
        return is_issued_by(certificate, self.certificate)


def read_pair(certificate_pem: bytes, key_pem: bytes, where: tuple[str, str]) -> LoadedPair:
    """The first certificate (others are its chain) and its key; `where` names both.

    Raises SpecError where one of them is not PEM or the key is that of another certificate.
    """
    certificate = read_certificates(certificate_pem, where[0])[0]
    try:
        key = serialization.load_pem_private_key(key_pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SpecError(
            f"{where[1]} holds no private key that can be read: it needs one in PEM without a passphrase"
        ) from error
    if key.public_key() != certificate.public_key():
        raise SpecError(
            f"the key {where[1]} belongs to another certificate than {where[0]}: it needs that one's key"
        )
    return LoadedPair(certificate, key)  # type: ignore[arg-type]


def read_certificates(pem: bytes, where: str) -> tuple[x509.Certificate, ...]:
    """One or more certificates. Raises SpecError where there is none, or one cannot be read."""
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except ValueError as error:
        raise SpecError(
            f"{where} holds no certificate that can be read: it needs one or more in PEM"
        ) from error


def is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether the authority's key signed the certificate."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether it may sign others."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def hosts_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The names and addresses that it is for, in its own order."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return tuple(str(name.value) for name in names if isinstance(name, x509.DNSName | x509.IPAddress))


def usages_of(certificate: x509.Certificate) -> frozenset[str]:
    """The sides of a connection that it is for, as dotted numbers."""
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return frozenset()
    return frozenset(usage.dotted_string for usage in usages)


def lifetime(certificate: x509.Certificate) -> dt.timedelta:
    """From the first instant at which it is valid to the last."""
    return certificate.not_valid_after_utc - certificate.not_valid_before_utc


def share_used(certificate: x509.Certificate, now: dt.datetime) -> float:
    """How much of its lifetime is over, 0 to 1; above 1 once it has expired."""
    return (now - certificate.not_valid_before_utc) / lifetime(certificate)


def general_name(host: str) -> x509.GeneralName:
    """A host as a certificate names it."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
