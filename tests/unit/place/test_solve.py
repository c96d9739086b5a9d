"""Stories of placement: where new replicas go, which pods leave, and what finds no room."""

import pickle
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from argosy.place.check import violations
from argosy.place.problem import NodeRoom, PlacedReplica, PlacementProblem, WantedReplicas
from argosy.place.solution import Placement
from argosy.place.solve import solve
from argosy.plan.solution import SolveStatus


def nodes(gpus: dict[str, int], pool: str = "l40s") -> tuple[NodeRoom, ...]:
    return tuple(NodeRoom(name, pool, count) for name, count in gpus.items())


def pods(option: str, *on: str, gpus: int = 1) -> tuple[PlacedReplica, ...]:
    """Ready pods `option-0`, `option-1`, ... on the nodes named; the first is the oldest."""
    return tuple(PlacedReplica(f"{option}-{i}", option, n, gpus, True, 100.0 - i) for i, n in enumerate(on))


def want(option: str, replicas: int, gpus: int = 1, pool: str = "l40s") -> WantedReplicas:
    return WantedReplicas(option, pool, gpus, replicas)


def placed(problem: PlacementProblem) -> Placement:
    placement = solve(problem)
    assert violations(problem, placement) == ()
    return placement


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        pytest.param(
            PlacementProblem(nodes({"n1": 2, "n2": 2, "n3": 2}), (), (want("chat", 3),)),
            {"chat": ("n1", "n2", "n3")},
            id="three replicas on three nodes: one dies, two stay",
        ),
        pytest.param(
            PlacementProblem(
                nodes({"n1": 4, "n2": 4, "n3": 4}),
                pods("chat", "n2"),
                (replace(want("chat", 3), most_on={"n1": 0, "n2": 2}), want("batch", 4)),
            ),
            {"batch": ("n1", "n1", "n2", "n3"), "chat": ("n2", "n3")},
            id="where its CPU is enough",
        ),
        pytest.param(
            PlacementProblem(nodes({"n1": 4, "n2": 4}), pods("chat", "n1"), (want("chat", 2),)),
            {"chat": ("n2",)},
            id="the second goes where the first is not",
        ),
        pytest.param(
            PlacementProblem(
                nodes({"n1": 2, "n2": 2}), pods("chat", "n2"), (want("chat", 1), want("batch", 1))
            ),
            {"batch": ("n1",)},
            id="single replicas of two options are spread where none takes more than a GPU",
        ),
        pytest.param(
            PlacementProblem(
                nodes({"n1": 2, "n2": 2}),
                pods("chat", "n2"),
                (want("chat", 1), want("batch", 1)),
                most_gpus={"l40s": 2},
            ),
            {"batch": ("n2",)},
            id="a lone replica fills up a node in use and leaves the other whole for a pair",
        ),
        pytest.param(
            PlacementProblem(
                nodes({"n1": 2, "n2": 2}), pods("a", "n1"), (want("a", 1), want("pair", 1, gpus=2))
            ),
            {"pair": ("n2",)},
            id="a pair needs both GPUs of one node",
        ),
        pytest.param(
            PlacementProblem(nodes({"n1": 2, "n2": 2}), (), (want("lone", 2), want("pair", 1, gpus=2))),
            {"lone": ("n1", "n1"), "pair": ("n2",)},
            id="a pair that must be placed outweighs the spread of the others",
        ),
        pytest.param(
            PlacementProblem(nodes({"n1": 2}), (), (want("chat", 1),), draining=(("old", "n1", 1),)),
            {"chat": ("n1",)},
            id="beside a pod that drains",
        ),
        pytest.param(
            PlacementProblem(
                (*nodes({"n1": 1}), *nodes({"h1": 1}, "h100")),
                (),
                (want("chat", 1), want("chat-h", 1, pool="h100")),
            ),
            {"chat": ("n1",), "chat-h": ("h1",)},
            id="each on its own pool",
        ),
        pytest.param(
            PlacementProblem(nodes({"n2": 1, "n1": 1}), (), (want("chat", 1),)),
            {"chat": ("n1",)},
            id="among equals the first by name",
        ),
    ],
)
def test_new_replicas_find_their_nodes(
    problem: PlacementProblem, expected: dict[str, tuple[str, ...]]
) -> None:
    placement = placed(problem)
    assert placement.new_nodes == expected
    assert (placement.victims, placement.unplaced) == ((), ())


@pytest.mark.parametrize(
    ("running", "replicas", "expected"),
    [
        pytest.param(pods("chat", "n1", "n2"), 2, (), id="as many as wanted: none goes"),
        pytest.param(
            (*pods("chat", "n1", "n1"), replace(pods("chat", "n2")[0], pod="new", ready=False)),
            2,
            ("new",),
            id="a pod that is not ready goes first",
        ),
        pytest.param(pods("chat", "n1", "n2", "n2"), 2, ("chat-2",), id="the crowded node, its youngest"),
        pytest.param(
            pods("chat", "n1", "n1", "n2", "n2"), 2, ("chat-3", "chat-1"), id="crowding is counted anew"
        ),
        pytest.param(pods("chat", "n1", "n9"), 1, ("chat-1",), id="a pod on a node that is gone"),
        pytest.param(pods("chat", "n1", "n2"), 0, ("chat-1", "chat-0"), id="all go, the youngest first"),
    ],
)
def test_the_right_pods_go(
    running: tuple[PlacedReplica, ...], replicas: int, expected: tuple[str, ...]
) -> None:
    problem = PlacementProblem(nodes({"n1": 4, "n2": 4}), running, (want("chat", replicas),))
    placement = placed(problem)
    assert placement.victims == expected
    assert placement.new_nodes == {}


def test_pods_of_an_option_that_is_not_wanted_any_more_go() -> None:
    placement = placed(PlacementProblem(nodes({"n1": 2}), pods("old", "n1"), ()))
    assert (placement.victims, placement.counts) == (("old-0",), {})


def test_a_dead_nodes_replica_is_started_again_elsewhere() -> None:
    running = pods("chat", "n1", "n2", "n9")
    placement = placed(PlacementProblem(nodes({"n1": 2, "n2": 2, "n3": 2}), running, (want("chat", 3),)))
    assert (placement.victims, placement.new_nodes) == (("chat-2",), {"chat": ("n3",)})
    assert placement.counts == {("chat", "n1"): 1, ("chat", "n2"): 1, ("chat", "n3"): 1}


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        pytest.param(
            PlacementProblem((), (), (want("chat", 2),)),
            "2 of 2 replicas of chat have no node: pool l40s has none; add nodes to GPUPool l40s",
            id="no nodes",
        ),
        pytest.param(
            PlacementProblem(nodes({"n1": 2, "n2": 1}), (), (want("chat", 1, gpus=4),)),
            "1 of 1 replicas of chat have no node: each needs 4 GPUs and the largest of pool l40s has 2",
            id="no node large enough",
        ),
        pytest.param(
            PlacementProblem(nodes({"n1": 2}), pods("old", "n1", gpus=2), (want("chat", 1),)),
            "1 of 1 replicas of chat have no node: none of pool l40s has 1 GPUs free together; "
            "wait for pods that are leaving, or add nodes to GPUPool l40s",
            id="a victim still holds the GPUs",
        ),
    ],
)
def test_what_finds_no_room_is_named(problem: PlacementProblem, expected: str) -> None:
    assert [u.message for u in placed(problem).unplaced] == [expected]


@pytest.mark.parametrize(("with_one", "without"), [("alpha", "zeta"), ("zeta", "alpha")])
def test_the_only_room_is_for_the_option_that_has_no_replica_whatever_its_name(
    with_one: str, without: str
) -> None:
    wanted = (want(with_one, 2), want(without, 1))
    placement = placed(PlacementProblem(nodes({"n1": 2}), pods(with_one, "n1"), wanted))
    assert placement.new_nodes == {without: ("n1",)}
    assert [each.option for each in placement.unplaced] == [with_one]


def test_without_work_allowed_first_fit_answers_and_says_so() -> None:
    problem = PlacementProblem(
        nodes({f"n{i}": 8 for i in range(9)}), (), (want("a", 11), want("b", 9, gpus=4))
    )
    placement = solve(problem, deterministic_limit=0.0)
    assert violations(problem, placement) == ()
    assert placement.report is not None
    assert placement.report.status == SolveStatus.GREEDY
    assert len(placement.new_nodes["a"]) == 11


def test_nothing_to_start_asks_no_solver() -> None:
    problem = PlacementProblem(nodes({"n1": 2}), pods("chat", "n1"), (want("chat", 1),))
    assert placed(problem).report is None


def test_a_placement_survives_the_way_to_the_worker_and_back() -> None:
    placement = placed(PlacementProblem(nodes({"n1": 2}), (), (want("chat", 3),)))
    assert pickle.loads(pickle.dumps(placement)) == placement
    assert pickle.loads(pickle.dumps(solve)) is solve


def test_ctrl_c_stays_the_handlers_of_this_process_whatever_was_solved() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    placed(PlacementProblem(nodes({"n1": 2, "n2": 2}), (), (want("chat", 3),)))
    status = Path("/proc/self/status").read_text()
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    signal.signal(signal.SIGINT, before)
    assert caught >> (signal.SIGINT - 1) & 1
