"""RouterPolicy: how requests of some classes are treated on their way to a replica.

Owns the fields and bounds of the kind. `route` decides which of two policies for one class applies.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from argosy.api.conditions import Conditions
from argosy.api.crd.resource import AGE, Column, CustomResource, Scope, condition_column
from argosy.api.schema.rule import Rule
from argosy.api.schema.value import Count, KeyedBy, ObjectName, Sentence, Value


class WeightCorrection(StrEnum):
    """Whether measured load shifts traffic between clusters."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"


class TargetReference(Value):
    """A WorkloadClass of the same namespace."""

    kind: Literal["WorkloadClass"] = Field("WorkloadClass", description="Kind of the target.")
    name: ObjectName = Field(description="Name of the WorkloadClass.")


class Retries(Value):
    """When a request is retried on another replica."""

    attempts: int = Field(
        2,
        ge=0,
        le=5,
        description="Retries of a request that failed before its first response header. 0: none.",
    )


class OutlierDetection(Value):
    """When a replica that returns errors gets no requests for a time."""

    consecutive_errors: int = Field(
        5, ge=1, le=100, description="Consecutive errors after which a replica is ejected."
    )
    ejection_seconds: int = Field(
        30, ge=1, le=3600, description="Duration of a replica's first ejection, in seconds."
    )


class Mirror(Value):
    """A WorkloadClass of the same namespace whose replicas get copies of requests."""

    name: ObjectName = Field(description="Name of the WorkloadClass whose replicas get the copies.")
    percent: float = Field(
        100.0,
        ge=0,
        le=100,
        description="Share of the requests that is copied, in percent: 0.1 is one of 1,000.",
    )


class RouterPolicySpec(Value):
    """Which classes the policy applies to, and how their requests are treated."""

    target_refs: Annotated[
        tuple[TargetReference, ...], Field(min_length=1, max_length=16), KeyedBy("name")
    ] = Field(
        description=(
            "WorkloadClasses of the same namespace that the policy applies to. If several policies name a"
            " class, the oldest applies."
        ),
    )
    retries: Retries = Field(Retries(), description="When a request is retried on another replica.")
    per_try_idle_seconds: int | None = Field(
        None,
        ge=1,
        le=3600,
        description=(
            "Time without a byte of response after which one attempt of a request is cancelled, in seconds;"
            " a request without a response header is then retried on another replica. Absent: no limit, and"
            " an attempt ends only with its replica. A limit also cuts what a working engine answers late: a"
            " request that waits in its queue, a response that is not streamed, a stream that pauses for a"
            " tool call. It helps against engines that answer /health and nothing else."
        ),
    )
    outlier_detection: OutlierDetection = Field(
        OutlierDetection(), description="When a replica that returns errors gets no requests for a time."
    )
    weight_correction: WeightCorrection = Field(
        WeightCorrection.ENABLED,
        description="Whether the traffic loop may shift requests between clusters away from planned shares.",
    )
    mirrors: Annotated[tuple[Mirror, ...], Field(max_length=4), KeyedBy("name")] = Field(
        (),
        description=(
            "WorkloadClasses of the same namespace whose replicas get copies of the targets' requests, to try"
            " an engine on real traffic. The answers to copies are discarded: none delays or fails a request,"
            " or is counted as one."
        ),
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            name="routerpolicy-mirror-to-target",
            cel="self.mirrors.all(mirror, !self.targetRefs.exists(target, target.name == mirror.name))",
            message=(
                "spec.mirrors: name must not be one of spec.targetRefs, because its replicas have those"
                " requests already"
            ),
            holds=lambda spec: not {m.name for m in spec.mirrors} & {t.name for t in spec.target_refs},
            field="mirrors",
        ),
    )


class TargetStatus(Value):
    """Whether the policy applies to one target."""

    name: ObjectName = Field(description="Name of the WorkloadClass.")
    accepted: bool = Field(description="True if the policy applies to it.")
    message: Sentence = Field("", description="Why the policy does not apply; empty where it does.")


class RouterPolicyStatus(Value):
    """The observed state of the policy."""

    observed_generation: Count | None = Field(
        None, description="The metadata.generation that this status is about."
    )
    conditions: Conditions = Field(
        (), description="Conditions Accepted, ResolvedRefs and Programmed of the policy."
    )
    targets: Annotated[tuple[TargetStatus, ...], Field(max_length=16), KeyedBy("name")] = Field(
        (), description="Whether the policy applies to each target."
    )


class RouterPolicy(CustomResource):
    """RouterPolicy configures how requests of its target classes are treated on their way to a replica."""

    KIND: ClassVar[str] = "RouterPolicy"
    PLURAL: ClassVar[str] = "routerpolicies"
    SCOPE: ClassVar[Scope] = Scope.NAMESPACED
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("rpolicy",)
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        condition_column("Accepted"),
        condition_column("Programmed"),
        condition_column("Accepted", field="reason"),
        AGE,
        condition_column("Accepted", field="message", wide=True),
    )

    spec: RouterPolicySpec = Field(
        description="Which classes the policy applies to, and how their requests are treated."
    )
    status: RouterPolicyStatus = Field(
        RouterPolicyStatus(), description="The observed state of the policy. Written by Argosy."
    )
