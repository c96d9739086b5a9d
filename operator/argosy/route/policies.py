"""Which RouterPolicy acts in which class.

Owns the rule of one policy per class (the oldest wins, then namespace/name), the verdict on every
target, and which of a policy's settings end in a cluster. Input: RouterPolicies and the accepted
WorkloadClasses. Output: a `PolicyAssignment`, from which routes are compiled and statuses written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from argosy.api import RouterPolicy, WorkloadClass
from argosy.api.conditions import Reason
from argosy.api.routerpolicy import OutlierDetection, WeightCorrection
from argosy.keys import ClassKey
from argosy.route.table import OutlierSettings


@dataclass(frozen=True, slots=True)
class ClusterPolicy:
    """What a policy says of clusters: classes that share one must agree on all of it.

    A cluster of Envoy has one such setting, and its weight is one number for all of its classes. What a
    policy says of routes (retries, time-outs) may differ between them.
    """

    outlier: OutlierSettings
    corrects_weights: bool

    @classmethod
    def of(cls, policy: RouterPolicy | None) -> ClusterPolicy:
        """From a policy, or the defaults."""
        detection = policy.spec.outlier_detection if policy is not None else OutlierDetection()
        correction = policy.spec.weight_correction if policy is not None else WeightCorrection.ENABLED
        return cls(
            OutlierSettings(detection.consecutive_errors, float(detection.ejection_seconds)),
            correction is WeightCorrection.ENABLED,
        )


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


def assign_policies(
    policies: Iterable[RouterPolicy], classes: Iterable[WorkloadClass], unseen: Iterable[ClassKey] = ()
) -> PolicyAssignment:
    """The policy of each class: the oldest that names it. unseen: classes that exist and are not seen"""
    known = {WorkloadClass.KIND: {*(workload.key for workload in classes), *unseen}}
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
