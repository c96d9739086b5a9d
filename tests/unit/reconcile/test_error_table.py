"""What the loop does after each error: one table, and it is complete."""

from __future__ import annotations

import pytest

from argosy.errors import (
    ActuationError,
    ArgosyError,
    InvariantError,
    NextStep,
    ObservationError,
    Obstacle,
    SpecError,
)
from argosy.reconcile.error_table import _BY_ERROR, _UNFORESEEN, NextMove, Severity, delay_after, next_move


@pytest.mark.parametrize(
    ("error", "move"),
    [
        pytest.param(
            ActuationError("x", NextStep.RETRY), NextMove(1.0, Severity.WARNING), id="it may work in a second"
        ),
        pytest.param(
            ActuationError("x", NextStep.REPLAN), NextMove(0.2, Severity.INFO), id="the world has changed"
        ),
        pytest.param(
            ActuationError("x", NextStep.GIVE_UP),
            NextMove(None, Severity.ALARM),
            id="it will be refused again",
        ),
        pytest.param(SpecError("x"), NextMove(None, Severity.WARNING), id="a user has to mend it"),
        pytest.param(ObservationError("x"), NextMove(1.0, Severity.WARNING), id="we cannot see"),
        pytest.param(InvariantError("x"), NextMove(None, Severity.ALARM), id="our bug: act on nothing"),
        pytest.param(ZeroDivisionError(), _UNFORESEEN, id="a bug that nobody foresaw"),
    ],
)
def test_an_error_has_its_next_move(error: Exception, move: NextMove) -> None:
    assert next_move(error) == move


@pytest.mark.parametrize(
    ("error", "delays_s"),
    [
        pytest.param(
            ActuationError("x", NextStep.RETRY, Obstacle.FORBIDDEN),
            [1.0, 2.0, 4.0, 8.0, 15.0, 15.0],
            id="until an administrator has given a permission",
        ),
        pytest.param(
            ActuationError("x", NextStep.RETRY), [1.0, 2.0, 4.0, 4.0, 4.0, 4.0], id="the API server is away"
        ),
        pytest.param(
            ActuationError("x", NextStep.REPLAN), [0.2, 0.4, 0.8, 1.6, 3.2, 4.0], id="the world changes"
        ),
        pytest.param(ActuationError("x", NextStep.GIVE_UP), [None] * 6, id="given up"),
    ],
)
def test_failures_in_a_row_are_tried_again_less_and_less_often(
    error: ActuationError, delays_s: list[float | None]
) -> None:
    assert [delay_after(error, number) for number in range(1, 7)] == delays_s


def test_no_error_class_is_forgotten() -> None:
    named = {kind for kind, _ in _BY_ERROR} | {ActuationError}
    assert {e for e in ArgosyError.__subclasses__() if e.__module__.startswith("argosy.")} == named
    for step in NextStep:
        assert next_move(ActuationError("x", step)) is not _UNFORESEEN


def test_an_unforeseen_error_never_ends_the_loop() -> None:
    assert _UNFORESEEN.delay_s is not None
