from __future__ import annotations

import pytest

from argosy.api import InvalidObject, RouterPolicy, WorkloadClass
from argosy.api.conditions import Reason
from argosy.route.policies import assign_policies

EARLY, LATE = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


def policy(name: str, *targets: str, created: str = EARLY, namespace: str = "default") -> RouterPolicy:
    found = RouterPolicy.from_object(
        {
            "metadata": {"name": name, "namespace": namespace, "creationTimestamp": created},
            "spec": {"targetRefs": [{"name": target} for target in targets]},
        }
    )
    assert not isinstance(found, InvalidObject), found.message
    return found


def workload(name: str, namespace: str = "default") -> WorkloadClass:
    found = WorkloadClass.from_object(
        {
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "match": {"models": [name]},
                "models": [{"name": "m"}],
                "traffic": {"requestsPerSecond": 1, "lengths": {"archetype": "azure-conversation"}},
                "slo": {"ttft": {"p95Milliseconds": 2000}},
            },
        }
    )
    assert not isinstance(found, InvalidObject), found.message
    return found


@pytest.mark.parametrize(
    ("winner", "loser"),
    [
        pytest.param(policy("z", "chat"), policy("a", "chat", created=LATE), id="the older one wins"),
        pytest.param(policy("a", "chat"), policy("b", "chat"), id="of one age, the first by name wins"),
    ],
)
def test_a_class_has_one_policy(winner: RouterPolicy, loser: RouterPolicy) -> None:
    assignment = assign_policies([loser, winner], [workload("chat")])
    assert assignment.by_class == {"default/chat": winner}
    (accepted,) = assignment.verdicts_of(winner.key)
    (conflicted,) = assignment.verdicts_of(loser.key)
    assert accepted.is_accepted
    assert conflicted.reason is Reason.CONFLICTED
    assert "spec.targetRefs[0]" in conflicted.message
    assert f"RouterPolicy {winner.key}" in conflicted.message


def test_a_policy_may_lose_one_target_and_keep_another() -> None:
    older, younger = policy("a", "chat"), policy("b", "chat", "batch", created=LATE)
    assignment = assign_policies([older, younger], [workload("chat"), workload("batch")])
    assert assignment.by_class == {"default/chat": older, "default/batch": younger}
    assert [v.is_accepted for v in assignment.verdicts_of("default/b")] == [False, True]


def test_a_target_that_does_not_exist_is_named() -> None:
    assignment = assign_policies([policy("a", "chat", "chta")], [workload("chat")])
    verdict = assignment.verdicts_of("default/a")[1]
    assert (verdict.target, verdict.reason) == ("chta", Reason.TARGET_NOT_FOUND)
    assert "spec.targetRefs[1]" in verdict.message
    assert "chta" in verdict.message


def test_a_policy_acts_in_its_own_namespace_only() -> None:
    assignment = assign_policies([policy("a", "chat", namespace="east")], [workload("chat", "west")])
    assert assignment.by_class == {}
    assert [v.reason for v in assignment.verdicts] == [Reason.TARGET_NOT_FOUND]
