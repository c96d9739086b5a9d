"""Mixes and SLOs as arrays: the questions that surfaces answer.

Owns packing mixes into moments and atoms, and SLOs into terms. Input: one mix and one SLO per cell;
output: `Cells`, to be asked of any number of surfaces.

An atom is a weighted value of what a term depends on: prompt tokens (TTFT), decode steps (ITL),
or both (E2E). Each mix has at most NUM_ATOMS of each: its distinct values where they are that
few, else neighbours in groups of equal weight, by their means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from argosy.arrays import Booleans, Floats, Integers
from argosy.errors import SpecError
from argosy.perf.capacity.surfaces import grid
from argosy.perf.capacity.surfaces.surface import LONE_PROMPT_TOKENS
from argosy.snapshot import Mix, Slo, Term

NUM_ATOMS = 12
TERMS = (Term.TTFT, Term.ITL, Term.E2E)
PERCENTILES = (0.5, 0.99)
"""What the tables hold; other percentiles are simulated."""
# Prompt tokens that cost about as much time as one decode step: only to sort atoms by E2E.
_PROMPT_TOKENS_PER_STEP = 500.0
_MAX_CACHED_SHARE = 0.5
_MAX_DISPERSION_OF_STEPS = 4.0


@dataclass(frozen=True, slots=True)
class Atoms:
    """Shape (cells, NUM_ATOMS); weight 0 where there are fewer."""

    prompt_tokens: Floats
    decode_steps: Floats
    weights: Floats


@dataclass(frozen=True, slots=True)
class Cells:
    """Questions, one per cell.

    atoms:     for each of TERMS
    moments:   shape (cells,) each
    longest:   tokens of the longest request
    untabled:  the mix or the SLO is outside of what any surface holds
    terms:     shape (cells, terms), index into TERMS, -1 where there are fewer
    percentiles, bounds_ms: shape (cells, terms)
    """

    atoms: tuple[Atoms, Atoms, Atoms]
    moments: grid.Moments
    longest: Floats
    untabled: Booleans
    terms: Integers
    percentiles: Floats
    bounds_ms: Floats

    def __len__(self) -> int:
        return len(self.longest)


def cells(mixes: Sequence[Mix], slos: Sequence[Slo]) -> Cells:
    """Pack one mix and one SLO per cell. Raises SpecError where their numbers differ."""
    if len(mixes) != len(slos) or not mixes:
        raise SpecError(f"one SLO per mix is needed, got {len(slos)} for {len(mixes)}", "slos")
    prompts, outputs, cached, weights = _padded(mixes)
    moments = grid.moments((prompts, outputs, cached), weights)
    computed, steps = prompts - np.minimum(cached, prompts - 1), outputs - 1
    by_time = steps + computed / _PROMPT_TOKENS_PER_STEP
    terms, percentiles, bounds_ms = _terms(slos)
    outside = ~((percentiles >= PERCENTILES[0]) & (percentiles <= PERCENTILES[1]))
    return Cells(
        atoms=(
            _atoms(computed, (computed, steps), weights),
            _atoms(steps, (computed, steps), weights),
            _atoms(by_time, (computed, steps), weights),
        ),
        moments=moments,
        longest=np.where(weights > 0, prompts + outputs, 0).max(axis=1),
        untabled=(outside & (terms >= 0)).any(axis=1)
        | _unlike_the_nodes(moments, (steps, cached), weights)
        | (np.where(weights > 0, computed, 0).max(axis=1) > LONE_PROMPT_TOKENS[-1]),
        terms=terms,
        percentiles=percentiles,
        bounds_ms=bounds_ms,
    )


def _padded(mixes: Sequence[Mix]) -> Floats:
    """Shape (4, cells, slices): prompt, output, cached tokens, weight (normalised; 0 pads)."""
    counts = np.array([len(mix.slices) for mix in mixes])
    flat = np.array(
        [(s.prompt_tokens, s.output_tokens, s.cached_tokens, s.weight) for mix in mixes for s in mix.slices],
        dtype=np.float64,
    )
    table = np.ones((4, len(mixes), int(counts.max())))
    table[2:] = 0.0
    rows = np.repeat(np.arange(len(mixes)), counts)
    columns = np.arange(len(flat)) - np.repeat(np.cumsum(counts) - counts, counts)
    table[:, rows, columns] = flat.T
    table[3] /= table[3].sum(axis=1, keepdims=True)
    return table


def _atoms(key: Floats, values: tuple[Floats, Floats], weights: Floats) -> Atoms:
    """Slices with neighbouring `key` put together, by the means of `values` = (prompt, steps)."""
    order = np.argsort(np.where(weights > 0, key, np.inf), axis=1, kind="stable")
    key, weights, *values_sorted = (
        np.take_along_axis(array, order, axis=1) for array in (key, weights, *values)
    )
    distinct = np.cumsum(np.diff(key, axis=1, prepend=key[:, :1]) > 0, axis=1)
    by_weight = np.cumsum(weights, axis=1) - weights / 2
    group = np.where(
        np.where(weights > 0, distinct, 0).max(axis=1, keepdims=True) < NUM_ATOMS,
        np.where(weights > 0, distinct, 0),
        np.minimum(by_weight * NUM_ATOMS, NUM_ATOMS - 1).astype(np.int64),
    )
    num_cells = len(key)
    place = (group + NUM_ATOMS * np.arange(num_cells)[:, None]).ravel()
    sums: list[Floats] = [
        np.bincount(place, (weights * value).ravel(), NUM_ATOMS * num_cells).astype(np.float64)
        for value in (np.ones_like(weights), *values_sorted)
    ]
    total, prompt, steps = (values.reshape(num_cells, NUM_ATOMS) for values in sums)
    some = np.where(total > 0, total, 1.0)
    return Atoms(np.where(total > 0, prompt / some, 1.0), steps / some, total)


def _unlike_the_nodes(moments: grid.Moments, lengths: tuple[Floats, Floats], weights: Floats) -> Booleans:
    """Means off the grid, outputs that vary much more than the nodes', or prompts largely cached."""
    steps, cached = lengths
    means = moments.computed, moments.steps + 1
    off = [
        (mean < axis[0]) | (mean > axis[-1])
        for mean, axis in zip(means, (grid.PROMPT_TOKENS, grid.OUTPUT_TOKENS), strict=True)
    ]
    squares = (weights * steps**2).sum(axis=1)
    hit = (weights * cached).sum(axis=1)
    unlike: Booleans = (
        off[0]
        | off[1]
        | (squares > (1 + _MAX_DISPERSION_OF_STEPS) * moments.steps**2)
        | (hit > _MAX_CACHED_SHARE * (hit + moments.computed))
    )
    return unlike


def _terms(slos: Sequence[Slo]) -> tuple[Integers, Floats, Floats]:
    width = max(1, *(len(slo.terms) for slo in slos))
    kinds = np.full((len(slos), width), -1, dtype=np.int64)
    percentiles, bounds_ms = np.zeros((2, len(slos), width))
    for row, slo in enumerate(slos):
        for column, term in enumerate(slo.terms):
            kinds[row, column] = TERMS.index(term.term)
            percentiles[row, column], bounds_ms[row, column] = term.percentile, term.bound_ms
    return kinds, percentiles, bounds_ms
