"""The refusals of `argosy perf show` and `argosy perf roles`.

Owns `Unanswered`. Input: what `replica` and `roles` find, or a refusal of the performance model. Output:
one type of refusal for both commands, with a reason that their JSON prints.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from argosy.perf.protocol import OutOfRange, OutOfRangeReason, TooLarge, TooLargeReason
from argosy.refusals import Refused


class UnansweredReason(StrEnum):
    """Why a known replica, or a known pair of roles, has no answer."""

    INVALID_VALUE = "InvalidValue"
    """An option is beyond what the engine's other options allow."""
    SATURATED = "Saturated"
    """More requests/s than the replica completes."""
    NO_SUCH_LINK = "NoSuchLink"
    """These GPUs are not connected that way."""
    TRANSFER_TOO_LONG = "TransferTooLong"
    """The prompt's KV alone takes longer than the bound on TTFT."""
    SLO_OUT_OF_REACH = "SloOutOfReach"
    """A stage breaks its part of the promise however few requests come."""


@dataclass(frozen=True, slots=True)
class Unanswered(Refused[UnansweredReason | OutOfRangeReason | TooLargeReason]):
    """No answer: why, and which names or values would have one."""


def unanswered(refused: OutOfRange | TooLarge) -> Unanswered:
    """A refusal of the performance model, as an answer."""
    return Unanswered(refused.reason, refused.message, refused.nearest)
