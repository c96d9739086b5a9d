"""Why something that a user named cannot be used.

Owns the noun `Refusal`. Never decides: `resolve` and `profiles` do.
"""

from __future__ import annotations

from dataclasses import dataclass

from argosy.api.conditions import Reason


@dataclass(frozen=True, slots=True)
class Refusal:
    """`subject` is the variant's or object's name, or the field (`spec.profiles[0]`)."""

    reason: Reason
    subject: str
    message: str
