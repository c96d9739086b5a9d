"""Sanity check of a user's step times: the factor beyond which they are implausible, and the excess.

Owns the factor beyond which a mistake (seconds for milliseconds, another GPU) is likelier than an
unusual engine. An import refuses such rows, since it fits to what is known; a finished profile of a
user counts, with a remark. Input: that profile and Argosy's own figures of the same GPU, model,
number type and shape. Output: `FarOff`, or None where it is near enough.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from argosy.perf.profile import Origin, Profile, ValidRange
from argosy.perf.profiles.iterations import DECODE_GRID, PREFILL_GRID, Iterations

MOST_FACTOR = 4.0
"""So many times slower or faster than what is known. Argosy's own figures are 20-60 % off at worst
where measured runs judge them (docs/design/0003), and a wrong unit is off a thousandfold."""
MOST_FACTOR_COMPUTED = 10.0
"""The same where what is known was computed and not measured: a card's data sheet may mislead by more than
a table, and a wrong unit is still found."""

_WHOLE_FROM = 10.0


@dataclass(frozen=True, slots=True)
class FarOff:
    """How many times as long iterations take as known, by kind; the median over a grid of sizes.

    decode, prefill: below 1 where the profile is the faster one; None where no size is in the range of both
    known:           where the figures come from that it is compared with
    """

    decode: float | None
    prefill: float | None
    known: Origin

    def __str__(self) -> str:
        """In words: "decode iterations take 69 times and ... as Argosy's own figures say (Roofline)"."""
        kinds = (("decode", self.decode), ("prefill", self.prefill))
        slower = [f"{kind} iterations take {_times(factor)}" for kind, factor in kinds if factor is not None]
        return f"{' and '.join(slower)} as long as Argosy's own figures say ({self.known})"


def is_plausible(factor: float, known: Origin = Origin.TABLE) -> bool:
    """Whether an engine may be so many times as slow as what is known of its kind, from this origin."""
    most = MOST_FACTOR_COMPUTED if known is Origin.ROOFLINE else MOST_FACTOR
    return 1 / most < factor < most


def far_off(own: Profile, known: Profile) -> FarOff | None:
    """By how much a user's step times leave what is known; None where neither kind of iteration does.

    Decoding and prefill are judged apart, for a report has them in columns of their own (ITL and
    TTFT), and one of the two may be in the wrong unit.
    """
    both = ValidRange(
        max_tokens=min(own.valid.max_tokens, known.valid.max_tokens),
        max_batch=min(own.valid.max_batch, known.valid.max_batch),
        max_context=min(own.valid.max_context, known.valid.max_context),
    )
    decode, prefill = (_ratio(own, known, grid.inside(both)) for grid in (DECODE_GRID, PREFILL_GRID))
    if all(factor is None or is_plausible(factor) for factor in (decode, prefill)):
        return None
    return FarOff(decode, prefill, known.origin)


def _ratio(own: Profile, known: Profile, asked: Iterations) -> float | None:
    """The median: one corner of a profile says little about its unit."""
    if asked.batch.size == 0:
        return None
    return float(np.median(asked.step_ms(own.step_times) / asked.step_ms(known.step_times)))


def _times(factor: float) -> str:
    """Two digits, and whole where they are large."""
    return f"{factor:,.0f} times" if factor >= _WHOLE_FROM else f"{factor:.2g} times"
