"""The status of a RouterPolicy.

Owns its conditions and whether each of its targets is accepted. Input: `Reported`, the policy and the
verdicts on its targets. Output: a `RouterPolicyStatus`.
"""

from __future__ import annotations

from argosy.api import RouterPolicy
from argosy.api.conditions import ConditionType, Reason
from argosy.api.routerpolicy import RouterPolicyStatus, TargetStatus
from argosy.control.status.reported import Reported
from argosy.control.status.verdict import MAX_TEXT, because, dated, programmed, true
from argosy.route.mirrors import mirror_problems
from argosy.route.policies import TargetVerdict


def policy_status(
    reported: Reported, item: RouterPolicy, targets: tuple[TargetVerdict, ...]
) -> RouterPolicyStatus:
    """The status of a RouterPolicy."""
    lost = [t for t in targets if t.reason is Reason.CONFLICTED]
    snapshot = reported.snapshot
    unresolved = (
        *((t.reason, t.message) for t in targets if t.reason is Reason.TARGET_NOT_FOUND),
        *mirror_problems(item, snapshot.classes.values(), snapshot.models.values()),
    )
    accepted = (
        because(ConditionType.ACCEPTED, Reason.CONFLICTED, lost[0].message)
        if lost
        else true(ConditionType.ACCEPTED, Reason.ACCEPTED)
    )
    refs = (
        because(ConditionType.RESOLVED_REFS, *unresolved[0])
        if unresolved
        else true(ConditionType.RESOLVED_REFS, Reason.RESOLVED_REFS)
    )
    verdicts = (accepted, refs, programmed(reported))
    return RouterPolicyStatus(
        observed_generation=item.metadata.generation,
        conditions=dated(item.status.conditions, item.metadata, verdicts, snapshot.now_s),
        targets=tuple(
            TargetStatus(name=t.target, accepted=t.is_accepted, message=t.message[:MAX_TEXT]) for t in targets
        ),
    )
