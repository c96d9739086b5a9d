"""How a condition is built, apart from its date."""

from __future__ import annotations

from argosy.api.conditions import (
    MESSAGE_LIMIT,
    Condition,
    ConditionStatus,
    ConditionType,
    Reason,
    condition,
    condition_with_message,
)


def test_a_conditions_message_is_its_reasons_sentence() -> None:
    built = condition(ConditionType.READY, ConditionStatus.FALSE, Reason.LOADING, ready=1, desired=2)
    assert built == Condition(
        type="Ready",
        status=ConditionStatus.FALSE,
        reason="Loading",
        message=Reason.LOADING.sentence(ready=1, desired=2),
    )


def test_a_message_is_cut_to_what_the_api_server_takes() -> None:
    built = condition_with_message(
        ConditionType.READY, ConditionStatus.FALSE, Reason.LOADING, "x" * (MESSAGE_LIMIT + 1)
    )
    assert built.message == "x" * MESSAGE_LIMIT
