"""What every decision may ask about performance, and the answers it may get.

Owns the `PerfModel` protocol and its typed answers. `model` implements it. "No" is a value:
`OutOfRange` where there is no honest answer, `TooLarge` where the model does not fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from argosy.refusals import Refused
from argosy.snapshot import Mix, Slo, SloTerm, Variant

if TYPE_CHECKING:  # both import arrays, which completion and refusals do without
    from argosy.engine.step_times import StepTimeSource
    from argosy.perf.profile import Calibration, Profile, ProfileKey


class OutOfRangeReason(StrEnum):
    """Why there is no honest answer."""

    UNKNOWN_GPU = "UnknownGpu"
    UNKNOWN_MODEL = "UnknownModel"
    NO_PROFILE = "NoProfile"
    """Both are known, but not together or not in this parallel shape."""
    CONTEXT_TOO_LONG = "ContextTooLong"
    """A slice is longer than the engine's context limit or its KV cache."""
    BEYOND_PROFILE = "BeyondProfile"
    """More tokens, sequences or context in an iteration than the profile was made from."""
    IMPOSSIBLE_SHAPE = "ImpossibleShape"
    """The model cannot be cut that way (heads not divisible, fewer layers than stages, parts of cards)."""
    NUMBER_TYPE = "NumberType"
    """The GPU has no kernel for weights of this type."""


@dataclass(frozen=True, slots=True)
class OutOfRange(Refused[OutOfRangeReason]):
    """No answer, why, and the nearest names that would have one."""


@dataclass(frozen=True, slots=True)
class Fits:
    """Weights and one sequence of full length fit; this much is left for KV on the fullest GPU."""

    weight_bytes_per_gpu: int
    weight_bytes: int
    kv_capacity_tokens: int


class TooLargeReason(StrEnum):
    """Why a model that can be cut this way does not run."""

    TOO_LARGE = "TooLarge"
    """Weights and one sequence of full length need more memory than each GPU has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TooLarge(Refused[TooLargeReason]):
    """Weights and one sequence of full length do not fit; `nearest`: tensor parallelism that would do.

    Of the fullest GPU: the bytes that are needed, and those that are available.
    """

    needed_bytes_per_gpu: int
    available_bytes_per_gpu: int


class CapacityLimit(StrEnum):
    """A bound on a replica's rate that is no term of its SLO."""

    STABILITY = "stability"
    """Beyond this rate the queue grows forever, however lax the SLO."""
    KV_TRANSFER = "KV transfer"
    """The links between a prefill and a decode replica are busy all the time."""


def term_name(term: SloTerm) -> str:
    """The term as conditions and reasons print it: "TTFT p95"."""
    return f"{term.term} p{100 * term.percentile:g}"


@dataclass(frozen=True, slots=True)
class Capacity:
    """Requests/s that one replica carries of a mix within an SLO's percentiles.

    `requests_per_s` is 0 where even a lone request breaks the SLO; `binding` is the term of the SLO,
    or the other limit, that is violated first just above the capacity.
    """

    requests_per_s: float
    binding: SloTerm | CapacityLimit

    @property
    def binding_name(self) -> str:
        """What binds, as users read it: "TTFT p95", "stability"."""
        return term_name(self.binding) if isinstance(self.binding, SloTerm) else str(self.binding)


class PerfModel(Protocol):
    """How fast a variant is. Implementations are pure: same question, same answer."""

    def step_times(self, variant: Variant) -> StepTimeSource | OutOfRange:
        """The step times of one engine of this variant, host overhead included."""
        ...

    def fits(self, variant: Variant) -> Fits | TooLarge | OutOfRange:
        """Whether the model fits, and what is left for KV."""
        ...

    def capacity(self, variant: Variant, mix: Mix, slo: Slo) -> Capacity | OutOfRange:
        """Requests/s of `mix` that one replica carries within `slo`."""
        ...

    def with_profiles(self, profiles: Iterable[Profile]) -> PerfModel:
        """The same model, in which these profiles of users win over its own."""
        ...

    def with_calibrations(self, calibrations: Mapping[ProfileKey, Calibration]) -> PerfModel:
        """The same model, corrected by what running engines were seen to need, and by nothing else."""
        ...

    def prior(self, variant: Variant) -> Profile | OutOfRange:
        """The profile as it is without any calibration: what recalibration corrects."""
        ...
