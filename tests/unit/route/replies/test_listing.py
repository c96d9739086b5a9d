"""Which models a caller sees."""

from __future__ import annotations

from typing import Any

import pytest
from builders import a_class, a_model
from hypothesis import given
from hypothesis import strategies as st

from argosy.api import ServedModel, WorkloadClass
from argosy.keys import ClassKey
from argosy.route.compile import RouteInputs, compile_routes
from argosy.route.replies.listing import MOST_UNIONS, listings_of
from argosy.route.table import Claim, Gateway, Header, Listings, ModelCard, ModelOffer, RequestMatch


def headers(**values: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def workload(name: str, model: str = "llama", **match: Any) -> WorkloadClass:
    return a_class(name, match=match, models=[{"name": model}])


def created(model: ServedModel, at: str) -> ServedModel:
    metadata = model.metadata.model_copy(update={"creation_timestamp": at})
    return model.model_copy(update={"metadata": metadata})


def seen_by(listings: Listings, **sent: str) -> list[str]:
    """The names in the first list that fits, as Envoy chooses it."""
    return [card.name for card in first(listings.by_caller, sent).cards]


def first(offers: tuple[ModelOffer, ...], sent: dict[str, str]) -> ModelOffer:
    return next(each for each in offers if set(each.headers) <= set(sent.items()))


def test_a_card_has_what_vllm_prints_of_the_model() -> None:
    model = created(
        a_model("llama", "meta/llama", servedNames=["l8"], engine={"maxModelLen": 4096}),
        "2026-01-01T00:00:00Z",
    )
    (offer,) = listings_of([workload("chat", models=["l8"])], [model]).by_caller
    assert offer == ModelOffer((), (ModelCard("l8", "meta/llama", 1_767_225_600, 4096),))


def test_a_caller_sees_the_models_of_the_classes_whose_headers_it_sends() -> None:
    classes = [
        workload("open", models=["llama"]),
        workload("gold", "qwen", headers=headers(tier="gold")),
        workload("free", "phi", headers=headers(tier="free"), models=["phi"]),
        workload("team", "gemma", headers=headers(team="a", tier="gold")),
    ]
    listings = listings_of(classes, [a_model(name) for name in ("llama", "qwen", "phi", "gemma")])
    assert seen_by(listings) == ["llama"]
    assert seen_by(listings, tier="gold", x="y") == ["llama", "qwen"]
    assert seen_by(listings, tier="free") == ["llama", "phi"]
    assert seen_by(listings, tier="gold", team="a") == ["gemma", "llama", "qwen"]
    assert seen_by(listings, tier="free", team="a") == ["llama", "phi"]


@pytest.mark.parametrize(
    ("match", "engine", "expected"),
    [
        pytest.param({"models": ["b"]}, {}, ["b"], id="only those that the class takes"),
        pytest.param({"path": {"value": "/v1"}}, {}, ["a", "b"], id="all names where it takes any"),
        pytest.param({"models": ["a", "sql"]}, {}, ["a"], id="not one that engines would refuse"),
        pytest.param({"models": ["a", "sql"]}, {"maxLoras": 2}, ["a", "sql"], id="an adapter"),
    ],
)
def test_a_class_offers_the_names_that_it_takes_and_engines_have(
    match: dict[str, Any], engine: dict[str, Any], expected: list[str]
) -> None:
    model = a_model("llama", servedNames=["a", "b"], engine=engine)
    assert seen_by(listings_of([workload("chat", **match)], [model])) == expected


def test_an_adapter_names_its_model() -> None:
    model = a_model("llama", servedNames=["a"], engine={"maxLoras": 2})
    (offer,) = listings_of([workload("chat", models=["sql"])], [model]).by_caller
    assert offer.cards == (ModelCard("sql", None, 0, None, parent="a"),)


def test_adapters_of_a_model_have_their_source_and_the_model_as_parent() -> None:
    adapters = [
        {"name": "sql", "source": "s3://sql", "rank": 8},
        {"name": "code", "source": "/code", "rank": 8},
    ]
    model = a_model("llama", servedNames=["a"], engine={"maxLoras": 2}, adapters=adapters)
    cards = [("a", "small", None), ("code", "/code", "a"), ("sql", "s3://sql", "a")]
    for match in ({"path": {"value": "/v1"}}, {"models": ["sql", "a", "code"]}):
        (offer,) = listings_of([workload("chat", **match)], [model]).by_caller
        assert [(card.name, card.root, card.parent) for card in offer.cards] == cards


def test_no_class_no_models_and_a_class_that_gets_no_request_offers_none() -> None:
    models = [a_model("llama"), a_model("qwen")]
    assert listings_of([], models) == Listings()
    shadowed = [workload("a", path={"value": "/v1"}), workload("b", "qwen", path={"value": "/v1"})]
    assert seen_by(listings_of(shadowed, models)) == ["llama"]


def test_a_class_that_is_not_seen_offers_the_names_that_it_takes() -> None:
    claim = Claim(ClassKey("default/gone"), RequestMatch(headers=(("x", "1"),), models=("qwen", "lost")))
    inputs = RouteInputs(Gateway("0.0.0.0", 8080), None, (), models=(a_model("qwen"),))
    assert compile_routes(inputs).listings == Listings()
    assert seen_by(listings_of([], inputs.models, [claim]), x="1") == ["qwen"]


HEADERS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("12"), max_size=3)


@given(st.lists(HEADERS, max_size=5), HEADERS)
def test_the_first_list_that_fits_has_all_that_a_caller_reaches_and_nothing_else(
    asked: list[dict[str, str]], sent: dict[str, str]
) -> None:
    classes = [
        workload(f"c{n}", f"m{n}", headers=headers(**each), models=[f"m{n}"]) for n, each in enumerate(asked)
    ]
    listings = listings_of(classes, [a_model(f"m{n}") for n, _ in enumerate(asked)])
    reached = sorted(f"m{n}" for n, each in enumerate(asked) if each.items() <= sent.items())
    assert seen_by(listings, **sent) == reached
    by_name = [each for each in listings.by_name if set(each.headers) <= set(sent.items())]
    assert sorted({card.name for each in by_name for card in each.cards}) == reached


def test_callers_of_very_many_headers_see_the_models_of_one_class() -> None:
    names = [f"h{n:02}" for n in range(20)]
    classes = [workload(name, name, headers=headers(**{name: "1"})) for name in names]
    listings = listings_of(classes, [a_model(name) for name in names])
    assert len(listings.by_caller) <= len(names) + 1 + MOST_UNIONS
    sent: dict[str, str] = dict.fromkeys(names, "1")
    assert len(seen_by(listings, **sent)) == 1
    fits: list[Header] = [("h07", "1")]
    assert seen_by(listings, **dict(fits)) == ["h07"]
