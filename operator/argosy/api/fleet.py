"""Fleet: how Argosy behaves as a whole. One object, named `default`.

Owns the fields, bounds and rules of the kind. Without the object every default holds, so
`Fleet()` is what an empty cluster means.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from argosy.api.conditions import Conditions
from argosy.api.resource import AGE, Column, Resource, Scope, condition_column
from argosy.api.rule import Rule
from argosy.api.value import Amount, Count, KeyedBy, ObjectName, Sentence, ShortText, Value


class Mode(StrEnum):
    """How far Argosy goes on its own."""

    OBSERVE = "Observe"
    RECOMMEND = "Recommend"
    AUTO = "Auto"


class Recalibration(StrEnum):
    """What is made of the step times that running engines show."""

    DISABLED = "Disabled"
    OBSERVE = "Observe"
    APPLY = "Apply"


class Intervals(Value):
    """How often the two loops run."""

    fast_seconds: float = Field(
        2,
        ge=1,
        le=60,
        description="Period of the fast loop, which corrects the weights between clusters, in seconds.",
    )
    medium_seconds: float = Field(
        30,
        ge=5,
        le=600,
        description=(
            "Period of the medium loop, which plans, in seconds. A change of an object, price, node or pod"
            " starts it at once."
        ),
    )


class Gateway(Value):
    """Where Envoy listens for requests."""

    address: str = Field(
        "0.0.0.0",  # noqa: S104  a gateway is there to be reached
        min_length=2,
        max_length=45,
        pattern=r"^[0-9A-Fa-f:.]+$",
        description="IP address that Envoy listens on. The default is every address of its host.",
    )
    port: int = Field(8080, ge=1, le=65535, description="TCP port that Envoy listens on.")


class FleetSpec(Value):
    """What the whole fleet is to keep to."""

    mode: Mode = Field(
        Mode.RECOMMEND,
        description=(
            "How far Argosy goes on its own. Observe: statuses and metrics only. Recommend: also FleetPlan"
            " revisions, which nothing acts on. Auto: acts on them."
        ),
    )
    intervals: Intervals = Field(Intervals(), description="How often the two loops run.")
    robustness_margin: float = Field(
        0.2,
        ge=0,
        le=0.9,
        description=(
            "Share (0-0.9) of every replica's capacity that a plan keeps free, since measurements err."
        ),
    )
    budget_usd_per_hour: float | None = Field(
        None,
        gt=0,
        description=(
            "The most that all replicas together may cost, in US dollars per hour. What cannot be served"
            " within it is left unserved by priority, and said so. Absent: no limit."
        ),
    )
    transition_horizon_seconds: int = Field(
        600,
        ge=60,
        le=86400,
        description="Time within which a cheaper fleet must have paid for the change to it, in seconds.",
    )
    stabilization_seconds: int = Field(
        60,
        ge=0,
        le=3600,
        description=(
            "Replicas go only when they were not needed for so long, in seconds: demand counts as the highest"
            " of this window."
        ),
    )
    recalibration: Recalibration = Field(
        Recalibration.OBSERVE,
        description=(
            "What is made of the step times that running engines show. Observe: statuses and metrics show how"
            " far they are from the profiles. Apply: plans reckon with them too. Disabled: nothing."
        ),
    )
    gateway: Gateway = Field(Gateway(), description="Where Envoy listens for requests.")
    revision_history_limit: int = Field(
        20,
        ge=1,
        le=100,
        description="How many FleetPlans are kept. The applied one and the one before it always are.",
    )


class EnvoyStatus(Value):
    """One connected Envoy and what it made of its configuration."""

    node_id: ObjectName = Field(description="The node id of its bootstrap.")
    acknowledged_version: ShortText = Field("", description="Newest configuration version that it serves.")
    refused_version: ShortText = Field(
        "", description="Configuration version that it refused last, if newer."
    )
    message: Sentence = Field("", description="Why it refused, in Envoy's words.")


class FleetStatus(Value):
    """The fleet as last seen."""

    observed_generation: Count | None = Field(
        None, description="The metadata.generation that this status is about."
    )
    conditions: Conditions = Field((), description="Accepted, Programmed and Ready of the fleet as a whole.")
    current_plan: ObjectName | None = Field(None, description="Name of the FleetPlan that is applied.")
    cost_usd_per_hour: Amount | None = Field(
        None, description="Price of all GPUs held by engine pods, in US dollars per hour."
    )
    envoys: Annotated[tuple[EnvoyStatus, ...], Field(max_length=50), KeyedBy("nodeId")] = Field(
        (), description="Connected Envoys, the first 50 by node id."
    )
    envoys_connected: Count | None = Field(None, description="Number of connected Envoys.")


class Fleet(Resource):
    """Fleet says how Argosy behaves as a whole: its mode, its loops, its budget and its gateway.

    There is one, named default; without it every default holds.
    """

    KIND: ClassVar[str] = "Fleet"
    PLURAL: ClassVar[str] = "fleets"
    SCOPE: ClassVar[Scope] = Scope.CLUSTER
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("fleet",)
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("Mode", "string", ".spec.mode", "How far Argosy goes on its own."),
        Column("Plan", "string", ".status.currentPlan", "The applied FleetPlan."),
        Column("Cost/h", "number", ".status.costUsdPerHour", "US dollars per hour."),
        Column("Envoys", "integer", ".status.envoysConnected", "Connected Envoys."),
        condition_column("Ready"),
        AGE,
        condition_column("Ready", field="message", wide=True),
    )
    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            name="fleet-name",
            cel="self.metadata.name == 'default'",
            message="metadata.name must be default: one Fleet describes the whole cluster",
            # A Fleet that was never written (all defaults) has no name yet.
            holds=lambda fleet: fleet.metadata.name in ("", "default"),
        ),
    )

    spec: FleetSpec = Field(FleetSpec(), description="What the whole fleet is to keep to.")
    status: FleetStatus = Field(FleetStatus(), description="The fleet as last seen. Written by Argosy.")
