"""The error tree: what went wrong, sorted by what has to happen next.

Owns the exception classes of the project. Never formats advice for one caller and never
logs. What merely *cannot be satisfied* (a model too large, too few GPUs) is not here: that
is a value with a reason (`plan.Infeasible`, `perf.OutOfRange`, ...).

    ArgosyError
    ├── SpecError            the user can fix it: says which field, and how
    ├── ObservationError     we cannot see: keep the last plan
    ├── ActuationError       the world refused; `next_step` says what to do
    └── InvariantError       our bug: act on nothing, raise the alarm
"""

from __future__ import annotations

from enum import StrEnum


class ArgosyError(Exception):
    """Whatever Argosy raises on purpose."""


class SpecError(ArgosyError):
    """Something the user wrote cannot be used.

    `field` is the path of the field (`spec.gpu`, a command's `--trace`), or empty where
    the whole input is at fault.
    """

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field


class ObservationError(ArgosyError):
    """The world cannot be seen (API server away, caches not synced, metrics unreadable)."""


class NextStep(StrEnum):
    """What an actuation failure asks for."""

    RETRY = "Retry"
    """The same call may succeed later (conflict, time-out, API server away)."""
    REPLAN = "Replan"
    """The world differs from the picture that was decided on."""
    GIVE_UP = "GiveUp"
    """It will be refused again until somebody changes something (forbidden, invalid)."""


class ActuationError(ArgosyError):
    """The world refused an action of ours."""

    def __init__(self, message: str, next_step: NextStep) -> None:
        super().__init__(message)
        self.next_step = next_step


class InvariantError(ArgosyError):
    """Two parts of Argosy disagree: a bug of ours. Nothing may be acted on."""
