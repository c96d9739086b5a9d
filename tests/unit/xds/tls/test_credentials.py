"""The ADS server's certificates: read again, the last usable ones stay, one sentence names what is wrong."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from made_certificates import DAY, in_folder, made

from argosy.certificates.wanted import Part
from argosy.errors import SpecError
from argosy.settings import TlsFiles
from argosy.xds.tls.credentials import ServerTls

NOW = dt.datetime.now(dt.UTC)


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    return in_folder(tmp_path, Part.SERVER, made(NOW)[Part.SERVER])


def test_files_that_fit_are_used(files: TlsFiles) -> None:
    tls = ServerTls(files)
    assert tls.credentials() is not None
    assert tls.trouble == ""


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("certificate", None, "cannot be read: No such file or directory"),
        ("key", None, "cannot be read: No such file or directory"),
        ("authority", None, "cannot be read: No such file or directory"),
        ("certificate", b"no PEM", "holds no certificate that can be read: it needs one or more in PEM"),
        ("key", b"no PEM", "holds no private key that can be read: it needs one in PEM without a passphrase"),
        ("authority", b"", "holds no certificate that can be read: it needs one or more in PEM"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_until_it_can(
    files: TlsFiles, name: str, content: bytes | None, sentence: str
) -> None:
    path: Path = getattr(files, name)
    good = path.read_bytes()
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    tls = ServerTls(files)
    assert tls.look() is None
    assert tls.trouble == f"{path} {sentence}"
    with pytest.raises(SpecError, match=r"read"):
        tls.credentials()
    path.unlink(missing_ok=True)
    path.write_bytes(good)
    assert tls.look() is not None
    assert tls.trouble == ""


def test_a_key_of_another_certificate_is_refused(files: TlsFiles) -> None:
    files.key.unlink()
    files.key.write_bytes(made(NOW)[Part.SERVER]["tls.key"])
    tls = ServerTls(files)
    assert tls.look() is None
    assert tls.trouble == (
        f"the key {files.key} belongs to another certificate than {files.certificate}: it needs that one's"
        " key"
    )


def test_files_that_become_unusable_change_nothing_and_new_ones_are_taken(
    files: TlsFiles, tmp_path: Path
) -> None:
    tls = ServerTls(files)
    first = tls.look()
    assert tls.look() is first
    in_folder(tmp_path, Part.SERVER, {**made(NOW)[Part.SERVER], "tls.crt": b"half a file"})
    assert tls.look() is first
    assert "holds no certificate that can be read" in tls.trouble
    in_folder(tmp_path, Part.SERVER, made(NOW + DAY)[Part.SERVER])
    second = tls.look()
    assert second is not None
    assert second is not first
    assert second.contents[0] == files.certificate.read_bytes()
    assert tls.trouble == ""
