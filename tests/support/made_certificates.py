"""Certificates for tests: a set as `argosy certificates` makes it, and openssl's word on a chain."""

from __future__ import annotations

import datetime as dt
import subprocess
from pathlib import Path

from argosy.certificates.folder import write_part
from argosy.certificates.issuing import Subject, certificates_pem, issue, key_pem, make_authority
from argosy.certificates.reading import AUTHORITY, CERTIFICATE, KEY, Files, LoadedPair, Usage
from argosy.certificates.renewal import Held, renewed
from argosy.certificates.wanted import Part, Wanted
from argosy.settings import TlsFiles

LOOPBACK = "127.0.0.1"
HOUR = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)
NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
WANTED = Wanted((LOOPBACK,))


def made(now: dt.datetime = NOON, wanted: Wanted = WANTED) -> Held:
    """A whole set, made at this instant."""
    return dict(renewed({}, wanted, now).files)


def later(held: Held, now: dt.datetime, wanted: Wanted = WANTED) -> Held:
    """The set after a renewal at this instant."""
    return {**held, **renewed(held, wanted, now).files}


def pair_files(authority: LoadedPair, subject: Subject, now: dt.datetime, life: dt.timedelta) -> Files:
    """One side's files, with a certificate of this authority."""
    pair = issue(authority, subject, now, life)
    contents = {CERTIFICATE: certificates_pem(pair.certificate), KEY: key_pem(pair)}
    return {**contents, AUTHORITY: certificates_pem(authority.certificate)}


def stranger(trusted: Files, now: dt.datetime) -> Files:
    """A client that trusts the same servers and has a certificate of another authority."""
    other = make_authority(now, 10 * DAY)
    files = pair_files(other, Subject("stranger", Usage.CLIENT), now, DAY)
    return {**files, AUTHORITY: trusted[AUTHORITY]}


def in_folder(folder: Path, part: Part, files: Files) -> TlsFiles:
    """Written as a kubelet writes a mounted Secret."""
    write_part(folder, part, files)
    return TlsFiles(*(folder / part / name for name in (CERTIFICATE, KEY, AUTHORITY)))


def openssl_verifies(folder: Path, files: Files, authorities: bytes, purpose: str, at: dt.datetime) -> str:
    """Empty where `openssl verify` accepts the certificate at this instant, else its words."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "certificate").write_bytes(files[CERTIFICATE])
    (folder / "authorities").write_bytes(authorities)
    command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-attime", str(int(at.timestamp()))]
    command += ["-CAfile", str(folder / "authorities"), str(folder / "certificate")]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return "" if found.returncode == 0 else found.stdout + found.stderr
