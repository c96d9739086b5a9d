"""Every rule of a placement prints as a sentence: what breaks it, the value found, the value needed."""

from dataclasses import replace
from typing import Any

import pytest

from argosy.place.check import ViolationCode, violations
from argosy.place.problem import NodeRoom, PlacedReplica, PlacementProblem, WantedReplicas
from argosy.place.solution import Placement, PlacementReport, Unplaced
from argosy.plan.solution import SolveStatus

# chat grows from one to two; batch shrinks from two to one; large finds no pair of GPUs.
PROBLEM = PlacementProblem(
    nodes=(
        NodeRoom("n1", "l40s", 2),
        NodeRoom("n2", "l40s", 2),
        NodeRoom("h1", "h100", 2),
        NodeRoom("gone", "l40s", 2, is_closed=True, is_leaving=True),
    ),
    placed=(
        PlacedReplica("d/chat-1", "d/chat", "n1", 1, ready=True, age_s=90.0),
        PlacedReplica("d/batch-1", "d/batch", "n1", 1, ready=True, age_s=90.0),
        PlacedReplica("d/batch-2", "d/batch", "n2", 1, ready=False, age_s=10.0),
    ),
    wanted=(
        WantedReplicas("d/chat", "l40s", 1, 2),
        WantedReplicas("d/batch", "l40s", 1, 1),
        WantedReplicas("d/large", "l40s", 2, 1),
    ),
)
NO_ROOM = Unplaced("d/large", 1, "no node of pool l40s has 2 GPUs free together")
GOOD = Placement(
    counts={("d/chat", "n1"): 1, ("d/chat", "n2"): 1, ("d/batch", "n1"): 1},
    new_nodes={"d/chat": ("n2",)},
    victims=("d/batch-2",),
    unplaced=(NO_ROOM,),
    report=PlacementReport(SolveStatus.OPTIMAL, 1, 1.0, 0.0, 0.1),
)

SENTENCES: dict[ViolationCode, tuple[dict[str, Any], str]] = {
    ViolationCode.UNKNOWN_NAME: (
        {"victims": ("d/x",)},
        "the placement names pod d/x: a name that the placement problem has is needed",
    ),
    ViolationCode.BAD_COUNT: (
        {"counts": {**GOOD.counts, ("d/chat", "n2"): 0.5}},
        "Deployment d/chat has 0.5 replicas on node n2: a whole number of at least 1 is needed",
    ),
    ViolationCode.NODE_OVERFULL: (
        {"new_nodes": {"d/chat": ("n1",)}},
        "new replicas take 1 GPU of node n1: at most 0 is free",
    ),
    ViolationCode.WRONG_POOL: (
        {"new_nodes": {"d/chat": ("h1",)}},
        "Deployment d/chat starts a replica on node h1 of GPUPool h100: a node of GPUPool l40s is needed",
    ),
    ViolationCode.NODE_CLOSED: (
        {"new_nodes": {"d/chat": ("gone",)}},
        "Deployment d/chat starts a replica on node gone, which takes no new ones: another node is needed",
    ),
    ViolationCode.STAYS_WRONG: (
        {"staying": ("d/chat-1",)},
        "pod d/chat-1 is listed 1 times among those that stay on leaving nodes: 0 is needed",
    ),
    ViolationCode.COUNT_WRONG: (
        {"counts": {**GOOD.counts, ("d/chat", "n2"): 2}},
        "Deployment d/chat is stated to have 2 replicas on node n2: "
        "1 is needed, counting those that stay and those that start",
    ),
    ViolationCode.WANTED_NOT_MET: (
        {"new_nodes": {}},
        "Deployment d/chat has 1 replica to keep, 0 to start and 0 without a node: 2 in all is needed",
    ),
    ViolationCode.UNPLACED_NEEDLESSLY: (
        {"new_nodes": {}, "unplaced": (NO_ROOM, Unplaced("d/chat", 1, "no room"))},
        "Deployment d/chat has 1 replica without a node, and node n2 has 1 free GPU: a replica takes 1",
    ),
    ViolationCode.UNPLACED_WRONG: (
        {"unplaced": (replace(NO_ROOM, message=""),)},
        "the replicas of Deployment d/large without a node have no sentence: "
        "one that names the remedy is needed",
    ),
    ViolationCode.VICTIM_WRONG: (
        {"victims": ()},
        "0 pods of Deployment d/batch should go: 1 is needed, its surplus",
    ),
    ViolationCode.VICTIM_ORDER: (
        {"victims": ("d/batch-1",)},
        "pod d/batch-1 of Deployment d/batch is let go and is ready while pod d/batch-2 stays and is not: "
        "pods that are not ready have to go first",
    ),
    ViolationCode.UNSORTED: (
        {"new_nodes": {"d/chat": ("n2", "n1")}},
        "the new nodes of Deployment d/chat are n2, n1: names in order are needed",
    ),
    ViolationCode.REPORT_WRONG: (
        {"report": PlacementReport(SolveStatus.OPTIMAL, 1, 2.0, 0.0, 0.1)},
        "the report's unplaced_bound is 2.0: a number from 0 to 1 is needed",
    ),
}


def test_the_placement_is_sound_before_it_is_broken() -> None:
    assert violations(PROBLEM, GOOD) == ()


@pytest.mark.parametrize("code", list(ViolationCode))
def test_every_rule_prints_as_a_sentence(code: ViolationCode) -> None:
    changes, sentence = SENTENCES[code]
    found = violations(PROBLEM, replace(GOOD, **changes))
    assert sentence in [str(v) for v in found if v.code is code], [str(v) for v in found]
