"""The shape of a refusal: one value where something asked for cannot be given.

Owns `Refused`. Input: a reason of the asking package's own enum, and a sentence. Output: a value
that is returned in place of the answer, never raised: what went wrong is in `errors`, what merely
cannot be is here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

R_co = TypeVar("R_co", bound=Enum, covariant=True)


@dataclass(frozen=True, slots=True)
class Refused(Generic[R_co]):
    """The answer "no", as a value.

    A function that may have no answer returns `Answer | Refused[ItsReason]`: it does not raise and
    does not return None, so that mypy makes every caller handle the refusal, and the user reads why.

    reason:  a member of an enum, for programs; the package that refuses owns the enum
    message: a sentence that names the object, the field, the value found, the value needed and the
             remedy
    nearest: what could be had instead, the closest first; empty where there is nothing

    Where `isinstance` has to tell two refusals apart, each is a subclass:
    `class OutOfRange(Refused[OutOfRangeReason])`. A figure that its caller needs is a keyword-only field.
    No other shape of "no" is allowed: tests/unit/test_refusals.py finds it.
    """

    reason: R_co
    message: str
    nearest: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.message
