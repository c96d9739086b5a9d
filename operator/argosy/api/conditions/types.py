"""Conditions and reasons: what Argosy says about an object, and in which words.

Owns the condition types, the reasons, one sentence template per reason (which names the field
and the remedy wherever there is one), and how a condition replaces its predecessor. Never
decides whether something is ready, and never reads a clock: `now` comes in.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from string import Formatter
from typing import Annotated

from pydantic import Field

from argosy.api.conditions.sentences import SENTENCES
from argosy.api.value import KeyedBy, Value
from argosy.errors import InvariantError


class ConditionType(StrEnum):
    """What a condition is about."""

    ACCEPTED = "Accepted"
    """The object itself is usable, and no other object is in its way."""
    RESOLVED_REFS = "ResolvedRefs"
    """What it refers to exists and fits."""
    PROGRAMMED = "Programmed"
    """The data plane serves it."""
    READY = "Ready"
    """It gets what it asks for."""

    CERTIFIED = "Certified"
    """A FleetPlan was simulated and keeps its promises."""
    APPLIED = "Applied"
    """A FleetPlan is, or was, acted on."""
    ROLLED_BACK = "RolledBack"
    """A FleetPlan was taken back."""


class ConditionStatus(StrEnum):
    """True, False, or not known yet."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Reason(StrEnum):
    """Why a condition has its status. `sentence` puts it into words."""

    ACCEPTED = "Accepted"
    CONFLICTED = "Conflicted"
    UNKNOWN_GPU = "UnknownGpu"
    INVALID_SPEC = "InvalidSpec"

    RESOLVED_REFS = "ResolvedRefs"
    MODEL_NOT_FOUND = "ModelNotFound"
    SERVED_NAME_MISMATCH = "ServedNameMismatch"
    TARGET_NOT_FOUND = "TargetNotFound"
    PROFILE_NOT_FOUND = "ProfileNotFound"
    PROFILE_UNUSABLE = "ProfileUnusable"
    PROFILE_UNREAD = "ProfileUnread"
    PROFILE_IMPLAUSIBLE = "ProfileImplausible"
    PROFILE_UNUSED = "ProfileUnused"

    PROGRAMMED = "Programmed"
    NO_PLAN = "NoPlan"
    NO_ENVOY = "NoEnvoy"
    ENVOY_PENDING = "EnvoyPending"
    ENVOY_REFUSED = "EnvoyRefused"
    MODE_NOT_AUTO = "ModeNotAuto"

    READY = "Ready"
    LOADING = "Loading"
    NO_REPLICAS_READY = "NoReplicasReady"
    NO_NODES = "NoNodes"
    MODEL_TOO_LARGE = "ModelTooLarge"
    UNKNOWN_MODEL = "UnknownModel"
    OUT_OF_RANGE = "OutOfRange"
    SLO_UNREACHABLE = "SloUnreachable"
    CAPACITY_SHORT = "CapacityShort"
    BUDGET_SHORT = "BudgetShort"
    UNPLACEABLE = "Unplaceable"
    REPLICAS_AT_LIMIT = "ReplicasAtLimit"
    OBSERVATION_STALE = "ObservationStale"

    NO_SIMULATOR = "NoSimulator"
    APPLIED = "Applied"
    RECOMMENDED = "Recommended"
    SUPERSEDED = "Superseded"
    CHECK_FAILED = "CheckFailed"
    ROLLED_BACK = "RolledBack"

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of what the sentence needs, in the order in which it says them."""
        named = (name for _, name, _, _ in Formatter().parse(SENTENCES[self]) if name)
        return tuple(dict.fromkeys(named))

    def sentence(self, **parts: object) -> str:
        """The sentence for users. `parts` must be exactly `self.parts`."""
        if set(parts) != set(self.parts):
            raise InvariantError(f"reason {self} takes {self.parts}, got {tuple(sorted(parts))}")
        return SENTENCES[self].format(**parts)


class Condition(Value):
    """One aspect of an object's state, as the operator last saw it."""

    type: str = Field(min_length=1, max_length=316, description="What the condition is about, such as Ready.")
    status: ConditionStatus = Field(description="True, False, or Unknown where it cannot be told yet.")
    reason: str = Field(
        min_length=1, max_length=1024, description="Why, in one word that programs can rely on."
    )
    message: str = Field(
        "", max_length=32768, description="Why, in a sentence that names the field and the remedy."
    )
    last_transition_time: str | None = Field(
        None,
        max_length=64,
        description="When the status last changed (RFC 3339).",
        json_schema_extra={"format": "date-time"},
    )
    observed_generation: int | None = Field(
        None, ge=0, description="The metadata.generation that this is about."
    )


Conditions = Annotated[tuple[Condition, ...], Field(max_length=16), KeyedBy("type")]


def find_condition(conditions: Iterable[Condition], type: str) -> Condition | None:
    """The condition of this type, or None where nothing was said about it yet."""
    return next((c for c in conditions if c.type == type), None)


def set_condition(conditions: tuple[Condition, ...], new: Condition, now: str) -> tuple[Condition, ...]:
    """`conditions` with `new` in the place of its predecessor, or at the end.

    `now` is the time in RFC 3339 with whole seconds. It becomes `lastTransitionTime` only
    where the status differs from the predecessor's: a new reason is no transition.
    """
    old = find_condition(conditions, new.type)
    unchanged = old is not None and old.status is new.status and old.last_transition_time
    dated = new.model_copy(
        update={"last_transition_time": old.last_transition_time if old and unchanged else now}
    )
    if old is None:
        return (*conditions, dated)
    return tuple(dated if c.type == new.type else c for c in conditions)
