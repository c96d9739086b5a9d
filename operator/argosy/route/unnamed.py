"""Which class takes a request whose model is not known: its body names none, or is not JSON.

Owns the rule. Input: the claims by precedence, and the names of the fleet's model where there is only one.
Output: `Unnamed` by class.

In a fleet of one model every request is for it, as engines assume too. Otherwise a request that Envoy cannot
read goes where its path and headers lead, if they lead to one place: not where another class has the same
ones for other models, and not where a class that asks for no model takes it anyway.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from argosy.api import ServedModel, WorkloadClass
from argosy.keys import ClassKey
from argosy.route.precedence import asks_no_more_than
from argosy.route.table import Claim, Unnamed


def names_of_the_only_model(
    classes: Iterable[WorkloadClass], models: Sequence[ServedModel]
) -> frozenset[str]:
    """The names of the fleet's model; none where there are several, also where one is only referred to."""
    known = {model.key for model in models}
    referred = {key for workload in classes for key in workload.model_keys}
    is_one = len(known) == 1 and referred <= known
    return frozenset(models[0].served_names) if is_one else frozenset()


def unnamed_by_class(claims: Sequence[Claim], only: Collection[str]) -> Mapping[ClassKey, Unnamed]:
    """For each class, which of the requests without a known model it takes.

    only: the names of the fleet's one model; empty where it has several
    """
    return {claim.class_key: _unnamed_of(claim, claims, only) for claim in claims}


def _unnamed_of(claim: Claim, claims: Sequence[Claim], only: Collection[str]) -> Unnamed:
    match = claim.match
    if not match.models:
        return Unnamed.REFUSED  # needs no exception: it takes them by path and headers
    if set(match.models) & set(only):
        return Unnamed.ANY
    if match.path is None and not match.headers:
        return Unnamed.REFUSED
    others = [each.match for each in claims if each is not claim]
    rivals = (other for other in others if (other.path, other.headers) == (match.path, match.headers))
    is_ambiguous = any(other.models and set(other.models) != set(match.models) for other in rivals)
    is_taken = any(not other.models and asks_no_more_than(other, match) for other in others)
    return Unnamed.REFUSED if is_ambiguous or is_taken else Unnamed.UNREADABLE
