"""What the operator remembers of the API server's objects, and how it stays true."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from argosy.kube.store import MOST_DELETED, Store, object_key


def an_object(name: str = "a", version: int = 1, uid: str = "", **spec: Any) -> dict[str, Any]:
    metadata = {
        "namespace": "default",
        "name": name,
        "uid": uid or f"uid-{name}",
        "resourceVersion": str(version),
    }
    return {"metadata": metadata, "spec": spec}


def a_store(*items: dict[str, Any]) -> Store:
    store = Store(["pods", "nodes"])
    for item in items:
        store.put("pods", item)
    return store


def kept(store: Store) -> dict[str, int]:
    return {k.split("/")[1]: int(v["metadata"]["resourceVersion"]) for k, v in store.of("pods").items()}


def test_keys_are_names_with_a_namespace_where_there_is_one() -> None:
    assert object_key(an_object()) == "default/a"
    assert object_key({"metadata": {"name": "node-1"}}) == "node-1"


def test_a_new_object_replaces_none() -> None:
    store = a_store()
    assert store.put("pods", an_object()) is None
    assert kept(store) == {"a": 1}


def test_a_newer_version_replaces_the_older_one() -> None:
    old, new = an_object(version=1), an_object(version=2)
    assert a_store(old).put("pods", new) == old


def test_an_older_version_is_ignored_and_looks_like_no_change() -> None:
    store, late = a_store(an_object(version=10)), an_object(version=9)
    assert store.put("pods", late) == late
    assert kept(store) == {"a": 10}


def test_the_same_version_again_replaces_the_first_reading_of_it() -> None:
    first, again = an_object(version=5), an_object(version=5)
    store = a_store(first)
    assert store.put("pods", again) is first
    assert store.of("pods")["default/a"] is again


def test_versions_are_numbers_not_words() -> None:
    store = a_store(an_object(version=99))
    store.put("pods", an_object(version=100))
    assert kept(store) == {"a": 100}


def test_a_namesake_made_since_replaces_its_predecessor_and_not_the_other_way_round() -> None:
    old, new = an_object(version=5, uid="u1"), an_object(version=9, uid="u2")
    store = a_store(old)
    store.put("pods", new)
    store.put("pods", {**old, "metadata": {**old["metadata"], "resourceVersion": "7"}})
    assert store.of("pods")["default/a"] == new


def test_the_end_of_a_predecessor_leaves_its_namesake_alone() -> None:
    store = a_store(an_object(version=9, uid="u2"))
    store.drop("pods", an_object(version=8, uid="u1"))
    assert kept(store) == {"a": 9}
    store.drop("pods", an_object(version=10, uid="u2"))
    assert kept(store) == {}


@pytest.mark.parametrize(
    ("listed", "version", "expected", "changed"),
    [
        pytest.param({"a": 1, "b": 2}, 5, {"a": 1, "b": 2}, False, id="the listing says the same"),
        pytest.param(
            {"a": 1, "b": 2, "c": 4}, 5, {"a": 1, "b": 2, "c": 4}, True, id="one the watch has missed"
        ),
        pytest.param({"a": 1}, 5, {"a": 1}, True, id="one that vanished while the watch was away"),
        pytest.param({"a": 1}, 1, {"a": 1, "b": 2}, False, id="one that was made after the listing"),
        pytest.param({"a": 3, "b": 2}, 5, {"a": 3, "b": 2}, True, id="a change the watch has missed"),
        pytest.param({"a": 0, "b": 2}, 1, {"a": 1, "b": 2}, False, id="a listing older than the watch"),
    ],
)
def test_a_listing_mends_what_the_watch_has_missed(
    listed: dict[str, int], version: int, expected: dict[str, int], changed: bool
) -> None:
    store = a_store(an_object("a", 1), an_object("b", 2))
    assert store.replace("pods", [an_object(n, v) for n, v in listed.items()], version) is changed
    assert kept(store) == expected


def test_what_was_deleted_while_the_listing_was_under_way_does_not_return() -> None:
    store = a_store(an_object("a", 3))
    store.drop("pods", an_object("a", 8))
    store.replace("pods", [an_object("a", 3)], 7)
    assert kept(store) == {}
    store.replace("pods", [an_object("a", 9, uid="u2")], 9)
    assert kept(store) == {"a": 9}


def test_an_answer_that_arrives_after_the_objects_end_does_not_bring_it_back() -> None:
    store, late = a_store(an_object("a", 3)), an_object("a", 5)
    store.drop("pods", an_object("a", 8))
    assert store.put("pods", late) == late
    assert kept(store) == {}
    store.put("pods", an_object("a", 9, uid="u2"))
    assert kept(store) == {"a": 9}


def test_deletions_are_forgotten_once_a_later_listing_has_been_compared() -> None:
    store = a_store(an_object("a", 3), an_object("b", 4))
    store.drop("pods", an_object("a", 8))
    store.drop("pods", an_object("b", 10))
    store.replace("pods", [], 9)
    assert store._dropped["pods"] == {"uid-b": 10}
    store.replace("pods", [], 10)
    assert store._dropped["pods"] == {}


def test_a_store_is_synced_once_every_kind_has_been_compared() -> None:
    store = a_store(an_object())
    assert not store.is_synced
    store.replace("pods", [], 1)
    assert not store.is_synced
    store.replace("nodes", [], 1)
    assert store.is_synced


# --- custom kinds -----------------------------------------------------------------------------------


def a_store_of_classes() -> Store:
    store = Store(["workloadclasses"])
    store.put("workloadclasses", an_object("a", 3))
    return store


def test_an_object_of_a_custom_kind_that_is_gone_is_unseen_until_its_deletion_is_believed() -> None:
    store = a_store_of_classes()
    store.drop("workloadclasses", an_object("a", 4))
    assert (list(store.of("workloadclasses")), list(store.unseen("workloadclasses"))) == ([], ["default/a"])
    assert store.believe_deleted("workloadclasses", "default/a") == an_object("a", 3)
    assert dict(store.unseen("workloadclasses")) == {}
    assert set(store.deleted("workloadclasses")) == {"default/a"}


def test_an_object_that_a_listing_lacks_is_unseen_and_the_same_version_brings_it_back() -> None:
    store = a_store_of_classes()
    store.replace("workloadclasses", [], 9)
    assert list(store.unseen("workloadclasses")) == ["default/a"]
    assert store.put("workloadclasses", an_object("a", 3)) == an_object("a", 3)
    assert (list(store.of("workloadclasses")), dict(store.unseen("workloadclasses"))) == (["default/a"], {})


def test_an_object_that_is_made_again_is_neither_unseen_nor_deleted() -> None:
    store = a_store_of_classes()
    store.drop("workloadclasses", an_object("a", 4))
    store.believe_deleted("workloadclasses", "default/a")
    store.put("workloadclasses", an_object("a", 9, uid="u2"))
    assert set(store.deleted("workloadclasses")) == set()


def test_the_last_thousand_deletions_of_a_kind_are_remembered() -> None:
    store = Store(["workloadclasses"])
    for number in range(MOST_DELETED + 5):
        item = an_object(f"c{number}", number + 1)
        store.put("workloadclasses", item)
        store.drop("workloadclasses", item)
        store.believe_deleted("workloadclasses", f"default/c{number}")
    assert len(store.deleted("workloadclasses")) == MOST_DELETED
    assert "default/c4" not in store.deleted("workloadclasses")


def test_only_objects_of_argosys_own_kinds_are_kept_as_unseen_when_they_are_gone() -> None:
    store = Store(["pods", "servedmodels"])
    for kind in ("pods", "servedmodels"):
        store.put(kind, an_object())
        store.drop(kind, an_object())
    assert (list(store.unseen("pods")), list(store.unseen("servedmodels"))) == ([], ["default/a"])


def test_a_kind_that_is_listed_again_has_no_problem_any_more() -> None:
    store = a_store()
    store.note(replace(store.kinds["pods"], problem="403 Forbidden"))
    store.replace("pods", [], listed_version=5, at_s=7.0)
    assert (store.kinds["pods"].problem, store.kinds["pods"].compared_s) == ("", 7.0)
