"""The largest revision on disk: kept over a restart, and no error where it is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from argosy.control.revision.number import ADOPTED_LIMIT
from argosy.files.revisions import FILE_NAME, read_revision, write_revision
from argosy.kube.identity import ClusterIdentity
from argosy.reconcile.revisions import SeenRevisions
from argosy.snapshot.fleet import EnvoyState

HERE = ClusterIdentity("uid-here")


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_revision(tmp_path / "new", 17)
    assert read_revision(tmp_path / "new") == 17


def test_a_missing_file_is_no_news(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert read_revision(tmp_path) == 0
    assert caplog.messages == []


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x00\xff", id="no text"),
        pytest.param(b"[17]", id="a list"),
        pytest.param(b'{"revision": 17}', id="another field"),
        pytest.param(b'{"largestRevision": "17"}', id="text for the number"),
        pytest.param(b'{"largestRevision": -1}', id="a negative number"),
        pytest.param(b'{"largestRevision": 1.5}', id="a fraction"),
        pytest.param(b'{"largestRevision": true}', id="a truth value"),
        pytest.param(b"[" * 100_000, id="endless nesting"),
    ],
)
def test_a_damaged_file_counts_as_none_and_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    assert read_revision(tmp_path) == 0
    assert [str(tmp_path / FILE_NAME) in message for message in caplog.messages] == [True]


def test_names_and_envoys_raise_the_number_and_nothing_lowers_it(tmp_path: Path) -> None:
    seen = SeenRevisions(tmp_path, HERE)
    seen.see(["plan-000003", "plan-000012", "my-plan-000099", "plan-7"])
    assert (seen.largest, read_revision(tmp_path)) == (12, 12)
    seen.see([], [EnvoyState("edge", revision=17)])
    seen.see(["plan-000001"])
    assert (seen.largest, SeenRevisions(tmp_path, HERE).largest) == (17, 17)


def test_a_number_too_large_to_be_true_is_not_adopted(tmp_path: Path) -> None:
    write_revision(tmp_path, ADOPTED_LIMIT)
    seen = SeenRevisions(tmp_path, HERE)
    seen.see([f"plan-{ADOPTED_LIMIT + 1}"], [EnvoyState("edge", revision=ADOPTED_LIMIT + 1)])
    assert seen.largest == ADOPTED_LIMIT


def test_a_directory_that_cannot_be_written_costs_one_sentence_for_each_new_number(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("a file where the directory should be")
    seen = SeenRevisions(tmp_path / "state", HERE)
    caplog.clear()
    seen.see(["plan-000003"])
    seen.see(["plan-000003"])
    assert seen.largest == 3
    assert len(caplog.messages) == 1


def test_the_number_of_another_cluster_is_not_used_and_the_remedy_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    there = SeenRevisions(tmp_path, ClusterIdentity("uid-there"))
    there.see(["plan-000041"])
    assert SeenRevisions(tmp_path, HERE).largest == 0
    assert [message.partition(" is not used: ")[2] for message in caplog.messages] == [
        "it is of the cluster whose namespace kube-system has the uid uid-there, and this process serves the"
        " one with uid-here; give the operator of each cluster a --state-dir of its own"
    ]
    assert SeenRevisions(tmp_path, ClusterIdentity("uid-there")).largest == 41


def test_where_it_is_not_known_which_cluster_this_is_the_number_is_used(tmp_path: Path) -> None:
    SeenRevisions(tmp_path, HERE).see(["plan-000041"])
    assert SeenRevisions(tmp_path, ClusterIdentity()).largest == 41
