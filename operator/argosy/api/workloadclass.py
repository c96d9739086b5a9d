"""WorkloadClass: requests with one SLO, how they are recognised and what they are promised.

Owns the fields, bounds and rules of the kind. How two classes that match the same request are
settled is `route`'s business.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from argosy.api.conditions import Conditions
from argosy.api.resource import AGE, Column, Resource, Scope, condition_column
from argosy.api.rule import Rule
from argosy.api.value import (
    Amount,
    AsSet,
    Count,
    KeyedBy,
    ObjectName,
    PositiveNumber,
    ServedName,
    Share,
    Value,
)
from argosy.keys import ClassKey

Archetype = Literal["azure-conversation", "batch-documents", "mooncake-conversation"]
_HEADER_NAME = r"^[a-z0-9!#$%&'*+.^_`|~-]+$"


class PathMatchType(StrEnum):
    """How a request's path is compared."""

    EXACT = "Exact"
    PREFIX = "Prefix"


class TrafficSource(StrEnum):
    """Whose word counts for the rate."""

    DECLARED = "Declared"
    OBSERVED = "Observed"
    LARGER_OF_BOTH = "LargerOfBoth"


class PathMatch(Value):
    """The path that a request must have."""

    type: PathMatchType = Field(
        PathMatchType.PREFIX, description="Exact compares the whole path, Prefix its beginning."
    )
    value: str = Field(
        min_length=1, max_length=1024, description="The path, or its beginning, such as /v1/chat."
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            name="workloadclass-path-slash",
            cel="self.value.startsWith('/')",
            message="spec.match.path.value must start with a slash",
            holds=lambda path: path.value.startswith("/"),
            field="value",
        ),
    )


class HeaderMatch(Value):
    """A header that a request must carry."""

    name: str = Field(min_length=1, max_length=256, description="Name of the header, in lower case.")
    value: str = Field(min_length=1, max_length=1024, description="The value it must have, exactly.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            name="workloadclass-header-name",
            # Envoy keeps header names in lower case; a name with capitals would never match.
            cel=f'self.name.matches(r"{_HEADER_NAME}")',
            message="spec.match.headers: name must be a header name in lower case, such as x-argosy-class",
            holds=lambda header: _is_header_name(header.name),
            field="name",
        ),
    )


def _is_header_name(name: str) -> bool:
    return all(c in "abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+.^_`|~-" for c in name)


class Match(Value):
    """How the requests of the class are recognised. What is given must all hold."""

    path: PathMatch | None = Field(None, description="The path that a request must have. Absent: any.")
    headers: Annotated[tuple[HeaderMatch, ...], Field(max_length=8), KeyedBy("name")] = Field(
        (), description="Headers that a request must carry, all of them."
    )
    models: Annotated[tuple[ServedName, ...], Field(max_length=16), AsSet()] = Field(
        (), description="Names, one of which a request must have in its model field. Empty: any."
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            name="workloadclass-match-something",
            cel="has(self.path) || self.headers.size() > 0 || self.models.size() > 0",
            message="spec.match needs at least one of path, headers and models",
            holds=lambda match: bool(match.path or match.headers or match.models),
        ),
    )


class ModelReference(Value):
    """A ServedModel of the same namespace."""

    name: ObjectName = Field(description="Name of the ServedModel.")


class LengthRow(Value):
    """Requests of one prompt length and one output length."""

    prompt_tokens: int = Field(ge=1, le=1048576, description="Tokens of the prompt.")
    output_tokens: int = Field(ge=1, le=1048576, description="Tokens of the answer.")
    weight: float = Field(gt=0, description="How frequent these lengths are, relative to the other rows.")


class Lengths(Value):
    """How long prompts and answers are: an archetype or a table."""

    archetype: Archetype | None = Field(None, description="A built-in distribution of lengths.")
    table: Annotated[tuple[LengthRow, ...], Field(min_length=1, max_length=64)] | None = Field(
        None, description="The distribution of lengths as rows with weights."
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            name="workloadclass-lengths-exactly-one",
            cel="has(self.archetype) != has(self.table)",
            message="spec.traffic.lengths needs exactly one of archetype and table",
            holds=lambda lengths: (lengths.archetype is None) != (lengths.table is None),
        ),
    )


class Traffic(Value):
    """What the class is expected to ask for."""

    requests_per_second: Amount = Field(description="Rate of requests that is declared, per second.")
    lengths: Lengths = Field(description="How long prompts and answers are: an archetype or a table.")
    source: TrafficSource = Field(
        TrafficSource.LARGER_OF_BOTH,
        description=(
            "Whose word counts for the rate: what is declared here, what Envoy sees, or the larger of both."
        ),
    )


class Percentiles(Value):
    """Bounds that so many of the requests keep."""

    p50_milliseconds: PositiveNumber | None = Field(
        None, description="Half of the requests stay within it, in ms."
    )
    p95_milliseconds: PositiveNumber | None = Field(
        None, description="95 % of the requests stay within it, in ms."
    )
    p99_milliseconds: PositiveNumber | None = Field(
        None, description="99 % of the requests stay within it, in ms."
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            name="workloadclass-slo-percentile",
            cel="has(self.p50Milliseconds) || has(self.p95Milliseconds) || has(self.p99Milliseconds)",
            message=(
                "a term of spec.slo needs one or more of p50Milliseconds, p95Milliseconds, p99Milliseconds"
            ),
            holds=lambda term: bool(_given(term)),
        ),
        Rule(
            name="workloadclass-slo-order",
            cel=" && ".join(
                f"(!has(self.{low}) || !has(self.{high}) || self.{low} <= self.{high})"
                for low, high in (
                    ("p50Milliseconds", "p95Milliseconds"),
                    ("p95Milliseconds", "p99Milliseconds"),
                    ("p50Milliseconds", "p99Milliseconds"),
                )
            ),
            message=(
                "the bounds of a term of spec.slo must not decrease: p50Milliseconds <= p95Milliseconds"
                " <= p99Milliseconds"
            ),
            holds=lambda term: _given(term) == sorted(_given(term)),
        ),
    )


def _given(term: Percentiles) -> list[float]:
    bounds = (term.p50_milliseconds, term.p95_milliseconds, term.p99_milliseconds)
    return [bound for bound in bounds if bound is not None]


class SloSpec(Value):
    """What the requests of the class are promised. All terms hold together."""

    ttft: Percentiles | None = Field(None, description="Time to the first token.")
    itl: Percentiles | None = Field(
        None, description="A request's mean gap between tokens: (last - first) / (tokens - 1)."
    )
    e2e: Percentiles | None = Field(None, description="Time to the last token.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            name="workloadclass-slo-something",
            cel="has(self.ttft) || has(self.itl) || has(self.e2e)",
            message="spec.slo needs at least one of ttft, itl and e2e",
            holds=lambda slo: bool(slo.ttft or slo.itl or slo.e2e),
        ),
    )


class WorkloadClassSpec(Value):
    """Which requests belong to the class, what they ask for and what they are promised."""

    match: Match = Field(
        description="How the requests of the class are recognised. What is given must all hold."
    )
    models: Annotated[tuple[ModelReference, ...], Field(min_length=1, max_length=8), KeyedBy("name")] = Field(
        description="ServedModels of the same namespace, any of which may serve the class."
    )
    traffic: Traffic = Field(description="What the class is expected to ask for.")
    slo: SloSpec = Field(description="What the requests of the class are promised. All terms hold together.")
    priority: int = Field(
        100, ge=0, le=1000, description="Who is served when not everybody can be: the higher number first."
    )
    min_replicas: int = Field(
        1, ge=0, le=100, description="Replicas that the class has at any rate, over all variants."
    )


class WorkloadClassStatus(Value):
    """The class as last seen."""

    observed_generation: Count | None = Field(
        None, description="The metadata.generation that this status is about."
    )
    conditions: Conditions = Field(
        (), description="Accepted, ResolvedRefs, Programmed and Ready of the class."
    )
    requests_per_second: Amount | None = Field(
        None, description="Rate that the last plan reckoned with, per second."
    )
    replicas_ready: Count | None = Field(None, description="Replicas of the class that are ready.")
    unserved_share: Share | None = Field(
        None, description="Share (0-1) of the requests that the plan cannot serve."
    )


class WorkloadClass(Resource):
    """WorkloadClass is a kind of requests: how they are recognised and what they are promised."""

    KIND: ClassVar[str] = "WorkloadClass"
    PLURAL: ClassVar[str] = "workloadclasses"
    SCOPE: ClassVar[Scope] = Scope.NAMESPACED
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("wclass",)
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("Req/s", "number", ".status.requestsPerSecond", "Rate that the last plan reckoned with."),
        Column("Replicas", "integer", ".status.replicasReady", "Replicas that are ready."),
        Column("Priority", "integer", ".spec.priority", "The higher number is served first."),
        condition_column("Ready"),
        AGE,
        condition_column("Ready", field="message", wide=True),
    )

    spec: WorkloadClassSpec = Field(
        description="Which requests belong to the class, what they ask for and what they are promised."
    )
    status: WorkloadClassStatus = Field(
        WorkloadClassStatus(), description="The class as last seen. Written by Argosy."
    )

    @property
    def key(self) -> ClassKey:
        """`namespace/name`."""
        return ClassKey(self.metadata.key)
