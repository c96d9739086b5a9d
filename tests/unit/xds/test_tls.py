"""The ADS server's certificates: one sentence names the flag whose file cannot be used."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from argosy.errors import SpecError
from argosy.settings import TlsFiles
from argosy.xds.tls import credentials
from argosy_sim.controlplane.credentials.certificates import Authority, CertificateSubject


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    authority = Authority("ours", dt.datetime.now(dt.UTC))
    pair = authority.issue_server(CertificateSubject("argosy"), ("127.0.0.1",))
    found = TlsFiles(tmp_path / "tls.crt", tmp_path / "tls.key", tmp_path / "ca.crt")
    found.certificate.write_bytes(pair.certificate_pem)
    found.key.write_bytes(pair.key_pem)
    found.authority.write_bytes(authority.pair.certificate_pem)
    return found


def test_files_that_fit_are_taken(files: TlsFiles) -> None:
    assert credentials(files) is not None


@pytest.mark.parametrize("content", [None, b"no PEM"], ids=["missing", "no PEM"])
@pytest.mark.parametrize(
    ("name", "flag"),
    [("certificate", "--xds-tls-cert"), ("key", "--xds-tls-cert"), ("authority", "--xds-tls-ca")],
)
def test_a_file_that_cannot_be_used_is_named(
    files: TlsFiles, name: str, flag: str, content: bytes | None
) -> None:
    path: Path = getattr(files, name)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(SpecError) as raised:
        credentials(files)
    assert raised.value.field == flag
    assert str(path) in str(raised.value)


def test_a_key_of_another_certificate_is_refused(files: TlsFiles) -> None:
    other = Authority("other", dt.datetime.now(dt.UTC)).issue_client(CertificateSubject("x"))
    files.key.write_bytes(other.key_pem)
    with pytest.raises(SpecError, match="cannot be used"):
        credentials(files)
