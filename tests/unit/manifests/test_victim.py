"""What a pod that finishes its requests tells Karpenter and the cluster autoscaler."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from argosy.manifests.victim import ANNOTATION_KEPT, KEEPS, victim_annotations
from argosy.snapshot.cluster import DELETION_COST

Annotations = dict[str, str]

NAMES = [*KEEPS, DELETION_COST, "team.example.com/owner"]


def patched(before: Annotations, cost: int) -> Annotations:
    """As the API server merges it."""
    pod: dict[str, Any] = {"metadata": {"annotations": before}}
    after = {**before, **victim_annotations(pod, cost)}
    return {name: value for name, value in after.items() if value is not None}


def test_a_pod_that_finishes_is_kept_on_its_node() -> None:
    assert patched({}, -100) == {
        DELETION_COST: "-100",
        "karpenter.sh/do-not-disrupt": "true",
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
        ANNOTATION_KEPT: "cluster-autoscaler.kubernetes.io/safe-to-evict,karpenter.sh/do-not-disrupt",
    }


def test_a_pod_without_annotations_is_marked_too() -> None:
    assert victim_annotations({"metadata": {}}, -1)[DELETION_COST] == "-1"


@given(
    st.dictionaries(st.sampled_from(["team.example.com/owner", *KEEPS]), st.sampled_from(["true", "false"])),
    st.lists(st.integers(min_value=-100, max_value=-1), min_size=1, max_size=3),
)
def test_a_pod_that_stays_after_all_is_as_its_users_left_it(before: Annotations, costs: list[int]) -> None:
    after = before
    for cost in costs:
        after = patched(after, cost)
        assert after[DELETION_COST] == str(cost)
        assert before.items() <= after.items(), "what a user has set stays"
    assert patched(after, 0) == before
