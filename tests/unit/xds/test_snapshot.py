from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from argosy.errors import InvariantError
from argosy.route.table import Backend, ClusterEntry, Endpoint, Gateway, RequestMatch, RouteEntry, RouteTable
from argosy.xds.hop import CLUSTER_KEY, HOP_LISTENER, HOP_NAMESPACE
from argosy.xds.resources import resources_of
from argosy.xds.snapshot import Snapshot, TypeUrl, revision_of
from argosy.xds.snapshot_file import FILE_NAME, SavedSnapshot, UnreadableSnapshot, load, save


def table(revision: int = 3) -> RouteTable:
    entry = RouteEntry(
        "n/c", "n/c", "n_c", RequestMatch(models=("m",)), (Backend("a", 0.25), Backend("b", 0.75)), 2
    )
    clusters = tuple(ClusterEntry(name, (Endpoint("10.0.0.1", 8000, f"n/{name}"),)) for name in ("a", "b"))
    return RouteTable(revision, Gateway("0.0.0.0", 8080), (entry,), clusters)


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        pytest.param(TypeUrl.CLUSTER, "a route refers to unknown clusters: a, b", id="clusters"),
        pytest.param(
            TypeUrl.ENDPOINT,
            "clusters without an assignment: a, b, tcp:a, tcp:b, waiting:a, waiting:b",
            id="assignments",
        ),
        pytest.param(TypeUrl.ROUTE, "a listener refers to unknown route configurations: argosy", id="routes"),
    ],
)
def test_a_reference_to_nothing_is_named(missing: TypeUrl, sentence: str) -> None:
    kept = [
        message for message in resources_of(table()) if not missing.endswith(message.DESCRIPTOR.full_name)
    ]
    with pytest.raises(InvariantError, match=sentence):
        Snapshot.of(3, kept)


def without_the_listener(message: Any) -> bool:
    return message.DESCRIPTOR.name != "Listener" or message.name != HOP_LISTENER


def without_the_aggregate(message: Any) -> bool:
    return message.DESCRIPTOR.name != "Cluster" or message.name != "any:a"


def without_what_the_aggregates_end_with(message: Any) -> bool:
    return message.DESCRIPTOR.name != "Cluster" or message.name != "argosy-nowhere"


def without_a_replica(message: Any) -> bool:
    if message.DESCRIPTOR.name == "ClusterLoadAssignment" and message.cluster_name == "tcp:a":
        message.ClearField("endpoints")
    return True


def through_its_own_cluster(message: Any) -> bool:
    """The hop would connect to the HTTP cluster, whose endpoints lead to the hop again."""
    if message.DESCRIPTOR.name == "ClusterLoadAssignment" and message.cluster_name == "a":
        for endpoint in message.endpoints[0].lb_endpoints:
            endpoint.metadata.filter_metadata[HOP_NAMESPACE].fields[CLUSTER_KEY].string_value = "a"
    return True


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        pytest.param(
            through_its_own_cluster,
            "endpoints whose TCP cluster does not have them: 10.0.0.1:8000 in a",
            id="no address behind it",
        ),
        pytest.param(
            without_the_listener,
            "endpoints behind a listener that is not there: argosy-hop",
            id="no listener for the endpoints to go through",
        ),
        pytest.param(
            without_a_replica,
            "endpoints whose TCP cluster does not have them: 10.0.0.1:8000 in tcp:a",
            id="no replica behind it",
        ),
        pytest.param(
            without_the_aggregate,
            "endpoints that lead to clusters that are not there: any:a",
            id="no cluster to wait in",
        ),
        pytest.param(
            without_what_the_aggregates_end_with,
            "aggregates of clusters that are not there: argosy-nowhere",
            id="an aggregate of a cluster that is not there",
        ),
    ],
)
def test_an_endpoint_that_leads_nowhere_is_named(damage: Callable[[Any], bool], sentence: str) -> None:
    with pytest.raises(InvariantError, match=sentence):
        Snapshot.of(3, [message for message in resources_of(table()) if damage(message)])


def test_what_stands_behind_a_routed_cluster_goes_first_and_stays_as_long() -> None:
    behind = {f"{kind}{name}" for kind in ("tcp:", "waiting:", "any:") for name in ("a", "b")}
    assert Snapshot.of_table(table()).routed_clusters == {"a", "b", "argosy-nowhere"} | behind


def test_the_endpoint_at_which_requests_wait_is_no_replica() -> None:
    assert Snapshot.of_table(table()).endpoint_addresses == {"10.0.0.1:8000"}


def test_two_resources_of_one_name_are_refused() -> None:
    messages = resources_of(table())
    with pytest.raises(InvariantError, match="two resources of type Cluster have the name tcp:a"):
        Snapshot.of(3, (*messages, messages[0]))


def test_a_version_begins_with_its_revision() -> None:
    snapshot = Snapshot.of_table(table(revision=12))
    assert snapshot.version.startswith("00000012-")
    assert revision_of(snapshot.version) == 12


@pytest.mark.parametrize("version", ["", "12", "00000012", "2026-11-22T12:00:00Z/7", "abc-0123456789abcdef"])
def test_a_foreign_version_is_older_than_all(version: str) -> None:
    assert revision_of(version) == -1


def test_an_other_revision_is_an_other_version_of_the_same_content() -> None:
    one, other = Snapshot.of_table(table(3)), Snapshot.of_table(table(4))
    assert one.version.partition("-")[2] == other.version.partition("-")[2]
    assert one.version != other.version


def test_a_saved_snapshot_is_read_back_whole(tmp_path: Path) -> None:
    snapshot = Snapshot.of_table(table())
    save(snapshot, tmp_path / "state")
    again = load(tmp_path / "state")
    assert isinstance(again, SavedSnapshot)
    assert again.snapshot == snapshot
    assert again.snapshot.version == snapshot.version


def test_saving_again_replaces_the_copy_and_leaves_nothing_else(tmp_path: Path) -> None:
    save(Snapshot.of_table(table(3)), tmp_path)
    save(Snapshot.of_table(table(4)), tmp_path)
    again = load(tmp_path)
    assert isinstance(again, SavedSnapshot)
    assert again.snapshot.revision == 4
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_where_there_is_no_copy_there_is_no_snapshot(tmp_path: Path) -> None:
    assert load(tmp_path) is None


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        pytest.param(lambda content: content[:-20], "checksum does not match", id="cut off"),
        pytest.param(lambda content: content[:-1] + b"\x00", "checksum does not match", id="a byte changed"),
        pytest.param(lambda content: b"", "does not begin with", id="empty"),
        pytest.param(lambda content: b"\xff\xfe" + content, "does not begin with", id="something else"),
    ],
)
def test_a_damaged_copy_is_named_and_ignored(tmp_path: Path, damage: object, reason: str) -> None:
    path = save(Snapshot.of_table(table()), tmp_path)
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    answer = load(tmp_path)
    assert isinstance(answer, UnreadableSnapshot)
    assert str(path) in answer.message
    assert reason in answer.message


def test_a_copy_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    assert isinstance(load(tmp_path), UnreadableSnapshot)
