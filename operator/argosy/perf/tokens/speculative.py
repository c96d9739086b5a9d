"""Speculative decoding as a factor: fewer, longer steps.

Owns the transformation of an engine, a mix and an SLO into ones whose steps each bring several
tokens. There is no draft model: how many tokens it proposes, how many of them are accepted and what
it costs are inputs.

With k proposed tokens, each accepted with probability alpha independently of the others, a step
brings (1 - alpha^(k+1)) / (1 - alpha) tokens (Leviathan et al., 2023, equation 1). It verifies
k + 1 tokens per sequence: the matrices see B*(k+1) tokens, attention still reads each
sequence's KV once, and proposing costs k times a share of a plain step:

    matrix(B*(k+1)) + decode(B, K/B) + k * draft_cost * [matrix(B) + decode(B, K/B)]

The scheduler counts steps where it counted tokens. A request's output is shortened to its
number of steps, and half of what is cut is added to the prompt as cached tokens, so that the
mean KV of a decoding request stays right (its last blocks come a little early). In iterations
that also prefill, verification is charged as if the prompt's tokens were not there: exact where
step time is linear in tokens, a few per cent high or low around the bend. The token budget is
reduced by what a full batch verifies. ITL stays what it was per request: (last - first) /
(tokens - 1), although tokens now come in bursts. KV and weights of a draft model are not counted.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from argosy.arrays import Floats, Integers
from argosy.checks import not_negative, share
from argosy.engine.simulate import RequestTimes
from argosy.engine.step_times import StepTimes, StepTimeSource, frozen
from argosy.errors import SpecError
from argosy.perf.capacity.search import EngineModel
from argosy.snapshot import Mix, Slice


@dataclass(frozen=True, slots=True)
class Speculation:
    """How tokens are proposed.

    draft_tokens: proposed per step
    acceptance:   probability (0-1) that one is accepted
    draft_cost:   time of proposing one, as a share of a plain decode step of the same batch
                  (0 for n-gram lookup; about 0.05 for a one-layer head on a deep model)

    Raises SpecError, with the field, for values outside these ranges.
    """

    draft_tokens: int
    acceptance: float
    draft_cost: float = 0.0

    def __post_init__(self) -> None:
        if self.draft_tokens < 1:
            raise SpecError(f"must be at least 1, got {self.draft_tokens}", "speculation.draft_tokens")
        share(self.acceptance, "speculation.acceptance")
        not_negative(self.draft_cost, "speculation.draft_cost")

    @property
    def tokens_per_step(self) -> float:
        """Expected tokens that a step brings, from 1 to `draft_tokens` + 1."""
        # The geometric sum itself: the closed form divides by zero at an acceptance of one.
        return math.fsum(self.acceptance**i for i in range(self.draft_tokens + 1))

    def num_steps(self, output_tokens: npt.ArrayLike) -> Integers:
        """Steps of requests with so many output tokens, of their shape: one for the first, from prefill."""
        following = np.asarray(output_tokens, dtype=np.int64) - 1
        # Rounded, but never to fewer than would do if every proposal were right.
        fewest = np.maximum(-(-following // (self.draft_tokens + 1)), 1)
        steps = np.maximum(np.rint(following / self.tokens_per_step).astype(np.int64), fewest)
        return np.where(following > 0, 1 + steps, 1)


@dataclass(frozen=True, slots=True)
class SpeculativeStepTimes:
    """A source of step times whose decode steps propose and verify (a `StepTimeSource`)."""

    plain: StepTimeSource
    speculation: Speculation

    def step_times(self, max_tokens: int, max_seqs: int) -> StepTimes:
        """The plain arrays with proposing and verifying added to decoding."""
        verified = self.speculation.draft_tokens + 1
        plain = self.plain.step_times(max(max_tokens, verified * max_seqs), max_seqs)
        batches = np.arange(max_seqs + 1)
        decode = plain.decode_ms[: max_seqs + 1]
        matrix = plain.matrix_ms[batches][:, None]
        proposing = self.speculation.draft_tokens * self.speculation.draft_cost * (matrix + decode)
        verifying = plain.matrix_ms[verified * batches][:, None] - matrix
        return replace(
            plain,
            matrix_ms=frozen(plain.matrix_ms[: max_tokens + 1]),
            decode_ms=frozen(decode + proposing + verifying),
        )

    def digest(self) -> str:
        """A hash of the plain source and the speculation."""
        return hashlib.sha256(f"{self.plain.digest()} {self.speculation!r}".encode()).hexdigest()


def speculative_engine(engine: EngineModel, speculation: Speculation) -> EngineModel:
    """Longer steps, and a token budget less what a full batch verifies beyond one token each."""
    limits = engine.limits
    budget = limits.max_num_batched_tokens - speculation.draft_tokens * limits.max_num_seqs
    limits = replace(limits, max_num_batched_tokens=max(limits.max_num_seqs, budget))
    return replace(engine, limits=limits, step_times=SpeculativeStepTimes(engine.step_times, speculation))


def speculative_mix(mix: Mix, speculation: Speculation) -> Mix:
    """Outputs counted in steps, the KV that they leave out put into the prompts as cached."""
    return Mix(tuple(_in_steps(piece, speculation) for piece in mix.slices))


def _in_steps(piece: Slice, speculation: Speculation) -> Slice:
    steps = int(speculation.num_steps(piece.output_tokens))
    missing = (piece.output_tokens - steps) // 2
    return replace(
        piece,
        prompt_tokens=piece.prompt_tokens + missing,
        output_tokens=steps,
        cached_tokens=piece.cached_tokens + missing,
    )


def request_itl_ms(times: RequestTimes, output_tokens: Integers, speculation: Speculation) -> Floats:
    """Mean gap between tokens (ms) of requests whose simulated outputs were counted in steps.

    output_tokens: shape (N,), as `times`; NaN for an output of one token
    """
    following = np.where(output_tokens > 1, output_tokens - 1, np.nan)
    itl_ms: Floats = times.itl_ms * (speculation.num_steps(output_tokens) - 1) / following
    return itl_ms
