"""Capacities of many cells on many engines, from their surfaces, in one call.

Owns interpolation between nodes, what counts as outside, and the order of faster and slower
engines. The caller simulates cells that are outside (`capacity.search.measure_capacity`). Input:
surfaces and `Cells`; output: arrays (cells, engines).

Order of engines. Where one engine is at least as fast in every probed step, has the same slots
and budget and no less KV cache and context, its capacity must not be the smaller one. Where
noise or interpolation says it is, the slower engine's is lowered to it: the answer errs on the
careful side, and depends on the company only where the law was broken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from argosy.arrays import Booleans, Floats, Integers, Singles
from argosy.errors import SpecError
from argosy.perf.capacity.surfaces import grid
from argosy.perf.capacity.surfaces.cells import Cells
from argosy.perf.capacity.surfaces.surface import LONE_PROMPT_TOKENS, WAIT_FLOOR, Surface

Packed = TypeVar("Packed", bound=npt.NDArray[Any])
# Waits are nearly straight along this power of the squared coefficient of variation.
_DISPERSION_POWER = 0.7
# How far beyond the widest node a mix may vary: its waits count as those of the node.
_DISPERSION_SLACK = 1.25


@dataclass(frozen=True, slots=True)
class SurfaceStack:
    """Surfaces side by side; `slower_than[a, b]`: b is never faster than a, anywhere.

    Arrays are those of `Surface` with a first axis over engines; roots have one axis per node.
    """

    surfaces: tuple[Surface, ...]
    wait_roots: Singles
    gap_roots: Singles
    log_saturation: Singles
    dispersion: Singles
    slower_than: Booleans


@dataclass(frozen=True, slots=True)
class SurfaceCapacities:
    """Requests/s per cell and engine, shape (cells, engines).

    requests_per_s: 0 where even a lone request breaks the SLO; NaN where `outside`
    binding:        the place of the violated term in the cell's SLO; -1: stability
    outside:        the surface has no answer: simulate
    """

    requests_per_s: Floats
    binding: Integers
    outside: Booleans


def stack(surfaces: Sequence[Surface]) -> SurfaceStack:
    """Put surfaces side by side (once per set of engines). Raises SpecError where there are none."""
    if not surfaces:
        raise SpecError("at least one surface is needed", "surfaces")
    return SurfaceStack(
        surfaces=tuple(surfaces),
        wait_roots=np.stack([surface.wait_roots.reshape(grid.NUM_NODES, -1) for surface in surfaces]),
        gap_roots=np.stack([surface.gap_roots.reshape(grid.NUM_NODES, -1) for surface in surfaces]),
        log_saturation=np.stack([surface.log_saturation for surface in surfaces]),
        dispersion=np.stack([surface.dispersion for surface in surfaces]),
        slower_than=np.array([[_is_slower(b, a) for b in surfaces] for a in surfaces]),
    )


def capacities(stacked: SurfaceStack, cells: Cells) -> SurfaceCapacities:
    """The capacity of every cell on every engine."""
    from argosy.perf.capacity.surfaces import kernel  # numba: only where a search begins

    nodes, weights, outside = _corners(stacked, cells)
    longest = np.array([surface.limits.longest_request for surface in stacked.surfaces])
    outside |= (cells.longest[None, :] > longest[:, None]) | cells.untabled[None, :]
    units_ms = np.array([surface.unit_ms for surface in stacked.surfaces])
    alone_ms = np.stack([surface.lone_ttft_ms for surface in stacked.surfaces]).astype(np.float64)
    shares, binding = kernel.search(
        kernel.Axes(np.array(grid.LEVELS), np.array(grid.LOADS)),
        kernel.Tables(stacked.wait_roots, stacked.gap_roots, alone_ms, units_ms, WAIT_FLOOR),
        kernel.Corners(_packed(nodes), _packed(weights.astype(np.float32))),
        kernel.Questions(
            _packed(_placed(cells)), cells.terms, _packed(cells.percentiles), _packed(cells.bounds_ms)
        ),
        _packed(outside),
    )
    saturation = _saturation_per_s(stacked, cells, (nodes, weights))
    rates = _ordered(shares * saturation, stacked.slower_than)
    return SurfaceCapacities(rates.T, binding.T, outside.T)


def _packed(values: Packed) -> Packed:
    """In C order whatever it was made from: each layout would be compiled anew."""
    return np.ascontiguousarray(values)  # type: ignore[return-value]


def _corners(stacked: SurfaceStack, cells: Cells) -> tuple[Integers, Floats, Booleans]:
    """Nodes around each cell (C, 8), their weights (V, C, 8), and whether one has no answer (V, C)."""
    moments = cells.moments
    prompt, up = _between(np.log(grid.PROMPT_TOKENS), np.log(moments.computed))
    output, right = _between(np.log(grid.OUTPUT_TOKENS), np.log(moments.steps + 1))
    columns, spreads = len(grid.OUTPUT_TOKENS), len(grid.PROMPT_CV)
    corners = [
        (((prompt + i) * columns + output + j) * spreads, (up if i else 1 - up) * (right if j else 1 - right))
        for i in (0, 1)
        for j in (0, 1)
    ]
    base = np.stack([index for index, _ in corners], axis=1)
    shares = np.stack([share for _, share in corners], axis=1)
    narrow, wide = stacked.dispersion[:, base], stacked.dispersion[:, base + 1]
    spread = (moments.dispersion[:, None] - narrow) / (wide - narrow)
    wide_share = np.clip(spread, 0.0, 1.0) ** _DISPERSION_POWER
    nodes = np.concatenate([base, base + 1], axis=1)
    weights = np.concatenate([shares * (1 - wide_share), shares * wide_share], axis=2)
    # A corner without weight may lie where lengths do not fit: it is no part of the answer.
    unknown = np.isnan(spread) & (shares > 0)
    beyond = (spread > _DISPERSION_SLACK) & (shares > 0)
    return nodes, np.where(np.tile(shares == 0, 2), 0.0, weights), np.any(unknown | beyond, axis=2)


def _placed(cells: Cells) -> Floats:
    """Atoms as the kernel takes them, shape (cells, terms, atoms, columns)."""
    prompts = np.stack([atoms.prompt_tokens for atoms in cells.atoms], axis=1)
    steps = np.stack([atoms.decode_steps for atoms in cells.atoms], axis=1)
    weights = np.stack([atoms.weights for atoms in cells.atoms], axis=1)
    knot, way = _between(LONE_PROMPT_TOKENS, prompts)
    # Gaps are straight in 1/sqrt of the steps; that falls, an axis has to rise.
    left, share = _between(-1 / np.sqrt(np.array(grid.DECODE_STEPS)), -1 / np.sqrt(np.maximum(steps, 1.0)))
    # The last knot is the end of the way from the one before: a place never points beyond it.
    way, share = np.minimum(way, 1 - 1e-9), np.minimum(share, 1 - 1e-9)
    return np.stack([knot + way, steps, left + share, weights], axis=3)


def _between(axis: npt.ArrayLike, at: Floats) -> tuple[Integers, Floats]:
    """The knot to the left of each, and the way to the next one (0-1); at the ends, the ends."""
    knots = np.asarray(axis, dtype=np.float64)
    where = np.clip(at, knots[0], knots[-1])
    left = np.clip(np.searchsorted(knots, where, side="right") - 1, 0, len(knots) - 2)
    return left, (where - knots[left]) / (knots[left + 1] - knots[left])


def _saturation_per_s(stacked: SurfaceStack, cells: Cells, corners: tuple[Integers, Floats]) -> Floats:
    """Shape (engines, cells): five costs per request, times the factor of the nodes around."""
    nodes, weights = corners
    factors = np.where(weights > 0, stacked.log_saturation[:, nodes], 0.0)
    costs = np.stack(
        [
            cells.moments.cost_basis(surface.limits) @ surface.cost_ms.astype(np.float64)
            for surface in stacked.surfaces
        ]
    )
    rates: Floats = 1e3 * np.exp((weights * factors).sum(axis=2)) / costs
    return rates


def _ordered(rates: Floats, slower_than: Booleans) -> Floats:
    """Lower what exceeds a faster engine's rate; NaN stays and bounds nothing."""
    known = np.where(np.isnan(rates), np.inf, rates)
    bounds = np.stack([known[slower_than[:, b]].min(axis=0) for b in range(len(rates))])
    ordered: Floats = np.where(np.isnan(rates), np.nan, np.minimum(rates, bounds))
    return ordered


def _is_slower(surface: Surface, than: Surface) -> bool:
    """Whether `than` is as fast in every step and has room for as much (itself included)."""
    mine, other = surface.limits, than.limits
    alike = all(
        getattr(mine, name) == getattr(other, name)
        for name in ("max_num_seqs", "max_num_batched_tokens", "block_size", "batches_in_flight")
    )
    roomy = other.kv_blocks >= mine.kv_blocks and other.max_model_len >= mine.max_model_len
    return alike and roomy and bool(np.all(than.speed_ms <= surface.speed_ms))
