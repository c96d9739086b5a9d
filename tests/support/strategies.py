"""Hypothesis strategies that several property tests draw from.

Owns what no test is about: documents of any JSON at all, values that no count may have, mixes of lengths.
"""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st

from argosy.snapshot import Mix, Slice

HUGE = (10**400, -(10**400), 2**53, -(2**53), 1e308)
"""Numbers that JSON can hold and a float or a counter cannot, or only just."""

ANY_KEY = st.text(max_size=8)


def json_values(keys: st.SearchStrategy[str] = ANY_KEY, max_leaves: int = 8) -> st.SearchStrategy[Any]:
    """Whatever `json.loads` may return, NaN and infinity included; `keys`: of its objects."""
    return st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.sampled_from((0, -1, *HUGE))
        | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=5),
        max_leaves=max_leaves,
    )


def mixes_of(prompt_tokens: tuple[int, int], output_tokens: tuple[int, int]) -> st.SearchStrategy[Mix]:
    """Mixes of four slices of equal weight, with lengths within these bounds."""
    slices = st.builds(Slice, st.integers(*prompt_tokens), st.integers(*output_tokens), st.just(0.25))
    return st.lists(slices, min_size=4, max_size=4).map(lambda four: Mix(tuple(four)))


MALFORMED: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from((math.nan, math.inf, -math.inf, -1, -0.5, 0.5, 1.5, 10**9, 10**400, 10**5000, 1e308)),
    st.sampled_from((None, True, "", "two", b"1", (), [], {}, object())),
)
"""No count, share, rate or cost: negative, fractional, endless, huge, or no number at all."""

UNKNOWN_NAMES = st.sampled_from(("", "unknown", "d/x", "g0", "é/∞", "a" * 400))
