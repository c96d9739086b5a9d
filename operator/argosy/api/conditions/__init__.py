"""Conditions and reasons: what Argosy reports about an object, and in which words.

Owns the condition types, the reasons, one sentence per reason, and how a condition replaces the
previous one of its type. Input: what was found. Output: `Condition`s as the status of an object
holds them.
"""

from argosy.api.conditions.sentences import SENTENCES
from argosy.api.conditions.types import (
    MESSAGE_LIMIT,
    Condition,
    Conditions,
    ConditionStatus,
    ConditionType,
    Reason,
    condition,
    condition_with_message,
    find_condition,
    set_condition,
)

__all__ = [
    "MESSAGE_LIMIT",
    "SENTENCES",
    "Condition",
    "ConditionStatus",
    "ConditionType",
    "Conditions",
    "Reason",
    "condition",
    "condition_with_message",
    "find_condition",
    "set_condition",
]
