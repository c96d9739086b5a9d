"""What a fit of measurements gives: a profile, how well it fits, and what it stands on.

Owns the nouns `FitQuestion`, `FittedProfile` and `CannotFit`. `fit` makes them, `profile_file`
writes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from argosy.engine.request import EngineLimits
from argosy.perf.measurements.scaled import ScalingFactors
from argosy.perf.profile import Profile, ProfileKey
from argosy.perf.robust_fit import Move
from argosy.refusals import Refused


@dataclass(frozen=True, slots=True)
class FitQuestion:
    """What is to be fitted.

    key:     what was measured
    prior:   the step time that the fit starts from and stays near where the rows say nothing
    limits:  of the engine that was measured
    on_date: the day of the import, ISO 8601: no clock is looked at here
    """

    key: ProfileKey
    prior: Profile
    limits: EngineLimits
    on_date: str


@dataclass(frozen=True, slots=True)
class QuantityError:
    """Predictions of one quantity against the rows that measured it; relative, 0-1.

    mean_absolute: of the errors without their sign
    bias:          with it: positive where the prediction is too high
    """

    num_rows: int
    mean_absolute: float
    bias: float


@dataclass(frozen=True, slots=True)
class FitError:
    """By what was compared; None where no row measured it (throughput and E2E stand in for ITL)."""

    itl: QuantityError | None
    ttft: QuantityError | None
    e2e: QuantityError | None
    throughput: QuantityError | None


@dataclass(frozen=True, slots=True)
class Covered:
    """Smallest and largest of the rows; None where no row had such a load."""

    prompt_tokens: tuple[float, float]
    output_tokens: tuple[float, float]
    concurrency: tuple[int, int] | None
    requests_per_s: tuple[float, float] | None


ROWS_TO_LEAVE_ONE_OUT = 3


@dataclass(frozen=True, slots=True)
class FitProvenance:
    """One file that rows came from.

    num_rows: those that were used; num_marked of them have a limited worth, for which `notes` gives the
    reason; num_left_out were not used
    """

    name: str
    sha256: str
    tool: str
    tool_version: str | None
    num_rows: int
    num_marked: int = 0
    num_left_out: int = 0


@dataclass(frozen=True, slots=True)
class FittedProfile:
    """A user's profile.

    profile:       origin UserMeasurements; its uncertainty is the leave-one-out error, or that of the
                   prior where there are fewer than `ROWS_TO_LEAVE_ONE_OUT` rows
    fitted:        which of the factors the rows could decide; the others are the prior's
    front_end_ms:  what client, network and HTTP server added to each TTFT; in no step time
    error:         of this profile on its rows; prior_error: of the prior on the same rows
    prior_source:  the prior's own sentence about its source
    notes:         what was left out or assumed, as sentences
    moves:         how far each fitted parameter is from the prior; empty in files that do not hold it
    """

    profile: Profile
    factors: ScalingFactors
    fitted: tuple[str, ...]
    front_end_ms: float
    error: FitError
    prior_error: FitError
    prior_source: str
    covered: Covered
    files: tuple[FitProvenance, ...]
    on_date: str
    notes: tuple[str, ...] = ()
    moves: tuple[Move, ...] = ()

    @property
    def is_cross_validated(self) -> bool:
        """Whether some quantity was measured by rows enough to predict each from the others."""
        kinds = (self.error.itl, self.error.ttft, self.error.e2e, self.error.throughput)
        return any(kind is not None and kind.num_rows >= ROWS_TO_LEAVE_ONE_OUT for kind in kinds)


class CannotFitReason(StrEnum):
    """Why rows give no profile."""

    NO_ROWS = "NoRows"
    NOTHING_COMPARABLE = "NothingComparable"
    """No row has a latency, or a throughput that the engine decides."""
    SEVERAL_GPUS = "SeveralGpus"
    """The rows name more than one GPU: which one is meant?"""
    BEYOND_LIMITS = "BeyondLimits"
    """A request of the rows is longer than the engine takes."""
    IMPLAUSIBLE = "Implausible"
    """So far from the prior that another model, GPU or shape must have been measured."""


@dataclass(frozen=True, slots=True)
class CannotFit(Refused[CannotFitReason]):
    """No profile, and why."""
