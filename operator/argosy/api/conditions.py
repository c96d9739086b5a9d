"""Conditions and reasons: what Argosy says about an object, and in which words.

Owns the condition types, the reasons, one sentence template per reason (which names the field
and the remedy wherever there is one), and how a condition replaces its predecessor. Never
decides whether something is ready, and never reads a clock: `now` comes in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from string import Formatter
from types import MappingProxyType
from typing import Annotated

from pydantic import Field

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


SENTENCES: Mapping[Reason, str] = MappingProxyType(
    {
        Reason.ACCEPTED: "The object is valid and in use.",
        Reason.CONFLICTED: "{field} is claimed by {winner} already, which is older; change it here or there.",
        Reason.UNKNOWN_GPU: "spec.gpu: {gpu} is not in the catalogue; use one of {known}.",
        Reason.INVALID_SPEC: "{problem}; correct the field and apply the object again.",
        Reason.RESOLVED_REFS: "Everything the object refers to was found.",
        Reason.MODEL_NOT_FOUND: (
            "{field}: there is no ServedModel {name} in this namespace; create it or correct {field}."
        ),
        Reason.SERVED_NAME_MISMATCH: (
            "spec.match.models: not every ServedModel of spec.models answers to {name}; add {name} to the"
            " spec.servedNames of each, or correct spec.match.models."
        ),
        Reason.TARGET_NOT_FOUND: (
            "{field}: there is no WorkloadClass {name} in this namespace; create it or correct {field}."
        ),
        Reason.PROFILE_NOT_FOUND: (
            "{field}: there is no key {key} in a ConfigMap {config_map} of this namespace, so Argosy's own"
            " profiles are used; create it (kubectl create configmap {config_map} --from-file={key}) or"
            " correct {field}."
        ),
        Reason.PROFILE_UNUSABLE: (
            "{field}: {problem}; Argosy's own profiles are used instead. Write the file anew with argosy"
            " perf import, or take it out of spec.profiles."
        ),
        Reason.PROFILE_UNREAD: (
            "{field}: the ConfigMap {config_map} could not be read yet ({problem}), so Argosy's own profiles"
            " are used; check that the operator's role allows get on configmaps."
        ),
        Reason.PROFILE_IMPLAUSIBLE: (
            "{field}: by this profile of {profile}, {how}. It is used, since it is yours; if that is not"
            " meant, check that its figures are in milliseconds and that they were measured on this GPU,"
            " model, number type and shape, or take it out of spec.profiles."
        ),
        Reason.PROFILE_UNUSED: (
            "{field}: it is of {profile}, and changes nothing: the model's variants are {variants}. Add a"
            " variant that it fits (a GPUPool, spec.parallelShapes, spec.engine.quantization), or take it"
            " out of spec.profiles."
        ),
        Reason.PROGRAMMED: "All {connected} connected Envoys serve it.",
        Reason.NO_PLAN: "No FleetPlan is applied yet, so nothing is routed; Ready says what is missing.",
        Reason.NO_ENVOY: "No Envoy is connected; start one whose bootstrap names the operator's ADS address.",
        Reason.ENVOY_PENDING: "{pending} of {connected} Envoys have not acknowledged version {version} yet.",
        Reason.ENVOY_REFUSED: (
            "Envoy {node_id} refused version {version} and keeps the one before: {message}. The object"
            " changed last is the first to look at."
        ),
        Reason.MODE_NOT_AUTO: (
            "Fleet/default has spec.mode {mode}, so nothing is changed; set it to Auto to let Argosy act."
        ),
        Reason.READY: "It has what it asks for.",
        Reason.LOADING: "{ready} of {desired} replicas are ready; the others start or load weights.",
        Reason.NO_REPLICAS_READY: "None of {desired} replicas is ready; look at the pods' events and logs.",
        Reason.NO_NODES: (
            "spec.nodeSelector: no usable node carries {selector}; add such a node or correct the selector."
        ),
        Reason.MODEL_TOO_LARGE: (
            "spec.parallelShapes: {model_id} fits no pool ({detail}); allow a larger tensorParallel, lower"
            " spec.engine.maxModelLen, or add a pool whose GPUs have more memory."
        ),
        Reason.UNKNOWN_MODEL: "spec.modelId: {model_id} is not in the catalogue; use one of {known}.",
        Reason.OUT_OF_RANGE: (
            "spec.traffic.lengths: {detail}, which the performance model does not cover; shorten the lengths"
            " or allow another model or pool."
        ),
        Reason.SLO_UNREACHABLE: (
            "spec.slo: no allowed variant keeps {terms} even for a single request at a time; relax the bound,"
            " allow a larger tensorParallel, or add a faster pool."
        ),
        Reason.CAPACITY_SHORT: (
            "{unserved_percent} % of the requests have no replica: {missing}. Add nodes, or lower"
            " spec.traffic.requestsPerSecond, or raise spec.priority above that of others."
        ),
        Reason.BUDGET_SHORT: (
            "{unserved_percent} % of the requests have no replica within Fleet's spec.budgetUsdPerHour of"
            " {budget_usd_per_hour}; raise it, or lower spec.traffic.requestsPerSecond."
        ),
        Reason.UNPLACEABLE: (
            "{replicas} replicas of {variant} fit no node of pool {pool}: {detail}; free or add a node with"
            " enough GPUs, or allow a smaller tensorParallel in spec.parallelShapes."
        ),
        Reason.REPLICAS_AT_LIMIT: (
            "spec.maxReplicas: all {limit} replicas are in use and more are needed; raise spec.maxReplicas."
        ),
        Reason.OBSERVATION_STALE: (
            "The last reading of {source} is {age_s} s old, so the last plan is kept; check that it can be"
            " reached."
        ),
        Reason.NO_SIMULATOR: "The plan passed the independent check; no simulator is built in to certify it.",
        Reason.APPLIED: "The plan's first step was taken.",
        Reason.RECOMMENDED: (
            "Fleet/default has spec.mode Recommend, so the plan is only shown; set it to Auto to act on it."
        ),
        Reason.SUPERSEDED: "Revision {revision} has taken its place.",
        Reason.CHECK_FAILED: "The plan failed the independent check and was not acted on: {violations}.",
        Reason.ROLLED_BACK: "Taken back to revision {revision}: {cause}.",
    }
)


MESSAGE_LIMIT = 32768
"""Kubernetes' bound on a condition's message, in characters."""


class Condition(Value):
    """One aspect of an object's state, as the operator last saw it."""

    type: str = Field(min_length=1, max_length=316, description="What the condition is about, such as Ready.")
    status: ConditionStatus = Field(description="True, False, or Unknown where it cannot be told yet.")
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


def condition(kind: ConditionType, status: ConditionStatus, reason: Reason, **parts: object) -> Condition:
    """A condition, not dated yet, whose message is the reason's sentence; `parts` as in `sentence`."""
    return condition_with_message(kind, status, reason, reason.sentence(**parts))


def condition_with_message(
    kind: ConditionType, status: ConditionStatus, reason: Reason, message: str
) -> Condition:
    """A condition, not dated yet, with a message of its own, cut to what the API server takes."""
    text = message[:MESSAGE_LIMIT]
    return Condition(type=kind.value, status=status, reason=reason.value, message=text)


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
