"""The test whether whole parallel groups fit on the nodes of one pool.

Owns the arithmetic of packing: `fits`, and the two exact descriptions of what fits that the
planner writes as constraints. Input: GPUs per node, and the number of groups per group size. A
parallel group is one replica; it needs all its GPUs on one node. No solver is imported, because
`check` uses this too.

**Sizes that divide each other** (1, 2, 4, 8: all that tensor parallelism usually takes). Groups
fit if and only if, for each size g,

    GPUs of all groups of size >= g  <=  sum over nodes of floor(node / g) * g.        (*)

Necessary: on one node the groups of size >= g take a multiple of g. Sufficient: place the
largest groups first. When a group of size g is due, every node holds only multiples of g, so a
node without g free GPUs holds exactly floor(node / g) * g. If no node has room, the groups placed
so far, all of size >= g, fill the right side of (*), and this group breaks it.

**Other sizes** (2 and 3, say) have no such formula. There each node is filled by one of its
*patterns*: the ways to put groups on it to which no further group can be added.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

Pattern = tuple[int, ...]
"""Groups on one node: a count per group size, in the order of the sizes."""


def divide_each_other(sizes: Iterable[int]) -> bool:
    """True if each size divides the next larger one, so that (*) is exact."""
    return all(large % small == 0 for small, large in pairwise(sorted(set(sizes))))


def usable_gpus(node_gpus: Sequence[int], size: int) -> int:
    """GPUs that groups of `size` (GPUs each) or of a multiple of it can use: the right side of (*)."""
    return sum(gpus // size * size for gpus in node_gpus)


@lru_cache(maxsize=1024)
def maximal_patterns(gpus: int, sizes: tuple[int, ...]) -> tuple[Pattern, ...]:
    """All ways to fill a node of `gpus` so that no further group can be added, in a fixed order.

    `sizes` holds at least one group size; a pattern has a count for each, in their order.
    """
    if len(sizes) == 1:
        return ((gpus // sizes[0],),)
    first, *rest = sizes
    ways = (
        (count, *others)
        for count in range(gpus // first, -1, -1)
        for others in maximal_patterns(gpus - count * first, tuple(rest))
    )
    smallest = min(sizes)
    return tuple(w for w in ways if gpus - _gpus_of(w, sizes) < smallest)


def fits(node_gpus: Sequence[int], groups: Mapping[int, int]) -> bool:
    """True if `groups` (GPUs of one group -> number of groups) fit on the nodes together.

    Exact for any sizes.
    """
    wanted = {size: count for size, count in groups.items() if count > 0}
    for size in wanted:
        demand = sum(s * count for s, count in wanted.items() if s % size == 0)
        if demand > usable_gpus(node_gpus, size):
            return False
    if divide_each_other(wanted) or _first_fit_decreasing(node_gpus, wanted):
        return True
    return _search(node_gpus, wanted)


def _first_fit_decreasing(node_gpus: Sequence[int], wanted: Mapping[int, int]) -> bool:
    free = sorted(node_gpus)
    for size in sorted(wanted, reverse=True):
        left = wanted[size]
        for i, gpus in enumerate(free):
            taken = min(left, gpus // size)
            free[i] -= taken * size
            left -= taken
        if left:
            return False
    return True


def _search(node_gpus: Sequence[int], wanted: Mapping[int, int]) -> bool:
    """Fill node after node by each of its maximal patterns; keep what then remains to be placed."""
    sizes = tuple(sorted(wanted, reverse=True))
    remains = {tuple(wanted[size] for size in sizes)}
    nodes = sorted((gpus for gpus in node_gpus if gpus >= sizes[-1]), reverse=True)
    gpus_left = sum(nodes)
    for gpus in nodes:
        gpus_left -= gpus
        after = {
            tuple(max(0, r - p) for r, p in zip(remain, pattern, strict=True))
            for remain in remains
            for pattern in maximal_patterns(gpus, sizes)
        }
        remains = _undominated({r for r in after if _gpus_of(r, sizes) <= gpus_left})
    return any(not any(remain) for remain in remains)


def _gpus_of(pattern: Pattern, sizes: tuple[int, ...]) -> int:
    return sum(count * size for count, size in zip(pattern, sizes, strict=True))


def _undominated(remains: set[Pattern]) -> set[Pattern]:
    """Drop each remainder that has at least as many groups of every size as another one."""
    kept: list[Pattern] = []
    for remain in sorted(remains, key=lambda r: (sum(r), r)):
        if not any(all(k <= r for k, r in zip(other, remain, strict=True)) for other in kept):
            kept.append(remain)
    return set(kept)
