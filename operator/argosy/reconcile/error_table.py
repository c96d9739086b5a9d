"""What a loop does after an error: one table for the error tree.

Owns the delay until the next attempt, how it grows from one failure to the next, and the severity of
the log line. Input: an exception. Output: a `NextMove`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from argosy.errors import ActuationError, ArgosyError, InvariantError, NextStep, ObservationError, SpecError


class Severity(StrEnum):
    """Severity of the log line."""

    INFO = "info"
    WARNING = "warning"
    ALARM = "alarm"


@dataclass(frozen=True, slots=True)
class NextMove:
    """Wait `delay_s` seconds (None: until the next interval or trigger), and log with `severity`."""

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
"""An exception outside the error tree is a bug of Argosy's. It must not end the process: Envoys are
still served, and the next snapshot may not cause it."""


LONGEST_DELAY_S = 4.0
"""Of failures in a row: an API server that is back should be noticed within seconds."""
LONGEST_OBSTACLE_DELAY_S = 15.0
"""Where an administrator has to remedy something first (a role, a CRD)."""


def delay_after(error: Exception, num_failures: int) -> float | None:
    """Seconds until the next attempt after this many failures in a row: each waits twice as long."""
    delay_s = next_move(error).delay_s
    if delay_s is None:
        return None
    has_obstacle = isinstance(error, ActuationError) and error.obstacle is not None
    longest_s = LONGEST_OBSTACLE_DELAY_S if has_obstacle else LONGEST_DELAY_S
    return float(min(max(longest_s, delay_s), delay_s * 2 ** min(num_failures - 1, 10)))


def next_move(error: Exception) -> NextMove:
    """The move after `error`."""
    if isinstance(error, ActuationError):
        return _BY_NEXT_STEP[error.next_step]
    return next((move for kind, move in _BY_ERROR if isinstance(error, kind)), _UNFORESEEN)
