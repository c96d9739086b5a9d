"""The specification of placements: a good one passes, and each way to break one is named."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from argosy.place.check import ViolationCode, violations
from argosy.place.problem import NodeRoom, PlacedReplica, PlacementProblem, WantedReplicas
from argosy.place.solution import Placement, Unplaced

# chat grows from one to three; batch shrinks from two to one; large finds no pair of GPUs.
PROBLEM = PlacementProblem(
    nodes=(
        NodeRoom("n1", "l40s", 2),
        NodeRoom("n2", "l40s", 2),
        NodeRoom("n3", "l40s", 2),
        NodeRoom("h1", "h100", 2),
    ),
    placed=(
        PlacedReplica("chat-1", "chat", "n1", 1, ready=True, age_s=90.0),
        PlacedReplica("batch-1", "batch", "n1", 1, ready=True, age_s=90.0),
        PlacedReplica("batch-2", "batch", "n2", 1, ready=False, age_s=10.0),
        PlacedReplica("lost-1", "chat", "n9", 1, ready=True, age_s=90.0),
    ),
    wanted=(
        WantedReplicas("chat", "l40s", 1, 3),
        WantedReplicas("batch", "l40s", 1, 1),
        WantedReplicas("large", "l40s", 2, 1),
    ),
    draining=(("old-1", "n3", 1),),
)
NO_ROOM = Unplaced("large", 1, "no node of pool l40s has 2 GPUs free together")
GOOD = Placement(
    counts={("chat", "n1"): 1, ("chat", "n2"): 1, ("chat", "n3"): 1, ("batch", "n1"): 1},
    new_nodes={"chat": ("n2", "n3")},
    victims=("batch-2", "lost-1"),
    unplaced=(NO_ROOM,),
)

Change = Callable[[Placement], Placement]


def with_(**changed: Any) -> Change:
    return lambda placement: replace(placement, **changed)


def test_a_node_whose_cpu_is_for_no_more_takes_no_more_and_is_no_room_left() -> None:
    chat, *others = PROBLEM.wanted
    full = replace(PROBLEM, wanted=(replace(chat, most_on={"n3": 0}), *others))
    [found] = violations(full, GOOD)
    assert (found.code, found.subject) == (ViolationCode.NODE_OVERFULL, "chat")
    assert str(found) == "Deployment chat starts 1 replica on node n3: its CPU, memory and disk are for 0"
    counts = {pair: n for pair, n in GOOD.counts.items() if pair != ("chat", "n3")}
    lacking = Unplaced("chat", 1, "no CPU is left")
    short = replace(
        GOOD,
        counts=counts,
        new_nodes={"chat": ("n2",)},
        unplaced=(lacking, NO_ROOM),
        report=None,
    )
    assert not any(v.subject == "chat" for v in violations(full, short))


def test_a_sound_placement_has_no_violation() -> None:
    assert violations(PROBLEM, GOOD) == ()


@pytest.mark.parametrize(
    ("change", "code", "subject"),
    [
        pytest.param(
            with_(new_nodes={"chat": ("n2", "n8")}), ViolationCode.UNKNOWN_NAME, "n8", id="an unknown node"
        ),
        pytest.param(
            with_(counts={("video", "n1"): 1}), ViolationCode.UNKNOWN_NAME, "video", id="an unknown option"
        ),
        pytest.param(with_(victims=("batch-7",)), ViolationCode.UNKNOWN_NAME, "batch-7", id="an unknown pod"),
        pytest.param(
            with_(
                new_nodes={"chat": ("n3", "n3")},
                counts={("chat", "n1"): 1, ("chat", "n3"): 2, ("batch", "n1"): 1},
            ),
            ViolationCode.NODE_OVERFULL,
            "n3",
            id="the GPU of a draining pod taken",
        ),
        pytest.param(
            with_(
                new_nodes={"chat": ("n2", "n2")},
                counts={("chat", "n1"): 1, ("chat", "n2"): 2, ("batch", "n1"): 1},
            ),
            ViolationCode.NODE_OVERFULL,
            "n2",
            id="the GPU of a victim taken before it is gone",
        ),
        pytest.param(
            with_(
                new_nodes={"chat": ("h1", "n2")},
                counts={("chat", "n1"): 1, ("chat", "n2"): 1, ("chat", "h1"): 1, ("batch", "n1"): 1},
            ),
            ViolationCode.WRONG_POOL,
            "chat",
            id="a replica on another pool",
        ),
        pytest.param(
            lambda p: replace(p, counts={**p.counts, ("chat", "n2"): 2}),
            ViolationCode.COUNT_WRONG,
            "chat",
            id="a count too high",
        ),
        pytest.param(
            lambda p: replace(p, counts={k: n for k, n in p.counts.items() if k[0] != "batch"}),
            ViolationCode.COUNT_WRONG,
            "batch",
            id="a kept pod not counted",
        ),
        pytest.param(
            with_(new_nodes={"chat": ("n3", "n2")}), ViolationCode.UNSORTED, "chat", id="nodes not sorted"
        ),
        pytest.param(
            with_(new_nodes={"chat": ("n2",)}), ViolationCode.WANTED_NOT_MET, "chat", id="one too few"
        ),
        pytest.param(
            with_(unplaced=()), ViolationCode.WANTED_NOT_MET, "large", id="an unplaced replica left out"
        ),
        pytest.param(
            with_(unplaced=(replace(NO_ROOM, message=""),)),
            ViolationCode.UNPLACED_WRONG,
            "large",
            id="unplaced without a sentence",
        ),
        pytest.param(
            with_(
                new_nodes={"chat": ("n2",)},
                counts={("chat", "n1"): 1, ("chat", "n2"): 1, ("batch", "n1"): 1},
                unplaced=(NO_ROOM, Unplaced("chat", 1, "no node has room")),
            ),
            ViolationCode.UNPLACED_NEEDLESSLY,
            "chat",
            id="unplaced beside a free GPU",
        ),
        pytest.param(with_(victims=("batch-2",)), ViolationCode.VICTIM_WRONG, "lost-1", id="a lost pod kept"),
        pytest.param(
            with_(victims=("batch-2", "batch-2", "lost-1")),
            ViolationCode.VICTIM_WRONG,
            "batch-2",
            id="let go twice",
        ),
        pytest.param(
            with_(victims=("batch-2", "chat-1", "lost-1")),
            ViolationCode.VICTIM_WRONG,
            "chat",
            id="a needed pod let go",
        ),
        pytest.param(
            with_(victims=("lost-1",)), ViolationCode.VICTIM_WRONG, "batch", id="a surplus pod kept"
        ),
        pytest.param(
            with_(
                victims=("batch-1", "lost-1"),
                counts={("chat", "n1"): 1, ("chat", "n2"): 1, ("chat", "n3"): 1, ("batch", "n2"): 1},
            ),
            ViolationCode.VICTIM_ORDER,
            "batch",
            id="a ready pod let go before one that is not",
        ),
    ],
)
def test_a_broken_placement_is_caught_and_the_rule_named(
    change: Change, code: ViolationCode, subject: str
) -> None:
    found = violations(PROBLEM, change(GOOD))
    assert (code, subject) in {(v.code, v.subject) for v in found}, found


def test_a_node_that_holds_more_than_it_has_is_no_fault_of_the_placement() -> None:
    # One of its GPUs fell ill; nothing new goes there, and what runs there stays.
    problem = PlacementProblem(
        nodes=(NodeRoom("n1", "l40s", 1),),
        placed=tuple(PlacedReplica(f"chat-{i}", "chat", "n1", 1, ready=True, age_s=60.0) for i in (1, 2)),
        wanted=(WantedReplicas("chat", "l40s", 1, 2),),
    )
    kept = Placement(counts={("chat", "n1"): 2}, new_nodes={}, victims=(), unplaced=())
    assert violations(problem, kept) == ()


# One of chat's two replicas is on a node that is leaving; one node takes no new replicas.
LEAVING = PlacementProblem(
    nodes=(
        NodeRoom("n1", "l40s", 2),
        NodeRoom("n2", "l40s", 2, is_closed=True),
        NodeRoom("n3", "l40s", 2, is_closed=True, is_leaving=True),
    ),
    placed=(
        PlacedReplica("chat-1", "chat", "n1", 1, ready=True, age_s=90.0),
        PlacedReplica("chat-2", "chat", "n3", 1, ready=True, age_s=90.0),
    ),
    wanted=(WantedReplicas("chat", "l40s", 1, 2),),
)
MOVED = Placement(counts={("chat", "n1"): 2}, new_nodes={"chat": ("n1",)}, victims=("chat-2",), unplaced=())
STAYS = Placement(
    counts={("chat", "n1"): 1, ("chat", "n3"): 1}, new_nodes={}, victims=(), unplaced=(), staying=("chat-2",)
)
FULL = replace(LEAVING, draining=(("old", "n1", 1),))


@pytest.mark.parametrize(
    ("problem", "placement", "codes"),
    [
        pytest.param(LEAVING, MOVED, [], id="it moves where there is room"),
        pytest.param(FULL, STAYS, [], id="it stays where there is none"),
        pytest.param(LEAVING, STAYS, [ViolationCode.STAYS_WRONG], id="it stays although there is room"),
        pytest.param(
            FULL, replace(STAYS, staying=()), [ViolationCode.STAYS_WRONG], id="it stays and is not listed"
        ),
        pytest.param(
            LEAVING,
            replace(MOVED, counts={("chat", "n1"): 1, ("chat", "n2"): 1}, new_nodes={"chat": ("n2",)}),
            [ViolationCode.NODE_CLOSED],
            id="its successor starts on a node that takes none",
        ),
        pytest.param(
            LEAVING,
            replace(MOVED, new_nodes={}, counts={("chat", "n1"): 1}),
            [ViolationCode.WANTED_NOT_MET],
            id="it goes without a successor",
        ),
    ],
)
def test_a_replica_on_a_leaving_node_moves_or_stays_for_want_of_room(
    problem: PlacementProblem, placement: Placement, codes: list[ViolationCode]
) -> None:
    assert [v.code for v in violations(problem, placement)] == codes
