"""The user's cache folder: one file per surface, whole or absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from argosy.files.surfaces import SurfaceFiles, cache_folder


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "argosy"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "argosy"


def test_what_is_kept_is_found_by_the_next_command(tmp_path: Path) -> None:
    first = SurfaceFiles(tmp_path / "surfaces")
    assert (list(first), "aa" in first) == ([], False)
    first["aa"], first["bb"] = b"one", b"two"
    first["aa"] = b"three"
    second = SurfaceFiles(tmp_path / "surfaces")
    assert (dict(second), len(second)) == ({"aa": b"three", "bb": b"two"}, 2)
    del second["aa"]
    assert list(first) == ["bb"]
    with pytest.raises(KeyError):
        first["aa"]
    with pytest.raises(KeyError):
        del first["aa"]
    assert sorted(file.name for file in (tmp_path / "surfaces").iterdir()) == ["bb.surface"]


def test_a_cache_that_cannot_be_kept_is_said_once_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("a file where the directory should be")
    cache = SurfaceFiles(tmp_path / "file")
    cache["aa"], cache["bb"] = b"one", b"two"
    assert list(cache) == []
    assert [str(tmp_path / "file") in message for message in caplog.messages] == [True]
