"""Which class a request belongs to where several match it.

Owns the order of classes, and which of them can never get a request. Input: WorkloadClasses. Output:
the same, first match first, and `Conflict`s: the caller decides what to do with the losers.

The order is Gateway API's for HTTP routes: an exact path before a prefix, the longer path before the shorter
(no path is the prefix `/`, which all paths have), more headers before fewer; then, as Gateway API knows no
bodies, a model before none; then a class that exists before one that was deleted and serves within its grace;
then the older object, then namespace/name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from argosy.api import WorkloadClass
from argosy.api.conditions import Reason
from argosy.api.workloadclass import PathMatchType
from argosy.keys import ClassKey
from argosy.route.table import Claim, RequestMatch, RoutePath


@dataclass(frozen=True, slots=True)
class Conflict:
    """A class all of whose requests go to others. takers: those, the first one first"""

    loser: ClassKey
    takers: tuple[ClassKey, ...]

    @property
    def winner(self) -> ClassKey:
        """The first of the takers."""
        return self.takers[0]

    @property
    def message(self) -> str:
        """The sentence for the loser's status."""
        return Reason.CONFLICTED.sentence(field="spec.match", winner=f"WorkloadClass {self.winner}")


def match_of(workload: WorkloadClass) -> RequestMatch:
    """The class's match in the route table's terms, in one canonical order."""
    match = workload.spec.match
    path = None
    if match.path is not None:
        exact = match.path.type is PathMatchType.EXACT
        # As in Gateway API, the prefixes /v1 and /v1/ are the same: prefixes end with an element.
        path = RoutePath(match.path.value if exact else match.path.value.rstrip("/") or "/", exact)
    headers = tuple(sorted((header.name, header.value) for header in match.headers))
    return RequestMatch(path, headers, tuple(sorted(match.models)))


def in_order(
    classes: Iterable[WorkloadClass], yielding: Collection[ClassKey] = ()
) -> tuple[WorkloadClass, ...]:
    """The classes by precedence: Envoy tries the first one first. yielding: those that were deleted"""
    return tuple(sorted(classes, key=lambda each: _rank(each, each.key in yielding)))


def claim_of(workload: WorkloadClass) -> Claim:
    """How the class's requests are recognised."""
    return Claim(workload.key, match_of(workload))


def with_unseen(
    claims: Iterable[Claim], former: Sequence[Claim], unseen: Collection[ClassKey]
) -> tuple[Claim, ...]:
    """The claims by precedence, with those of former ones whose classes are not seen, each at its place.

    The age of a class that is not seen is not known: among equal claims, those that stood before it still
    do, and all others come after it. claims: of the classes that are seen, by precedence
    """
    found = list(claims)
    for position, claim in enumerate(former):
        if claim.class_key in unseen:
            older = {each.class_key for each in former[:position]}
            before = [i for i, other in enumerate(found) if _is_before(other, claim, older)]
            found.insert(before[-1] + 1 if before else 0, claim)
    return tuple(found)


def conflicts(classes: Iterable[WorkloadClass], yielding: Collection[ClassKey] = ()) -> tuple[Conflict, ...]:
    """The classes that can never get a request, each with the first class that takes them."""
    ordered = [(workload.key, match_of(workload)) for workload in in_order(classes, yielding)]
    found = []
    for position, (key, match) in enumerate(ordered):
        takers = [other for other in ordered[:position] if asks_no_more_than(other[1], match)]
        if _all_models_taken(match, takers):
            found.append(Conflict(key, tuple(taker for taker, _ in takers)))
    return tuple(found)


def may_overlap(one: RequestMatch, other: RequestMatch) -> bool:
    """Whether some request has a path and headers that both matches take. Models are not looked at."""
    values = dict(one.headers)
    if any(values.get(name, value) != value for name, value in other.headers):
        return False
    return _covers(one.path, other.path) or _covers(other.path, one.path)


def asks_no_more_than(taker: RequestMatch, match: RequestMatch) -> bool:
    """Whether `taker` takes every path with headers that `match` takes. Models are not looked at."""
    return set(taker.headers) <= set(match.headers) and _covers(taker.path, match.path)


def _rank(workload: WorkloadClass, yields: bool) -> tuple[tuple[bool, int, int, bool], bool, tuple[str, str]]:
    return _generality(match_of(workload)), yields, workload.metadata.seniority


def _generality(match: RequestMatch) -> tuple[bool, int, int, bool]:
    """Smaller for a match that is tried earlier."""
    return (
        not (match.path and match.path.exact),
        -len(match.path.value) if match.path else -len("/"),
        -len(match.headers),
        not match.models,
    )


def _is_before(other: Claim, claim: Claim, older: Collection[ClassKey]) -> bool:
    ranks = _generality(other.match), _generality(claim.match)
    return ranks[0] < ranks[1] or (ranks[0] == ranks[1] and other.class_key in older)


def _all_models_taken(match: RequestMatch, takers: list[tuple[ClassKey, RequestMatch]]) -> bool:
    if any(not taker.models for _, taker in takers):
        return True
    taken = {model for _, taker in takers for model in taker.models}
    return bool(match.models) and set(match.models) <= taken


def _covers(general: RoutePath | None, special: RoutePath | None) -> bool:
    """Whether every path that `special` takes is taken by `general`."""
    if general is None or general == special:
        return True
    if special is None:
        return general.value == "/" and not general.exact
    if general.exact:
        return False
    return special.value == general.value or special.value.startswith(general.value.rstrip("/") + "/")
