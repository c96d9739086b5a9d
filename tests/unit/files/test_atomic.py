"""A file is replaced whole or not at all, with nothing left beside it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from argosy.files import atomic


@pytest.fixture
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def files_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


@pytest.mark.parametrize("is_durable", [False, True])
def test_a_file_is_written_in_a_folder_that_was_missing_and_then_replaced(
    tmp_path: Path, is_durable: bool
) -> None:
    file = tmp_path / "state" / "a.bin"
    for content in (b"old", b"new"):
        atomic.write_bytes(file, content, is_durable=is_durable)
        assert (file.read_bytes(), files_in(file.parent)) == (content, ["a.bin"])


@pytest.mark.parametrize(
    ("is_durable", "synced"),
    [pytest.param(True, ["content", "folder"], id="durable"), pytest.param(False, [], id="a cache")],
)
def test_a_durable_file_and_then_its_name_are_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_durable: bool, synced: list[str]
) -> None:
    calls = []

    def record(descriptor: int) -> None:
        found = os.fstat(descriptor)
        is_whole = stat.S_ISDIR(found.st_mode) and files_in(tmp_path) == ["a.bin"]
        calls.append("folder" if is_whole else "content" if found.st_size == len(b"content") else "part")

    monkeypatch.setattr(os, "fsync", record)
    atomic.write_bytes(tmp_path / "a.bin", b"content", is_durable=is_durable)
    assert calls == synced


def test_text_is_utf_8(tmp_path: Path) -> None:
    atomic.write_text(tmp_path / "a.txt", "Mélange")
    assert (tmp_path / "a.txt").read_bytes() == b"M\xc3\xa9lange"


def test_permissions_are_those_of_the_umask_or_the_owners_alone(tmp_path: Path, usual_umask: None) -> None:
    (tmp_path / "secret").write_text("was readable for all")
    atomic.write_bytes(tmp_path / "open", b"")
    atomic.write_bytes(tmp_path / "secret", b"", mode=atomic.OWNER_ONLY)
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("open", "secret")]
    assert modes == [0o644, 0o600]


def test_a_target_that_cannot_be_replaced_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "content").touch()
    with pytest.raises(OSError, match="folder"):
        atomic.write_bytes(tmp_path / "folder", b"content")
    assert files_in(tmp_path) == ["folder"]


def test_a_file_in_the_way_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(OSError, match="state"):
        atomic.write_bytes(tmp_path / "state" / "a.bin", b"content")


def test_a_program_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "program"
    file.write_text("old")

    def build_half() -> None:
        with atomic.replacement(file) as temporary:
            temporary.write_text("half")
            raise RuntimeError("the build failed")

    with pytest.raises(RuntimeError, match="the build failed"):
        build_half()
    assert (file.read_text(), files_in(tmp_path)) == ("old", ["program"])


def test_writers_at_the_same_time_do_not_mix(tmp_path: Path) -> None:
    contents = [bytes([number]) * 100_000 for number in range(16)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda content: atomic.write_bytes(tmp_path / "a", content), contents))
    assert (tmp_path / "a").read_bytes() in contents
    assert files_in(tmp_path) == ["a"]
