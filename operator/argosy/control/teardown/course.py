"""What is removed next, and when nothing is left to do.

Owns the order. Users' objects go first, where they go at all, so that an operator that acts drains their
replicas itself; then engines with their budgets; once the last pod has ended, plans and Leases. Input:
what is left. Output: a `Round`, or why nothing may be removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from argosy.control.teardown.remains import (
    ENGINES,
    MAKERS,
    RECORDS,
    REPLICA_SETS,
    USERS,
    Leader,
    Left,
    Remains,
)
from argosy.refusals import Refused


class TeardownReason(StrEnum):
    """Why nothing may be removed."""

    OPERATOR_ACTS = "OperatorActs"
    """It would make again what was removed."""
    MODE_UNKNOWN = "ModeUnknown"
    """It may."""


@dataclass(frozen=True, slots=True)
class Round:
    """removals: to be deleted now. is_last: with them everything is gone."""

    removals: tuple[Left, ...]
    is_last: bool


def next_round(remains: Remains, *, everything: bool) -> Round | Refused[TeardownReason]:
    """What to delete now. everything: the users' objects too."""
    leader = remains.leader
    if leader is not None and leader.removes_engines and (not everything or leader.mode is None):
        return _refusal(leader)
    users = remains.of(USERS) if everything else ()
    engines = remains.of(ENGINES)
    if leader is not None and leader.removes_engines:
        # It drains its Deployments itself; a ReplicaSet that it might still adopt is left to it until then.
        first = users or remains.of((REPLICA_SETS,))
    else:
        first = (*users, *engines)
    if users or remains.of(MAKERS) or remains.pods:
        return Round(_not_going(first), is_last=False)
    records = remains.of(RECORDS if leader is None else RECORDS[:1])
    last = (*engines, *records)
    return Round(_not_going(last), is_last=not any(item.is_going for item in last))


def _not_going(items: tuple[Left, ...]) -> tuple[Left, ...]:
    return tuple(item for item in items if not item.is_going)


def _refusal(leader: Leader) -> Refused[TeardownReason]:
    remedy = "stop the operator, or set spec.mode of Fleet/default to Observe, and run argosy down again"
    if leader.mode is not None:
        return Refused(
            TeardownReason.OPERATOR_ACTS,
            f"the operator {leader.identity} leads in mode {leader.mode}: it would make again what is"
            f" removed; {remedy} (or give --all: your objects are deleted too, and the operator drains their"
            " replicas)",
        )
    return Refused(
        TeardownReason.MODE_UNKNOWN,
        f"the operator {leader.identity} leads, and no Fleet/default and no FleetPlan says in which mode: it"
        f" may make again what is removed; {remedy}",
    )
