"""Values that no plan or placement may carry, for the property tests of their checks."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st

MALFORMED: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from((math.nan, math.inf, -math.inf, -1, -0.5, 0.5, 1.5, 10**9, 10**400, 10**5000, 1e308)),
    st.sampled_from((None, True, "", "two", b"1", (), [], {}, object())),
)
"""No count, share, rate or cost: negative, fractional, endless, huge, or no number at all."""

UNKNOWN_NAMES = st.sampled_from(("", "nobody", "d/x", "g0", "é/∞", "a" * 400))
