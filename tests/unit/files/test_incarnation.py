"""Which process this is: a restart keeps the identity, and no two processes share a state directory."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import pytest

from argosy.errors import SpecError
from argosy.files.incarnation import FILE_NAME, begin


def test_a_restart_keeps_the_identity_and_knows_its_predecessor(tmp_path: Path) -> None:
    first = begin(tmp_path / "state")
    first.close()
    second = begin(tmp_path / "state")
    assert (second.identity, second.previous_nonce) == (first.identity, first.nonce)
    assert second.nonce != first.nonce


def test_an_identity_that_is_named_replaces_the_kept_one(tmp_path: Path) -> None:
    begin(tmp_path).close()
    begin(tmp_path, "operator-0").close()
    assert begin(tmp_path).identity == "operator-0"


def test_a_directory_that_a_running_process_has_is_refused_with_the_remedy(tmp_path: Path) -> None:
    running = begin(tmp_path)
    with pytest.raises(SpecError) as caught:
        begin(tmp_path)
    assert str(caught.value) == (
        f"--state-dir: {tmp_path} is used by another running operator; stop it, or name another directory"
    )
    running.close()
    begin(tmp_path).close()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"identity": 1, "nonce": 2}', '{"identity": "a"}'])
def test_a_damaged_file_gives_a_new_identity_and_no_predecessor(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE_NAME).write_text(content)
    found = begin(tmp_path)
    assert (bool(found.identity), found.previous_nonce) == (True, "")


def test_a_directory_that_cannot_be_made_still_gives_an_identity(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = begin(tmp_path / "file" / "state", "")
    assert (bool(found.identity), found.previous_nonce, found.lock) == (True, "", None)


def test_without_locks_the_predecessor_may_still_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = begin(tmp_path)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    second = begin(tmp_path)
    assert (second.identity, second.previous_nonce) == (first.identity, "")
