"""When a count of requests shows that the rate has changed.

Owns the band around an expected rate and the search for the instant of a change. Input: counts
(from `counters`) and an expected rate. Output: a side, or an instant.

The band allows for chance: Poisson's standard deviation, that of the expectation where it was
measured itself, and the Poisson distribution's skew by the second term of Cornish and Fisher's
expansion (Revue de l'Institut International de Statistique, 1938): without it small rates would
cause several times as many false alarms upwards as downwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from enum import IntEnum

from argosy.demand.counters import Count

BAND_STANDARD_DEVIATIONS = 3.7
"""Half the band's width.

Chosen on simulated Poisson arrivals, read every 2 s and planned again every 30 s, 40 hours for each
of 0.3, 2, 8 and 30 requests/s: 0.6-0.7 false alarms per hour at each rate. A doubling of 8/s is named
after 4.6 s at the median, 7.0 s at the 95th percentile (150 runs), one of 4/s after 6.3 and 23 s.
With 3.3: 1.5-2.6 false alarms per hour, 6.8 s. With 4.0: 0.4 per hour, 8.8 s. Two and a half, as for
a single look, would alarm some ten times per hour: there are 1,800 looks.
"""

BAND_SHARE = 0.15
"""A change smaller than this share of the expected count is ignored, however certain it is."""


class Side(IntEnum):
    """Where a count lies relative to its band."""

    BELOW = -1
    INSIDE = 0
    ABOVE = 1


def side(seen: Count, expected_per_s: float, expected_variance: float = 0.0) -> Side:
    """Where `seen` lies relative to the band around `expected_per_s`.

    `expected_variance` is the variance of the expected rate itself, 0 for a rate that is given.
    """
    expected = expected_per_s * seen.duration_s
    deviation = math.sqrt(expected + expected_variance * seen.duration_s**2)
    skew = (BAND_STANDARD_DEVIATIONS**2 - 1) / 6
    apart = max(BAND_SHARE * expected, BAND_STANDARD_DEVIATIONS * deviation)
    if seen.num > expected + apart + skew:
        return Side.ABOVE
    return (
        Side.BELOW
        if seen.num < expected - apart + skew and seen.num < expected * (1 - BAND_SHARE)
        else Side.INSIDE
    )


def likeliest_change(
    instants: Iterable[float], count_since: Callable[[float], Count], rate_before_per_s: float
) -> float:
    """The instant of change with the greatest likelihood: the counts since have a rate of their own."""
    return max(instants, key=lambda at_s: _log_likelihood_ratio(count_since(at_s), rate_before_per_s))


def _log_likelihood_ratio(seen: Count, rate_per_s: float) -> float:
    """How much likelier `seen` is at its own rate than at `rate_per_s` (Poisson, natural log)."""
    expected = max(rate_per_s * seen.duration_s, 1e-9)
    if seen.num <= 0:
        return expected
    return seen.num * math.log(seen.num / expected) - seen.num + expected
