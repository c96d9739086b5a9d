"""One custom resource as a value: read from the API server's JSON, written back to it.

Owns metadata, reading (`from_object`: the model or an `InvalidObject`, without raising) and writing
(`to_object`). The kinds are in the modules named after them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Self

from pydantic import Field, ValidationError

from argosy.api.conditions import Condition
from argosy.api.schema.value import Value
from argosy.keys import NamespacedName

GROUP = "argosy.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"


class Scope(StrEnum):
    """Whether objects of a kind live in a namespace."""

    CLUSTER = "Cluster"
    NAMESPACED = "Namespaced"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of `kubectl get`; `wide` ones appear with `-o wide` only."""

    name: str
    type: str
    json_path: str
    description: str
    wide: bool = False


def condition_column(name: str, *, field: str = "status", wide: bool = False) -> Column:
    """A column that shows one field of the condition `name`."""
    path = f'.status.conditions[?(@.type=="{name}")].{field}'
    if field == "status":
        return Column(name, "string", path, f"Status of the condition {name}.", wide)
    return Column(field.capitalize(), "string", path, f"The {field} of the condition {name}.", wide)


AGE = Column("Age", "date", ".metadata.creationTimestamp", "Time since the object was created.")


PATCH_FIELD = "podTemplatePatch"
"""The one field whose content is in no schema: a null in it means "remove"."""

_NEVER_CREATED = "~"
"""Sorts after every time: an object that was never in an API server yields to those that were."""


class ObjectMeta(Value):
    """The part of an object's metadata that Argosy reads, without bounds: Kubernetes checks it."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int | None = None
    creation_timestamp: str | None = None
    labels: Mapping[str, str] = Field(default_factory=dict)
    annotations: Mapping[str, str] = Field(default_factory=dict)
    deletion_timestamp: str | None = None
    finalizers: tuple[str, ...] | None = None

    @property
    def key(self) -> str:
        """`namespace/name`, or the name alone where there is no namespace."""
        return NamespacedName.of(self.namespace, self.name)

    @property
    def seniority(self) -> tuple[str, str]:
        """Sorts the older object first (RFC 3339 in UTC sorts as text), then by `namespace/name`.

        Among objects that claim the same thing the first keeps it, as in Gateway API.
        """
        return self.creation_timestamp or _NEVER_CREATED, self.key


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with an object: the field's JSON path (empty: the whole object) and a sentence."""

    field: str
    sentence: str


@dataclass(frozen=True, slots=True)
class InvalidObject:
    """An object that cannot be used as it is, and why. `problems` is never empty.

    conditions: those of its status that can be read
    """

    kind: str
    metadata: ObjectMeta
    problems: tuple[Problem, ...]
    conditions: tuple[Condition, ...] = ()

    @property
    def key(self) -> str:
        """`namespace/name`, or the name alone; empty where the metadata is unreadable."""
        return self.metadata.key

    @property
    def field(self) -> str:
        """Path of the first field at fault."""
        return self.problems[0].field

    @property
    def message(self) -> str:
        """All problems, as sentences joined by semicolons."""
        return "; ".join(problem.sentence for problem in self.problems)


class CustomResource(Value):
    """What all kinds have in common. A kind adds `spec` and `status`."""

    KIND: ClassVar[str]
    PLURAL: ClassVar[str]
    SCOPE: ClassVar[Scope]
    SHORT_NAMES: ClassVar[tuple[str, ...]]
    COLUMNS: ClassVar[tuple[Column, ...]]

    metadata: ObjectMeta = ObjectMeta()

    @property
    def key(self) -> str:
        """`namespace/name`, or the name alone for cluster-scoped kinds."""
        return self.metadata.key

    @classmethod
    def status_type(cls) -> type[Any]:
        """The model of the kind's status, as its field `status` declares it."""
        found = cls.model_fields["status"].annotation
        assert isinstance(found, type), f"{cls.KIND}.status must name a model"
        return found

    @classmethod
    def from_object(cls, obj: object) -> Self | InvalidObject:
        """The value of an object in JSON form, from the API server or a YAML file.

        Reads as the API server does: camelCase only, unknown fields ignored, nulls dropped.
        """
        if not isinstance(obj, Mapping):
            return cls._invalid({}, Problem("", f"a {cls.KIND} must be an object with metadata and spec"))
        for field, wanted in (("apiVersion", API_VERSION), ("kind", cls.KIND)):
            # The items of a list carry neither.
            if obj.get(field, wanted) != wanted:
                return cls._invalid(obj, Problem(field, f"{field} must be {wanted}"))
        try:
            text = json.dumps(without_nulls(obj))
        except (TypeError, ValueError, RecursionError) as error:
            return cls._invalid(obj, Problem("", f"the object is not JSON: {error}"))
        try:
            return cls.model_validate_json(text, by_alias=True, by_name=False)
        except ValidationError as error:
            return cls._invalid(obj, *_problems(error))

    def to_object(self) -> dict[str, Any]:
        """The object in JSON form: defaults filled in, without nulls and empty status fields."""
        body = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        metadata = {name: value for name, value in body["metadata"].items() if value not in ("", {})}
        status = {name: value for name, value in body["status"].items() if value != []}
        written = {"apiVersion": API_VERSION, "kind": self.KIND, "metadata": metadata, "spec": body["spec"]}
        return {**written, "status": status} if status else written

    @classmethod
    def _invalid(cls, obj: Mapping[str, Any], *problems: Problem) -> InvalidObject:
        try:
            metadata = ObjectMeta.model_validate_json(json.dumps(without_nulls(obj.get("metadata"))))
        except (ValidationError, TypeError, ValueError, RecursionError):
            metadata = ObjectMeta()
        return InvalidObject(cls.KIND, metadata, problems, _readable_conditions(obj))


def _readable_conditions(obj: Mapping[str, Any]) -> tuple[Condition, ...]:
    status = obj.get("status")
    rows = status.get("conditions") if isinstance(status, Mapping) else None
    found: dict[str, Condition] = {}
    for row in rows if isinstance(rows, list) else ():
        try:
            condition = Condition.model_validate_json(json.dumps(without_nulls(row)))
        except (ValidationError, TypeError, ValueError, RecursionError):
            continue
        found[condition.type] = condition
    return tuple(found.values())


def status_body(status: Value) -> dict[str, Any]:
    """A kind's status as a merge patch: fields that were set, None as null, which removes the field.

    Below the first level nulls are dropped, as the API server would do.
    """
    body = status.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return {name: without_nulls(value) for name, value in body.items()}


def without_nulls(value: Any) -> Any:
    """As the API server does: a null for a field that is not nullable means "not set"; it keeps those of a
    field that is in no schema."""
    if isinstance(value, Mapping):
        return {
            name: item if name == PATCH_FIELD else without_nulls(item)
            for name, item in value.items()
            if item is not None
        }
    if isinstance(value, list | tuple):
        return [without_nulls(item) for item in value]
    return value


# The sentence of each pydantic error. Placeholders are pydantic's context; an error that is not
# listed keeps pydantic's wording.
_SENTENCE_BY_ERROR = {
    "extra_forbidden": "is not a field of this kind",
    "missing": "is required",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
    "string_pattern_mismatch": "must match {pattern}",
    "finite_number": "must be a finite number",
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "dict_type": "must be a map",
    "model_type": "must be an object",
}


def _problems(error: ValidationError) -> tuple[Problem, ...]:
    details = error.errors(include_url=False, include_input=False)
    found = [(detail["type"], _problem(detail["type"], detail["loc"], detail)) for detail in details]
    faulty = [problem.field for _, problem in found]
    # pydantic counts the valid items only, so one bad item makes the list "too short" as well.
    return tuple(
        problem
        for code, problem in found
        if code != "too_short" or not any(field.startswith(f"{problem.field}[") for field in faulty)
    )


def _problem(code: str, location: tuple[int | str, ...], detail: Mapping[str, Any]) -> Problem:
    context = {name: _plain(value) for name, value in detail.get("ctx", {}).items()}
    path = path_of(*location, context.get("field", ""))
    if code == "refused" and not context["field"].startswith("["):
        return Problem(path, context["sentence"])  # the message of a rule names its field
    if code in _SENTENCE_BY_ERROR:
        return Problem(path, f"{path} {_SENTENCE_BY_ERROR[code].format(**context)}".strip())
    return Problem(path, f"{path}: {detail['msg']}" if path else detail["msg"])


def _plain(value: Any) -> Any:
    """A bound without a needless fraction: 0 instead of 0.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def path_of(*steps: int | str) -> str:
    """`("spec", "models", 0, "name")` -> `spec.models[0].name`."""
    path = ""
    for step in steps:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step:
            path += step if not path or step.startswith("[") else f".{step}"
    return path
