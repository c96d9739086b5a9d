"""What proves to the store that the API server was restored from a backup, and what does not."""

from __future__ import annotations

from typing import Any

import pytest

from argosy.api.kinds import WATCHED
from argosy.kube.store import Store
from argosy.snapshot.seen import KindState

CLASSES = "workloadclasses"


def an_object(name: str, version: int, uid: str = "") -> dict[str, Any]:
    metadata = {
        "namespace": "default",
        "name": name,
        "uid": uid or f"uid-{name}",
        "resourceVersion": str(version),
    }
    return {"metadata": metadata}


def a_store() -> Store:
    """`a` at 10, `b` at 20, `c` deleted at 30; listed at 25."""
    store = Store(WATCHED)
    listed = [an_object("a", 10), an_object("b", 20), an_object("c", 15)]
    store.replace(CLASSES, listed, 25)
    store.drop(CLASSES, an_object("c", 30))
    return store


@pytest.mark.parametrize(
    ("listed", "version", "proof"),
    [
        pytest.param({"a": 10}, 18, "version 18, and 30 was seen", id="a listing older than the last one"),
        pytest.param({"a": 10, "b": 20, "c": 15}, 27, "27, and 30", id="a listing older than an event"),
        pytest.param({"a": 10, "b": 16}, 90, "b has resource version 16, and 20", id="an older version"),
        pytest.param({"c": 15}, 90, "c has resource version 15, and 30", id="a deleted object is back"),
        pytest.param({"a": 10, "b": 20}, 30, "", id="nothing has changed"),
        pytest.param({"a": 40}, 90, "", id="changes and deletions"),
        pytest.param({"a": 10, "b": 20}, 0, "", id="a listing without a version"),
    ],
)
def test_only_what_cannot_follow_from_what_was_seen_proves_a_restore(
    listed: dict[str, int], version: int, proof: str
) -> None:
    store = a_store()
    items = [an_object(name, at) for name, at in listed.items()]
    found = store.restored_by(CLASSES, items, version, store.newest(CLASSES))
    assert proof in found
    assert bool(found) is bool(proof)


def test_what_was_seen_while_a_listing_was_under_way_proves_nothing() -> None:
    store = a_store()
    newest = store.newest(CLASSES)
    store.put(CLASSES, an_object("b", 44))
    store.drop(CLASSES, an_object("a", 45))
    assert store.restored_by(CLASSES, [an_object("a", 10), an_object("b", 20)], 40, newest) == ""


def test_an_older_event_is_ignored_and_proves_nothing() -> None:
    store, late = a_store(), an_object("b", 19)
    assert store.put(CLASSES, late) is late
    assert store.put(CLASSES, an_object("c", 15))["metadata"]["resourceVersion"] == "15"  # type: ignore[index]
    assert sorted(store.of(CLASSES)) == ["default/a", "default/b"]
    assert store.num_restored == 0


def test_the_first_listing_after_a_restore_is_taken_as_it_is() -> None:
    store = a_store()
    store.believe_deleted(CLASSES, "default/c", at_s=0.0)
    store.restore("the proof")
    assert store.kinds[CLASSES].state is KindState.RESTORED
    assert store.parting(CLASSES) == {}
    store.replace(CLASSES, [an_object("b", 8), an_object("c", 9)], 12)
    versions = {key: item["metadata"]["resourceVersion"] for key, item in store.of(CLASSES).items()}
    assert versions == {"default/b": "8", "default/c": "9"}
    assert list(store.unseen(CLASSES)) == ["default/a"], "no deletion of it was seen"
    assert (store.deleted(CLASSES), store.newest(CLASSES)) == (set(), 12)
    assert store.kinds[CLASSES].state is KindState.SEEN


def test_the_listings_that_follow_a_restore_do_not_prove_it_again() -> None:
    store = a_store()
    store.restore("the proof, found in another kind")
    newest = store.newest(CLASSES)
    listed = [an_object("a", 10), an_object("b", 16)]
    assert store.restored_by(CLASSES, listed, 90, newest) == ""
    store.replace(CLASSES, listed, 90)
    assert "b has resource version 12, and 16" in store.restored_by(CLASSES, [an_object("b", 12)], 95, 90)


def test_the_second_listing_after_a_restore_is_compared_as_ever() -> None:
    store = a_store()
    store.restore("the proof")
    store.replace(CLASSES, [an_object("b", 8)], 12)
    store.put(CLASSES, an_object("b", 14))
    store.replace(CLASSES, [an_object("b", 8)], 13)
    assert store.of(CLASSES)["default/b"]["metadata"]["resourceVersion"] == "14"
