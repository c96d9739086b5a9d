"""Making authorities and certificates.

Owns their form: EC P-256, SHA-256, version 3 with the extensions that TLS libraries look at. Input: names, an
instant and a lifetime. Output: certificates and keys as PEM. When one is due is `renewal`'s business.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from argosy.certificates.reading import LoadedPair, Usage, general_name

BACKDATED_BY = dt.timedelta(minutes=5)
"""For a machine whose clock is a little behind, a new certificate must be valid already."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a certificate is for: its common name, the side of a connection, and the hosts of a server."""

    name: str
    usage: Usage
    hosts: tuple[str, ...] = ()


def make_authority(now: dt.datetime, lifetime: dt.timedelta) -> LoadedPair:
    """A self-signed authority that signs end certificates only.

    Its name has a number of its own: two authorities that overlap are told apart by it in every listing.
    """
    key, serial = ec.generate_private_key(ec.SECP256R1()), x509.random_serial_number()
    name = _name(f"argosy xds authority {serial:x}"[:40])
    builder = (
        _builder(key.public_key(), now, now + lifetime)
        .serial_number(serial)
        .subject_name(name)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(is_authority=True), critical=True)
    )
    return LoadedPair(builder.sign(key, hashes.SHA256()), key)


def issue(authority: LoadedPair, subject: Subject, now: dt.datetime, lifetime: dt.timedelta) -> LoadedPair:
    """A certificate of this authority, which never outlives it."""
    key = ec.generate_private_key(ec.SECP256R1())
    ends = min(now + lifetime, authority.certificate.not_valid_after_utc)
    identifier = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        _builder(key.public_key(), now, ends)
        .serial_number(x509.random_serial_number())
        .subject_name(_name(subject.name))
        .issuer_name(authority.certificate.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(is_authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([x509.ObjectIdentifier(subject.usage)]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
    )
    if subject.hosts:
        names = x509.SubjectAlternativeName([general_name(host) for host in subject.hosts])
        builder = builder.add_extension(names, critical=False)
    return LoadedPair(builder.sign(authority.key, hashes.SHA256()), key)


def certificates_pem(*certificates: x509.Certificate) -> bytes:
    """As one PEM file."""
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)


def key_pem(pair: LoadedPair) -> bytes:
    """The private key, not encrypted: a Secret or a file that only its owner reads holds it."""
    return pair.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _builder(
    public_key: ec.EllipticCurvePublicKey, now: dt.datetime, ends: dt.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .public_key(public_key)
        .not_valid_before(now - BACKDATED_BY)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )
