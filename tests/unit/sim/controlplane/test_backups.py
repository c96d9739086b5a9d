"""Copies of etcd's data: what is refused, and what is left of an attempt."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from argosy_sim.controlplane import backups
from argosy_sim.controlplane.errors import BackupError
from argosy_sim.controlplane.host.processes import Identity, identify, thread_states
from argosy_sim.controlplane.state import Layout

STARTED_S = 1000.5


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    found = Layout(tmp_path / "plane")
    wal = found.etcd / "member" / "wal"
    wal.mkdir(parents=True)
    (wal / "0.wal").write_text("as it was")
    (wal / "1.tmp").write_text("room")
    return found


@pytest.fixture
def etcd() -> Iterator[Identity]:
    """A process that writes as long as it is not frozen."""
    with subprocess.Popen([sys.executable, "-c", "import time\nwhile True: time.sleep(0.001)"]) as process:
        identity = identify(process.pid)
        assert identity is not None
        yield identity
        process.kill()


def test_a_copy_that_is_put_back_has_the_data_and_leaves_nothing_beside_it(
    layout: Layout, etcd: Identity, tmp_path: Path
) -> None:
    backups.take(layout, STARTED_S, etcd, tmp_path / "deep" / "backup")
    (layout.etcd / "member" / "wal" / "0.wal").write_text("changed")
    (layout.etcd / "member" / "later").write_text("new")
    backups.prepare(layout, STARTED_S, tmp_path / "deep" / "backup")
    backups.put_back(layout)
    files = {path.name: path.read_text() for path in layout.etcd.rglob("*") if path.is_file()}
    assert files == {"0.wal": "as it was"}
    assert list(layout.directory.iterdir()) == [layout.etcd]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["backup"]


def test_etcd_is_still_while_it_is_copied_and_goes_on_afterwards(
    layout: Layout, etcd: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, ...]] = []

    def look(*_: object, **__: object) -> None:
        seen.append(thread_states(etcd))
        raise OSError("no space left on device")

    monkeypatch.setattr(shutil, "copytree", look)
    with pytest.raises(BackupError, match=r"in .*/backup cannot be written: no space left on device"):
        backups.take(layout, STARTED_S, etcd, tmp_path / "backup")
    assert seen == [("T",)]
    assert "T" not in thread_states(etcd)
    assert [path.name for path in tmp_path.iterdir()] == ["plane"]


def test_nothing_is_copied_to_where_something_is_or_of_an_etcd_that_has_ended(
    layout: Layout, etcd: Identity, tmp_path: Path
) -> None:
    with pytest.raises(BackupError, match="exists already; name a directory that does not exist"):
        backups.take(layout, STARTED_S, etcd, tmp_path)
    ended = Identity(os.getpid(), 1, "another boot")
    with pytest.raises(BackupError, match="etcd does not run"):
        backups.take(layout, STARTED_S, ended, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        pytest.param(None, "is no whole copy", id="no mark"),
        pytest.param("{", "is no whole copy", id="half a mark"),
        pytest.param(
            json.dumps({"started_at_s": 999.0, "taken_at_s": 1001.0}), "another control plane", id="another's"
        ),
        pytest.param(
            json.dumps({"started_at_s": STARTED_S, "taken_at_s": 1001.0}), "cannot be copied", id="no data"
        ),
    ],
)
def test_what_is_not_a_copy_of_this_control_plane_is_refused_and_changes_nothing(
    layout: Layout, tmp_path: Path, mark: str | None, words: str
) -> None:
    backup = tmp_path / "backup"
    backup.mkdir()
    if mark is not None:
        (backup / "backup.json").write_text(mark)
    with pytest.raises(BackupError, match=words):
        backups.prepare(layout, STARTED_S, backup)
    assert list(layout.directory.iterdir()) == [layout.etcd]
