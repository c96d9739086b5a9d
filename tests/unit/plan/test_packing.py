"""Whole parallel groups on whole nodes: the formula, the patterns, and what they agree with."""

import itertools

import pytest

from argosy.plan.packing import divide_each_other, fits, maximal_patterns, usable_gpus


@pytest.mark.parametrize(
    ("nodes", "groups", "expected"),
    [
        pytest.param((), {}, True, id="nothing fits on no node"),
        pytest.param((), {1: 1}, False, id="a pool without nodes holds nothing"),
        pytest.param((2, 2, 2), {2: 3}, True, id="three pairs fill three nodes of two"),
        pytest.param((1, 1, 1, 1), {2: 1}, False, id="four loose GPUs are no pair"),
        pytest.param((3, 3), {2: 2, 1: 2}, True, id="singles use what the pairs leave"),
        pytest.param((3, 3), {2: 3}, False, id="six GPUs in threes hold only two pairs"),
        pytest.param((8, 4), {8: 1, 4: 1}, True, id="the large group gets the large node"),
        pytest.param((6, 6), {4: 2, 2: 2}, True, id="pairs fill up beside fours"),
        pytest.param((5,), {3: 1, 2: 1}, True, id="three and two share a node of five"),
        pytest.param((6, 4), {3: 2, 2: 2}, True, id="threes together, twos together"),
        pytest.param((5, 5), {3: 2, 2: 3}, False, id="ten GPUs do not hold twelve"),
        pytest.param((6, 5), {3: 2, 2: 2}, True, id="first fit decreasing finds the exact fill"),
        pytest.param((7, 7), {3: 2, 2: 4}, True, id="a three and two twos on each node of seven"),
        pytest.param((4, 4), {3: 1, 2: 3}, False, id="a three wastes one of four: no room for three twos"),
    ],
)
def test_groups_fit_where_they_do(nodes: tuple[int, ...], groups: dict[int, int], expected: bool) -> None:
    assert fits(nodes, groups) is expected


def test_first_fit_decreasing_may_fail_where_the_search_succeeds() -> None:
    # The fours, placed first, take one place on each node; only together on the node of eight do
    # they leave the node of six to the threes.
    assert fits((8, 6), {4: 2, 3: 2}) is True


@pytest.mark.parametrize("sizes", [(1, 2, 3), (2, 3), (2, 5), (3, 4), (1, 2, 4)])
def test_fits_agrees_with_trying_every_assignment(sizes: tuple[int, ...]) -> None:
    for nodes in itertools.combinations_with_replacement(range(1, 8), 2):
        for counts in itertools.product(range(4), repeat=len(sizes)):
            groups = dict(zip(sizes, counts, strict=True))
            assert fits(nodes, groups) is _some_assignment(nodes, groups), (nodes, groups)


def _some_assignment(nodes: tuple[int, ...], groups: dict[int, int]) -> bool:
    items = [size for size, count in groups.items() for _ in range(count)]
    reachable = {nodes}
    for size in items:
        reachable = {
            tuple(sorted((*free[:i], gpus - size, *free[i + 1 :])))
            for free in reachable
            for i, gpus in enumerate(free)
            if gpus >= size
        }
    return bool(reachable)


def test_patterns_are_all_ways_to_fill_a_node() -> None:
    assert maximal_patterns(8, (3, 2)) == ((2, 1), (1, 2), (0, 4))
    assert maximal_patterns(1, (3, 2)) == ((0, 0),)


def test_usable_gpus_leave_out_what_no_whole_group_gets() -> None:
    assert usable_gpus((8, 7, 3, 1), 4) == 12


@pytest.mark.parametrize(
    ("sizes", "expected"), [((), True), ((8, 1, 2), True), ((2, 3), False), ((4, 6, 2), False)]
)
def test_sizes_that_divide_each_other_are_told_from_others(sizes: tuple[int, ...], expected: bool) -> None:
    assert divide_each_other(sizes) is expected
