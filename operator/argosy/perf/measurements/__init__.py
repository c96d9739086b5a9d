"""Bring your own measurements: reports of benchmark tools in, a fitted profile out."""

from argosy.perf.measurements.fit import fit_profile
from argosy.perf.measurements.fitted import (
    CannotFit,
    CannotFitReason,
    Covered,
    FitError,
    FitQuestion,
    FittedProfile,
    Provenance,
    QuantityError,
)
from argosy.perf.measurements.plausibility import MOST_FACTOR, FarOff, far_off
from argosy.perf.measurements.profile_file import (
    ProfileFault,
    ProfileFaultReason,
    profile_from_bytes,
    profile_to_bytes,
)
from argosy.perf.measurements.reading import UNDERSTOOD, read_measurements
from argosy.perf.measurements.rows import (
    ClosedLoop,
    Latency,
    Lengths,
    Load,
    Measurement,
    Measurements,
    OpenLoop,
    Saturated,
    Tool,
    Unreadable,
    UnreadableReason,
)

__all__ = [
    "MOST_FACTOR",
    "UNDERSTOOD",
    "CannotFit",
    "CannotFitReason",
    "ClosedLoop",
    "Covered",
    "FarOff",
    "FitError",
    "FitQuestion",
    "FittedProfile",
    "Latency",
    "Lengths",
    "Load",
    "Measurement",
    "Measurements",
    "OpenLoop",
    "ProfileFault",
    "ProfileFaultReason",
    "Provenance",
    "QuantityError",
    "Saturated",
    "Tool",
    "Unreadable",
    "UnreadableReason",
    "far_off",
    "fit_profile",
    "profile_from_bytes",
    "profile_to_bytes",
    "read_measurements",
]
