"""Bring your own measurements: reports of benchmark tools in, a fitted profile out."""

from argosy.perf.measurements.fit import fit_profile
from argosy.perf.measurements.fitted import (
    CannotFit,
    CannotFitReason,
    Covered,
    FitError,
    FitProvenance,
    FitQuestion,
    FittedProfile,
    QuantityError,
)
from argosy.perf.measurements.plausibility import MOST_FACTOR, FarOff, far_off
from argosy.perf.measurements.profile_file import (
    ProfileFault,
    ProfileFaultReason,
    profile_from_bytes,
    profile_to_bytes,
)
from argosy.perf.measurements.reports.reading import UNDERSTOOD, read_measurements
from argosy.perf.measurements.rows import (
    ClosedLoopLoad,
    Course,
    Latency,
    LeftOut,
    Measurement,
    Measurements,
    OfferedLoad,
    OpenLoopLoad,
    SaturatingLoad,
    TokenLengths,
    Tool,
    UnreadableReason,
    UnreadableReport,
)

__all__ = [
    "MOST_FACTOR",
    "UNDERSTOOD",
    "CannotFit",
    "CannotFitReason",
    "ClosedLoopLoad",
    "Course",
    "Covered",
    "FarOff",
    "FitError",
    "FitProvenance",
    "FitQuestion",
    "FittedProfile",
    "Latency",
    "LeftOut",
    "Measurement",
    "Measurements",
    "OfferedLoad",
    "OpenLoopLoad",
    "ProfileFault",
    "ProfileFaultReason",
    "QuantityError",
    "SaturatingLoad",
    "TokenLengths",
    "Tool",
    "UnreadableReason",
    "UnreadableReport",
    "far_off",
    "fit_profile",
    "profile_from_bytes",
    "profile_to_bytes",
    "read_measurements",
]
