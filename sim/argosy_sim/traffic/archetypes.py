"""Drawing lengths from the archetypes: how long prompts and answers are, for those without a trace.

Owns the drawing. The archetypes themselves are the planner's (`argosy.demand.archetypes`): what is
sent and what is planned for come from one table. Never decides when a request arrives. Pure: chance
comes in as a numpy `Generator`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from argosy.demand.archetypes import ARCHETYPES, Archetype, Quantiles

Tokens = NDArray[np.int64]


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
    return Lengths(
        draw(archetype.prompt_quantiles, prompt_rng, num),
        draw(archetype.output_quantiles, output_rng, num),
    )


def draw(quantiles: Quantiles, rng: np.random.Generator, num: int) -> Tokens:
    """`num` draws by inversion, rounded to whole tokens."""
    drawn: Tokens = np.rint(np.interp(rng.random(num), quantiles.probabilities, quantiles.tokens)).astype(
        np.int64
    )
    return drawn


__all__ = [
    "ARCHETYPES",
    "Archetype",
    "Lengths",
    "Quantiles",
    "Tokens",
    "UnknownArchetype",
    "draw",
    "find_archetype",
    "sample",
]
