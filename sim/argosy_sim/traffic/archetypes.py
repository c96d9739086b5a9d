"""Drawing lengths from the archetypes: prompt and output tokens where there is no trace.

Owns the drawing. The archetypes themselves are the planner's (`argosy.demand.archetypes`): what is
sent and what is planned for come from one table. Input: an archetype and a numpy `Generator`, the
source of chance. Output: arrays of tokens. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from argosy.arrays import Integers
from argosy.demand.archetypes import ARCHETYPES, Archetype, Quantiles


@dataclass(frozen=True, slots=True)
class UnknownArchetype:
    """No archetype has this name; `known` are those that exist."""

    name: str
    known: tuple[str, ...]

    def __str__(self) -> str:
        return f"no archetype is called {self.name!r}, known are {', '.join(self.known)}"


@dataclass(frozen=True, slots=True)
class DrawnLengths:
    """Drawn lengths, tokens: two arrays of shape (n,), one element per request."""

    prompt_tokens: Integers
    output_tokens: Integers


def find_archetype(name: str) -> Archetype | UnknownArchetype:
    """The built-in archetype of this name."""
    found = ARCHETYPES.get(name)
    return found or UnknownArchetype(name, tuple(sorted(ARCHETYPES)))


def sample(archetype: Archetype, rng: np.random.Generator, num: int) -> DrawnLengths:
    """Lengths of `num` requests.

    Prompt and output have a stream each (children of `rng`): a longer sample begins with the shorter one.
    """
    prompt_rng, output_rng = rng.spawn(2)
    return DrawnLengths(
        draw(archetype.prompt_quantiles, prompt_rng, num),
        draw(archetype.output_quantiles, output_rng, num),
    )


def draw(quantiles: Quantiles, rng: np.random.Generator, num: int) -> Integers:
    """`num` draws by inversion, rounded to whole tokens; shape (num,)."""
    drawn: Integers = np.rint(np.interp(rng.random(num), quantiles.probabilities, quantiles.tokens)).astype(
        np.int64
    )
    return drawn


__all__ = [
    "ARCHETYPES",
    "Archetype",
    "DrawnLengths",
    "Quantiles",
    "UnknownArchetype",
    "draw",
    "find_archetype",
    "sample",
]
