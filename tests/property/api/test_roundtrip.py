"""Reading and writing agree, for any object that the schema admits; and nothing makes reading fail.

Objects are drawn from the generated CRDs themselves: what the schema admits must be read, or
refused by one of the rules over several fields, and by nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from strategies import ANY_KEY, json_values

from argosy.api import KINDS, RULES, CustomResource, InvalidObject
from argosy.api.crd.crdgen import open_api_schema

Drawn = st.SearchStrategy[Any]
MESSAGES = {placed.rule.message for placed in RULES}
SCHEMAS = {kind.KIND: open_api_schema(kind) for kind in KINDS}
_ROWS = {
    "promptTokens": st.integers(1, 9999),
    "outputTokens": st.integers(1, 999),
    "weight": st.floats(0.1, 9),
}
_TERM = st.lists(st.floats(0.1, 1e6), min_size=1, max_size=3).map(
    lambda bounds: dict(
        zip(("p50Milliseconds", "p95Milliseconds", "p99Milliseconds"), sorted(bounds), strict=False)
    )
)
# Rules would refuse most of what chance draws for these; the rest is left to chance.
FAVOURED: dict[str, Drawn] = {
    ".spec.slo": st.dictionaries(st.sampled_from(["ttft", "itl", "e2e"]), _TERM, min_size=1),
    ".spec.traffic.lengths": (
        st.sampled_from([{"archetype": "azure-conversation"}, {"archetype": "batch-documents"}])
        | st.lists(st.fixed_dictionaries(_ROWS), min_size=1, max_size=3).map(lambda rows: {"table": rows})
    ),
    ".spec.match.path.value": st.from_regex(r"\A/[a-z]{0,8}\Z"),
    ".spec.match.headers[].name": st.from_regex(r"\A[a-z][a-z-]{0,8}\Z"),
    ".spec.nodeSelector[key]": st.from_regex(r"\A([a-z]{1,4}/)?[a-z]{1,4}\Z"),
    ".spec.engine.podTemplatePatch": st.sampled_from(
        [{}, {"metadata": {"labels": {"a": "b"}}}, {"spec": {"containers": [{"name": "log", "image": "l"}]}}]
    ),
    ".spec.engine.args": st.sampled_from([[], ["--enforce-eager"], ["--max-logprobs=5", "--seed", "1"]]),
    ".spec.engine.maxNumBatchedTokens": st.integers(4096, 131072),
}


def drawn_from(node: dict[str, Any], path: str = "") -> Drawn:
    """Values that the schema admits at `path`."""
    if path in FAVOURED:
        return FAVOURED[path]
    if node.get("x-kubernetes-int-or-string"):
        return st.one_of(_strings(node, path), st.integers(-(2**31), 2**31))
    if "enum" in node:
        return st.sampled_from(node["enum"])
    by_type: dict[str, Callable[[dict[str, Any], str], Drawn]] = {
        "object": _objects,
        "array": _lists,
        "string": _strings,
        "integer": lambda n, _: st.integers(n.get("minimum", -(2**31)), n.get("maximum", 2**31)),
        "number": _numbers,
        "boolean": lambda *_: st.booleans(),
    }
    return by_type[node["type"]](node, path)


def _objects(node: dict[str, Any], path: str) -> Drawn:
    if "properties" not in node:
        keys = drawn_from({"type": "string", "minLength": 1, "maxLength": 8}, f"{path}[key]")
        values = drawn_from(node["additionalProperties"], f"{path}[]")
        return st.dictionaries(keys, values, min_size=node.get("minProperties", 0), max_size=3)
    fields = {name: drawn_from(below, f"{path}.{name}") for name, below in node["properties"].items()}
    required = set(node.get("required", ()))
    return st.fixed_dictionaries(
        {name: values for name, values in fields.items() if name in required},
        optional={name: values for name, values in fields.items() if name not in required},
    )


def _lists(node: dict[str, Any], path: str) -> Drawn:
    keys = node.get("x-kubernetes-list-map-keys")
    unique: Any = None
    if keys:
        defaults = {key: node["items"]["properties"][key].get("default") for key in keys}
        unique = lambda item: tuple(item.get(key, defaults[key]) for key in keys)  # noqa: E731
    elif node.get("x-kubernetes-list-type") == "set":
        unique = lambda item: item  # noqa: E731
    least = node.get("minItems", 0)
    return st.lists(
        drawn_from(node["items"], f"{path}[]"), min_size=least, max_size=max(least, 2), unique_by=unique
    )


def _strings(node: dict[str, Any], path: str) -> Drawn:
    longest = min(node["maxLength"], 12)
    if "pattern" in node:
        # Single characters and doublets suffice: the tables try what a pattern must not admit.
        texts = st.text("ab.12", min_size=max(node["minLength"], 1), max_size=4)
        return texts.filter(lambda text: re.search(node["pattern"], text) is not None)
    return st.text(st.characters(codec="utf-8"), min_size=node.get("minLength", 0), max_size=longest)


def _numbers(node: dict[str, Any], path: str) -> Drawn:
    return st.floats(
        node.get("minimum"),
        node.get("maximum"),
        exclude_min=node.get("exclusiveMinimum", False),
        allow_nan=False,
        allow_infinity=False,
    )


@cache
def objects_of(kind: type[CustomResource]) -> Drawn:
    schema = SCHEMAS[kind.KIND]["properties"]
    return st.fixed_dictionaries(
        {
            "metadata": st.fixed_dictionaries(
                {"name": st.just("default")}, optional={"generation": st.integers(1, 9)}
            ),
            "spec": drawn_from(schema["spec"], ".spec"),
        },
        optional={"status": drawn_from(schema["status"], ".status")},
    )


# Whole objects take milliseconds to draw, and much longer on a busy machine: that says nothing about the API.
UNHURRIED = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
KIND_CASES = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.KIND)


@KIND_CASES
@UNHURRIED
@given(data=st.data())
def test_what_the_schema_admits_only_a_rule_refuses(kind: type[CustomResource], data: st.DataObject) -> None:
    found = kind.from_object(data.draw(objects_of(kind)))
    if isinstance(found, InvalidObject):
        assert {problem.sentence for problem in found.problems} <= MESSAGES


@KIND_CASES
@UNHURRIED
@given(data=st.data())
def test_what_is_written_reads_the_same(kind: type[CustomResource], data: st.DataObject) -> None:
    found = kind.from_object(data.draw(objects_of(kind)))
    assume(isinstance(found, kind))
    assert isinstance(found, kind)
    assert kind.from_object(found.to_object()) == found


FIELD_NAMES = sorted(
    {"apiVersion", "kind", "metadata", "spec", "status", "name", "models", "match", "slo", "ttft"}
)
ANY_JSON = json_values(st.sampled_from(FIELD_NAMES) | ANY_KEY, max_leaves=12)


@KIND_CASES
@UNHURRIED
@given(obj=ANY_JSON)
def test_any_json_is_read_or_refused_in_words(kind: type[CustomResource], obj: Any) -> None:
    found = kind.from_object(obj)
    if isinstance(found, InvalidObject):
        assert all(problem.sentence for problem in found.problems)
        assert found.problems


def _paths(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(found for step, item in below for found in _paths(item, (*path, step)))]


@KIND_CASES
@UNHURRIED
@given(data=st.data(), spoiler=ANY_JSON)
def test_one_spoiled_place_is_read_or_refused_in_words(
    kind: type[CustomResource], data: st.DataObject, spoiler: Any
) -> None:
    whole = {"spoilt": data.draw(objects_of(kind))}
    *steps, last = data.draw(st.sampled_from(_paths(whole)[1:]))
    node: Any = whole
    for step in steps:
        node = node[step]
    node[last] = spoiler
    found = kind.from_object(whole["spoilt"])
    if isinstance(found, InvalidObject):
        assert all(problem.sentence for problem in found.problems)
