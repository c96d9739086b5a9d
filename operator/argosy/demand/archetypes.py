"""Length archetypes: how long prompts and outputs of a kind of traffic are.

Owns the quantile tables, their inverse distribution function and their cutting into a `Mix`. Input:
an archetype, and for a draw the caller's uniform random number `u`. Output: lengths in tokens.

Prompt and output are taken as independent. In both traces they nearly are: the correlation
(Pearson, then of ranks) is -0.11 and 0.07 in the Azure trace, 0.07 and 0.07 in Mooncake's.

Between two points of a table the distribution is linear, so its mean is a sum of trapezoids.
Against the traces the means are off by +0.8 % and -0.5 % (Azure, prompt and output) and
+0.9 % and +0.2 % (Mooncake).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

from argosy.snapshot import Mix, Slice


@dataclass(frozen=True, slots=True)
class Quantiles:
    """A length distribution: `tokens[i]` is the quantile at `probabilities[i]` (0-1)."""

    probabilities: tuple[float, ...]
    tokens: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.probabilities) != len(self.tokens) or len(self.tokens) < 2:
            raise ValueError("a quantile table pairs at least two probabilities with lengths")
        if self.probabilities[0] != 0 or self.probabilities[-1] != 1:
            raise ValueError("a quantile table begins at probability 0 and ends at 1")
        if any(b <= a for a, b in pairwise(self.probabilities)):
            raise ValueError("the probabilities of a quantile table increase")
        if self.tokens[0] < 1 or any(b < a for a, b in pairwise(self.tokens)):
            raise ValueError("the lengths of a quantile table are at least 1 and never decrease")

    @property
    def mean_tokens(self) -> float:
        """Expected length, tokens."""
        return _partial_mean(self, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Archetype:
    """One kind of traffic, by its lengths in tokens; `source` says where the tables come from."""

    name: str
    prompt_quantiles: Quantiles
    output_quantiles: Quantiles
    source: str


def sample_quantile(quantiles: Quantiles, u: float) -> float:
    """The length in tokens at probability `u` (0-1): with uniform `u`, a draw from the distribution.

    Raises ValueError for a `u` that is no probability.
    """
    if not 0 <= u <= 1:
        raise ValueError(f"a probability lies in [0, 1], got {u}")
    probabilities, tokens = quantiles.probabilities, quantiles.tokens
    i = min(bisect_right(probabilities, u), len(probabilities) - 1)
    share = (u - probabilities[i - 1]) / (probabilities[i] - probabilities[i - 1])
    return tokens[i - 1] + share * (tokens[i] - tokens[i - 1])


def mix(archetype: Archetype, num_prompt: int = 6, num_output: int = 5) -> Mix:
    """The archetype cut into `num_prompt` x `num_output` slices of equal weight.

    Each cell stands for equal probability and carries its conditional mean, rounded to whole
    tokens, so the means survive; the tail beyond a cell's mean does not. How much that moves
    a capacity is measured in tests/unit/perf/capacity/test_search.py.
    """
    prompts = cell_means(archetype.prompt_quantiles, num_prompt)
    outputs = cell_means(archetype.output_quantiles, num_output)
    weight = 1.0 / (num_prompt * num_output)
    return Mix(
        tuple(
            Slice(max(1, round(prompt)), max(1, round(output)), weight)
            for prompt in prompts
            for output in outputs
        )
    )


def cell_means(quantiles: Quantiles, num_cells: int) -> tuple[float, ...]:
    """Mean length (tokens) in each of `num_cells` cells of equal probability, shortest first.

    Raises ValueError for no cells.
    """
    if num_cells < 1:
        raise ValueError(f"at least one cell is needed, got {num_cells}")
    edges = [cell / num_cells for cell in range(num_cells + 1)]
    return tuple(num_cells * _partial_mean(quantiles, low, high) for low, high in pairwise(edges))


def _partial_mean(quantiles: Quantiles, low: float, high: float) -> float:
    """Integral of the inverse distribution function from `low` to `high` (exact: trapezoids)."""
    inner = [p for p in quantiles.probabilities if low < p < high]
    points = [low, *inner, high]
    lengths = [sample_quantile(quantiles, p) for p in points]
    return math.fsum(
        (points[i + 1] - points[i]) * (lengths[i] + lengths[i + 1]) / 2 for i in range(len(points) - 1)
    )


# fmt: off
_PROBABILITIES = (
    0.0, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75,
    0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99, 0.995, 0.999, 1.0,
)

AZURE_CONVERSATION = Archetype(
    "azure-conversation",
    Quantiles(_PROBABILITIES, (
        2, 29, 120, 181, 207, 372, 387, 396, 403, 414, 703, 984, 1020, 1045, 1071, 1097, 1130, 1189,
        1315, 1876, 2734, 4075, 4083, 4092, 4142, 4831, 6179, 14050,
    )),
    Quantiles(_PROBABILITIES, (
        7, 16, 28, 41, 54, 67, 77, 85, 91, 96, 103, 113, 129, 151, 177, 217, 384, 395,
        400, 411, 424, 430, 451, 522, 601, 643, 954, 1000,
    )),
    "quantiles of the 19,366 requests of AzureLLMInferenceTrace_conv (AzurePublicDataset, 2023, CC-BY)",
)

MOONCAKE_CONVERSATION = Archetype(
    "mooncake-conversation",
    Quantiles(_PROBABILITIES, (
        891, 894, 896, 901, 964, 1261, 1662, 2306, 3263, 4251, 4993, 5870, 6909, 8186, 9570, 11237, 13196,
        15367, 17869, 21464, 27367, 31519, 39551, 58977, 85400, 100810, 121301, 126195,
    )),
    Quantiles(_PROBABILITIES, (
        1, 3, 3, 10, 24, 46, 100, 156, 213, 256, 291, 322, 350, 375, 399, 423, 447, 472,
        504, 543, 597, 639, 698, 835, 1118, 1568, 2000, 2000,
    )),
    "quantiles of the 12,031 requests of Mooncake's conversation trace (FAST 2025 release, Apache-2.0)",
)
# fmt: on

BATCH_DOCUMENTS = Archetype(
    "batch-documents",
    Quantiles((0.0, 1.0), (4000, 8000)),
    Quantiles((0.0, 1.0), (100, 400)),
    "made up: long documents with short summaries, both lengths uniform",
)

ARCHETYPES: Mapping[str, Archetype] = MappingProxyType(
    {archetype.name: archetype for archetype in (AZURE_CONVERSATION, MOONCAKE_CONVERSATION, BATCH_DOCUMENTS)}
)
"""Every archetype by its name."""
