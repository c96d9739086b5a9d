"""What holds for every placement, whatever the problem."""

import itertools
import random
from collections import Counter
from dataclasses import replace
from typing import TypeVar

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from argosy.place.check import violations
from argosy.place.problem import NodeRoom, PlacedReplica, PlacementProblem, WantedReplicas
from argosy.place.solution import Placement, Unplaced
from argosy.place.solve import solve

T = TypeVar("T")
MOST_TRIALS = 20_000


@st.composite
def problems(
    draw: st.DrawFn, most_nodes: int = 5, most_gpus: int = 8, are_open: bool = True, limits: int = 0
) -> PlacementProblem:
    """Up to four options on two pools, some of their pods running, draining or on a dead node."""
    kinds = (
        st.just((False, False))
        if are_open
        else st.sampled_from(((False, False), (True, False), (True, True)))
    )
    nodes = tuple(
        NodeRoom(f"n{i}", draw(st.sampled_from("ab")), draw(st.integers(0, most_gpus)), *draw(kinds))
        for i in range(draw(st.integers(0, most_nodes)))
    )
    wanted = tuple(
        WantedReplicas(
            f"o{i}",
            draw(st.sampled_from("ab")),
            draw(st.sampled_from((1, 2, 3, 4))),
            draw(st.integers(0, 5)),
            draw(st.dictionaries(st.sampled_from(("n0", "n1", "n2")), st.integers(0, 3), max_size=limits)),
        )
        for i in range(draw(st.integers(0, 4)))
    )
    free = {n.name: n.gpus for n in nodes} | {"dead": 8}
    placed, draining = [], []
    for i in range(draw(st.integers(0, 8))):
        options = [*wanted, WantedReplicas("unwanted", "a", 1, 0)]
        option, node = draw(st.sampled_from(options)), draw(st.sampled_from(sorted(free)))
        if free[node] < option.gpus:
            continue
        free[node] -= option.gpus
        if draw(st.integers(0, 3)) == 0:
            draining.append((f"p{i}", node, option.gpus))
        else:
            age_s, ready = float(draw(st.integers(0, 3))), draw(st.booleans())
            placed.append(PlacedReplica(f"p{i}", option.option, node, option.gpus, ready, age_s))
    return PlacementProblem(nodes, tuple(placed), wanted, tuple(draining))


@given(problems(are_open=False, limits=2))
@settings(max_examples=150, deadline=None)
def test_every_placement_passes_the_check(problem: PlacementProblem) -> None:
    assert violations(problem, solve(problem)) == ()


@given(problems(are_open=False, limits=2))
@settings(max_examples=50, deadline=None)
def test_first_fit_passes_the_same_check(problem: PlacementProblem) -> None:
    assert violations(problem, solve(problem, deterministic_limit=0.0)) == ()


@given(problems(are_open=False), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_order_of_the_problem_does_not_matter(problem: PlacementProblem, rng: random.Random) -> None:
    def shuffled(items: tuple[T, ...]) -> tuple[T, ...]:
        return tuple(rng.sample(items, len(items)))

    other = PlacementProblem(
        shuffled(problem.nodes),
        shuffled(problem.placed),
        shuffled(problem.wanted),
        shuffled(problem.draining),
    )
    assert solve(other) == solve(problem)


@given(problems())
@settings(max_examples=100, deadline=None)
def test_what_stays_is_spread_over_the_nodes(problem: PlacementProblem) -> None:
    """No victim leaves a node that has fewer of its option than another node keeps ready ones of."""
    placement = solve(problem)
    nodes = {n.name for n in problem.nodes}
    stays = [p for p in problem.placed if p.pod not in placement.victims]
    crowd = Counter((p.option, p.node) for p in stays)
    for gone in (p for p in problem.placed if p.pod in placement.victims and p.node in nodes):
        for kept in (p for p in stays if p.option == gone.option and p.ready == gone.ready):
            assert crowd[kept.option, kept.node] <= crowd[gone.option, gone.node] + 1


def trials(problem: PlacementProblem, placement: Placement) -> list[Counter[tuple[str, str]]]:
    """Every way to start at most what is missing: new replicas per (option, node)."""
    free = {n.name: n.gpus for n in problem.nodes}
    for pod in problem.placed:
        free[pod.node] = free.get(pod.node, 0) - pod.gpus
    for _, node, gpus in problem.draining:
        free[node] = free.get(node, 0) - gpus
    kept = Counter(p.option for p in problem.placed if p.pod not in placement.victims)
    pairs = [(w, n) for w in problem.wanted for n in problem.nodes if n.pool == w.pool]
    most = [max(0, min(w.replicas - kept[w.option], free[n.name] // w.gpus)) for w, n in pairs]
    size = 1
    for m in most:
        size *= m + 1
    assume(size <= MOST_TRIALS)
    found = []
    for numbers in itertools.product(*(range(m + 1) for m in most)):
        starts: Counter[tuple[str, str]] = Counter()
        taken: Counter[str] = Counter()
        started: Counter[str] = Counter()
        for (w, n), number in zip(pairs, numbers, strict=True):
            starts[w.option, n.name] = number
            taken[n.name] += number * w.gpus
            started[w.option] += number
        if all(taken[n] <= max(0, free[n]) for n in taken) and all(
            started[w.option] <= w.replicas - kept[w.option] for w in problem.wanted if started[w.option]
        ):
            found.append(starts)
    return found


def rank(
    problem: PlacementProblem, placement: Placement, starts: Counter[tuple[str, str]]
) -> tuple[int, ...]:
    """The goals of placement in their order, the tie-break by name apart."""
    kept = Counter((p.option, p.node) for p in problem.placed if p.pod not in placement.victims)
    used: Counter[str] = Counter()
    for pod in problem.placed:
        used[pod.node] += pod.gpus
    for _, node, gpus in problem.draining:
        used[node] += gpus
    gpus_of = {w.option: w.gpus for w in problem.wanted}
    for (option, node), number in starts.items():
        used[node] += number * gpus_of[option]
    peaks = sum(
        max((kept[w.option, n.name] + starts[w.option, n.name] for n in problem.nodes), default=0)
        for w in problem.wanted
    )
    most_gpus = {pool: max((w.gpus for w in problem.wanted if w.pool == pool), default=0) for pool in "ab"}
    stranded = sum(0 < used[n.name] < n.gpus for n in problem.nodes if most_gpus[n.pool] > 1)
    on_node = Counter[str]()
    for (_, node), number in (kept + starts).items():
        on_node[node] += number
    crowded = sum(on_node[n.name] * (on_node[n.name] - 1) // 2 for n in problem.nodes)
    have_some = {option for (option, _), number in (kept + starts).items() if number}
    without = sum(bool(w.replicas) and w.option not in have_some for w in problem.wanted)
    return (-sum(starts.values()), without, peaks, stranded, crowded)


@given(problems(most_nodes=3, most_gpus=5))
@settings(max_examples=100, deadline=None)
def test_no_other_placement_is_better(problem: PlacementProblem) -> None:
    placement = solve(problem)
    found = Counter((option, node) for option, nodes in placement.new_nodes.items() for node in nodes)
    best = min(_by_pool(problem, placement, starts) for starts in trials(problem, placement))
    assert _by_pool(problem, placement, found) == best


def _by_pool(
    problem: PlacementProblem, placement: Placement, starts: Counter[tuple[str, str]]
) -> tuple[tuple[int, ...], ...]:
    """Pools do not touch each other, so each has its own rank; all are best at once."""
    ranks = []
    for pool in "ab":
        part = replace(
            problem,
            nodes=tuple(n for n in problem.nodes if n.pool == pool),
            wanted=tuple(w for w in problem.wanted if w.pool == pool),
        )
        options = {w.option for w in part.wanted}
        mine = Counter({pair: n for pair, n in starts.items() if pair[0] in options})
        ranks.append(rank(part, placement, mine))
    return tuple(ranks)


@given(problems(), st.data())
@settings(max_examples=100, deadline=None)
def test_a_placement_that_was_tampered_with_is_caught(problem: PlacementProblem, data: st.DataObject) -> None:
    placement = solve(problem)
    tampering: dict[str, Placement] = {}
    for option, nodes in placement.new_nodes.items():
        fewer = {**placement.new_nodes, option: nodes[1:]}
        more = {**placement.new_nodes, option: (*nodes, nodes[-1])}
        tampering[f"a start of {option} is forgotten"] = replace(placement, new_nodes=fewer)
        tampering[f"a start of {option} is doubled"] = replace(placement, new_nodes=more)
    for pair, count in placement.counts.items():
        tampering[f"a count of {pair} is off"] = replace(
            placement, counts={**placement.counts, pair: count + 1}
        )
    for pod in problem.placed:
        others = tuple(v for v in placement.victims if v != pod.pod)
        victims = others if pod.pod in placement.victims else (*others, pod.pod)
        tampering[f"{pod.pod} changes sides"] = replace(placement, victims=victims)
    for entry in placement.unplaced:
        left_out = tuple(u for u in placement.unplaced if u != entry)
        tampering[f"unplaced {entry.option} is left out"] = replace(placement, unplaced=left_out)
    for want in problem.wanted:
        invented = (*placement.unplaced, Unplaced(want.option, 1, "no room"))
        tampering[f"unplaced {want.option} is invented"] = replace(placement, unplaced=invented)
    assume(tampering)
    kind = data.draw(st.sampled_from(sorted(tampering)))
    assert violations(problem, tampering[kind]) != (), kind
