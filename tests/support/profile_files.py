"""Profile files as `argosy perf import` writes them, of made-up figures.

Owns the bytes and their damage: what was changed by hand, and what was changed and sealed again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from argosy.engine.step_times import StepTable
from argosy.perf.measurements import Covered, FitError, FitProvenance, FittedProfile, profile_to_bytes
from argosy.perf.measurements.profile_file import _digest
from argosy.perf.measurements.scaled import ScalingFactors
from argosy.perf.profile import Origin, Profile, ProfileKey, Shape, ValidRange
from argosy.snapshot.architecture import Dtype


def a_profile_file(model: str = "small", gpu: str = "L40S", slowness: float = 1.0, tp: int = 1) -> bytes:
    """The file of a bfloat16 profile: an iteration of one token takes about 20 ms times `slowness`."""
    table = StepTable(
        token_knots=np.array([1.0, 8192.0]),
        matrix_ms=np.array([20.0, 800.0]),
        batch_knots=np.array([1.0, 256.0]),
        context_knots=np.array([0.0, 16384.0]),
        decode_ms=np.array([[0.1, 1.0], [2.0, 200.0]]),
        chunk_knots=np.array([1.0, 8192.0]),
        prefix_knots=np.array([0.0, 16384.0]),
        chunk_ms_per_token=np.array([[0.0001, 0.001], [0.001, 0.002]]),
        s=slowness,
    )
    key = ProfileKey(gpu, model, Dtype.BF16, Shape(tp))
    valid = ValidRange(8192, 256, 16384)
    profile = Profile(key, Origin.USER, table, valid, 0.02, "made up for a test")
    nothing = FitError(None, None, None, None)
    return profile_to_bytes(
        FittedProfile(
            profile=profile,
            factors=ScalingFactors(slowness, 1.0, 1.0, 0.0, 0.0),
            fitted=("s",),
            front_end_ms=0.0,
            error=nothing,
            prior_error=nothing,
            prior_source="none",
            covered=Covered((1.0, 1.0), (1.0, 1.0), (1, 1), None),
            files=(FitProvenance("runs.csv", "0" * 64, "csv", None, 1),),
            on_date="2026-01-01",
        )
    )


def changed(content: bytes, change: Callable[[dict[str, Any]], object], *, seal: bool = False) -> bytes:
    """The file with something changed; sealed again as an attacker would seal it."""
    document = json.loads(content)
    change(document)
    if seal:
        document["sha256"] = _digest(document)
    return json.dumps(document).encode()
