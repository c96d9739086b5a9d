"""The objects that the watches have seen, by kind and key.

Owns the operator's copy of the API server's objects, and what is known of each kind. Input: objects of
watch events, listings (`api`) and answers to writes. Output: the newest known version of each. An
object of a custom kind that is gone is kept as unseen until it is known that a user has deleted it
(`reconcile.watch` asks that); one of Kubernetes' own kinds is dropped at once. Once the API server's
objects are restored from a backup, an older version is the right one: the store finds the proof of that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import replace
from typing import Any, NamedTuple

from argosy.api.kinds import CUSTOM, GRACED, USER_SPECS, kind_of
from argosy.keys import NamespacedName
from argosy.snapshot.seen import KindSeen, KindState

Object = Mapping[str, Any]

MOST_DELETED = 1000
"""Deleted objects of a kind that are remembered: those that explain what goes now."""


def object_key(item: Object) -> str:
    """`namespace/name`, or `name` for cluster-scoped objects."""
    metadata = item["metadata"]
    return NamespacedName.of(metadata.get("namespace") or "", metadata["name"])


class Parting(NamedTuple):
    """An object that a user has deleted: its last version, and when that was known (epoch seconds)."""

    item: Object
    deleted_s: float


class Store:
    """Objects by kind (plural) and key; a kind is synced once a listing has been compared."""

    def __init__(self, kinds: Iterable[str]) -> None:
        self._objects: dict[str, dict[str, Object]] = {kind: {} for kind in kinds}
        self._kinds = {kind: KindSeen(kind) for kind in self._objects}
        self._unseen: dict[str, dict[str, Object]] = {kind: {} for kind in self._objects}
        self._deleted: dict[str, dict[str, None]] = {kind: {} for kind in self._objects}
        self._parting: dict[str, dict[str, Parting]] = {kind: {} for kind in self._objects}
        self._dropped: dict[str, dict[str, int]] = {kind: {} for kind in self._objects}
        """Uids that are gone, with their last version, until a listing made after that has been compared."""
        self._newest = dict.fromkeys(self._objects, 0)
        self._num_restored = 0
        self._to_relist = set[str]()
        """Kinds that were not listed since the API server was restored."""

    @property
    def num_restored(self) -> int:
        """How often the API server's objects were found to be restored to an earlier state."""
        return self._num_restored

    @property
    def is_synced(self) -> bool:
        """Whether every kind has been compared with a listing, or cannot be listed and is not needed."""
        return all(k.compared_s is not None or _is_done_without(k) for k in self._kinds.values())

    @property
    def kinds(self) -> Mapping[str, KindSeen]:
        """What is known of each kind."""
        return self._kinds

    def note(self, seen: KindSeen) -> None:
        """Keep what is known of a kind now."""
        self._kinds[seen.plural] = seen

    def of(self, kind: str) -> Mapping[str, Object]:
        """The objects of a kind by key."""
        return self._objects[kind]

    def unseen(self, kind: str) -> Mapping[str, Object]:
        """Objects that are gone and of which it is not known that a user has deleted them."""
        return self._unseen[kind]

    def deleted(self, kind: str) -> Set[str]:
        """Keys of the objects with specs of users that were deleted, the last ones only; one that was made
        again is not among them."""
        return self._deleted[kind].keys()

    def parting(self, kind: str) -> Mapping[str, Parting]:
        """Deleted objects that serve until `let_go`, or until they are made again."""
        return self._parting[kind]

    def let_go(self, kind: str, key: str) -> None:
        """The grace of a deleted object has ended, or it needs none."""
        self._parting[kind].pop(key, None)

    def believe_deleted(self, kind: str, key: str, at_s: float) -> Object:
        """A user has deleted this unseen object; returns its last version. at_s: now (epoch seconds)."""
        if kind in USER_SPECS:
            self._deleted[kind][key] = None
            for oldest in list(self._deleted[kind])[:-MOST_DELETED]:
                del self._deleted[kind][oldest]
        item = self._unseen[kind].pop(key)
        if kind in GRACED:
            self._parting[kind][key] = Parting(item, at_s)
        return item

    def put(self, kind: str, item: Object) -> Object | None:
        """Keep `item` unless a newer version or its deletion is known.

        Returns the version that it replaces, or `item` itself where it is ignored: nothing has changed.
        """
        key, kept = object_key(item), self._objects[kind]
        self._newest[kind] = max(self._newest[kind], _version(item))
        # The answer to a write may arrive after the watch has reported the object's deletion.
        if _version(item) <= self._dropped[kind].get(_uid(item), -1):
            return item
        previous = kept.get(key)
        if previous is not None and _is_older(item, previous):
            return item
        unseen = self._keep(kind, key, item)
        return unseen if previous is None else previous

    def _keep(self, kind: str, key: str, item: Object) -> Object | None:
        """Returns the unseen version that is seen again."""
        self._objects[kind][key] = item
        self._deleted[kind].pop(key, None)
        self._parting[kind].pop(key, None)
        return self._unseen[kind].pop(key, None)

    def drop(self, kind: str, item: Object) -> None:
        """An object is gone; one made since under the same name stays."""
        key, kept = object_key(item), self._objects[kind]
        self._dropped[kind][_uid(item)] = _version(item)
        self._newest[kind] = max(self._newest[kind], _version(item))
        if key in kept and kept[key]["metadata"].get("uid") == item["metadata"].get("uid"):
            self._hide(kind, key)

    def _hide(self, kind: str, key: str) -> None:
        gone = self._objects[kind].pop(key)
        if kind in CUSTOM:
            self._unseen[kind][key] = gone

    def replace(self, kind: str, items: Iterable[Object], listed_version: int, at_s: float = 0.0) -> bool:
        """Take a whole listing: add new objects, drop missing ones; returns whether anything changed.

        at_s: when it was made (seconds of the process's monotonic clock)

        A watch does not report objects that were deleted while it was disconnected. Objects changed
        since the listing (a newer resource version) stay, and those deleted since do not return; the first
        listing after `restore` is taken as it is.
        """
        kept, listed = self._objects[kind], {object_key(item): item for item in items}
        before, as_it_is = dict(kept), self.is_restored(kind)
        for key in [k for k in kept if k not in listed and (as_it_is or _version(kept[k]) <= listed_version)]:
            self._hide(kind, key)
        for key, item in listed.items():
            if as_it_is:
                self._keep(kind, key, item)
            else:
                self.put(kind, item)
        self._to_relist.discard(kind)
        self._newest[kind] = max(self._newest[kind], listed_version)
        dropped = self._dropped[kind]
        self._dropped[kind] = {uid: version for uid, version in dropped.items() if version > listed_version}
        self.note(replace(self._kinds[kind], state=KindState.SEEN, compared_s=at_s, problem=""))
        return before != kept

    def newest(self, kind: str) -> int:
        """The highest resource version that was seen of a kind, of a listing, an object or a deletion."""
        return self._newest[kind]

    def is_restored(self, kind: str) -> bool:
        """Whether the API server's objects were restored, and those of this kind were not listed since."""
        return kind in self._to_relist

    def restored_by(self, kind: str, items: Collection[Object], listed_version: int, newest: int) -> str:
        """What proves that the API server was restored to an earlier state; empty where nothing does.

        items, listed_version: a consistent listing (its request named no resource version, so it shows all
            that was written before the request)
        newest: `newest(kind)` when the listing was requested

        Resource versions only grow, and a deleted object's uid never returns. A watch event or the answer
        to a write that is older than what is known proves nothing: they may arrive in any order. Nor does a
        kind's first listing after `restore`: what is known of it is still of the history that was undone.
        """
        if self.is_restored(kind):
            return ""
        if 0 < listed_version < newest:
            return f"a listing of {kind} has resource version {listed_version}, and {newest} was seen before"
        for item in items:
            known = self._version_known(kind, item)
            if _version(item) < known <= listed_version:
                found = f"{kind} {object_key(item)} has resource version {_version(item)}"
                return f"{found}, and {known} was seen before"
        return ""

    def _version_known(self, kind: str, item: Object) -> int:
        """The last version that is known of the same object, its deletion included."""
        key, uid = object_key(item), _uid(item)
        kept = self._objects[kind].get(key)
        of_kept = _version(kept) if kept is not None and _uid(kept) == uid else 0
        return max(of_kept, self._dropped[kind].get(uid, 0))

    def restore(self, problem: str) -> None:
        """The API server's objects are those of an earlier state: what is known of versions and deletions
        is of a history that did not happen. Objects stay until their kind is listed."""
        self._num_restored += 1
        self._to_relist = set(self._objects)
        for kind, seen in self._kinds.items():
            self._newest[kind] = 0
            self._dropped[kind], self._deleted[kind], self._parting[kind] = {}, {}, {}
            if seen.state is KindState.SEEN:
                self.note(replace(seen, state=KindState.RESTORED, problem=problem))


def _is_done_without(kind: KindSeen) -> bool:
    is_refused = kind.state in (KindState.FORBIDDEN, KindState.MISSING)
    return is_refused and not kind_of(kind.plural).is_needed


def _uid(item: Object) -> str:
    return str(item["metadata"].get("uid") or object_key(item))


def _version(item: Object) -> int:
    """Resource versions are comparable numbers (guaranteed since Kubernetes 1.35, true before)."""
    version = item["metadata"].get("resourceVersion", "0")
    return int(version) if str(version).isdigit() else 0


def _is_older(item: Object, than: Object) -> bool:
    """Versions grow over all objects of a kind, so also from a deleted object to its namesake."""
    return _version(item) < _version(than)
