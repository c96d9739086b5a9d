"""A profile: the step time of one model in one shape on one GPU, and how far to trust it.

Owns the nouns `Shape`, `ProfileKey`, `Origin`, `ValidRange` and `Profile`. Never computes one:
tables (`tables`), fitted forms (`form`), rooflines (`roofline`), what is made of other profiles
(`reshape`) and users' measurements (`measurements`) do. Every profile is without host overhead
unless its source already contains it; the calibration (s, c0, cB) says which.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from argosy.engine.step_times import StepTimeSource
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
    """

    key: ProfileKey
    origin: Origin
    step_times: StepTimeSource
    valid: ValidRange
    uncertainty: float
    source: str
