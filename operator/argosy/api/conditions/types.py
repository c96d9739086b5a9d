"""Condition types, statuses and reasons, and how a condition is made and replaced.

Owns the vocabulary of statuses, the building of conditions, and the rule for
`lastTransitionTime`. Input: what was found, and the time as text. Output: `Condition`s.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from string import Formatter
from typing import Annotated

from pydantic import Field

from argosy.api.conditions.sentences import SENTENCES
from argosy.api.schema.value import KeyedBy, Value
from argosy.errors import InvariantError
from argosy.refusals import Refused

MESSAGE_LIMIT = 32768
"""Characters of a condition's message, as Kubernetes bounds it (metav1.Condition)."""


class ConditionType(StrEnum):
    """What a condition is about."""

    ACCEPTED = "Accepted"
    """The object itself can be used, and no other object takes precedence over it."""
    RESOLVED_REFS = "ResolvedRefs"
    """What it refers to exists and can be used."""
    PROGRAMMED = "Programmed"
    """Every connected Envoy serves the routes that it is part of."""
    READY = "Ready"
    """It has the replicas, nodes or plan that it asks for."""
    PLAN_CURRENT = "PlanCurrent"
    """The plan is the one that prices, rates and SLOs ask for now; False while a change waits."""
    FIELDS_CONTESTED = "FieldsContested"
    """Another client keeps changing what Argosy sets of a Deployment."""
    AUTOSCALED = "Autoscaled"
    """An autoscaler sets the number of replicas of a Deployment, and Argosy plans the rest around it."""

    ADOPTED = "Adopted"
    """Deployments that users run and labelled take part; False where one does not."""

    METRICS_READ = "MetricsRead"
    """The metrics of its engines can be read; shown from the first time on that some cannot."""

    ADAPTERS_READY = "AdaptersReady"
    """Each LoRA adapter that a class sends requests for is loaded; shown where a model has some."""

    CERTIFIED = "Certified"
    """A simulation showed that a FleetPlan keeps the SLOs of its classes."""
    APPLIED = "Applied"
    """Argosy acts on a FleetPlan; False with reason Superseded once a newer one took over."""
    PROGRESSING = "Progressing"
    """A FleetPlan is being carried out or rolled out; False where it cannot go on, or was replaced before."""
    ROLLED_OUT = "RolledOut"
    """Every planned replica got requests and no former one was left; it stays True for that plan."""
    DRAINING = "Draining"
    """Replicas still run for objects that users have deleted."""
    FLEET_FOUND = "FleetFound"
    """There is a Fleet object; False while the settings that it had last hold."""


class ConditionStatus(StrEnum):
    """True, False, or not known yet."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Reason(StrEnum):
    """Why a condition has its status; `sentence` gives it in words."""

    ACCEPTED = "Accepted"
    CONFLICTED = "Conflicted"
    UNKNOWN_GPU = "UnknownGpu"
    GPU_CONTRADICTED = "GpuContradicted"
    GPU_MISMATCH = "GpuMismatch"
    INVALID_SPEC = "InvalidSpec"
    FLAG_UNJUDGED = "FlagUnjudged"

    RESOLVED_REFS = "ResolvedRefs"
    MODEL_NOT_FOUND = "ModelNotFound"
    SERVED_NAME_MISMATCH = "ServedNameMismatch"
    TARGET_NOT_FOUND = "TargetNotFound"
    MIRROR_UNSERVED = "MirrorUnserved"
    PROFILE_NOT_FOUND = "ProfileNotFound"
    PROFILE_UNUSABLE = "ProfileUnusable"
    PROFILE_UNREAD = "ProfileUnread"
    PROFILE_IMPLAUSIBLE = "ProfileImplausible"
    PROFILE_UNUSED = "ProfileUnused"

    PROGRAMMED = "Programmed"
    NO_PLAN = "NoPlan"
    PLAN_GONE = "PlanGone"
    NO_ENVOY = "NoEnvoy"
    ENVOY_AHEAD = "EnvoyAhead"
    ENVOY_PENDING = "EnvoyPending"
    ENVOY_REFUSED = "EnvoyRefused"
    ENVOY_CANNOT_LISTEN = "EnvoyCannotListen"
    ENVOYS_SHARE_ID = "EnvoysShareId"
    MODE_NOT_AUTO = "ModeNotAuto"

    READY = "Ready"
    LOADING = "Loading"
    EXCHANGING = "Exchanging"
    INTERRUPTED = "Interrupted"
    EXCHANGE_WAITS = "ExchangeWaits"
    EXCHANGE_QUEUED = "ExchangeQueued"
    NOT_ROUTED = "NotRouted"
    ENGINE_PORT_MISSING = "EnginePortMissing"
    NO_REPLICAS_READY = "NoReplicasReady"
    NOT_ANSWERING = "NotAnswering"
    ENGINE_SILENT = "EngineSilent"
    SILENCE_IN_DOUBT = "SilenceInDoubt"
    PODS_REFUSED = "PodsRefused"
    PODS_UNSCHEDULABLE = "PodsUnschedulable"
    PODS_GATED = "PodsGated"
    POD_TEMPLATE_REFUSED = "PodTemplateRefused"
    DEPLOYMENT_HELD = "DeploymentHeld"
    NAMESPACE_ENDING = "NamespaceEnding"
    NO_NODES = "NoNodes"
    NODES_CLOSED = "NodesClosed"
    NODES_LEAVING = "NodesLeaving"
    NODES_TO_COME = "NodesToCome"
    NODES_MAY_COME = "NodesMayCome"
    NODES_NOT_COMING = "NodesNotComing"
    MODEL_TOO_LARGE = "ModelTooLarge"
    UNKNOWN_MODEL = "UnknownModel"
    OUT_OF_RANGE = "OutOfRange"
    SLO_UNREACHABLE = "SloUnreachable"
    SLO_MISSED = "SloMissed"
    CAPACITY_SHORT = "CapacityShort"
    BUDGET_SHORT = "BudgetShort"
    UNPLACEABLE = "Unplaceable"
    REPLICAS_AT_LIMIT = "ReplicasAtLimit"
    REPLICAS_AUTOSCALED = "ReplicasAutoscaled"
    QUOTA_SHORT = "QuotaShort"
    REPLICAS_REFUSED = "ReplicasRefused"
    OTHERS_SERVE = "OthersServe"
    PLANNING_HELD = "PlanningHeld"
    OBSERVATION_STALE = "ObservationStale"
    PICTURE_INCOMPLETE = "PictureIncomplete"
    STATE_RESTORED = "StateRestored"
    OWNER_NOT_SEEN = "OwnerNotSeen"
    WATCH_FAILS = "WatchFails"
    CLOCK_OFF = "ClockOff"
    LAST_READABLE = "LastReadableUsed"
    KEPT_UNREAD = "KeptUnread"
    REMOVAL_WAITS = "RemovalWaits"
    FIELD_CONTESTED = "FieldContested"
    UNCONTESTED = "Uncontested"
    AUTOSCALED = "Autoscaled"
    NOT_AUTOSCALED = "NotAutoscaled"
    ADOPTED = "Adopted"
    ADOPTION_REFUSED = "AdoptionRefused"
    GIVEN_BACK = "GivenBack"
    LOWERING_WAITS = "LoweringWaits"
    NOTHING_ADOPTED = "NothingAdopted"
    METRICS_READ = "MetricsRead"
    METRICS_OLD = "MetricsOfOldVllm"
    METRICS_UNREADABLE = "MetricsUnreadable"
    METRICS_OVER_TLS = "MetricsOverTls"
    METRICS_UNREACHABLE = "MetricsUnreachable"
    ADAPTERS_READY = "AdaptersReady"
    ADAPTERS_LOADING = "AdaptersLoading"
    ADAPTERS_FAILED = "AdaptersFailed"
    ADAPTERS_WITHOUT_SLOT = "AdaptersWithoutSlot"
    NODES_NOT_READY = "NodesNotReady"
    NODES_SHARED = "NodesShared"

    PLAN_CURRENT = "PlanCurrent"
    CHANGE_WAITS = "ChangeWaits"
    APPROVAL_WAITS = "ApprovalWaits"
    PAUSED = "Paused"
    ROLLED_BACK = "RolledBack"
    HOLD_REFUSED = "HoldRefused"

    NO_SIMULATOR = "NoSimulator"
    APPLIED = "Applied"
    ROUTES_ONLY = "RoutesOnly"
    RECOMMENDED = "Recommended"
    SUPERSEDED = "Superseded"
    STARTING = "Starting"
    DRAINING = "Draining"
    ROLLED_OUT = "RolledOut"
    REMOVING = "Removing"
    DRAINED = "Drained"
    FLEET_FOUND = "FleetFound"
    FLEET_GONE = "FleetGone"
    CHECK_FAILED = "CheckFailed"
    WRITES_REFUSED = "WritesRefused"
    STATUS_REFUSED = "StatusRefused"

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the sentence's parts, in the order in which it uses them first."""
        named = (name for _, name, _, _ in Formatter().parse(SENTENCES[self]) if name)
        return tuple(dict.fromkeys(named))

    def sentence(self, **parts: object) -> str:
        """The sentence for users. Raises InvariantError unless `parts` are exactly `self.parts`."""
        if set(parts) != set(self.parts):
            raise InvariantError(f"reason {self} takes {self.parts}, got {tuple(sorted(parts))}")
        return SENTENCES[self].format(**parts)


class Condition(Value):
    """One aspect of an object's state, as the operator last saw it."""

    type: str = Field(min_length=1, max_length=316, description="What the condition is about, such as Ready.")
    status: ConditionStatus = Field(description="True, False, or Unknown where it is not known yet.")
    reason: str = Field(
        min_length=1, max_length=1024, description="Why, in one word that programs can rely on."
    )
    message: str = Field(
        "", max_length=MESSAGE_LIMIT, description="Why, in a sentence that names the field and the remedy."
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


def condition(
    kind: ConditionType,
    status: ConditionStatus,
    reason: Reason | Refused[Reason],
    *,
    generation: int | None = None,
    **parts: object,
) -> Condition:
    """A condition with its sentence, not dated yet: `set_condition` dates it.

    reason:     a reason, whose sentence takes `parts`; or a refusal, which carries its sentence
    generation: the metadata.generation of the object that was looked at

    Raises InvariantError where `parts` are not those of the sentence.
    """
    if not isinstance(reason, Refused):
        message = reason.sentence(**parts)
        return condition_with_message(kind, status, reason, message, generation=generation)
    if parts:
        raise InvariantError(f"a refusal carries its sentence and takes no parts, got {sorted(parts)}")
    return condition_with_message(kind, status, reason.reason, reason.message, generation=generation)


def condition_with_message(
    kind: ConditionType,
    status: ConditionStatus,
    reason: Reason,
    message: str,
    *,
    generation: int | None = None,
) -> Condition:
    """The same with a message of several sentences, cut to what the API server takes."""
    return Condition(
        type=kind.value,
        status=status,
        reason=reason.value,
        message=message[:MESSAGE_LIMIT],
        observed_generation=generation,
    )


def find_condition(conditions: Iterable[Condition], type: str) -> Condition | None:
    """The condition of this type, or None where there is none yet."""
    return next((c for c in conditions if c.type == type), None)


def set_condition(conditions: tuple[Condition, ...], new: Condition, now: str) -> tuple[Condition, ...]:
    """`conditions` with `new` in place of the previous one of its type, or at the end.

    now: the time in RFC 3339 with whole seconds. It becomes `lastTransitionTime` only where the
         status differs from the previous one: a new reason alone is no transition.
    """
    old = find_condition(conditions, new.type)
    unchanged = old is not None and old.status is new.status and old.last_transition_time
    dated = new.model_copy(
        update={"last_transition_time": old.last_transition_time if old and unchanged else now}
    )
    if old is None:
        return (*conditions, dated)
    return tuple(dated if c.type == new.type else c for c in conditions)
