"""WorkloadClass: requests with one SLO, and how they are recognised.

Owns the fields, bounds and rules of the kind. `route` decides which of two classes that match the
same request gets it.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from argosy.api.conditions import Conditions
from argosy.api.crd.resource import AGE, Column, CustomResource, Scope, condition_column
from argosy.api.schema.rule import Rule
from argosy.api.schema.timestamp import seconds_of
from argosy.api.schema.value import (
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
from argosy.keys import ClassKey, ModelKey

Archetype = Literal["azure-conversation", "batch-documents", "mooncake-conversation"]
_HEADER_NAME = r"^[a-z0-9!#$%&'*+.^_`|~-]+$"


class PathMatchType(StrEnum):
    """How a request's path is compared."""

    EXACT = "Exact"
    PREFIX = "Prefix"


class TrafficSource(StrEnum):
    """Which rate to plan for."""

    DECLARED = "Declared"
    OBSERVED = "Observed"
    LARGER_OF_BOTH = "LargerOfBoth"


class PathMatch(Value):
    """The path that a request must have."""

    type: PathMatchType = Field(
        PathMatchType.PREFIX,
        description="Exact: the whole path must be the same. Prefix: the path must begin with the value.",
    )
    value: str = Field(min_length=1, max_length=1024, description="Path or prefix, such as /v1/chat.")

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
    """A header that a request must have."""

    name: str = Field(min_length=1, max_length=256, description="Name of the header, in lower case.")
    value: str = Field(
        min_length=1, max_length=1024, description="The exact value that the header must have."
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            name="workloadclass-header-name",
            # Envoy stores header names in lower case: a name with capitals would never match.
            cel=f'self.name.matches(r"{_HEADER_NAME}")',
            message=(
                "spec.match.headers: name must be the name of a header in lower case, such as x-argosy-class"
            ),
            holds=lambda header: bool(re.fullmatch(_HEADER_NAME, header.name)),
            field="name",
        ),
    )


class Match(Value):
    """How the requests of the class are recognised. A request must meet every condition given."""

    path: PathMatch | None = Field(None, description="Path that a request must have. Absent: any path.")
    headers: Annotated[tuple[HeaderMatch, ...], Field(max_length=8), KeyedBy("name")] = Field(
        (), description="Headers that a request must have, all of them."
    )
    models: Annotated[tuple[ServedName, ...], Field(max_length=128), AsSet()] = Field(
        (), description="Allowed values of the request's model field. Empty: any."
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            name="workloadclass-match-something",
            cel="has(self.path) || self.headers.size() > 0 || self.models.size() > 0",
            message="spec.match must have at least one of path, headers and models",
            holds=lambda match: bool(match.path or match.headers or match.models),
        ),
    )


class ModelReference(Value):
    """A ServedModel of the same namespace."""

    name: ObjectName = Field(description="Name of the ServedModel.")


class LengthRow(Value):
    """Requests of one prompt length and one output length."""

    prompt_tokens: int = Field(ge=1, le=1048576, description="Tokens of the prompt.")
    output_tokens: int = Field(ge=1, le=1048576, description="Tokens of the output.")
    weight: float = Field(gt=0, description="Relative frequency of these lengths among the rows.")


class Lengths(Value):
    """The distribution of prompt and output lengths: an archetype or a table."""

    archetype: Archetype | None = Field(None, description="Name of a built-in distribution of lengths.")
    table: Annotated[tuple[LengthRow, ...], Field(min_length=1, max_length=64)] | None = Field(
        None, description="Distribution of lengths as rows with weights."
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            name="workloadclass-lengths-exactly-one",
            cel="has(self.archetype) != has(self.table)",
            message="spec.traffic.lengths must have exactly one of archetype and table",
            holds=lambda lengths: (lengths.archetype is None) != (lengths.table is None),
        ),
    )


class Traffic(Value):
    """The expected traffic of the class."""

    requests_per_second: Amount = Field(description="Declared rate, in requests per second.")
    lengths: Lengths = Field(
        description="The distribution of prompt and output lengths: an archetype or a table."
    )
    source: TrafficSource = Field(
        TrafficSource.LARGER_OF_BOTH,
        description="Which rate to plan for: the declared one, the one Envoy observes, or the larger.",
    )


class PercentileBounds(Value):
    """Upper bounds of percentiles."""

    p50_milliseconds: PositiveNumber | None = Field(None, description="Upper bound of the median, in ms.")
    p95_milliseconds: PositiveNumber | None = Field(
        None, description="Upper bound of the 95th percentile, in ms."
    )
    p99_milliseconds: PositiveNumber | None = Field(
        None, description="Upper bound of the 99th percentile, in ms."
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            name="workloadclass-slo-percentile",
            cel="has(self.p50Milliseconds) || has(self.p95Milliseconds) || has(self.p99Milliseconds)",
            message=(
                "each term of spec.slo must have at least one of p50Milliseconds, p95Milliseconds and"
                " p99Milliseconds"
            ),
            holds=lambda term: bool(term.bounds_ms),
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
                "the bounds of each term of spec.slo must not decrease: p50Milliseconds <= p95Milliseconds"
                " <= p99Milliseconds"
            ),
            holds=lambda term: term.bounds_ms == tuple(sorted(term.bounds_ms)),
        ),
    )

    @property
    def bounds_ms(self) -> tuple[float, ...]:
        """The bounds that are given, in the order of their percentiles."""
        bounds = (self.p50_milliseconds, self.p95_milliseconds, self.p99_milliseconds)
        return tuple(bound for bound in bounds if bound is not None)


class SloSpec(Value):
    """Service level objective of the class. All terms apply together."""

    ttft: PercentileBounds | None = Field(None, description="Time to the first token.")
    itl: PercentileBounds | None = Field(
        None,
        description=(
            "Mean inter-token latency of a request: (time of last token - time of first) / (tokens - 1)."
        ),
    )
    e2e: PercentileBounds | None = Field(None, description="Time to the last token.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            name="workloadclass-slo-something",
            cel="has(self.ttft) || has(self.itl) || has(self.e2e)",
            message="spec.slo must have at least one of ttft, itl and e2e",
            holds=lambda slo: bool(slo.ttft or slo.itl or slo.e2e),
        ),
    )


class WorkloadClassSpec(Value):
    """Which requests belong to the class, their expected traffic and their SLO."""

    match: Match = Field(
        description="How the requests of the class are recognised. A request must meet every condition given."
    )
    models: Annotated[tuple[ModelReference, ...], Field(min_length=1, max_length=8), KeyedBy("name")] = Field(
        description="ServedModels of the same namespace; each of them may serve the class."
    )
    traffic: Traffic = Field(description="The expected traffic of the class.")
    slo: SloSpec = Field(description="Service level objective of the class. All terms apply together.")
    priority: int = Field(
        100,
        ge=0,
        le=1000,
        description="Order in which classes are served when capacity is short: the higher number first.",
    )
    min_replicas: int = Field(
        1,
        ge=0,
        le=100,
        description=(
            "Minimum number of replicas that serve the class, over all variants. Classes that share replicas"
            " share this minimum as well: the largest of theirs holds."
        ),
    )


class LatencyPercentiles(Value):
    """Percentiles of a latency; one above the last bucket of the engine's histogram is absent."""

    p50_milliseconds: Amount | None = Field(None, description="Median, in ms.")
    p95_milliseconds: Amount | None = Field(None, description="95th percentile, in ms.")
    p99_milliseconds: Amount | None = Field(None, description="99th percentile, in ms.")


class ObservedTraffic(Value):
    """What the requests of the last five minutes got. What was not measured is absent."""

    requests_per_second: Amount | None = Field(
        None, description="Rate of requests that arrived at Envoy, in requests per second."
    )
    errors_per_second: Amount | None = Field(
        None, description="Rate of requests that were answered with a 5xx, in requests per second."
    )
    refused_per_second: Amount | None = Field(
        None,
        description=(
            "Rate of requests that Envoy refused with 429 because replicas had as many as they can answer in"
            " time, in requests per second. They are no errors, and attained nothing."
        ),
    )
    ttft: LatencyPercentiles | None = Field(None, description="Time to the first token.")
    itl: LatencyPercentiles | None = Field(None, description="Mean inter-token latency of a request.")
    e2e: LatencyPercentiles | None = Field(None, description="Time to the last token.")
    attainment: Share | None = Field(
        None,
        description=(
            "Smallest share (0-1), over the terms of spec.slo, of the requests that kept the term. Engines"
            " count latencies in buckets: this is the lower end of what the share may be. A request that"
            " failed or was refused kept none."
        ),
    )
    waiting_requests: Count | None = Field(
        None, description="Requests that wait in the queues of the engines now."
    )
    shared_by_classes: Count | None = Field(
        None,
        description=(
            "Number of classes whose requests the latencies, attainment and queue are about: engines do not"
            " tell the classes that share them apart."
        ),
    )


class WorkloadClassStatus(Value):
    """The observed state of the class."""

    observed_generation: Count | None = Field(
        None, description="The metadata.generation that this status is about."
    )
    conditions: Conditions = Field(
        (), description="Conditions Accepted, ResolvedRefs, Programmed and Ready of the class."
    )
    requests_per_second: Amount | None = Field(
        None, description="Rate in the last plan, in requests per second."
    )
    observed: ObservedTraffic | None = Field(
        None, description="What the requests of the last five minutes got."
    )
    sharing_group: Annotated[str, Field(max_length=256)] | None = Field(
        None,
        description=(
            "Name of the sharing group whose replicas serve the class. Classes share one that have the same"
            " ServedModels, priority and cluster settings of a RouterPolicy."
        ),
    )
    replicas_ready: Count | None = Field(
        None, description="Ready replicas that serve the class: those of its sharing group."
    )
    cost_usd_per_hour: Amount | None = Field(
        None,
        description=(
            "Price of the GPUs that its engine pods hold, in US dollars per hour. Classes that share replicas"
            " share it by their planned rates."
        ),
    )
    unserved_share: Share | None = Field(
        None, description="Share (0-1) of the requests that the plan does not serve."
    )
    interrupted_since: Annotated[str, Field(max_length=64)] | None = Field(
        None,
        description=(
            "Since when no replica takes requests because the last one made room for its successor"
            " (spec.exchange BriefOutage of its ServedModel). Absent: the class is not interrupted."
        ),
    )

    @property
    def interrupted_since_s(self) -> float | None:
        """The same in seconds since the epoch."""
        return seconds_of(self.interrupted_since)


class WorkloadClass(CustomResource):
    """WorkloadClass is a set of requests with one SLO, and how they are recognised."""

    KIND: ClassVar[str] = "WorkloadClass"
    PLURAL: ClassVar[str] = "workloadclasses"
    SCOPE: ClassVar[Scope] = Scope.NAMESPACED
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("wclass",)
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("Planned/s", "number", ".status.requestsPerSecond", "Requests per second in the last plan."),
        Column(
            "Observed/s",
            "number",
            ".status.observed.requestsPerSecond",
            "Requests per second over the last five minutes.",
        ),
        Column(
            "Kept SLO",
            "number",
            ".status.observed.attainment",
            "Share (0-1) of the requests of the last five minutes that kept the SLO.",
        ),
        Column("Replicas", "integer", ".status.replicasReady", "Ready replicas of its sharing group."),
        Column("$/h", "number", ".status.costUsdPerHour", "US dollars per hour: its part of the replicas."),
        Column(
            "Priority",
            "integer",
            ".spec.priority",
            "The higher number is served first when capacity is short.",
        ),
        condition_column("Ready"),
        condition_column("Ready", field="reason"),
        AGE,
        Column("Group", "string", ".status.sharingGroup", "Classes of one group share replicas.", wide=True),
        condition_column("Ready", field="message", wide=True),
    )

    spec: WorkloadClassSpec = Field(
        description="Which requests belong to the class, their expected traffic and their SLO."
    )
    status: WorkloadClassStatus = Field(
        WorkloadClassStatus(), description="The observed state of the class. Written by Argosy."
    )

    @property
    def key(self) -> ClassKey:
        """`namespace/name`."""
        return ClassKey(self.metadata.key)

    @property
    def model_keys(self) -> frozenset[ModelKey]:
        """The ServedModels that may serve the class, whether they exist or not."""
        namespace = self.metadata.namespace
        return frozenset(ModelKey.of(namespace, reference.name) for reference in self.spec.models)
