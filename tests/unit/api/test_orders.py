"""What annotations order: every value that a user may write has one meaning."""

from __future__ import annotations

import pytest

from argosy.api.orders import APPROVED, PAUSED, REASON_LIMIT, ROLLBACK, Orders, is_approved, orders_of


@pytest.mark.parametrize(
    ("annotations", "orders"),
    [
        ({}, Orders()),
        ({"argosy.dev/other": "12"}, Orders()),
        ({PAUSED: "freeze until Monday"}, Orders(True, "freeze until Monday")),
        ({PAUSED: "two\nlines"}, Orders(True, "two lines")),
        ({PAUSED: ""}, Orders(True)),
        ({PAUSED: "true"}, Orders(True)),
        ({PAUSED: "Yes"}, Orders(True)),
        ({PAUSED: "false"}, Orders()),
        ({PAUSED: " No "}, Orders()),
        ({PAUSED: "x" * 999}, Orders(True, "x" * REASON_LIMIT)),
        ({ROLLBACK: "12"}, Orders(rollback=12)),
        ({ROLLBACK: "false"}, Orders()),
        ({PAUSED: "bad build", ROLLBACK: " 7 "}, Orders(True, "bad build", 7)),
    ],
)
def test_each_value_has_one_meaning(annotations: dict[str, str], orders: Orders) -> None:
    assert orders_of(annotations) == orders
    assert orders.holds == (orders != Orders())


@pytest.mark.parametrize(
    "value", ["", "plan-000012", "0", "-1", "1.5", "1e3", "12 13", "9" * 40, "true", "١٢"]
)
def test_a_revision_that_is_no_number_holds_and_is_explained(value: str) -> None:
    found = orders_of({ROLLBACK: value})
    assert (found.is_paused, found.rollback, found.holds, found.named) == (
        False,
        None,
        True,
        f"annotation {ROLLBACK}",
    )
    assert "needs the number of a revision, such as 12 (argosy plans)" in found.problem


def test_both_annotations_are_named_where_both_hold() -> None:
    assert orders_of({PAUSED: "x", ROLLBACK: "3"}).named == f"annotations {PAUSED} and {ROLLBACK}"


@pytest.mark.parametrize(
    ("annotations", "approved"),
    [({}, False), ({APPROVED: "true"}, True), ({APPROVED: "by ann"}, True), ({APPROVED: "false"}, False)],
)
def test_a_plan_is_approved_by_any_word_but_no(annotations: dict[str, str], approved: bool) -> None:
    assert is_approved(annotations) is approved
