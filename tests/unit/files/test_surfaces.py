"""The user's cache directory: one file per surface, whole or absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from argosy.files.surfaces import DirectoryCache, cache_directory


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "argosy"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_directory() == Path.home() / ".cache" / "argosy"


def test_what_is_kept_is_found_by_the_next_command(tmp_path: Path) -> None:
    first = DirectoryCache(tmp_path / "surfaces")
    assert (list(first), "aa" in first) == ([], False)
    first["aa"], first["bb"] = b"one", b"two"
    first["aa"] = b"three"
    second = DirectoryCache(tmp_path / "surfaces")
    assert (dict(second), len(second)) == ({"aa": b"three", "bb": b"two"}, 2)
    del second["aa"]
    assert list(first) == ["bb"]
    with pytest.raises(KeyError):
        first["aa"]
    with pytest.raises(KeyError):
        del first["aa"]
    assert sorted(file.name for file in (tmp_path / "surfaces").iterdir()) == ["bb.surface"]


def test_a_cache_that_cannot_be_kept_is_said_once_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("a file where the directory should be")
    cache = DirectoryCache(tmp_path / "file")
    cache["aa"], cache["bb"] = b"one", b"two"
    assert list(cache) == []
    said = capsys.readouterr().err
    assert said.count("the cache cannot be kept") == 1
    assert str(tmp_path / "file") in said
