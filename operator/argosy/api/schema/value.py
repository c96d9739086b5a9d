"""The shape that all API values share, and the bounded types they are made of.

Owns how a value is read (camelCase, strict types, unknown fields ignored), that it is frozen, and
the marks of keyed lists and sets. A bound is written once, here or at the field; the CRD generator
reads it from pydantic's JSON schema, which also holds the `x-kubernetes-*` keywords of this module.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from argosy.api.schema.rule import Rule


def camel(snake: str) -> str:
    """`p95_milliseconds` -> `p95Milliseconds`; `e2e` stays (pydantic's own makes `e2E` of it)."""
    head, *tail = snake.split("_")
    return head + "".join(word.capitalize() for word in tail)


def refusal(sentence: str, field: str = "") -> PydanticCustomError:
    """The error that a validator raises: a whole sentence, and the path below the value."""
    return PydanticCustomError("refused", "{sentence}", {"sentence": sentence, "field": field})


def _attach_rules(schema: dict[str, Any], model: type[Value]) -> None:
    if model.RULES:
        schema["x-kubernetes-validations"] = [rule.as_validation() for rule in model.RULES]


class Value(BaseModel):
    """A frozen value with the rules that span its fields."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        strict=True,
        allow_inf_nan=False,
        alias_generator=camel,
        validate_by_name=True,
        validate_by_alias=True,
        json_schema_extra=_attach_rules,
    )

    RULES: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _rules_hold(self) -> Self:
        for rule in self.RULES:
            if rule.holds is not None and not rule.holds(self):
                raise refusal(rule.found(self) if rule.found else rule.message, rule.field)
        return self


class KeyedBy:
    """Marks a list as a map, keyed by the fields with these JSON names."""

    def __init__(self, *keys: str) -> None:
        self.keys = keys

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._are_unique, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        keyed = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(self.keys)}
        return {**handler(schema), **keyed}

    def _are_unique(self, items: tuple[Value, ...]) -> tuple[Value, ...]:
        dumped = [item.model_dump(by_alias=True) for item in items]
        keys = [", ".join(str(item[key]) for key in self.keys) for item in dumped]
        _refuse_twins(keys, f"two items have the {' and '.join(self.keys)} {{}}; each may occur once")
        return items


@dataclass(frozen=True, slots=True)
class AsSet:
    """Marks a list of scalars as a set: no item occurs twice."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._are_unique, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "x-kubernetes-list-type": "set"}

    def _are_unique(self, items: tuple[str, ...]) -> tuple[str, ...]:
        _refuse_twins(items, "{} occurs twice; each may occur once")
        return items


@dataclass(frozen=True, slots=True)
class OrInteger:
    """Marks a text that may be written as a whole number, as Kubernetes' quantities may (`cpu: 4`)."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._as_text, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "x-kubernetes-int-or-string": True}

    def _as_text(self, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _refuse_twins(keys: Iterable[object], template: str) -> None:
    seen: set[object] = set()
    for position, key in enumerate(keys):
        if key in seen:
            raise refusal(template.format(key), f"[{position}]")
        seen.add(key)


# The API server estimates the cost of CEL from these lengths, so every string has one. 253 is the
# longest name of a Kubernetes object, 63 the longest label value.
ObjectName = Annotated[str, Field(min_length=1, max_length=253)]
LabelValue = Annotated[
    str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")
]
LABEL_NAME = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
"""The name of a label, with or without a domain."""
ServedName = Annotated[str, Field(min_length=1, max_length=256)]
"""A value of a request's `model` field."""
ShortText = Annotated[str, Field(max_length=256)]
Sentence = Annotated[str, Field(max_length=1024)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]
PositiveNumber = Annotated[float, Field(gt=0)]
