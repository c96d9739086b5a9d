"""What a client reads whose request no class takes."""

from __future__ import annotations

from typing import Any

import pytest
from builders import a_class, a_model

from argosy.api import WorkloadClass
from argosy.route.replies.hints import MOST_MODELS, MOST_NAMED, hints_of
from argosy.route.table import Hints, ModelHint


def workload(name: str, **match: Any) -> WorkloadClass:
    return a_class(name, match=match)


HEADER = [{"name": "x-argosy-class", "value": "chat"}]
PREFIX = {"type": "Prefix", "value": "/v1/chat"}


def test_a_model_has_the_classes_that_take_it_with_what_each_asks_for() -> None:
    classes = [
        workload("chat", models=["llama"], headers=HEADER),
        workload("docs", models=["llama"], path=PREFIX),
        workload("both", models=["llama"], path={"type": "Exact", "value": "/v1/x"}, headers=HEADER),
    ]
    hints = hints_of(classes, [a_model("llama")])
    assert hints.by_model == (
        ModelHint(
            "llama",
            "class default/both takes it with header x-argosy-class: chat and path /v1/x; class default/docs"
            " takes it with path /v1/chat and below; class default/chat takes it with header"
            " x-argosy-class: chat",
        ),
    )


def test_a_class_that_names_no_model_takes_the_names_of_its_models() -> None:
    hints = hints_of([workload("chat", headers=HEADER)], [a_model("llama", servedNames=["a", "b"])])
    assert [hint.model for hint in hints.by_model] == ["a", "b"]
    assert hints.other_model == "the models that classes take are a, b"


def test_a_class_that_takes_every_request_of_its_model_needs_no_sentence() -> None:
    hints = hints_of([workload("chat", models=["llama"])], [a_model("llama")])
    assert (hints.by_model, hints.other_model) == ((), "the models that classes take are llama")


def test_a_class_that_never_gets_a_request_is_not_offered() -> None:
    first, second = (workload(name, models=["llama"], headers=HEADER) for name in ("first", "second"))
    (hint,) = hints_of([first, second], [a_model("llama")]).by_model
    assert "default/first" in hint.sentence
    assert "default/second" not in hint.sentence


def test_a_request_without_a_model_is_told_how_one_is_named() -> None:
    hints = hints_of([workload("chat", models=["llama"])], [])
    assert hints.no_model == (
        "send a JSON body that names a model, as in POST /v1/chat/completions; the models that classes take"
        " are llama"
    )


def test_without_classes_that_is_said() -> None:
    assert hints_of([], [a_model("llama")]) == Hints()


def test_sentences_and_their_number_are_bounded() -> None:
    many = [workload(f"c{n:03d}", models=[f"m{n:03d}"], headers=HEADER) for n in range(MOST_MODELS + 50)]
    hints = hints_of(many, [])
    assert len(hints.by_model) == MOST_MODELS
    assert hints.other_model.endswith(f", and {MOST_MODELS + 50 - MOST_NAMED} more")
    shared = [
        workload(f"c{n:03d}", models=["m"], headers=[{"name": "x", "value": str(n)}]) for n in range(40)
    ]
    (hint,) = hints_of(shared, []).by_model
    assert hint.sentence.endswith(f"; and {40 - MOST_NAMED} more")


@pytest.mark.parametrize("name", ["authorization", "x-api-key", "cookie", "x-team-token"])
def test_what_lets_a_caller_in_is_not_told_to_those_without_it(name: str) -> None:
    match = {"headers": [{"name": name, "value": "Bearer sk-1"}], "models": ["llama"]}
    hints = hints_of([a_class("chat", match=match)], [a_model("llama")])
    assert "sk-1" not in str(hints)
    assert f"header {name} (its value is not shown)" in hints.by_model[0].sentence
