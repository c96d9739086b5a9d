"""How far a calibration can be trusted: scatter, drift, and replicas that lag behind their group.

Owns the statistics of relative residuals. It decides when an estimate should not be trusted. Input:
residuals, one after another. Output: new statistics; the old ones stay.

Drift. Two cumulative sums (Page 1954) of standardised residuals z, each clipped at 4:
H <- max(0, H + z - 1), L <- max(0, L - z - 1), alarm where one passes 8. With independent normal
residuals of known scatter a false alarm comes once in 2*10^7 windows (Siegmund 1985: a mean of
(exp(2kb) - 2kb - 1)/2k^2 per side, k = 1, b = 8 + 1.166), with a scatter estimated 15 % too small
still once in 2*10^5, which is a month and more of one replica's windows. A shift of 15 % is
found in three or four windows where they scatter by 3 %, in five (at most ten of 24 runs) by 5 %; by
8 % it takes ten, or is learnt before it is noticed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import median

DRIFT_SLACK = 1.0
DRIFT_LIMIT = 8.0
LONGEST_Z = 4.0
"""One window, however odd, is no drift."""

SPREAD_PRIOR = 0.05
"""Relative scatter that is assumed before windows show it (`HOST_OVERHEAD` predicts ITL within 2.8-8.0 %)."""

SPREAD_WINDOWS = 100
"""The scatter is a mean over about so many windows."""

_SPREAD_PRIOR_WINDOWS = 4
_SMALLEST_SPREAD = 0.005
_SMALLEST_ALARMING_SPREAD = 0.02
"""A drift of less than some percent needs no alarm, however sure it is."""

LAG_MEMORY = 0.3
"""Share of a replica's lag that its newest window makes."""

MIN_LAG_WINDOWS = 3
MIN_GROUP = 3
"""Of two that differ, the data do not show which one is slow."""

STRAGGLER_SCORE = 4.0
STRAGGLER_LAG = 0.10
_SMALLEST_DEVIATION = 0.02


@dataclass(frozen=True, slots=True)
class ResidualStatistics:
    """Statistics of one calibration's residuals.

    variance:   of relative residuals, what the estimate's own error adds taken out
    num_windows: how many it has seen
    above, below: the cumulative sums: slower than calibrated, faster
    drifted_at_s: when the alarm was last raised
    """

    variance: float = SPREAD_PRIOR**2
    num_windows: int = 0
    above: float = 0.0
    below: float = 0.0
    drifted_at_s: float | None = None

    @property
    def spread(self) -> float:
        """Relative scatter (standard deviation, 0-1) of windows around the calibrated time."""
        return max(_SMALLEST_SPREAD, math.sqrt(self.variance))

    def standardised(self, residual: float, own_share: float) -> float:
        """A relative residual in standard deviations.

        own_share: variance of the estimate over that of a window (a' A^-1 a of the fit)
        """
        spread = max(_SMALLEST_ALARMING_SPREAD, self.spread)
        return residual / (spread * math.sqrt(1.0 + own_share))

    def with_scatter(self, residual: float, own_share: float) -> ResidualStatistics:
        """The statistics with one more window that was learnt from.

        r^2/(1 + own share) is the residual before learning times that after it, which has the
        variance of a window however unsure the estimate still is.
        """
        count = min(self.num_windows + 1 + _SPREAD_PRIOR_WINDOWS, SPREAD_WINDOWS)
        square = min(residual * residual / (1.0 + own_share), 9.0 * self.variance)
        variance = self.variance + (square - self.variance) / count
        return replace(self, variance=variance, num_windows=self.num_windows + 1)

    def with_drift(self, z: float) -> ResidualStatistics:
        """The statistics with one more standardised residual in the cumulative sums."""
        step = max(-LONGEST_Z, min(LONGEST_Z, z))
        return replace(
            self,
            above=max(0.0, self.above + step - DRIFT_SLACK),
            below=max(0.0, self.below - step - DRIFT_SLACK),
        )

    @property
    def has_drifted(self) -> bool:
        """Whether the alarm is due."""
        return max(self.above, self.below) > DRIFT_LIMIT

    def alarmed(self, at_s: float) -> ResidualStatistics:
        """The statistics after the alarm: the sums begin anew."""
        return replace(self, above=0.0, below=0.0, drifted_at_s=at_s)


@dataclass(frozen=True, slots=True)
class Lag:
    """One replica against its group: a running mean of ln(observed/calibrated)."""

    mean: float
    num_windows: int
    end_s: float

    def observed(self, log_ratio: float | None, end_s: float) -> Lag:
        """The lag with one more window; None where it has been judged but tells nothing."""
        if log_ratio is None:
            return replace(self, end_s=end_s)
        share = max(LAG_MEMORY, 1.0 / (self.num_windows + 1))
        return Lag(self.mean + share * (log_ratio - self.mean), self.num_windows + 1, end_s)


@dataclass(frozen=True, slots=True)
class Straggler:
    """A replica that takes `ratio` times as long as the middle of its group; `score` deviations off."""

    replica: str
    ratio: float
    score: float


def straggler_scores(lags: Mapping[str, Lag]) -> dict[str, Straggler]:
    """Every replica's distance from the median, in median absolute deviations (normal scale).

    Empty where fewer than `MIN_GROUP` replicas have `MIN_LAG_WINDOWS` windows.
    """
    known = {name: lag.mean for name, lag in lags.items() if lag.num_windows >= MIN_LAG_WINDOWS}
    if len(known) < MIN_GROUP:
        return {}
    middle = median(known.values())
    deviation = max(_SMALLEST_DEVIATION, 1.4826 * median(abs(mean - middle) for mean in known.values()))
    return {
        name: Straggler(name, math.exp(mean - middle), (mean - middle) / deviation)
        for name, mean in known.items()
    }


def stragglers(scores: Iterable[Straggler]) -> tuple[Straggler, ...]:
    """Those that lag behind, the worst first."""
    found = [s for s in scores if s.score > STRAGGLER_SCORE and s.ratio > 1.0 + STRAGGLER_LAG]
    return tuple(sorted(found, key=lambda s: (-s.score, s.replica)))
