"""The grid that capacity surfaces are computed on, and the requests drawn at its nodes.

Owns the axes (mean prompt x mean output x dispersion of prompts, loads, quantile levels, decode
steps) and the draws: the same for every engine that takes the same lengths, so surfaces differ by
the engines alone (common random numbers). Input: a node and the longest request; output: arrays of
lengths and unit arrivals.

Each node has random numbers of its own: an interpolated answer then averages the noise of up to
eight draws, while a single draw for all would bias every answer alike (measured: 2.5 % of the
95th percentile of ITL at 4,000 requests).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

from argosy.arrays import Floats, Integers
from argosy.engine.request import EngineLimits

PROMPT_TOKENS: Final = (64.0, 192.0, 576.0, 1728.0, 4608.0, 11000.0, 28000.0)
"""Means of the prompt tokens that are computed (not cached)."""
OUTPUT_TOKENS: Final = (6.0, 20.0, 64.0, 192.0, 576.0, 1536.0)
PROMPT_CV: Final = (0.0, 1.4)
"""Coefficients of variation that are aimed at; long prompts meet the context limit earlier."""
OUTPUT_CV: Final = 1.0
"""Of all nodes: outputs vary like this in conversations, and a request's own length is exact."""
LOADS: Final = (0.0, 0.12, 0.35, 0.55, 0.7, 0.82, 0.92, 1.0)
"""Shares of the saturation rate; at 0 no two requests meet."""
LEVELS: Final = (0.0, 0.05, 0.25, 0.5, 0.7, 0.82, 0.9, 0.94, 0.965, 0.985, 0.995, 1.0)
DECODE_STEPS: Final = (4.0, 32.0, 256.0, 2048.0)
"""Output tokens after the first, for which the quantiles of ITL are kept."""
# A mean beyond this share of the longest request cannot be reached with a spread around it.
_REACHABLE = 0.72
# Of the mean: a thousandth of Azure's conversations has a longer prompt, a hundredth of Mooncake's.
_LONGEST_PROMPT = 6.0
_IDLE_GAP = 1e6

NUM_NODES: Final = len(PROMPT_TOKENS) * len(OUTPUT_TOKENS) * len(PROMPT_CV)


@dataclass(frozen=True, slots=True)
class Node:
    """A point of the grid, by its place on the three axes."""

    prompt: int
    output: int
    dispersion: int

    @property
    def index(self) -> int:
        """Its number in arrays over all nodes."""
        return (self.prompt * len(OUTPUT_TOKENS) + self.output) * len(PROMPT_CV) + self.dispersion


def nodes() -> tuple[Node, ...]:
    """All nodes in the order of their index."""
    return tuple(
        Node(prompt, output, dispersion)
        for prompt in range(len(PROMPT_TOKENS))
        for output in range(len(OUTPUT_TOKENS))
        for dispersion in range(len(PROMPT_CV))
    )


@dataclass(frozen=True, slots=True)
class NodeRequests:
    """The N requests of a node: gaps with mean one, accumulated, and tokens; shape (N,) each."""

    unit_arrivals: Floats
    prompt_tokens: Integers
    output_tokens: Integers

    @property
    def lone_arrivals_s(self) -> Floats:
        """Arrivals so far apart that no two requests meet, seconds, shape (N,)."""
        return _IDLE_GAP * np.arange(len(self.unit_arrivals), dtype=np.float64)


def node_requests(node: Node, longest: int, num_requests: int, seed: int) -> NodeRequests | None:
    """The draw at a node; None where such means do not fit into `longest` tokens."""
    mean_prompt, mean_output = PROMPT_TOKENS[node.prompt], OUTPUT_TOKENS[node.output]
    if mean_prompt + mean_output > _REACHABLE * longest:
        return None
    rng = np.random.default_rng((seed, node.index))
    scores = _normal_scores(num_requests)
    # What the means leave is shared out in their proportion.
    longest_prompt = longest * max(0.5, mean_prompt / (mean_prompt + mean_output))
    longest_prompt = min(longest_prompt, 0.9 * longest, _LONGEST_PROMPT * mean_prompt)
    prompts = _lognormal(rng.permutation(scores), mean_prompt, PROMPT_CV[node.dispersion], longest_prompt)
    outputs = _lognormal(rng.permutation(scores), mean_output, OUTPUT_CV, longest - longest_prompt)
    gaps = rng.exponential(1.0, num_requests)
    arrivals: Floats = np.cumsum(gaps) * float(num_requests / gaps.sum())
    return NodeRequests(arrivals, prompts, outputs)


@lru_cache(maxsize=4)
def _normal_scores(count: int) -> Floats:
    """`count` equally likely values of a standard normal variable, ascending."""
    normal = NormalDist()
    scores = np.array([normal.inv_cdf((rank + 0.5) / count) for rank in range(count)])
    scores.setflags(write=False)
    return scores


def _lognormal(scores: Floats, mean: float, variation: float, longest: float) -> Integers:
    """Whole lengths in [1, longest] with that mean: lognormal, cut, and scaled until it is met."""
    shape = np.exp(np.sqrt(np.log1p(variation**2)) * scores)
    scale = mean / shape.mean()
    for _ in range(40):
        scale *= mean / np.clip(scale * shape, 1.0, longest).mean()
    lengths: Integers = np.clip(np.round(scale * shape), 1, int(longest)).astype(np.int64)
    return lengths


@dataclass(frozen=True, slots=True)
class Moments:
    """Moments of mixes, arrays of one shape: what decides how many requests an engine carries.

    computed, cached excluded, and computed_square: E[c], E[c^2] of the prompt tokens c to compute
    steps:         E[n] of the decode steps n (output tokens after the first)
    context_steps: E[n * mean context]: KV tokens read by a request's decode steps
    """

    computed: Floats
    computed_square: Floats
    steps: Floats
    context_steps: Floats

    @property
    def dispersion(self) -> Floats:
        """Squared coefficient of variation of the computed prompt tokens, of the moments' shape."""
        return np.maximum(self.computed_square / self.computed**2 - 1.0, 0.0)

    def cost_basis(self, limits: EngineLimits) -> Floats:
        """What the time of a request at saturation is a sum of, shape (..., 5).

        Its share of an iteration's fixed time (one over the requests that enter per iteration:
        slots, KV cache or token budget, whichever is fewest), prompt tokens, decode steps, KV
        tokens read, attention inside the prompt.
        """
        # KV is held in whole blocks: on average half of the last one is empty.
        held_steps = self.context_steps + self.steps * limits.block_size / 2
        share = np.maximum(
            np.maximum(self.steps / limits.max_num_seqs, held_steps / limits.kv_tokens),
            (self.computed + self.steps) / limits.max_num_batched_tokens,
        )
        basis: Floats = np.stack(
            [share, self.computed, self.steps, self.context_steps, self.computed_square], axis=-1
        )
        return basis


def moments(lengths: tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike], weights: Floats) -> Moments:
    """Of (prompt, output, cached) tokens, shape (..., slices); weights sum to one on the last axis."""
    prompts, outputs, cached = (np.asarray(values, dtype=np.float64) for values in lengths)
    computed, steps = prompts - np.minimum(cached, prompts - 1), outputs - 1
    context = prompts + np.maximum(steps - 1, 0) / 2

    def mean(values: Floats) -> Floats:
        return np.asarray((weights * values).sum(axis=-1))

    return Moments(
        computed=mean(computed),
        computed_square=mean(computed**2),
        steps=mean(steps),
        context_steps=mean(steps * context),
    )
