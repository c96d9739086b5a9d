"""Conditions: what is said, and when a transition happened."""

from __future__ import annotations

import pytest

from argosy.api.conditions import (
    SENTENCES,
    Condition,
    ConditionStatus,
    ConditionType,
    Reason,
    find_condition,
    set_condition,
)
from argosy.errors import InvariantError

NOON = "2026-01-01T12:00:00Z"
LATER = "2026-01-01T12:05:00Z"


def ready(status: ConditionStatus, reason: Reason = Reason.LOADING, message: str = "") -> Condition:
    return Condition(type=ConditionType.READY, status=status, reason=reason, message=message)


def test_a_first_condition_begins_now() -> None:
    [found] = set_condition((), ready(ConditionStatus.FALSE), NOON)
    assert (found.status, found.last_transition_time) == (ConditionStatus.FALSE, NOON)


def test_another_reason_is_no_transition() -> None:
    before = set_condition((), ready(ConditionStatus.FALSE), NOON)
    [after] = set_condition(before, ready(ConditionStatus.FALSE, Reason.NO_REPLICAS_READY, "none"), LATER)
    assert (after.reason, after.message, after.last_transition_time) == ("NoReplicasReady", "none", NOON)


def test_another_status_is_a_transition() -> None:
    before = set_condition((), ready(ConditionStatus.FALSE), NOON)
    [after] = set_condition(before, ready(ConditionStatus.TRUE, Reason.READY), LATER)
    assert after.last_transition_time == LATER


def test_a_condition_without_a_time_gets_one() -> None:
    [after] = set_condition((ready(ConditionStatus.TRUE),), ready(ConditionStatus.TRUE), LATER)
    assert after.last_transition_time == LATER


def test_other_conditions_keep_their_place() -> None:
    accepted = Condition(type=ConditionType.ACCEPTED, status=ConditionStatus.TRUE, reason=Reason.ACCEPTED)
    foreign = Condition(type="example.com/Audited", status=ConditionStatus.TRUE, reason="Audited")
    before = (accepted, ready(ConditionStatus.FALSE), foreign)
    after = set_condition(before, ready(ConditionStatus.TRUE, Reason.READY), NOON)
    assert [c.type for c in after] == ["Accepted", "Ready", "example.com/Audited"]
    assert (after[0], after[2]) == (accepted, foreign)


def test_a_condition_is_found_by_its_type() -> None:
    conditions = set_condition((), ready(ConditionStatus.TRUE), NOON)
    assert find_condition(conditions, ConditionType.READY) == conditions[0]
    assert find_condition(conditions, ConditionType.ACCEPTED) is None


def test_every_reason_has_a_sentence_and_no_sentence_is_left_over() -> None:
    assert set(SENTENCES) == set(Reason)


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_puts_its_parts_into_words(reason: Reason) -> None:
    sentence = reason.sentence(**{part: f"<{part}>" for part in reason.parts})
    assert all(f"<{part}>" in sentence for part in reason.parts)
    assert "{" not in sentence
    assert sentence.endswith(".")


# What a user can mend in a spec must be named with its path.
MENDED_IN_A_SPEC = {
    Reason.UNKNOWN_GPU: "spec.gpu",
    Reason.SERVED_NAME_MISMATCH: "spec.match.models",
    Reason.MODE_NOT_AUTO: "spec.mode",
    Reason.RECOMMENDED: "spec.mode",
    Reason.NO_NODES: "spec.nodeSelector",
    Reason.MODEL_TOO_LARGE: "spec.parallelShapes",
    Reason.UNKNOWN_MODEL: "spec.modelId",
    Reason.OUT_OF_RANGE: "spec.traffic.lengths",
    Reason.SLO_UNREACHABLE: "spec.slo",
    Reason.CAPACITY_SHORT: "spec.traffic.requestsPerSecond",
    Reason.BUDGET_SHORT: "spec.budgetUsdPerHour",
    Reason.UNPLACEABLE: "spec.parallelShapes",
    Reason.REPLICAS_AT_LIMIT: "spec.maxReplicas",
    Reason.PROFILE_UNUSABLE: "spec.profiles",
    Reason.PROFILE_IMPLAUSIBLE: "spec.profiles",
    Reason.PROFILE_UNUSED: "spec.parallelShapes",
}


@pytest.mark.parametrize(("reason", "field"), MENDED_IN_A_SPEC.items())
def test_a_reason_that_a_spec_mends_names_the_field(reason: Reason, field: str) -> None:
    assert field in SENTENCES[reason]


OF_SEVERAL_FIELDS = (
    Reason.CONFLICTED,
    Reason.MODEL_NOT_FOUND,
    Reason.TARGET_NOT_FOUND,
    Reason.PROFILE_NOT_FOUND,
    Reason.PROFILE_UNUSABLE,
    Reason.PROFILE_UNREAD,
    Reason.PROFILE_IMPLAUSIBLE,
    Reason.PROFILE_UNUSED,
)


@pytest.mark.parametrize("reason", OF_SEVERAL_FIELDS)
def test_a_reason_about_several_fields_is_told_which(reason: Reason) -> None:
    assert "field" in reason.parts


def test_a_missing_part_is_our_mistake_and_said_so() -> None:
    with pytest.raises(InvariantError, match="UnknownGpu takes"):
        Reason.UNKNOWN_GPU.sentence(gpu="T4")


def test_a_sentence_reads_well() -> None:
    assert Reason.UNKNOWN_GPU.sentence(gpu="T4", known="H100, L40S") == (
        "spec.gpu: T4 is not in the catalogue; use one of H100, L40S."
    )
