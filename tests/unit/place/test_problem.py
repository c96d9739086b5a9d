"""What no arithmetic survives is refused with the name of the culprit."""

import math
import pickle
from dataclasses import replace
from typing import Any

import pytest

from argosy.place.problem import NodeRoom, PlacedReplica, PlacementProblem, WantedReplicas

NODE = NodeRoom("n1", "l40s", 2)
POD = PlacedReplica("chat-1", "chat", "n1", 1, ready=True, age_s=60.0)
WANT = WantedReplicas("chat", "l40s", 1, 2)
PROBLEM = PlacementProblem((NODE,), (POD,), (WANT,))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param({"nodes": (NODE, NODE)}, "node n1 is named twice", id="a node twice"),
        pytest.param({"placed": (POD, POD)}, "pod chat-1 is named twice", id="a pod twice"),
        pytest.param(
            {"draining": (("chat-1", "n1", 1),)}, "pod chat-1 is named twice", id="placed and draining"
        ),
        pytest.param({"wanted": (WANT, WANT)}, "option chat is named twice", id="an option twice"),
        pytest.param({"nodes": (replace(NODE, gpus=-1),)}, "GPUs of node n1", id="a node owing GPUs"),
        pytest.param({"placed": (replace(POD, gpus=-1),)}, "GPUs of pod chat-1", id="a pod owing GPUs"),
        pytest.param({"placed": (replace(POD, age_s=math.nan),)}, "age of pod chat-1", id="a NaN age"),
        pytest.param({"draining": (("gone", "n1", -1),)}, "GPUs of pod gone", id="a draining pod owing GPUs"),
        pytest.param(
            {"wanted": (replace(WANT, gpus=0),)}, "GPUs of option chat", id="a replica without GPUs"
        ),
        pytest.param(
            {"wanted": (replace(WANT, replicas=-1),)}, "wanted replicas", id="less than none wanted"
        ),
    ],
)
def test_what_no_arithmetic_survives_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        replace(PROBLEM, **change)


def test_a_problem_pickles() -> None:
    assert pickle.loads(pickle.dumps(PROBLEM)) == PROBLEM
