"""RouterPolicy: how requests of some classes are treated on their way to a replica.

Owns the fields and bounds of the kind. Which of two policies for one class wins is `route`'s
business.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from argosy.api.conditions import Conditions
from argosy.api.resource import AGE, Column, Resource, Scope, condition_column
from argosy.api.value import Count, KeyedBy, ObjectName, Sentence, Value


class WeightCorrection(StrEnum):
    """Whether live load moves traffic between clusters."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"


class TargetReference(Value):
    """A WorkloadClass of the same namespace."""

    kind: Literal["WorkloadClass"] = Field("WorkloadClass", description="Kind of the target.")
    name: ObjectName = Field(description="Name of the WorkloadClass.")


class Retries(Value):
    """When a request is tried again on another replica."""

    attempts: int = Field(
        2,
        ge=0,
        le=5,
        description="Further tries of a request that failed before its first response header. 0: none.",
    )


class OutlierDetection(Value):
    """When a replica that answers with errors is left out for a while."""

    consecutive_errors: int = Field(
        5, ge=1, le=100, description="Errors in a row after which a replica is left out."
    )
    ejection_seconds: int = Field(
        30, ge=1, le=3600, description="How long it is left out the first time, in seconds."
    )


class RouterPolicySpec(Value):
    """Which classes the policy is for, and what it does for them."""

    target_refs: Annotated[
        tuple[TargetReference, ...], Field(min_length=1, max_length=16), KeyedBy("name")
    ] = Field(
        description=(
            "WorkloadClasses of the same namespace that the policy is for. A class has one policy; the oldest"
            " wins."
        )
    )
    retries: Retries = Field(Retries(), description="When a request is tried again on another replica.")
    per_try_idle_seconds: int | None = Field(
        None,
        ge=1,
        le=3600,
        description=(
            "Silence after which one try of a request is given up, in seconds; what has no answer yet"
            " is retried elsewhere. Absent: three times the class's TTFT bound, at least 15."
        ),
    )
    outlier_detection: OutlierDetection = Field(
        OutlierDetection(), description="When a replica that answers with errors is left out for a while."
    )
    weight_correction: WeightCorrection = Field(
        WeightCorrection.ENABLED,
        description="Whether the fast loop may move traffic between clusters away from the planned shares.",
    )


class TargetStatus(Value):
    """What became of one target."""

    name: ObjectName = Field(description="Name of the WorkloadClass.")
    accepted: bool = Field(description="Whether the policy holds for it.")
    message: Sentence = Field("", description="Why not, where it does not.")


class RouterPolicyStatus(Value):
    """The policy as last seen."""

    observed_generation: Count | None = Field(
        None, description="The metadata.generation that this status is about."
    )
    conditions: Conditions = Field((), description="Accepted, ResolvedRefs and Programmed of the policy.")
    targets: Annotated[tuple[TargetStatus, ...], Field(max_length=16), KeyedBy("name")] = Field(
        (), description="What became of each target."
    )


class RouterPolicy(Resource):
    """RouterPolicy says how requests of its target classes are treated on their way to a replica."""

    KIND: ClassVar[str] = "RouterPolicy"
    PLURAL: ClassVar[str] = "routerpolicies"
    SCOPE: ClassVar[Scope] = Scope.NAMESPACED
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("rpolicy",)
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        condition_column("Accepted"),
        condition_column("Programmed"),
        AGE,
        condition_column("Accepted", field="message", wide=True),
    )

    spec: RouterPolicySpec = Field(description="Which classes the policy is for, and what it does for them.")
    status: RouterPolicyStatus = Field(
        RouterPolicyStatus(), description="The policy as last seen. Written by Argosy."
    )
