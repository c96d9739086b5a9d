"""What an object's metadata says about precedence."""

from __future__ import annotations

from small_fleet import a_pool

from argosy.api import GPUPool, ObjectMeta


def test_the_older_object_comes_first_then_the_name_and_last_what_was_never_created() -> None:
    unborn = ObjectMeta(name="a", namespace="n")
    old = ObjectMeta(name="z", namespace="n", creation_timestamp="2026-01-01T00:00:00Z")
    young = ObjectMeta(name="b", namespace="n", creation_timestamp="2026-01-02T00:00:00Z")
    twin = ObjectMeta(name="c", namespace="n", creation_timestamp="2026-01-02T00:00:00Z")
    assert sorted([unborn, twin, young, old], key=lambda m: m.seniority) == [old, young, twin, unborn]


def test_metadata_that_argosy_does_not_read_is_ignored() -> None:
    found = a_pool().to_object()
    unread = {"ownerReferences": [{"name": "x"}], "managedFields": [{}], "generateName": "x-"}
    assert GPUPool.from_object({**found, "metadata": {**found["metadata"], **unread}}) == a_pool()
