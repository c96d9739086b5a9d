"""What a replica draws, in watts, and where the figure comes from.

Owns the levels of power (bare GPU, context loaded but idle, working on a batch). `energy` makes
joules and dollars of watts. Input: a catalogue GPU, the profile's key, the batch and how busy
memory and arithmetic are in a step; output: `Power` of all GPUs of the replica, with its standard
error and its origin.

Working, per GPU, the first that applies:

1. a curve fitted to measurements of this model in bf16 in this shape:
       floor + rise * sigma(slope * (log2 b - middle))
2. the utilisation form fitted on this GPU, capped at its TDP:
       static + memory * u_mem + compute * u_comp
   with u_mem = bytes / (step time * peak bandwidth), u_comp = FLOPs / (step time * peak rate);
   mean absolute error 6.9 % (H100) and 5.7 % (B200). With the shipped step times and the host's
   overhead it differs from the curves above by 3 % (H100 70B), 4 % (B200 70B) and 17 % (H100 8B,
   always lower), root mean square over batches 1 to 256: hence 12 % for the H100;
3. the utilisation form of the nearest measured generation (B200 for Blackwell, else H100)
   times TDP / TDP. As shares of their TDP the two measured forms differ by 25 % (root mean
   square over u_mem 0.2-0.8 and u_comp 0-0.25, where decoding is), so that is the error here.

Idle with a context is the bare GPU plus what the context adds: 26-50 W on GPUs with HBM and
66 W on an L40S, whatever the memory in use (arXiv 2605.23918: H100, A100, L40S). The bare
figures are medians of `nvidia-smi` listings in public repositories, up to ten each, that show
0 MiB in use.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from argosy.checks import positive, share
from argosy.errors import SpecError
from argosy.perf.catalogue import Gpu
from argosy.perf.footprint.work import StepWork
from argosy.perf.profile import ProfileKey
from argosy.snapshot.architecture import Dtype


class PowerOrigin(StrEnum):
    """Where a figure of power comes from, the most trusted first."""

    FITTED = "FittedCurve"
    GENERIC = "UtilisationForm"
    SCALED = "ScaledByTdp"


@dataclass(frozen=True, slots=True)
class Power:
    """Watts of all GPUs of a replica.

    uncertainty: relative standard error (0-1)
    """

    watts: float
    uncertainty: float
    origin: PowerOrigin
    source: str


@dataclass(frozen=True, slots=True)
class Utilisation:
    """Shares (0-1) of a GPU's peak bandwidth and peak arithmetic that a step keeps busy.

    Raises SpecError for a share outside [0, 1].
    """

    memory: float
    compute: float

    def __post_init__(self) -> None:
        share(self.memory, "utilisation.memory")
        share(self.compute, "utilisation.compute")


@dataclass(frozen=True, slots=True)
class LogisticCurve:
    """Watts per GPU over log2 of the batch; `source` says what it was fitted to."""

    floor_w: float
    rise_w: float
    slope: float
    middle: float
    source: str

    def watts(self, batch: float) -> float:
        """At so many sequences per step. Raises SpecError for a batch that is not positive."""
        exponent = self.slope * (math.log2(positive(batch, "batch")) - self.middle)
        return self.floor_w + self.rise_w / (1.0 + math.exp(-exponent))


@dataclass(frozen=True, slots=True)
class UtilisationForm:
    """Watts per GPU, linear in the utilisations; fitted on a GPU of `tdp_w`."""

    static_w: float
    memory_w: float
    compute_w: float
    tdp_w: float
    uncertainty: float

    def watts(self, busy: Utilisation) -> float:
        """Capped at the TDP."""
        return min(self.tdp_w, self.static_w + self.memory_w * busy.memory + self.compute_w * busy.compute)


_FIT = "logistic in log2(batch), fitted to measurements of this model on this GPU"
FITTED_CURVES: Mapping[tuple[str, str, int], LogisticCurve] = MappingProxyType(
    {
        ("H100", "llama-3.1-8b", 1): LogisticCurve(475.0, 224.0, 1.10, 5.49, _FIT),
        ("H100", "llama-3.1-70b", 4): LogisticCurve(439.0, 177.0, 1.24, 6.65, _FIT),
        ("B200", "llama-3.1-70b", 2): LogisticCurve(857.0, 113.0, 2.11, 6.11, _FIT),
    }
)
"""By GPU, model (bf16) and tensor-parallel size."""

UTILISATION_FORMS: Mapping[str, UtilisationForm] = MappingProxyType(
    {
        "H100": UtilisationForm(410.0, 46.0, 804.0, 700.0, 0.12),
        "B200": UtilisationForm(278.0, 967.0, 2287.0, 1000.0, 0.07),
    }
)
SCALED_UNCERTAINTY = 0.25
_BLACKWELL = frozenset({"B200", "B300", "GB200", "GB300", "RTX-PRO-6000", "RTX-5090"})

# (watts, their spread) without a context; L40S, L4, A10G and T4 mostly rest in P8, the others in P0.
_BARE_IDLE_W: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "H100": (70.0, 3.0),
        "A100": (59.0, 8.0),
        "B200": (141.0, 5.0),
        "L40S": (35.0, 15.0),
        "A10G": (20.0, 20.0),
        "L4": (15.0, 3.0),
        "T4": (9.0, 1.0),
    }
)
# The seven above lie between 0.07 and 0.21 of their TDP.
_BARE_IDLE_SHARE, _BARE_IDLE_SHARE_SPREAD = 0.13, 0.045
# What a context adds. 66 W were measured on one GPU with GDDR, of 350 W; L4 and T4 listings in
# the same state (P0, 27-30 W and 25 W) agree with that share of their TDP, not with 66 W.
_GDDR = frozenset(
    {"L40S", "L4", "A10G", "T4", "RTX-PRO-6000", "A10", "A16", "A40", "L20", "L40", "RTX-A5000", "RTX-A6000"}
    | {"RTX-6000-Ada", "RTX-3090", "RTX-4090", "RTX-5090"}
)
_CONTEXT_HBM_W, _CONTEXT_SPREAD_W = 38.0, 12.0
_CONTEXT_GDDR_W, _CONTEXT_GDDR_SHARE = 66.0, 66.0 / 350.0


def idle_power(gpu: Gpu, num_gpus: int) -> Power:
    """GPUs that hold a context (and a model) but compute nothing."""
    bare, bare_spread, origin, source = _bare_idle(gpu)
    added = _CONTEXT_HBM_W
    if (gpu.part_of or gpu.name) in _GDDR:
        added = min(_CONTEXT_GDDR_W, _CONTEXT_GDDR_SHARE * gpu.tdp_w)
    watts = bare + added
    uncertainty = math.hypot(bare_spread, _CONTEXT_SPREAD_W) / watts
    source = f"{source}; a context adds {added:.0f} W (arXiv 2605.23918: 26-66 W)"
    return Power(watts * _count(num_gpus), uncertainty, origin, source)


def working_power(gpu: Gpu, key: ProfileKey, batch: float, busy: Utilisation) -> Power:
    """GPUs that run steps of `batch` sequences, one after the other.

    Never under idle and never over the TDP. `busy` is not looked at where a curve was fitted.
    Raises SpecError where the batch or the TDP is no positive number.
    """
    positive(batch, "batch")
    num_gpus, tdp_w = key.shape.gpus, positive(gpu.tdp_w, "gpu.tdp_w")
    idle_w = idle_power(gpu, 1).watts

    def power(watts: float, uncertainty: float, origin: PowerOrigin, source: str) -> Power:
        return Power(num_gpus * min(tdp_w, max(idle_w, watts)), uncertainty, origin, source)

    form = UTILISATION_FORMS.get(gpu.name)
    curve = _fitted_curve(key)
    if curve is not None:
        # No error was published with the curves: the one of the form on the same GPU stands in.
        assert form is not None
        return power(curve.watts(batch), form.uncertainty, PowerOrigin.FITTED, curve.source)
    if form is not None:
        source = f"utilisation form fitted on {gpu.name}"
        return power(form.watts(busy), form.uncertainty, PowerOrigin.GENERIC, source)
    nearest = "B200" if gpu.name in _BLACKWELL else "H100"
    form = UTILISATION_FORMS[nearest]
    source = f"utilisation form of {nearest}, scaled by TDP ({tdp_w:g} W / {form.tdp_w:g} W)"
    return power(form.watts(busy) * tdp_w / form.tdp_w, SCALED_UNCERTAINTY, PowerOrigin.SCALED, source)


def utilisation(work: StepWork, step_ms: float, gpu: Gpu, dtype: Dtype) -> Utilisation:
    """How busy a step of `step_ms` keeps a GPU; what exceeds a peak counts as the peak.

    A number type that the GPU has no hardware for is multiplied in bf16.

    Raises SpecError for a step that takes no time.
    """
    step_s = positive(step_ms, "step_ms") / 1e3
    memory = work.memory_bytes / (step_s * gpu.memory_bytes_per_s)
    compute = work.flops / (step_s * gpu.flops.get(dtype, gpu.flops[Dtype.BF16]))
    return Utilisation(min(1.0, memory), min(1.0, compute))


def _fitted_curve(key: ProfileKey) -> LogisticCurve | None:
    if key.dtype is not Dtype.BF16 or key.shape.pipeline_parallel != 1:
        return None
    return FITTED_CURVES.get((key.gpu, key.model, key.shape.tensor_parallel))


def _bare_idle(gpu: Gpu) -> tuple[float, float, PowerOrigin, str]:
    """Watts of one GPU, their spread, and where they come from."""
    known = _BARE_IDLE_W.get(gpu.name)
    if known is not None:
        return *known, PowerOrigin.FITTED, "median of public nvidia-smi listings with no memory in use"
    tdp_w = positive(gpu.tdp_w, "gpu.tdp_w")
    source = f"{_BARE_IDLE_SHARE:.0%} of the TDP, as on seven GPUs that were looked at"
    return _BARE_IDLE_SHARE * tdp_w, _BARE_IDLE_SHARE_SPREAD * tdp_w, PowerOrigin.SCALED, source


def _count(num_gpus: int) -> int:
    if num_gpus < 1:
        raise SpecError(f"must be at least 1, got {num_gpus}", "num_gpus")
    return num_gpus
