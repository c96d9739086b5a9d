"""What happens after an error: one table for the whole loop.

Owns the mapping from the error tree to the loop's next move. Never catches anything itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from argosy.errors import ActuationError, ArgosyError, InvariantError, NextStep, ObservationError, SpecError


class Severity(StrEnum):
    """How loudly it is said."""

    INFO = "info"
    WARNING = "warning"
    ALARM = "alarm"


@dataclass(frozen=True, slots=True)
class NextMove:
    """Wait `delay_s` (None: until the next interval or trigger), and say so as loudly as `severity`."""

    delay_s: float | None
    severity: Severity


_BY_NEXT_STEP = {
    NextStep.RETRY: NextMove(1.0, Severity.WARNING),
    NextStep.REPLAN: NextMove(0.2, Severity.INFO),
    NextStep.GIVE_UP: NextMove(None, Severity.ALARM),
}

_BY_ERROR: tuple[tuple[type[ArgosyError], NextMove], ...] = (
    (SpecError, NextMove(None, Severity.WARNING)),
    (ObservationError, NextMove(1.0, Severity.WARNING)),
    (InvariantError, NextMove(None, Severity.ALARM)),
)

_UNFORESEEN = NextMove(5.0, Severity.ALARM)
"""A bug of ours must not end the process: Envoy is still served, and the next picture may be fine."""


def next_move(error: Exception) -> NextMove:
    """What the loop does after `error`."""
    if isinstance(error, ActuationError):
        return _BY_NEXT_STEP[error.next_step]
    return next((move for kind, move in _BY_ERROR if isinstance(error, kind)), _UNFORESEEN)
