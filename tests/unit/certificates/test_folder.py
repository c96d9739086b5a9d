"""Certificates in folders: exchanged at once, readable by their owner, as a kubelet writes a Secret."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from made_certificates import DAY, NOON, WANTED, later, made

from argosy.certificates.folder import read_folder, write_part
from argosy.certificates.renewal import renewed
from argosy.certificates.wanted import Part, Wanted
from argosy.errors import SpecError


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    held = made()
    for part, files in held.items():
        write_part(tmp_path, part, files)
    assert read_folder(tmp_path) == held
    assert renewed(read_folder(tmp_path), WANTED, NOON).files == {}


def test_one_rename_exchanges_all_files_and_the_old_ones_go(tmp_path: Path) -> None:
    held = made()
    write_part(tmp_path, Part.SERVER, held[Part.SERVER])
    before = (tmp_path / "server" / "..data").resolve()
    changed = later(held, NOON + DAY, Wanted(("argosy.svc",)))
    write_part(tmp_path, Part.SERVER, changed[Part.SERVER])
    assert (tmp_path / "server" / "tls.crt").readlink() == Path("..data/tls.crt")
    assert (tmp_path / "server" / "..data").resolve() != before
    assert not before.exists()
    assert read_folder(tmp_path)[Part.SERVER] == changed[Part.SERVER]


def test_a_key_is_read_by_its_owner_only(tmp_path: Path) -> None:
    write_part(tmp_path, Part.ENVOY, made()[Part.ENVOY])
    assert stat.S_IMODE((tmp_path / "envoy" / "tls.key").stat().st_mode) == 0o600


def test_a_file_that_argosy_did_not_write_stays(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "tls.key").write_text("the user's own")
    with pytest.raises(SpecError, match=r"^--directory: .*/server/tls.key was not written by Argosy"):
        write_part(tmp_path, Part.SERVER, made()[Part.SERVER])
    assert (tmp_path / "server" / "tls.key").read_text() == "the user's own"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "server").write_text("a file")
    with pytest.raises(SpecError, match=r"^--directory: .*/server cannot be written: "):
        write_part(tmp_path, Part.SERVER, made()[Part.SERVER])
    with pytest.raises(SpecError, match=r"^--directory: .*/server cannot be read: Not a directory"):
        read_folder(tmp_path)
