"""A disk that is full, or a directory that is not ours: nothing that serves or decides waits for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from argosy.kube.api import WATCHED
from argosy.kube.store import Store
from argosy.reconcile.picture import Picture
from argosy.reconcile.publish import Publisher
from argosy.xds.server import AdsServer


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    """A directory that cannot be made: a file is in its way."""
    (tmp_path / "state").write_text("a file where the directory should be")
    return tmp_path / "state"


def test_routes_are_published_though_their_copy_cannot_be_written(
    nowhere: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ads = AdsServer()
    Publisher(Picture(Store(r.plural for r in WATCHED)), ads, nowhere).publish_now()
    assert ads.current is not None
    assert [str(nowhere) in message for message in caplog.messages] == [True]
