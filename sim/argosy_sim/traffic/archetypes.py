"""Drawing lengths from the archetypes: prompt and output tokens where there is no trace.

Owns the drawing. The archetypes themselves are the planner's (`argosy.demand.archetypes`): what is
sent and what is planned for come from one table. Input: an archetype and a numpy `Generator`, the
source of chance. Output: arrays of tokens. Pure.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from argosy.arrays import Integers
from argosy.demand.archetypes import ARCHETYPES, Archetype, Quantiles
from argosy.refusals import Refused


class ArchetypeReason(StrEnum):
    """Why there is no archetype."""

    UNKNOWN_ARCHETYPE = "UnknownArchetype"


@dataclass(frozen=True, slots=True)
class UnknownArchetype(Refused[ArchetypeReason]):
    """No archetype has this name; `nearest` are similar names, or else all that exist."""


@dataclass(frozen=True, slots=True)
class DrawnLengths:
    """Drawn lengths, tokens: two arrays of shape (n,), one element per request."""

    prompt_tokens: Integers
    output_tokens: Integers


def find_archetype(name: str) -> Archetype | UnknownArchetype:
    """The built-in archetype of this name."""
    found = ARCHETYPES.get(name)
    if found is not None:
        return found
    known = sorted(ARCHETYPES)
    nearest = difflib.get_close_matches(name, known) or known
    message = f"no archetype is called {name!r}, known are {', '.join(known)}"
    return UnknownArchetype(ArchetypeReason.UNKNOWN_ARCHETYPE, message, tuple(nearest))


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
