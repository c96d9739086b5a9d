"""Which models a caller can name: what `GET /v1/models` lists.

Owns who sees which model. Input: the classes, what Envoys have of those that are not seen, and the models.
Output: `Listings`.

A caller is known by headers alone, since a request for the list has no model and another path. It sees the
models of every class whose headers it sends. Envoy takes the first route that fits: so there is one list for
each union of headers that a request can have at once, those of the most headers first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import chain

from argosy.api import ServedModel, WorkloadClass
from argosy.api.schema.timestamp import seconds_of
from argosy.keys import ClassKey
from argosy.route.precedence import conflicts, in_order, match_of
from argosy.route.table import Claim, Header, Listings, ModelCard, ModelOffer

MOST_UNIONS = 64
"""Lists besides those of the classes themselves. Of more, a caller with the headers of several classes sees
the models of the one with the most headers: 2 to the power of the classes would be too many routes."""


def listings_of(
    classes: Iterable[WorkloadClass],
    models: Sequence[ServedModel],
    unseen: Iterable[Claim] = (),
    yielding: Collection[ClassKey] = (),
) -> Listings:
    """The lists; classes that never get a request are left out.

    unseen: claims of classes that are routed and not seen; yielding: classes that were deleted
    """
    offers = [*_seen(tuple(classes), models, yielding), *_unseen(unseen, models)]
    return Listings(
        tuple(ModelOffer(headers, _reached(headers, offers)) for headers in _callers(offers)),
        tuple(dict.fromkeys(ModelOffer(each.headers, (card,)) for each in offers for card in each.cards)),
    )


def _seen(
    classes: Sequence[WorkloadClass], models: Sequence[ServedModel], yielding: Collection[ClassKey]
) -> list[ModelOffer]:
    shadowed = {conflict.loser for conflict in conflicts(classes, yielding)}
    by_key = {model.key: model for model in models}
    found = []
    for workload in in_order(classes, yielding):
        if workload.key not in shadowed:
            match = match_of(workload)
            its_models = [by_key[key] for key in sorted(workload.model_keys) if key in by_key]
            cards = _cards(match.models, its_models) if match.models else chain(*map(_names, its_models))
            found.append(ModelOffer(match.headers, tuple(cards)))
    return found


def _unseen(claims: Iterable[Claim], models: Sequence[ServedModel]) -> list[ModelOffer]:
    """Which models these classes are for is not known: the names that they take are looked up in all."""
    oldest_first = sorted(models, key=lambda model: model.metadata.seniority)
    return [
        ModelOffer(claim.match.headers, tuple(_cards(claim.match.models, oldest_first))) for claim in claims
    ]


def _cards(names: Iterable[str], models: Sequence[ServedModel]) -> Iterable[ModelCard]:
    """A name that no model has is one of an adapter, where an engine holds any; else engines refuse it."""
    known = {card.name: card for model in reversed(models) for card in _names(model)}
    base = next((model for model in models if model.spec.engine.max_loras), None)
    for name in names:
        if name in known:
            yield known[name]
        elif base is not None:
            yield _adapter(base, name, None)


def _names(model: ServedModel) -> Iterable[ModelCard]:
    """Its own names, and those of its adapters."""
    max_model_len = model.spec.engine.max_model_len
    for name in model.served_names:
        yield ModelCard(name, model.spec.model_id, _created_s(model), max_model_len)
    for adapter in model.spec.adapters:
        yield _adapter(model, adapter.name, adapter.source)


def _adapter(model: ServedModel, name: str, source: str | None) -> ModelCard:
    return ModelCard(name, source, _created_s(model), None, parent=model.served_names[0])


def _created_s(model: ServedModel) -> int:
    return int(seconds_of(model.metadata.creation_timestamp) or 0)


def _callers(offers: Sequence[ModelOffer]) -> list[tuple[Header, ...]]:
    """The sets of headers that have a list, first match first."""
    sets = list(dict.fromkeys([(), *(each.headers for each in offers)]))
    found = dict.fromkeys(sets)
    for each in sets:
        for other in tuple(found):
            union = tuple(sorted({*each, *other}))
            if len(dict(union)) == len(union):
                found.setdefault(union)
        if len(found) > len(sets) + MOST_UNIONS:
            found = dict.fromkeys(sets)
            break
    return sorted(found, key=lambda headers: (-len(headers), headers))


def _reached(headers: tuple[Header, ...], offers: Iterable[ModelOffer]) -> tuple[ModelCard, ...]:
    """What a caller with these headers can name, each name once, by name."""
    found: dict[str, ModelCard] = {}
    for offer in offers:
        if set(offer.headers) <= set(headers):
            for card in offer.cards:
                found.setdefault(card.name, card)
    return tuple(found[name] for name in sorted(found))
