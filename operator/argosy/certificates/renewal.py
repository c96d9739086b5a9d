"""Which certificates are due, and what replaces them.

Owns the rotation. Input: what is held, what is wanted, and the instant. Output: the Secrets or folders that
change, whole, in the order in which they have to be written, with the reason for each. The same function
makes everything on an empty cluster, renews in time, and changes nothing where nothing is due.

Two authorities overlap. A new one is trusted by both sides first (`ca.crt` lists it beside the old one) and
signs the certificates in use only an overlap later, when every pod has read it; the old one is no longer
trusted an overlap after the last of its certificates was replaced. Its key is forgotten at once.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from cryptography import x509

from argosy.certificates.issuing import (
    BACKDATED_BY,
    Subject,
    certificates_pem,
    issue,
    key_pem,
    make_authority,
)
from argosy.certificates.reading import (
    AUTHORITY,
    CERTIFICATE,
    KEY,
    Files,
    LoadedPair,
    Usage,
    general_name,
    hosts_of,
    is_authority,
    is_issued_by,
    read_certificates,
    read_pair,
    share_used,
    usages_of,
)
from argosy.certificates.wanted import SETTINGS, Part, Wanted
from argosy.errors import SpecError

RENEWED_AT = 0.6
"""Of the lifetime: early enough that two thirds have not passed when every pod has read the new one."""

Held = dict[Part, Files]


@dataclass(frozen=True, slots=True)
class Renewal:
    """files: what has to be written, in this order; reasons: why each new certificate was made.

    damaged: the authorities that could not be read, each with why: they are written anew, and an Envoy that
        has read one keeps its earlier certificates until it is restarted
    """

    files: dict[Part, Files]
    reasons: dict[Part, str]
    damaged: dict[Part, str] = field(default_factory=dict)


def renewed(held: Held, wanted: Wanted, now: dt.datetime) -> Renewal:
    """What has to be written now; nothing where nothing is due."""
    pairs, reasons = dict[Part, LoadedPair](), dict[Part, str]()
    authority, reasons[Part.AUTHORITY] = _authority(held.get(Part.AUTHORITY, {}), wanted, now)
    pairs[Part.AUTHORITY] = authority
    former = _former(held, authority, now)
    signer = _Signer(authority, former, wanted, now)
    for subject, part in _subjects(wanted):
        pairs[part], reasons[part] = _leaf(held.get(part, {}), subject, signer)
    leaves = [pair for part, pair in pairs.items() if part is not Part.AUTHORITY]
    if all(_is_settled(leaf, authority, wanted, now) for leaf in leaves):
        former = ()
    shared = {AUTHORITY: certificates_pem(authority.certificate, *former)}
    files: Held = {
        part: (_new_files(pair) if reasons[part] else _kept_files(held[part])) | shared
        for part, pair in pairs.items()
    }
    files[Part.AUTHORITY] = {**files[Part.AUTHORITY], SETTINGS: wanted.to_json()}
    changed = {part: found for part, found in files.items() if not _is_same(held.get(part, {}), found)}
    return Renewal(changed, {part: reason for part, reason in reasons.items() if reason}, _damaged(held))


def _damaged(held: Held) -> dict[Part, str]:
    """Of what Envoys and operators trust each other by, what cannot be read, and why."""
    found = {}
    for part, files in held.items():
        try:
            read_certificates(files.get(AUTHORITY, b""), AUTHORITY)
        except SpecError as error:
            if AUTHORITY in files:
                found[part] = str(error)
    return found


def ends(held: Held) -> dict[Part, dt.datetime]:
    """When each certificate ends; one that cannot be read is left out."""
    found = {}
    for part, files in held.items():
        try:
            found[part] = read_certificates(files.get(CERTIFICATE, b""), part)[0].not_valid_after_utc
        except SpecError:
            continue
    return found


@dataclass(frozen=True, slots=True)
class _Signer:
    """The authority that signs now, with the former ones that are still trusted."""

    pair: LoadedPair
    former: tuple[x509.Certificate, ...]
    wanted: Wanted
    now: dt.datetime

    @property
    def is_young(self) -> bool:
        """Whether some pods may not have read it yet."""
        return _age(self.pair.certificate, self.now) < self.wanted.overlap


def _subjects(wanted: Wanted) -> tuple[tuple[Subject, Part], ...]:
    return (
        (Subject("argosy", Usage.SERVER, wanted.hosts), Part.SERVER),
        (Subject("argosy-envoy", Usage.CLIENT), Part.ENVOY),
    )


def _authority(files: Files, wanted: Wanted, now: dt.datetime) -> tuple[LoadedPair, str]:
    """The authority that signs from now on, and why it is a new one; empty where it is the one held."""
    found, reason = _loaded(files, now)
    if found is not None:
        if not is_authority(found.certificate):
            reason = f"{CERTIFICATE} may not sign other certificates (basicConstraints)"
        elif share_used(found.certificate, now) < RENEWED_AT:
            return found, ""
        else:
            reason = _used(found.certificate, now)
    return make_authority(now, wanted.authority), reason


def _leaf(files: Files, subject: Subject, signer: _Signer) -> tuple[LoadedPair, str]:
    """The certificate from now on, and why it is a new one; empty where it is the one held."""
    found, reason = _loaded(files, signer.now)
    if found is not None:
        reason = _objection(found.certificate, subject, signer)
        if not reason:
            return found, ""
    return issue(signer.pair, subject, signer.now, signer.wanted.leaf), reason


def _objection(found: x509.Certificate, subject: Subject, signer: _Signer) -> str:
    """Why a readable certificate cannot stay; empty where it can."""
    needed = {general_name(host) for host in subject.hosts}
    if needed != {general_name(host) for host in hosts_of(found)}:
        has = ", ".join(hosts_of(found)) or "no host"
        return f"it was for {has}, and {', '.join(subject.hosts) or 'no host'} is needed"
    if str(subject.usage) not in usages_of(found):
        return "it was for the other side of a connection (extendedKeyUsage)"
    if signer.pair.issued(found):
        return _used(found, signer.now) if share_used(found, signer.now) >= RENEWED_AT else ""
    if not any(is_issued_by(found, each) for each in signer.former):
        return "it was of an authority that is no longer trusted"
    # Replaced a little late rather than by a certificate that the other side does not trust yet.
    return "" if signer.is_young else "it was of the former authority"


def _loaded(files: Files, now: dt.datetime) -> tuple[LoadedPair | None, str]:
    """A pair that is valid now, or why there is none."""
    if not files:
        return None, "there was none"
    try:
        found = read_pair(files.get(CERTIFICATE, b""), files.get(KEY, b""), (CERTIFICATE, KEY))
    except SpecError as error:
        return None, str(error)
    if share_used(found.certificate, now) >= 1:
        return None, f"it ended on {found.certificate.not_valid_after_utc:%Y-%m-%d at %H:%M} UTC"
    return found, ""


def _used(certificate: x509.Certificate, now: dt.datetime) -> str:
    return f"{share_used(certificate, now):.0%} of its lifetime were over"


def _former(held: Held, authority: LoadedPair, now: dt.datetime) -> tuple[x509.Certificate, ...]:
    """Authorities that were trusted until now and are valid, the latest first."""
    found: dict[bytes, x509.Certificate] = {}
    for part, files in held.items():
        try:
            listed = read_certificates(files.get(AUTHORITY, b""), part)
        except SpecError:
            continue
        found |= {certificates_pem(each): each for each in listed if is_authority(each)}
    found.pop(certificates_pem(authority.certificate), None)
    valid = [each for each in found.values() if share_used(each, now) < 1]
    return tuple(
        sorted(valid, key=lambda each: (each.not_valid_before_utc, each.serial_number), reverse=True)
    )


def _is_settled(leaf: LoadedPair, authority: LoadedPair, wanted: Wanted, now: dt.datetime) -> bool:
    """Whether every pod has read this certificate, and it is of the authority that signs now."""
    return authority.issued(leaf.certificate) and _age(leaf.certificate, now) >= wanted.overlap


def _age(certificate: x509.Certificate, now: dt.datetime) -> dt.timedelta:
    return now - BACKDATED_BY - certificate.not_valid_before_utc


def _new_files(pair: LoadedPair) -> dict[str, bytes]:
    return {CERTIFICATE: certificates_pem(pair.certificate), KEY: key_pem(pair)}


def _kept_files(held: Files) -> dict[str, bytes]:
    """Byte for byte: a certificate may have its chain behind it."""
    return {CERTIFICATE: held[CERTIFICATE], KEY: held[KEY]}


def _is_same(held: Files, found: Files) -> bool:
    return all(held.get(name) == content for name, content in found.items())
