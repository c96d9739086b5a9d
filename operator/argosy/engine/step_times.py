"""An engine's step time as arrays: what the scheduler, and its compiled twin, look up.

Owns the array layout, the arithmetic of one iteration, and the two compact descriptions that the
arrays are made from: the closed form (`coefficients`) and a table on knots (`StepTable`).

With B sequences decoding over K KV tokens in all, and prefill chunks of c_i tokens on
prefixes of p_i tokens, n = B + sum c_i:

    gpu = s * [matrix(n) + decode(B, K/B) + chunk_ms + sum_i c_i * chunk(c_i, p_i)]              ms
    t   = max(gpu, h0 + hB*B) + c0 + cB*B                                                        ms

The host's work is in c0 and cB where the GPU waits for it, and in h0 and hB where it is done while
the GPU computes (asynchronous scheduling): there it counts only where it takes longer.
`matrix` is everything that is not attention, a function of the number of tokens alone (the
source's mixed steps separate exactly so); `decode` is the attention of the decoding sequences
at their mean context (0 where B = 0), piecewise linear in the context, so that iterations of
one batch add up in closed form between two knots, on either side of the point where the GPU
takes as long as the host; `chunk` is the attention of a chunk per
token, bilinear in chunk and prefix. Beyond the last knots all continue linearly:
`perf` refuses questions outside the measured range.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Protocol, overload, runtime_checkable

import numpy as np
import numpy.typing as npt

from argosy.arrays import Floats
from argosy.errors import InvariantError, SpecError


@dataclass(frozen=True, slots=True, eq=False)
class StepTimes:
    """What one engine looks up. Milliseconds; arrays are float64, C-contiguous, read-only.

    matrix_ms:          shape (max tokens + 1,), by number of tokens of the iteration; [0] = 0
    context_knots:      shape (Q,), Q >= 2, ascending, tokens
    decode_ms:          shape (max sequences + 1, Q), by batch and context knot; [0] = 0
    chunk_ms:           per iteration that has any chunk: one kernel serves them all
    chunk_knots:        shape (C,), C >= 2, ascending, tokens of the chunk
    prefix_knots:       shape (P,), P >= 2, ascending, tokens before the chunk
    chunk_ms_per_token: shape (C, P)
    s, c0, cb:          calibration: a factor, ms per iteration, ms per decoding sequence
    host_ms, host_ms_per_sequence:
                        h0 and hB, the host's work beside the GPU's: ms per iteration, ms per decoding
                        sequence

    Raises InvariantError for arrays that are not finite or do not fit their knots: compiled code reads
    them without checks.
    """

    matrix_ms: Floats
    context_knots: Floats
    decode_ms: Floats
    chunk_ms: float
    chunk_knots: Floats
    prefix_knots: Floats
    chunk_ms_per_token: Floats
    s: float = 1.0
    c0: float = 0.0
    cb: float = 0.0
    host_ms: float = 0.0
    host_ms_per_sequence: float = 0.0

    def __post_init__(self) -> None:
        grid = {
            "matrix_ms": (len(self.matrix_ms),),
            "decode_ms": (len(self.decode_ms), len(self.context_knots)),
            "chunk_ms_per_token": (len(self.chunk_knots), len(self.prefix_knots)),
        }
        for name, shape in grid.items():
            values = getattr(self, name)
            if values.shape != shape or not np.all(np.isfinite(values)):
                # Compiled code reads them without looking.
                raise InvariantError(f"{name} is not finite or has shape {values.shape} for knots of {shape}")
        if min(len(self.context_knots), len(self.chunk_knots), len(self.prefix_knots)) < 2:
            raise InvariantError("a line needs two knots")
        if not (np.isfinite(self.host_ms) and np.isfinite(self.host_ms_per_sequence)):
            raise InvariantError("the host's work beside the GPU's is not finite")

    @property
    def decode_slopes(self) -> Floats:
        """Milliseconds per token of context, shape (max sequences + 1, Q - 1)."""
        slopes: Floats = np.diff(self.decode_ms, axis=1) / np.diff(self.context_knots)
        return slopes

    def step_times(self, max_tokens: int, max_seqs: int) -> StepTimes:
        """Itself: arrays are a source too, for engines that are not larger. Raises ValueError."""
        tokens, seqs = len(self.matrix_ms) - 1, len(self.decode_ms) - 1
        if max_tokens > tokens or max_seqs > seqs:
            raise ValueError(
                f"these step times end at {tokens} tokens and {seqs} sequences per iteration; "
                f"the engine needs {max_tokens} and {max_seqs}"
            )
        return self

    def digest(self) -> str:
        """A hash of all arrays and the calibration."""
        return _digest(self)

    def with_calibration(self, s: float, c0: float, cb: float) -> StepTimes:
        """The same times on silicon with another factor and host overhead (ms)."""
        return replace(self, s=s, c0=c0, cb=cb)


class StepTimeSource(Protocol):
    """A compact description that gives an engine of any limits its arrays."""

    def step_times(self, max_tokens: int, max_seqs: int) -> StepTimes:
        """The arrays for at most `max_tokens` tokens and `max_seqs` sequences per iteration."""
        ...

    def digest(self) -> str:
        """A hash (hexadecimal) of all values: equal descriptions, equal digests."""
        ...


@runtime_checkable
class CalibratedSource(StepTimeSource, Protocol):
    """A source whose calibration can be replaced: its times on silicon and its host are kept apart."""

    def with_calibration(self, s: float, c0: float, cb: float) -> StepTimeSource:
        """The same silicon: `s` times as slow, `c0` ms per iteration, `cb` ms per decoding sequence."""
        ...


@dataclass(frozen=True, slots=True)
class SlowerPrefill:
    """A source whose prefill takes `ms_per_token` more for each token (less where negative).

    What a token is saved is at most half of what it takes in the largest iteration, so that none takes
    negative time. Raises SpecError for a number that is not finite.
    """

    source: StepTimeSource
    ms_per_token: float

    def __post_init__(self) -> None:
        if not np.isfinite(self.ms_per_token):
            raise SpecError(f"must be a finite number, got {self.ms_per_token}", "ms_per_token")

    def step_times(self, max_tokens: int, max_seqs: int) -> StepTimes:
        """The arrays of the source; what is added is not multiplied by its factor s."""
        times = self.source.step_times(max_tokens, max_seqs)
        most_saved = 0.5 * float(times.matrix_ms[-1]) / (len(times.matrix_ms) - 1)
        added = max(self.ms_per_token / times.s, -most_saved)
        return replace(times, chunk_ms_per_token=frozen(times.chunk_ms_per_token + added))

    def digest(self) -> str:
        """A hash (hexadecimal) of the source and what is added."""
        return hashlib.sha256(f"prefill {self.ms_per_token!r} {self.source.digest()}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class StepTimesQuestion:
    """What is asked of a source, compared by what the source holds: a key for caches."""

    digest: str
    max_tokens: int
    max_seqs: int
    source: StepTimeSource = field(compare=False)

    def answer(self) -> StepTimes:
        """The arrays. Raises ValueError where the source gives too few: compiled code does not look."""
        return self.source.step_times(self.max_tokens, self.max_seqs).step_times(
            self.max_tokens, self.max_seqs
        )


@dataclass(frozen=True, slots=True, eq=False)
class StepTable:
    """Step times measured on knots, as compact as they are stored (float64, milliseconds).

    token_knots (N,) with matrix_ms (N,): the knots start at 1; linear between them;
    batch_knots (M,) and context_knots (Q,) with decode_ms (M, Q): the batches start at 1;
    chunk_knots (C,) and prefix_knots (P,) with chunk_ms_per_token (C, P), on top of chunk_ms.

    Raises SpecError, with the array's name, for knots that do not ascend, shapes that differ from the
    knots', and times that are negative or not finite.
    """

    token_knots: Floats
    matrix_ms: Floats
    batch_knots: Floats
    context_knots: Floats
    decode_ms: Floats
    chunk_knots: Floats
    prefix_knots: Floats
    chunk_ms_per_token: Floats
    s: float = 1.0
    c0: float = 0.0
    cb: float = 0.0
    chunk_ms: float = 0.0

    def __post_init__(self) -> None:
        _require_knots(self.token_knots, "token_knots", first=1.0)
        _require_knots(self.batch_knots, "batch_knots", first=1.0)
        for name in ("context_knots", "chunk_knots", "prefix_knots"):
            _require_knots(getattr(self, name), name, at_least=2)
        grid = {
            "matrix_ms": (len(self.token_knots),),
            "decode_ms": (len(self.batch_knots), len(self.context_knots)),
            "chunk_ms_per_token": (len(self.chunk_knots), len(self.prefix_knots)),
        }
        for name, shape in grid.items():
            values = getattr(self, name)
            if values.shape != shape:
                raise SpecError(f"has shape {values.shape}, but its knots make {shape}", name)
            if not np.all(np.isfinite(values)) or np.any(values < 0):
                raise SpecError("milliseconds must be finite and not negative", name)
        if not np.all(self.matrix_ms > 0) or not (np.isfinite(self.s) and self.s > 0):
            raise SpecError("an iteration must take time: matrix_ms and s have to be positive")
        if not (np.isfinite(self.c0) and np.isfinite(self.cb)):
            raise SpecError("the host's overhead (c0, cb) must be finite")
        if not (np.isfinite(self.chunk_ms) and self.chunk_ms >= 0):
            raise SpecError("milliseconds must be finite and not negative", "chunk_ms")

    def step_times(self, max_tokens: int, max_seqs: int) -> StepTimes:
        """Linear between knots, and with the slope of the last two beyond them."""
        matrix = _along(self.token_knots, self.matrix_ms[:, None], max_tokens)[:, 0]
        return StepTimes(
            matrix_ms=frozen(matrix),
            context_knots=frozen(self.context_knots),
            decode_ms=frozen(_along(self.batch_knots, self.decode_ms, max_seqs)),
            chunk_ms=self.chunk_ms,
            chunk_knots=frozen(self.chunk_knots),
            prefix_knots=frozen(self.prefix_knots),
            chunk_ms_per_token=frozen(self.chunk_ms_per_token),
            s=self.s,
            c0=self.c0,
            cb=self.cb,
        )

    def digest(self) -> str:
        """A hash of all arrays and the calibration."""
        return _digest(self)

    def with_calibration(self, s: float, c0: float, cb: float) -> StepTable:
        """The same times on silicon with another factor and host overhead (ms)."""
        return replace(self, s=s, c0=c0, cb=cb)


@overload
def step_ms(
    source: StepTimeSource, num_decodes: float, kv_tokens: float, chunks: Iterable[tuple[float, float]] = ...
) -> float: ...
@overload
def step_ms(
    source: StepTimeSource, num_decodes: npt.ArrayLike, kv_tokens: npt.ArrayLike, chunks: npt.ArrayLike = ...
) -> Floats: ...
def step_ms(
    source: StepTimeSource,
    num_decodes: npt.ArrayLike,
    kv_tokens: npt.ArrayLike,
    chunks: npt.ArrayLike | Iterable[tuple[float, float]] = (),
) -> Floats | float:
    """Milliseconds of iterations that compute at least one token, vectorised.

    num_decodes: B, shape (...); sequences that decode one token each
    kv_tokens:   K, broadcast against it; tokens in the KV cache before the iteration, in all
    chunks:      shape (..., M, 2): (tokens, prefix) of M prefill chunks per iteration; the
                 prefix is what is already computed; 0 tokens are no chunk

    Quantities need not be whole: between whole numbers it is linear. Arrays are made to fit the
    question; a `StepTimes` is taken as it is, so pass one to ask often. Raises SpecError for an
    iteration without tokens, and for sizes that are negative or not finite.
    """
    batch, kv = np.broadcast_arrays(np.asarray(num_decodes, float), np.asarray(kv_tokens, float))
    pieces = np.asarray(chunks, float)
    pieces = pieces.reshape(*pieces.shape[:-1], 2) if pieces.size else np.zeros((1, 2))
    chunk_tokens, prefixes = pieces[..., 0], pieces[..., 1]
    tokens = batch + chunk_tokens.sum(axis=-1)
    if not (np.all(np.isfinite(tokens)) and np.all(np.isfinite(kv)) and np.all(tokens > 0)):
        raise SpecError("an iteration computes at least one token, and its sizes must be finite")
    if np.any(batch < 0) or np.any(kv < 0) or np.any(pieces < 0):
        raise SpecError("an iteration's sizes must not be negative")
    times = source.step_times(int(np.ceil(tokens.max())), int(np.ceil(batch.max())))
    attention = _decode_attention(times, batch, kv) + _chunk_attention(times, chunk_tokens, prefixes)
    at = np.arange(len(times.matrix_ms), dtype=float)
    matrix = np.interp(tokens, at, times.matrix_ms)
    host = times.host_ms + times.host_ms_per_sequence * batch
    duration: Floats = np.maximum(times.s * (matrix + attention), host) + times.c0 + times.cb * batch
    return duration


def _decode_attention(times: StepTimes, batch: Floats, kv_tokens: Floats) -> Floats:
    """At each (B, K), linear in the mean context and, between whole numbers, in the batch."""
    context = kv_tokens / np.maximum(batch, 1e-9)
    column = _interval(times.context_knots, context)
    ahead = context - times.context_knots[column]
    row = batch.astype(np.intp)
    above = np.minimum(row + 1, len(times.decode_ms) - 1)
    slopes = times.decode_slopes
    low = times.decode_ms[row, column] + slopes[row, column] * ahead
    high = times.decode_ms[above, column] + slopes[above, column] * ahead
    attention: Floats = low + (batch - row) * (high - low)
    return attention


def _chunk_attention(times: StepTimes, tokens: Floats, prefixes: Floats) -> Floats:
    """Summed over the last axis; bilinear in chunk and prefix."""
    per_token = bilinear(
        (times.chunk_knots, times.prefix_knots), times.chunk_ms_per_token, (tokens, prefixes)
    )
    shared = np.where(np.any(tokens > 0, axis=-1), times.chunk_ms, 0.0)
    attention: Floats = shared + (tokens * per_token).sum(axis=-1)
    return attention


def bilinear(knots: tuple[Floats, Floats], values: Floats, at: tuple[Floats, Floats]) -> Floats:
    """`values` (R, C) on knots (R,) and (C,), at points whose shape the result has.

    at: (position among the rows, position among the columns), arrays of one shape; linear beyond the last
    knots.
    """
    (rows, columns), (row_at, column_at) = knots, at
    i, j = _interval(rows, row_at), _interval(columns, column_at)
    u = (row_at - rows[i]) / (rows[i + 1] - rows[i])
    v = (column_at - columns[j]) / (columns[j + 1] - columns[j])
    near, far = values[i, j], values[i, j + 1]
    low = near + u * (values[i + 1, j] - near)
    high = far + u * (values[i + 1, j + 1] - far)
    between: Floats = low + v * (high - low)
    return between


def _interval(knots: Floats, at: Floats) -> npt.NDArray[np.intp]:
    """The index of the knot on the left, so that the outermost lines go on beyond the knots."""
    return np.searchsorted(knots[1:-1], at, side="right")


def _require_knots(knots: Floats, name: str, first: float | None = None, at_least: int = 1) -> None:
    if knots.ndim != 1 or len(knots) < at_least:
        raise SpecError(f"needs at least {at_least} knots in one row, has shape {knots.shape}", name)
    if not np.all(np.isfinite(knots)) or np.any(np.diff(knots) <= 0) or knots[0] < 0:
        raise SpecError("knots must be finite, ascending and not negative", name)
    if first is not None and knots[0] != first:
        raise SpecError(f"the first knot must be {first:g}, got {knots[0]:g}", name)


def _digest(description: StepTimes | StepTable) -> str:
    content = hashlib.sha256(type(description).__name__.encode())
    for each in fields(description):
        value = np.ascontiguousarray(getattr(description, each.name), dtype=np.float64)
        content.update(f"{each.name}{value.shape}".encode())
        content.update(value.tobytes())
    return content.hexdigest()


def _along(knots: Floats, values: Floats, last: int) -> Floats:
    """`values` (knots, columns) at 0..last: linear, continued at the end, row 0 zero."""
    at = np.arange(last + 1, dtype=np.float64)
    if len(knots) == 1:
        dense = np.repeat(values, last + 1, axis=0)
    else:
        left = np.clip(np.searchsorted(knots, at, side="right") - 1, 0, len(knots) - 2)
        share = ((at - knots[left]) / (knots[left + 1] - knots[left]))[:, None]
        dense = values[left] + share * (values[left + 1] - values[left])
    dense[0] = 0.0
    return dense


def frozen(values: Floats) -> Floats:
    """A contiguous, read-only copy of the same shape."""
    copy = np.array(values, dtype=np.float64, order="C")
    copy.setflags(write=False)
    return copy
