"""What is asked for: slices, mixes, objectives.

Owns the nouns of demand that every decision shares: lengths in tokens, shares 0-1, bounds in
milliseconds. Rates are `demand`'s. The constructors raise ValueError for figures without a meaning.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Slice:
    """One cell of a class's prompt-length x output-length distribution.

    `weight` is the share (0-1) of the mix's requests that have these lengths. `cached_tokens`
    of the prompt are in the replica's KV cache already: found there, or sent by a prefill replica.
    Raises ValueError for a length below one token, a weight outside (0, 1], or more cached tokens
    than the prompt has.
    """

    prompt_tokens: int
    output_tokens: int
    weight: float
    cached_tokens: int = 0

    def __post_init__(self) -> None:
        if self.prompt_tokens < 1 or self.output_tokens < 1:
            raise ValueError(f"a slice needs at least one token each way, got {self}")
        if not (math.isfinite(self.weight) and 0 < self.weight <= 1 + 1e-9):
            raise ValueError(f"a slice's weight lies in (0, 1], got {self.weight}")
        if not 0 <= self.cached_tokens <= self.prompt_tokens:
            raise ValueError(f"cached tokens are part of the prompt, got {self}")


@dataclass(frozen=True, slots=True)
class Mix:
    """Slices whose weights sum to one. Raises ValueError where they do not."""

    slices: tuple[Slice, ...]

    def __post_init__(self) -> None:
        total = math.fsum(s.weight for s in self.slices)
        if not math.isclose(total, 1.0, abs_tol=1e-6):
            raise ValueError(f"the weights of a mix sum to 1, got {total}")

    @property
    def mean_prompt_tokens(self) -> float:
        """Expected prompt length, tokens."""
        return math.fsum(s.weight * s.prompt_tokens for s in self.slices)

    @property
    def mean_output_tokens(self) -> float:
        """Expected output length, tokens."""
        return math.fsum(s.weight * s.output_tokens for s in self.slices)


class Term(StrEnum):
    """The terms of an SLO, per request; ITL is its mean gap between tokens, as vLLM reports it."""

    TTFT = "TTFT"
    ITL = "ITL"
    E2E = "E2E"


@dataclass(frozen=True, slots=True)
class SloTerm:
    """At least `percentile` (0-1) of the requests have `term` at or below `bound_ms`.

    Raises ValueError for a percentile outside (0, 1), or a bound that is no positive number.
    """

    term: Term
    percentile: float
    bound_ms: float

    def __post_init__(self) -> None:
        if not 0 < self.percentile < 1:
            raise ValueError(f"a percentile lies in (0, 1), got {self.percentile}")
        if not (math.isfinite(self.bound_ms) and self.bound_ms > 0):
            raise ValueError(f"an SLO bound is a positive number of milliseconds, got {self.bound_ms}")


@dataclass(frozen=True, slots=True)
class Slo:
    """A class's latency objectives: all terms together."""

    terms: tuple[SloTerm, ...]

    def bounds_ms(self, term: Term) -> tuple[float, ...]:
        """The bounds on `term`, in the order they were declared; empty where there are none."""
        return tuple(t.bound_ms for t in self.terms if t.term is term)
