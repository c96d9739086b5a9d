"""The error tree: what went wrong, sorted by what has to happen next.

Owns the exception classes of the project. What merely *cannot be satisfied* (a model too large, too
few GPUs) is no error: it is a value with a reason, `refusals.Refused`.

    ArgosyError
    ├── SpecError            the user can fix it: names the field and the remedy
    ├── ObservationError     something cannot be observed: keep the last plan
    ├── ActuationError       an action was refused; `next_step` is what to do next
    └── InvariantError       our bug: act on nothing, raise the alarm
"""

from __future__ import annotations

from enum import StrEnum


class ArgosyError(Exception):
    """The parent of every exception that Argosy raises on purpose."""


class SpecError(ArgosyError):
    """Something the user wrote cannot be used.

    `field` is the path of the field (`spec.gpu`, a command's `--trace`), or empty where
    the whole input is at fault.
    """

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field


class ObservationError(ArgosyError):
    """The cluster cannot be observed (API server unreachable, caches not synced, metrics unreadable)."""


class NextStep(StrEnum):
    """What to do after an action failed."""

    RETRY = "Retry"
    """The same call may succeed later (conflict, time-out, API server unreachable)."""
    REPLAN = "Replan"
    """The cluster differs from the snapshot that the decision was made on."""
    GIVE_UP = "GiveUp"
    """The same call will be refused until the object changes (malformed, too large, invalid)."""


class Obstacle(StrEnum):
    """What an administrator has to remedy before an action can succeed; the message names the remedy."""

    FORBIDDEN = "Forbidden"
    """The operator's account lacks a permission, or its credentials are not accepted."""
    NAMESPACE_MISSING = "NamespaceMissing"
    """The namespace of the object does not exist, or is being deleted."""
    KIND_MISSING = "KindMissing"
    """The API server does not know the kind: its CustomResourceDefinition is not installed."""


class ActuationError(ArgosyError):
    """An action of Argosy was refused or failed.

    obstacle: None where no administrator is needed
    status:   the HTTP status; 0 where there was no answer
    """

    def __init__(
        self, message: str, next_step: NextStep, obstacle: Obstacle | None = None, status: int = 0
    ) -> None:
        super().__init__(message)
        self.next_step = next_step
        self.obstacle = obstacle
        self.status = status


class InvariantError(ArgosyError):
    """Two parts of Argosy disagree: our bug. Nothing may be acted on."""
