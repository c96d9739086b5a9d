"""The arithmetic of `step_times`, compiled: for one iteration, and for many that only decode.

Owns the milliseconds of an iteration; `kernel` decides what it computes.
"""

from __future__ import annotations

import numpy as np

from argosy.arrays import Floats, Integers
from argosy.engine.compiled import Kernel
from argosy.engine.twin import layout
from argosy.engine.twin.layout import Speed

# Everything that is compiled into the twin.
TWIN = Kernel(layout)


@TWIN.inlined
def speed_of(tables: Floats, ends: Integers) -> Speed:
    """Views of one engine's step times in `tables`, shape (X,); array i is tables[ends[i]:ends[i + 1]]."""
    knots = tables[ends[1] : ends[2]]
    prefix_knots = tables[ends[5] : ends[6]]
    return Speed(
        tables[ends[0] : ends[1]],
        knots,
        tables[ends[2] : ends[3]].reshape((-1, len(knots))),
        tables[ends[3] : ends[4]].reshape((-1, len(knots) - 1)),
        tables[ends[4] : ends[5]],
        prefix_knots,
        tables[ends[6] : ends[7]].reshape((-1, len(prefix_knots))),
        tables[ends[7] : ends[8]],
    )


@TWIN.inlined
def left_knot(knots: Floats, position: float) -> int:
    """The knot to the left of the position, for knots of shape (Q,); the outermost intervals go on beyond."""
    low, high = 0, len(knots) - 2
    while low < high:
        middle = (low + high + 1) >> 1
        if knots[middle] <= position:
            low = middle
        else:
            high = middle - 1
    return low


@TWIN.inlined
def chunk_attention_ms(speed: Speed, tokens: int, prefix: int) -> float:
    """The attention of one prefill chunk, unscaled, without what an iteration's chunks pay together."""
    rows, columns, grid = speed.chunk_knots, speed.prefix_knots, speed.chunk_ms_per_token
    i, j = left_knot(rows, tokens), left_knot(columns, prefix)
    u: float = (tokens - rows[i]) / (rows[i + 1] - rows[i])
    v: float = (prefix - columns[j]) / (columns[j + 1] - columns[j])
    low: float = grid[i, j] + u * (grid[i + 1, j] - grid[i, j])
    high: float = grid[i, j + 1] + u * (grid[i + 1, j + 1] - grid[i, j + 1])
    return tokens * (low + v * (high - low))


@TWIN.inlined
def iteration_ms(speed: Speed, batch: int, kv_tokens: int, tokens: int, chunks_ms: float) -> float:
    """`step_ms` with the attention of all chunks summed up; `tokens` are those of the chunks."""
    attention = 0.0
    if batch > 0:
        context = kv_tokens / batch
        left = left_knot(speed.context_knots, context)
        ahead = context - speed.context_knots[left]
        attention = speed.decode_ms[batch, left] + speed.decode_slopes[batch, left] * ahead
    if tokens > 0:
        attention += float(speed.scale[0]) + chunks_ms
    gpu_ms: float = speed.scale[1] * (speed.matrix_ms[batch + tokens] + attention)
    return max(gpu_ms, host_ms(speed, batch)) + float(speed.scale[2]) + float(speed.scale[3]) * batch


@TWIN.inlined
def host_ms(speed: Speed, batch: int) -> float:
    """The host's work beside the GPU's."""
    return float(speed.scale[4]) + float(speed.scale[5]) * batch


@TWIN.inlined
def steps_to_crossing(first_ms: float, more_ms: float, level_ms: float) -> int:
    """Steps of first, first + more, ... before it passes the level; FAR where it never does."""
    if first_ms < level_ms and more_ms > 0:
        steps = np.ceil((level_ms - first_ms) / more_ms)
    elif first_ms > level_ms and more_ms < 0:
        steps = np.floor((first_ms - level_ms) / -more_ms) + 1.0
    else:
        return layout.FAR
    return int(max(1.0, steps)) if steps < 1e9 else layout.FAR


@TWIN.inlined
def sum_ms(steps: int, first_ms: float, more_ms: float) -> float:
    """first + (first + more) + (first + 2 more) + ..., `steps` terms."""
    return steps * (first_ms + 0.5 * (steps - 1) * more_ms)


@TWIN.inlined
def steps_until(gap_ms: float, first_ms: float, more_ms: float, most: int) -> int:
    """The smallest number of steps (at least 1, at most `most`) that together last `gap_ms`."""
    if sum_ms(most - 1, first_ms, more_ms) < gap_ms:
        return most
    # The smaller root of more/2 n^2 + middle n = gap, in the form that does not cancel.
    middle = first_ms - 0.5 * more_ms
    root = 2.0 * gap_ms / (middle + np.sqrt(max(0.0, middle * middle + 2.0 * more_ms * gap_ms)))
    steps = max(1, min(int(root) + 1, most))
    # Exact but for rounding.
    while steps > 1 and sum_ms(steps - 1, first_ms, more_ms) >= gap_ms:
        steps -= 1
    while steps < most and sum_ms(steps, first_ms, more_ms) < gap_ms:
        steps += 1
    return steps


@TWIN.inlined
def weighed_ms(steps: int, first_ms: float, more_ms: float) -> float:
    """0 first + 1 (first + more) + 2 (first + 2 more) + ..., `steps` terms."""
    squares = (steps - 1) * steps * (2 * steps - 1) / 6.0
    return 0.5 * steps * (steps - 1) * first_ms + squares * more_ms
