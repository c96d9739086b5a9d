"""The search in surfaces, compiled: one share of saturation per engine and cell.

Owns the inner loop of `search`, which packs its arrays and decides which cells are outside. It
imports numba: import it only where a search begins.

Arrays, for V engines, C cells, N nodes, L loads, Q levels, S decode steps, A atoms, T terms. The
axes come as arrays too, because compiled code that is kept would not notice that they changed. A
place on an axis is a number: the knot to the left, and behind the point the way to the next one.
Inner functions take plain rows: a call that passes whole tuples of arrays costs more than the work.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from argosy.arrays import Booleans, Floats, Integers, Singles
from argosy.engine.compiled import compiled, kept_on_disk

# Wait and gap of a request rise and fall together, but not in step: their correlation in E2E.
_CORRELATION = 0.3
_HALVINGS = 6
_KEPT = 1e-9
TTFT, ITL, E2E = 0, 1, 2
NONE = -1
# Columns of an atom; the place of the prompt gives way to its TTFT alone, in milliseconds.
PROMPT, ALONE, STEPS, STEPS_PLACE, WEIGHT = 0, 0, 1, 2, 3


class Axes(NamedTuple):
    """`levels` (Q,), 0.5 among them; `loads` (L,)."""

    levels: Floats
    loads: Floats


class Tables(NamedTuple):
    """Per engine, as in `Surface`: ROOTS of waits (V, N, L*Q), with `floor`, and of gaps (V, N, L*S*Q).

    alone_ms (V, knots): TTFT of prompts in an empty engine
    """

    wait_roots: Singles
    gap_roots: Singles
    alone_ms: Floats
    units_ms: Floats
    floor: float


class Corners(NamedTuple):
    """The nodes of each cell's cube, (C, 8), and their weights per engine, (V, C, 8)."""

    nodes: Integers
    weights: Singles


class Questions(NamedTuple):
    """atoms (C, 3, A, ATOM_COLUMNS) of TTFT, ITL and E2E; SLO terms (C, T): which of them, or NONE."""

    atoms: Floats
    terms: Integers
    percentiles: Floats
    bounds_ms: Floats


@compiled
def _blend(table: Singles, nodes: Integers, weights: Singles, out: Singles) -> None:
    """The weighted rows of a table of roots (N, X)."""
    out[:] = 0
    for corner in range(len(nodes)):
        weight = weights[corner]
        if weight != 0:
            row = table[nodes[corner]]
            for x in range(len(out)):
                out[x] += weight * row[x]


@compiled
def _times_ms(roots: Singles, load: int, share: np.float32, scale: tuple[float, float], out: Singles) -> None:
    """Milliseconds from roots (L, X), `share` of the way to the next load; `scale`: (unit, floor)."""
    low, high = roots[load], roots[min(load + 1, len(roots) - 1)]
    unit_ms, floor, zero = np.float32(scale[0]), np.float32(scale[1]), np.float32(0)
    for x in range(len(out)):
        root = low[x] + share * (high[x] - low[x])
        square = root * root
        fourth = square * square
        eighth = fourth * fourth
        above = eighth * eighth - floor
        out[x] = unit_ms * above if above > zero else zero


@compiled
def _wait_level(bound_ms: float, wait: Singles, levels: Floats) -> float:
    """The level at which ascending waits reach the bound."""
    low, high = 0, len(levels) - 1
    if bound_ms >= wait[high]:
        return 1.0
    if bound_ms < wait[low]:
        return 0.0
    while high - low > 1:
        middle = (low + high) // 2
        if wait[middle] <= bound_ms:
            low = middle
        else:
            high = middle
    part = (bound_ms - wait[low]) / (wait[high] - wait[low])
    return float(levels[low] + part * (levels[high] - levels[low]))


@compiled
def _gap_at(gap: Singles, level: int, place: float, num_levels: int) -> float:
    """A quantile of G at a place among the decode steps."""
    knot = int(place)
    low, high = gap[knot * num_levels + level], gap[(knot + 1) * num_levels + level]
    return float(low + (place - knot) * (high - low))


@compiled
def _gap_level(bound_ms: float, gap: Singles, place: float, levels: Floats) -> float:
    """The level at which ascending gaps reach the bound."""
    count = len(levels)
    low, high = 0, count - 1
    at_low, at_high = _gap_at(gap, low, place, count), _gap_at(gap, high, place, count)
    if bound_ms >= at_high:
        return 1.0
    if bound_ms < at_low:
        return 0.0
    while high - low > 1:
        middle = (low + high) // 2
        at = _gap_at(gap, middle, place, count)
        if at <= bound_ms:
            low, at_low = middle, at
        else:
            high, at_high = middle, at
    part = (bound_ms - at_low) / (at_high - at_low)
    return float(levels[low] + part * (levels[high] - levels[low]))


@compiled
def _sum_at(level: int, median: int, atom: Floats, wait: Singles, gap: Singles) -> float:
    """Approximate quantile of the sum alone + W + n G.

    Medians add; deviations from them combine as for normals with correlation `_CORRELATION`.
    """
    count, steps, place = len(wait), atom[STEPS], atom[STEPS_PLACE]
    middle_wait, middle_gap = wait[median], steps * _gap_at(gap, median, place, count)
    a, b = wait[level] - middle_wait, steps * _gap_at(gap, level, place, count) - middle_gap
    deviation = np.sqrt(a * a + b * b + 2.0 * _CORRELATION * a * b)
    return float(atom[ALONE] + middle_wait + middle_gap + (deviation if level > median else -deviation))


@compiled
def _sum_level(bound_ms: float, atom: Floats, wait: Singles, gap: Singles, levels: Floats) -> float:
    """The level at which alone + W + n G reaches the bound."""
    median = 0
    while levels[median] < 0.5:
        median += 1
    low, high = 0, len(levels) - 1
    at_low, at_high = _sum_at(low, median, atom, wait, gap), _sum_at(high, median, atom, wait, gap)
    if bound_ms >= at_high:
        return 1.0
    if bound_ms < at_low:
        return 0.0
    while high - low > 1:
        middle = (low + high) // 2
        at = _sum_at(middle, median, atom, wait, gap)
        if at <= bound_ms:
            low, at_low = middle, at
        else:
            high, at_high = middle, at
    part = (bound_ms - at_low) / (at_high - at_low)
    return float(levels[low] + part * (levels[high] - levels[low]))


@compiled
def _kept(bound: tuple[int, float], atoms: Floats, wait: Singles, gap: Singles, levels: Floats) -> float:
    """The share of the requests that keep a bound; `bound` is (TTFT, ITL or E2E; milliseconds)."""
    kind, bound_ms = bound
    total = 0.0
    for place in range(atoms.shape[1]):
        atom = atoms[kind, place]
        if atom[WEIGHT] == 0.0:
            break
        kept = 1.0
        if kind == TTFT:
            kept = _wait_level(bound_ms - atom[ALONE], wait, levels)
        elif kind == E2E:
            kept = _sum_level(bound_ms, atom, wait, gap, levels)
        elif atom[STEPS] > 0.0:  # one token has no gap
            kept = _gap_level(bound_ms, gap, atom[STEPS_PLACE], levels)
        total += atom[WEIGHT] * kept
    return total


@compiled
def _violated(slo: Floats, atoms: Floats, wait: Singles, gap: Singles, levels: Floats) -> int:
    """The term that is furthest from its percentile, by its place; NONE where all are kept.

    slo: shape (3, T): which term (or NONE), percentile, bound
    """
    worst, column = _KEPT, NONE
    for term in range(slo.shape[1]):
        if slo[0, term] < 0:
            break
        short = slo[1, term] - _kept((int(slo[0, term]), slo[2, term]), atoms, wait, gap, levels)
        if short > worst:
            worst, column = short, term
    return column


@compiled
def _violated_at(
    at: tuple[int, float], slo: Floats, atoms: Floats, met: tuple[Any, ...], levels: Floats
) -> int:
    """`_violated` at (load, way to the next one)."""
    wait_roots, gap_roots, wait, gap, unit_ms, floor = met
    load, share = at[0], np.float32(at[1])
    _times_ms(wait_roots, load, share, (unit_ms, floor), wait)
    _times_ms(gap_roots, load, share, (unit_ms, 0.0), gap)
    return _violated(slo, atoms, wait, gap, levels)


@compiled
def _search_cell(axes: Axes, slo: Floats, atoms: Floats, met: tuple[Any, ...]) -> tuple[float, int]:
    """(share of saturation, the term that gives way above it).

    met: roots of W (L, Q) and G (L, S*Q), room for the times at one load, unit and floor
    """
    levels, loads = axes
    # -1 and the number of loads stand for what is kept and for what is violated without asking.
    low, high, binding = -1, len(loads), NONE
    while high - low > 1:
        middle = (low + high) // 2
        violated = _violated_at((middle, 0.0), slo, atoms, met, levels)
        if violated < 0:
            low = middle
        else:
            high, binding = middle, violated
    if low < 0:
        return 0.0, binding
    if binding < 0:
        return 1.0, NONE
    below, above = 0.0, 1.0
    for _ in range(_HALVINGS):
        share = 0.5 * (below + above)
        violated = _violated_at((low, share), slo, atoms, met, levels)
        if violated < 0:
            below = share
        else:
            above, binding = share, violated
    return loads[low] + 0.5 * (below + above) * (loads[high] - loads[low]), binding


@compiled
def _meet(atoms: Floats, alone_ms: Floats, out: Floats) -> None:
    """The atoms of a cell at one engine: their prompts take as long as this table says."""
    for kind in range(atoms.shape[0]):
        for atom in range(atoms.shape[1]):
            place = atoms[kind, atom, PROMPT]
            knot = int(place)
            out[kind, atom] = atoms[kind, atom]
            out[kind, atom, ALONE] = alone_ms[knot] + (place - knot) * (alone_ms[knot + 1] - alone_ms[knot])


def _search(
    axes: Axes, tables: Tables, corners: Corners, questions: Questions, outside: Booleans
) -> tuple[Floats, Integers]:
    """Shares of saturation and binding terms, shape (V, C); NaN and NONE where `outside`."""
    num_engines, num_cells = outside.shape
    shares = np.full((num_engines, num_cells), np.nan)
    binding = np.full((num_engines, num_cells), NONE, dtype=np.int64)
    waits = np.empty(tables.wait_roots.shape[2], np.float32)
    gaps = np.empty(tables.gap_roots.shape[2], np.float32)
    num_loads = len(axes.loads)
    by_load = waits.reshape(num_loads, -1), gaps.reshape(num_loads, -1)
    wait, gap = np.empty(by_load[0].shape[1], np.float32), np.empty(by_load[1].shape[1], np.float32)
    atoms, slo = np.empty(questions.atoms.shape[1:]), np.empty((3, questions.terms.shape[1]))
    for engine in range(num_engines):
        unit_ms, alone_ms = tables.units_ms[engine], tables.alone_ms[engine]
        for cell in range(num_cells):
            if outside[engine, cell]:
                continue
            nodes, weights = corners.nodes[cell], corners.weights[engine, cell]
            _blend(tables.wait_roots[engine], nodes, weights, waits)
            _blend(tables.gap_roots[engine], nodes, weights, gaps)
            _meet(questions.atoms[cell], alone_ms, atoms)
            slo[0], slo[1] = questions.terms[cell], questions.percentiles[cell]
            slo[2] = questions.bounds_ms[cell]
            met = (*by_load, wait, gap, unit_ms, tables.floor)
            shares[engine, cell], binding[engine, cell] = _search_cell(axes, slo, atoms, met)
    return shares, binding


search = kept_on_disk(_search)
