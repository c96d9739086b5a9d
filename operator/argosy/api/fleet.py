"""Fleet: how Argosy behaves as a whole. One object, named `default`.

Owns the fields, bounds and rules of the kind. Before the first object every default applies, so
`Fleet()` is the fleet of a cluster that never had one.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from argosy.api.conditions import Conditions
from argosy.api.crd.resource import AGE, Column, CustomResource, Scope, condition_column
from argosy.api.schema.rule import Rule
from argosy.api.schema.value import Amount, AsSet, Count, KeyedBy, ObjectName, Sentence, ShortText, Value


class Mode(StrEnum):
    """What Argosy may do."""

    OBSERVE = "Observe"
    RECOMMEND = "Recommend"
    AUTO = "Auto"


class Recalibration(StrEnum):
    """How the measured step times of running engines are used."""

    DISABLED = "Disabled"
    OBSERVE = "Observe"
    APPLY = "Apply"


class Intervals(Value):
    """How often the two loops run."""

    fast_seconds: float = Field(
        2,
        ge=1,
        le=60,
        description=(
            "Period of the traffic loop, which measures and corrects the weights between clusters, in"
            " seconds."
        ),
    )
    medium_seconds: float = Field(
        30,
        ge=5,
        le=600,
        description=(
            "Period of the planning loop, in seconds. A change of an object, price, node or pod also starts"
            " it at once."
        ),
    )


class AccessLogFormat(StrEnum):
    """How a line of Envoy's access log looks."""

    JSON = "Json"
    TEXT = "Text"


class AccessLogSpec(Value):
    """One line per request on Envoy's standard output."""

    format: AccessLogFormat = Field(
        AccessLogFormat.JSON,
        description="Json: one JSON object per line. Text: the same fields as name=value.",
    )


_HEADER_NAME = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"
CorsOrigin = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        pattern=r"^(\*|[a-z][a-z0-9+.-]*://(\*\.)?([a-z0-9_.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?)$",
    ),
]
CorsMethod = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^(\*|[A-Z]+)$")]
CorsHeader = Annotated[str, Field(min_length=1, max_length=256, pattern=_HEADER_NAME)]


class CorsSpec(Value):
    """Which web pages may call the gateway, and what they may send and read."""

    allow_origins: Annotated[tuple[CorsOrigin, ...], Field(min_length=1, max_length=16), AsSet()] = Field(
        description=(
            "Origins of pages, as browsers write them: https://chat.example.com, http://localhost:3000;"
            " https://*.example.com is every host below example.com, and * is every origin."
        ),
    )
    allow_methods: Annotated[tuple[CorsMethod, ...], Field(min_length=1, max_length=16), AsSet()] = Field(
        ("GET", "POST"), description="Methods that pages may use."
    )
    allow_headers: Annotated[tuple[CorsHeader, ...], Field(max_length=32), AsSet()] = Field(
        ("*", "authorization"),
        description="Headers that pages may send. To browsers, * is all of them but authorization.",
    )
    expose_headers: Annotated[tuple[CorsHeader, ...], Field(max_length=32), AsSet()] = Field(
        ("x-request-id", "retry-after"), description="Headers of responses that pages may read."
    )
    allow_credentials: bool = Field(
        False, description="Whether browsers may send cookies and client certificates of their users."
    )
    max_age_seconds: int = Field(
        600, ge=0, le=86400, description="Time for which browsers need not ask again, in seconds (0-86400)."
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            name="fleet-cors-credentials",
            cel=(
                "!self.allowCredentials || !('*' in self.allowOrigins || '*' in self.allowMethods"
                " || '*' in self.allowHeaders || '*' in self.exposeHeaders)"
            ),
            message=(
                "where spec.gateway.cors.allowCredentials is true, allowOrigins, allowMethods, allowHeaders"
                " and exposeHeaders must name each value: browsers take no * for requests with credentials"
            ),
            holds=lambda cors: (
                not cors.allow_credentials
                or "*"
                not in (*cors.allow_origins, *cors.allow_methods, *cors.allow_headers, *cors.expose_headers)
            ),
        ),
    )


class GatewaySpec(Value):
    """Where Envoy listens for requests."""

    address: str = Field(
        "0.0.0.0",  # noqa: S104  a gateway must be reachable
        min_length=2,
        max_length=45,
        pattern=r"^[0-9A-Fa-f:.]+$",
        description=(
            "IP address that Envoy listens on. The default is every IPv4 address of its host; `::` is every"
            " address of both families."
        ),
    )
    port: int = Field(8080, ge=1, le=65535, description="TCP port that Envoy listens on.")
    access_log: AccessLogSpec | None = Field(
        None,
        description=(
            "One line per request on Envoy's standard output: request id, class, model, replica, durations,"
            " status and response flags; nothing of prompts or answers. A change replaces Envoy's listener:"
            " idle connections of clients are closed. Absent: no access log."
        ),
    )
    cors: CorsSpec | None = Field(
        None,
        description=(
            "Which web pages of other origins may call the gateway. Envoy answers their preflights and marks"
            " what they may read; such headers of engines are removed. Absent: preflights that no class takes"
            " are refused."
        ),
    )
    endpoint_header: bool = Field(
        False,
        description=(
            "Whether responses carry the header x-argosy-endpoint with the address of the replica that"
            " answered. For tests: clients outside should not learn addresses inside the cluster."
        ),
    )


class FleetSpec(Value):
    """What applies to the whole fleet."""

    mode: Mode = Field(
        Mode.RECOMMEND,
        description=(
            "What Argosy may do. Observe: write statuses and metrics only. Recommend: also write FleetPlan"
            " revisions, without acting on them. Auto: also act on them."
        ),
    )
    intervals: Intervals = Field(Intervals(), description="How often the two loops run.")
    robustness_margin: float = Field(
        0.2,
        ge=0,
        le=0.9,
        description=(
            "Share (0-0.9) of each replica's capacity that a plan leaves free, to allow for measurement"
            " errors."
        ),
    )
    budget_usd_per_hour: float | None = Field(
        None,
        gt=0,
        description=(
            "Upper bound of the cost of all replicas together, in US dollars per hour. Where it does not"
            " suffice, classes of lower priority are served less, and their Ready condition reports it."
            " Absent: no bound."
        ),
    )
    transition_horizon_seconds: int = Field(
        600,
        ge=60,
        le=86400,
        description=(
            "Payback time of a change, in seconds: Argosy changes to a cheaper fleet only if the saving"
            " within this time exceeds the cost of the change."
        ),
    )
    stabilization_seconds: int = Field(
        60,
        ge=0,
        le=3600,
        description=(
            "Time for which replicas must be unneeded before Argosy removes them, in seconds: plans use the"
            " highest demand of this window. And the least time between a FleetPlan and one that only a"
            " changed price, declared rate or SLO asks for (or twice the time that new replicas take to load,"
            " if longer): unless the present replicas could not keep an SLO, the budget or a limit, were"
            " lost with a node, or a user edited anything else. 0: no change waits."
        ),
    )
    recalibration: Recalibration = Field(
        Recalibration.OBSERVE,
        description=(
            "How the measured step times of running engines are used. Observe: statuses and metrics show how"
            " far they are from the profiles. Apply: plans use them as well. Disabled: not at all."
        ),
    )
    deletion_grace_seconds: int = Field(
        30,
        ge=0,
        le=86400,
        description=(
            "Seconds (0-86400) for which a ServedModel, WorkloadClass or GPUPool that is deleted while"
            " replicas run for it is served as before. Applied again within them, nothing restarts. After"
            " them its replicas finish their requests (spec.engine.drainSeconds of the ServedModel) and go."
        ),
    )
    gateway: GatewaySpec = Field(GatewaySpec(), description="Where Envoy listens for requests.")
    revision_history_limit: int = Field(
        20,
        ge=1,
        le=100,
        description="Number of FleetPlans to keep. The applied one and the one before it are always kept.",
    )


class EnvoyStatus(Value):
    """One connected Envoy and what it made of its configuration."""

    node_id: ObjectName = Field(description="Node id in its bootstrap.")
    acknowledged_version: ShortText = Field(
        "", description="Newest configuration version that it acknowledged."
    )
    refused_version: ShortText = Field(
        "", description="Configuration version that it refused, if newer than the acknowledged one."
    )
    message: Sentence = Field("", description="Envoy's error message for the refusal.")


class FleetStatus(Value):
    """The observed state of the fleet."""

    observed_generation: Count | None = Field(
        None, description="The metadata.generation that this status is about."
    )
    conditions: Conditions = Field(
        (), description="Conditions Accepted, Programmed, PlanCurrent and Ready of the whole fleet."
    )
    current_plan: ObjectName | None = Field(None, description="Name of the applied FleetPlan.")
    cost_usd_per_hour: Amount | None = Field(
        None, description="Price of all GPUs that engine pods hold, in US dollars per hour."
    )
    envoys: Annotated[tuple[EnvoyStatus, ...], Field(max_length=50), KeyedBy("nodeId")] = Field(
        (), description="Connected Envoys, the first 50 by node id."
    )
    envoys_connected: Count | None = Field(None, description="Number of connected Envoys.")


class Fleet(CustomResource):
    """Fleet configures Argosy as a whole: its mode, its loops, its budget and its gateway.

    There is one, named default; before the first every default applies. If it is deleted, its last
    settings hold.
    """

    KIND: ClassVar[str] = "Fleet"
    PLURAL: ClassVar[str] = "fleets"
    SCOPE: ClassVar[Scope] = Scope.CLUSTER
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("fleet",)
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("Mode", "string", ".spec.mode", "What Argosy may do."),
        Column("Plan", "string", ".status.currentPlan", "The applied FleetPlan."),
        Column("$/h", "number", ".status.costUsdPerHour", "US dollars per hour."),
        Column("Budget", "number", ".spec.budgetUsdPerHour", "Bound of the cost, in US dollars per hour."),
        Column(
            "Planning",
            "string",
            '.status.conditions[?(@.type=="PlanCurrent")].reason',
            "PlanCurrent, or what keeps the plan from being the wanted one: a pause, a mode, a wait.",
        ),
        Column("Envoys", "integer", ".status.envoysConnected", "Connected Envoys."),
        condition_column("Ready"),
        condition_column("Ready", field="reason"),
        AGE,
        condition_column("Ready", field="message", wide=True),
    )
    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            name="fleet-name",
            cel="self.metadata.name == 'default'",
            message="metadata.name must be default, because one Fleet configures the whole cluster",
            # The Fleet of all defaults, which was never applied, has no name.
            holds=lambda fleet: fleet.metadata.name in ("", "default"),
        ),
    )

    spec: FleetSpec = Field(FleetSpec(), description="What applies to the whole fleet.")
    status: FleetStatus = Field(
        FleetStatus(), description="The observed state of the fleet. Written by Argosy."
    )
