"""Which RouterPolicy acts in which class.

Owns the rule of one policy per class (the oldest wins, then namespace/name) and the verdict on
every target. Input: RouterPolicies and the accepted WorkloadClasses. Output: a `PolicyAssignment`,
from which routes are compiled and statuses written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from argosy.api import RouterPolicy, WorkloadClass
from argosy.api.conditions import Reason
from argosy.keys import ClassKey


@dataclass(frozen=True, slots=True)
class TargetVerdict:
    """Whether one target of one policy was accepted, and why. `target` is a class's name in the policy's
    namespace, `policy` the policy's key.
    """

    policy: str
    target: str
    reason: Reason
    message: str

    @property
    def is_accepted(self) -> bool:
        """Whether the policy acts in the class."""
        return self.reason is Reason.ACCEPTED


@dataclass(frozen=True, slots=True)
class PolicyAssignment:
    """The policy of each class that has one, by class key, and the verdict on every target."""

    by_class: Mapping[ClassKey, RouterPolicy]
    verdicts: tuple[TargetVerdict, ...]

    def verdicts_of(self, policy_key: str) -> tuple[TargetVerdict, ...]:
        """The verdicts on one policy's targets, in the order of its spec."""
        return tuple(verdict for verdict in self.verdicts if verdict.policy == policy_key)


def assign_policies(policies: Iterable[RouterPolicy], classes: Iterable[WorkloadClass]) -> PolicyAssignment:
    """The policy of each class: the oldest that names it."""
    known = {WorkloadClass.KIND: {workload.key for workload in classes}}
    by_class: dict[ClassKey, RouterPolicy] = {}
    verdicts = []
    oldest_first = sorted(policies, key=lambda p: p.metadata.seniority)
    for policy in oldest_first:
        for position, target in enumerate(policy.spec.target_refs):
            field = f"spec.targetRefs[{position}]"
            class_key = ClassKey.of(policy.metadata.namespace, target.name)
            winner = by_class.get(class_key)
            if class_key not in known[target.kind]:
                reason, parts = Reason.TARGET_NOT_FOUND, {"field": field, "name": target.name}
            elif winner is not None:
                reason, parts = Reason.CONFLICTED, {"field": field, "winner": f"RouterPolicy {winner.key}"}
            else:
                reason, parts = Reason.ACCEPTED, {}
                by_class[class_key] = policy
            verdicts.append(TargetVerdict(policy.key, target.name, reason, reason.sentence(**parts)))
    return PolicyAssignment(by_class, tuple(verdicts))
