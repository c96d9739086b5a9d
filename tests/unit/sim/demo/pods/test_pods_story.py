"""The acts that a cluster has the nodes for, and what is reported of the others."""

from __future__ import annotations

import pytest

from argosy.errors import SpecError
from argosy_sim.demo.pods.story import ACT_S, pods_story
from argosy_sim.demo.story import Shock

L40S, H100 = "NVIDIA-L40S", "NVIDIA-H100-80GB-HBM3"
ALL = [Shock.NONE, Shock.BURST, Shock.NODE_REMOVAL, Shock.PRICE_CHANGE]


def test_what_make_kind_leaves_has_every_act() -> None:
    story, not_told = pods_story({L40S: [2, 2, 2], H100: [2]}, 1.0)
    assert [act.shock for act in story.acts] == ALL
    assert [(act.start_s, act.end_s) for act in story.acts] == [
        (n * ACT_S, (n + 1) * ACT_S) for n in range(4)
    ]
    assert [sentence.partition(":")[0] for sentence in not_told] == [
        "a node that falls silent",
        "memory of operator and Envoys",
    ]


def test_rates_are_multiplied() -> None:
    half, whole = (pods_story({L40S: [4, 4]}, factor)[0] for factor in (0.5, 1.0))
    for less, more in zip(half.acts, whole.acts, strict=True):
        assert {name: 2 * rate for name, rate in less.rate_per_s.items()} == more.rate_per_s


@pytest.mark.parametrize(
    ("gpus", "missing", "sentence"),
    [
        pytest.param(
            {L40S: [6]}, {Shock.NODE_REMOVAL, Shock.PRICE_CHANGE}, "the loss of a node", id="one node"
        ),
        pytest.param(
            {L40S: [4, 1], H100: [1]}, {Shock.NODE_REMOVAL}, "the loss of a node", id="a small rest"
        ),
        pytest.param(
            {L40S: [3, 3], H100: [0]}, {Shock.PRICE_CHANGE}, "the change of a price", id="H100 in use"
        ),
    ],
)
def test_an_act_without_its_nodes_is_left_out_with_a_sentence(
    gpus: dict[str, list[int]], missing: set[Shock], sentence: str
) -> None:
    story, not_told = pods_story(gpus, 1.0)
    assert [act.shock for act in story.acts] == [shock for shock in ALL if shock not in missing]
    assert [act.start_s for act in story.acts] == [number * ACT_S for number in range(len(story.acts))]
    assert any(each.startswith(sentence) for each in not_told)


@pytest.mark.parametrize("gpus", [{}, {H100: [8]}, {L40S: [2, 1, 0]}])
def test_too_few_gpus_for_the_first_acts_are_refused(gpus: dict[str, list[int]]) -> None:
    with pytest.raises(
        SpecError, match=rf"product={L40S} have {sum(gpus.get(L40S, []))} free GPUs, 4 are needed"
    ):
        pods_story(gpus, 1.0)
