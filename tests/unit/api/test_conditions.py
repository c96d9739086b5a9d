"""Conditions: their sentences, which module gives each reason, and when a transition happened."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from argosy.api.conditions import (
    MESSAGE_LIMIT,
    SENTENCES,
    Condition,
    ConditionStatus,
    ConditionType,
    Reason,
    condition,
    find_condition,
    set_condition,
)
from argosy.errors import InvariantError
from argosy.refusals import Refused

SOURCE = Path(__file__).parents[3] / "operator/argosy"

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


# A field that a user can correct is named with its path.
CORRECTED_IN_A_SPEC = {
    Reason.UNKNOWN_GPU: "spec.gpu",
    Reason.SERVED_NAME_MISMATCH: "spec.match.models",
    Reason.MODE_NOT_AUTO: "spec.mode",
    Reason.RECOMMENDED: "spec.mode",
    Reason.NO_NODES: "spec.nodeSelector",
    Reason.MODEL_TOO_LARGE: "spec.parallelShapes",
    Reason.UNKNOWN_MODEL: "spec.modelId",
    Reason.SLO_UNREACHABLE: "spec.slo",
    Reason.CAPACITY_SHORT: "spec.traffic.requestsPerSecond",
    Reason.BUDGET_SHORT: "spec.budgetUsdPerHour",
    Reason.UNPLACEABLE: "spec.parallelShapes",
    Reason.REPLICAS_AT_LIMIT: "spec.maxReplicas",
    Reason.PROFILE_UNUSABLE: "spec.profiles",
    Reason.PROFILE_IMPLAUSIBLE: "spec.profiles",
    Reason.PROFILE_UNUSED: "spec.parallelShapes",
}


@pytest.mark.parametrize(("reason", "field"), CORRECTED_IN_A_SPEC.items())
def test_the_sentence_names_the_field_to_correct(reason: Reason, field: str) -> None:
    assert field in SENTENCES[reason]


OF_SEVERAL_FIELDS = (
    Reason.CONFLICTED,
    Reason.OUT_OF_RANGE,
    Reason.MODEL_NOT_FOUND,
    Reason.TARGET_NOT_FOUND,
    Reason.PROFILE_NOT_FOUND,
    Reason.PROFILE_UNUSABLE,
    Reason.PROFILE_UNREAD,
    Reason.PROFILE_IMPLAUSIBLE,
    Reason.PROFILE_UNUSED,
)


@pytest.mark.parametrize("reason", OF_SEVERAL_FIELDS)
def test_the_sentence_of_several_fields_names_the_one_at_fault(reason: Reason) -> None:
    assert "field" in reason.parts


def test_a_missing_part_is_refused_as_our_bug() -> None:
    with pytest.raises(InvariantError, match="GpuMismatch takes"):
        Reason.GPU_MISMATCH.sentence(gpu="T4")


def test_a_sentence_reads_well() -> None:
    assert Reason.GPU_MISMATCH.sentence(
        gpu="T4", found="node a: label b is c", remedy="set spec.gpu to L4"
    ) == (
        "spec.gpu: T4 is not the GPU of every node: node a: label b is c, so no new replica is planned there;"
        " set spec.gpu to L4."
    )


def test_the_builder_takes_the_parts_of_the_reasons_sentence() -> None:
    built = condition(
        ConditionType.ACCEPTED, ConditionStatus.FALSE, Reason.INVALID_SPEC, generation=3, problem="spec: x"
    )
    assert built == Condition(
        type="Accepted",
        status=ConditionStatus.FALSE,
        reason="InvalidSpec",
        message=Reason.INVALID_SPEC.sentence(problem="spec: x"),
        observed_generation=3,
    )


def test_the_builder_takes_a_refusal_with_its_sentence() -> None:
    refused = Refused(Reason.MODEL_TOO_LARGE, "it needs 80 GB")
    built = condition(ConditionType.READY, ConditionStatus.FALSE, refused)
    assert (built.reason, built.message) == ("ModelTooLarge", "it needs 80 GB")


def test_the_builder_refuses_parts_beside_a_refusal() -> None:
    refused = Refused(Reason.MODEL_TOO_LARGE, "it needs 80 GB")
    with pytest.raises(InvariantError, match="takes no parts"):
        condition(ConditionType.READY, ConditionStatus.FALSE, refused, detail="x")


def test_a_message_is_cut_to_what_kubernetes_takes() -> None:
    long = condition(ConditionType.READY, ConditionStatus.FALSE, Reason.CHECK_FAILED, violations="x" * 40_000)
    assert len(long.message) == MESSAGE_LIMIT


def test_every_reason_is_given_by_some_module_outside_the_api() -> None:
    modules = [path for path in SOURCE.rglob("*.py") if "api" not in path.relative_to(SOURCE).parts]
    given = {
        node.attr
        for module in modules
        for node in ast.walk(ast.parse(module.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Reason"
    }
    assert {reason.name for reason in Reason} - given == set()
