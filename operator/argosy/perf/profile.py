"""A profile: the step time of one model in one shape on one GPU, and how far to trust it.

Owns the nouns `Shape`, `ProfileKey`, `Origin`, `ValidRange`, `Profile` and `Calibration`, and the
usual host overhead. `profiles` makes profiles from tables, closed forms and other profiles;
`measurements` makes them from users' measurements. A profile is without host overhead unless its
source contains it: s = 1, c0 = cB = 0 in its calibration means that it has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from argosy.arrays import Floats
from argosy.engine.step_times import CalibratedSource, SlowerPrefill, StepTimeSource
from argosy.errors import InvariantError
from argosy.snapshot.architecture import Dtype


class Origin(StrEnum):
    """Where a profile's figures come from, the most trusted first."""

    USER = "UserMeasurements"
    TABLE = "MeasuredTable"
    FORM = "FittedForm"
    ROOFLINE = "Roofline"


@dataclass(frozen=True, slots=True, order=True)
class Shape:
    """How one replica is spread over GPUs: tensor parallel inside a stage, stages in a row."""

    tensor_parallel: int = 1
    pipeline_parallel: int = 1

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.tensor_parallel * self.pipeline_parallel

    def __str__(self) -> str:
        stages = f" PP{self.pipeline_parallel}" if self.pipeline_parallel > 1 else ""
        return f"TP{self.tensor_parallel}{stages}"


@dataclass(frozen=True, slots=True)
class ProfileKey:
    """What a profile is about: catalogue names of GPU and model, the weights' type, the shape."""

    gpu: str
    model: str
    dtype: Dtype
    shape: Shape

    @property
    def path(self) -> str:
        """As the shipped files have it; they know no pipelines."""
        return f"{self.gpu}/{self.model}/{self.dtype}/{self.shape.tensor_parallel}"

    def __str__(self) -> str:
        return f"{self.model} {self.dtype} on {self.gpu} {self.shape}"


@dataclass(frozen=True, slots=True)
class ValidRange:
    """Within which the profile answers: tokens of one iteration, sequences, mean context tokens."""

    max_tokens: int
    max_batch: int
    max_context: int


@dataclass(frozen=True, slots=True)
class Profile:
    """Step times with their provenance.

    uncertainty: relative standard error (0-1) of a step time, as measured on what the profile
                 was not made from; `source` says in a sentence where the figures come from
    front_end_ms: between a client and the engine, in TTFT and in no step time
    batches_in_flight: of the engine that a user's step times were fitted with; `EngineLimits` has the meaning
    """

    key: ProfileKey
    origin: Origin
    step_times: StepTimeSource
    valid: ValidRange
    uncertainty: float
    source: str
    front_end_ms: float = 0.0
    batches_in_flight: int = 1


@dataclass(frozen=True, slots=True)
class Calibration:
    """Corrects a time on silicon: `s` is a factor, `c0` ms per iteration, `cb` ms per decoding sequence.

    prefill_ms_per_token: what a token of a prompt takes beyond `s` times the silicon, on this shape
    """

    s: float
    c0: float
    cb: float
    prefill_ms_per_token: float = 0.0

    def values(self) -> Floats:
        """Shape (4,): s, c0, cb, prefill."""
        return np.array([self.s, self.c0, self.cb, self.prefill_ms_per_token])

    def applied_to(self, source: StepTimeSource) -> StepTimeSource:
        """The source with its own calibration replaced by this one.

        Raises InvariantError for a source without a calibration, such as a pipeline: its stages are
        calibrated before they are put in a row.
        """
        if isinstance(source, SlowerPrefill):
            source = source.source
        if not isinstance(source, CalibratedSource):
            raise InvariantError(f"{type(source).__name__} has no calibration (s, c0, cb) to replace")
        changed = source.with_calibration(self.s, self.c0, self.cb)
        if self.prefill_ms_per_token == 0.0:
            return changed
        return SlowerPrefill(changed, self.prefill_ms_per_token)


HOST_OVERHEAD = Calibration(s=0.98, c0=1.34, cb=0.046)
"""The usual host overhead of vLLM: what plans assume, and where recalibration starts.

Fitted end to end, all three together, on H100 measurements of six models; ITL of others is then within
2.8-8.0 % there. Both need the same value: learning that starts elsewhere would report a deviation from
a calibration that no plan uses."""
