"""Length archetypes: how long prompts and answers are, for those without a trace.

Owns the built-in archetypes, given as quantiles, and the drawing of lengths from them. Never
decides when a request arrives. Pure: chance comes in as a numpy `Generator`.

Prompt and output lengths are drawn independently; in the traces behind the archetypes they hardly
depend on each other (correlation -0.11 in Azure's conversation trace).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Quantiles:
    """A distribution of token counts as (fraction, tokens) points, linear in between.

    Fractions ascend strictly from 0 to 1, tokens ascend from at least 1; `ValueError` otherwise.
    """

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        fractions = [fraction for fraction, _ in self.points]
        tokens = [count for _, count in self.points]
        if len(self.points) < 2 or fractions[0] != 0 or fractions[-1] != 1:
            raise ValueError("quantiles run from fraction 0 to fraction 1")
        # Written so that a NaN fails too.
        if not all(before < after for before, after in itertools.pairwise(fractions)):
            raise ValueError(f"the fractions of quantiles ascend, got {fractions}")
        if not (tokens[0] >= 1 and all(a <= b for a, b in itertools.pairwise(tokens))):
            raise ValueError(f"the tokens of quantiles ascend from at least 1, got {tokens}")

    @property
    def mean_tokens(self) -> float:
        """Expected count: the quantile function integrated over the fractions."""
        fractions, tokens = np.array(self.points).T
        return float(np.trapezoid(tokens, fractions))

    def sample(self, rng: np.random.Generator, num: int) -> Tokens:
        """`num` draws by inversion, rounded to whole tokens."""
        fractions, tokens = np.array(self.points).T
        drawn: Tokens = np.rint(np.interp(rng.random(num), fractions, tokens)).astype(np.int64)
        return drawn


@dataclass(frozen=True, slots=True)
class Archetype:
    """A named pair of length distributions."""

    name: str
    prompt: Quantiles
    output: Quantiles


@dataclass(frozen=True, slots=True)
class UnknownArchetype:
    """No archetype has this name; `known` do exist."""

    name: str
    known: tuple[str, ...]

    def __str__(self) -> str:
        return f"no archetype is called {self.name!r}, known are {', '.join(self.known)}"


@dataclass(frozen=True, slots=True)
class Lengths:
    """Drawn lengths, tokens; both arrays have one element per request."""

    prompt_tokens: Tokens
    output_tokens: Tokens


def find_archetype(name: str) -> Archetype | UnknownArchetype:
    """The built-in archetype of this name."""
    found = ARCHETYPES.get(name)
    return found or UnknownArchetype(name, tuple(sorted(ARCHETYPES)))


def sample(archetype: Archetype, rng: np.random.Generator, num: int) -> Lengths:
    """Lengths of `num` requests.

    Prompt and output have a stream each (children of `rng`): a longer sample begins with the shorter one.
    """
    prompt_rng, output_rng = rng.spawn(2)
    return Lengths(archetype.prompt.sample(prompt_rng, num), archetype.output.sample(output_rng, num))


# Denser where the traces' distributions jump: the mean of the straight lines between the points is
# within 0.4 % of each trace's mean (0.2 % for Azure's).
# fmt: off
TRACE_FRACTIONS = (
    0, 0.01, 0.02, 0.05, 0.1, 0.12, 0.15, 0.2, 0.25, 0.3, 0.35, 0.38, 0.4, 0.42, 0.45, 0.5, 0.55,
    0.6, 0.65, 0.68, 0.7, 0.75, 0.8, 0.82, 0.85, 0.88, 0.9, 0.91, 0.92, 0.95, 0.97, 0.98, 0.99,
    0.995, 0.999, 0.9995, 1,
)
_AZURE_PROMPT = (
    2, 29, 91, 181, 207, 222, 372, 387, 396, 403, 414, 433, 703, 903, 984, 1020, 1045, 1071, 1097,
    1116, 1130, 1189, 1315, 1368, 1876, 2401, 2734, 3291, 4073, 4083, 4090, 4098, 4142, 4831, 6179,
    6570, 14050,
)
_AZURE_OUTPUT = (
    7, 16, 24, 41, 54, 59, 67, 77, 85, 91, 96, 100, 103, 107, 113, 129, 151, 177, 217, 375, 384,
    395, 400, 404, 411, 417, 424, 428, 429, 451, 509, 540, 601, 643, 954, 1000, 1000,
)
_MOONCAKE_PROMPT = (
    891, 894, 896, 901, 964, 1066, 1261, 1662, 2306, 3263, 4251, 4700, 4993, 5272, 5870, 6909, 8187,
    9570, 11238, 12317, 13196, 15367, 17869, 19044, 21464, 24830, 27367, 28669, 30462, 39550, 52215,
    66449, 85400, 100810, 121301, 122891, 126195,
)
_MOONCAKE_OUTPUT = (
    1, 3, 3, 10, 24, 31, 46, 100, 156, 213, 256, 278, 291, 305, 322, 350, 375, 399, 423, 438, 447,
    472, 504, 519, 543, 571, 597, 612, 628, 698, 800, 892, 1119, 1568, 2000, 2000, 2000,
)
# fmt: on


def _of_trace(tokens: tuple[int, ...]) -> Quantiles:
    return Quantiles(tuple(zip(TRACE_FRACTIONS, tokens, strict=True)))


def _uniform(low: int, high: int) -> Quantiles:
    return Quantiles(((0.0, low), (1.0, high)))


AZURE_CONVERSATION = Archetype("azure-conversation", _of_trace(_AZURE_PROMPT), _of_trace(_AZURE_OUTPUT))
"""One hour of a conversation service: `numpy.quantile` of the 19,366 requests of
AzureLLMInferenceTrace_conv.csv (Azure Public Dataset, November 2023, CC-BY), rounded to tokens. The
trace's means are 1,154.7 tokens in and 211.1 out."""

MOONCAKE_CONVERSATION = Archetype(
    "mooncake-conversation", _of_trace(_MOONCAKE_PROMPT), _of_trace(_MOONCAKE_OUTPUT)
)
"""Long-context chat: quantiles of the 12,031 requests of Mooncake's conversation trace (FAST '25
release, Apache-2.0). The trace's means are 12,035.1 tokens in and 342.6 out."""

BATCH = Archetype("batch", prompt=_uniform(4_000, 8_000), output=_uniform(100, 400))
"""Long documents, short answers, nobody waiting; made up, not of a trace."""

ARCHETYPES: Mapping[str, Archetype] = MappingProxyType(
    {archetype.name: archetype for archetype in (AZURE_CONVERSATION, MOONCAKE_CONVERSATION, BATCH)}
)
"""The built-in archetypes by name."""
