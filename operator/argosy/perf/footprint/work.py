"""What one GPU has to do in a decode step: bytes to read and operations to compute.

Owns that count, from a model's dimensions. Profiles say how long it takes. Weights are read once
per step, of an MoE's experts those that some token goes through; KV is read once per sequence,
however many of its tokens are verified, of a windowed layer no more than its window. Tensor and
pipeline parallelism divide both by the GPUs of the replica.
"""

from __future__ import annotations

from dataclasses import dataclass

from argosy.checks import not_negative, positive
from argosy.perf.footprint.memory import kv_growth
from argosy.perf.footprint.weights import BYTES_PER_PARAMETER
from argosy.perf.profile import ProfileKey
from argosy.snapshot.architecture import Architecture, Dtype

_EXPERT_MATRICES = 3
"""Gate, up and down."""


@dataclass(frozen=True, slots=True)
class StepWork:
    """One iteration on one GPU: bytes read from its memory, floating-point operations.

    Raises SpecError for negative values.
    """

    memory_bytes: float
    flops: float

    def __post_init__(self) -> None:
        not_negative(self.memory_bytes, "work.memory_bytes")
        not_negative(self.flops, "work.flops")


def decode_work(
    architecture: Architecture, key: ProfileKey, batch: float, context: float, verified: float = 1
) -> StepWork:
    """Of a step in which so many sequences decode at that mean context (tokens).

    Raises SpecError for a batch that is not positive and for a negative context.
    """
    a, gpus = architecture, key.shape.gpus
    positive(batch, "batch")
    tokens = round(not_negative(context, "context"))
    kv = kv_growth(a, key.shape.tensor_parallel, a.kv_dtype)
    attended = a.full_layers * tokens + a.sliding_layers * min(tokens, a.sliding_window)
    attention_flops = 4 * a.attention_heads * a.head_dim * attended
    return StepWork(
        memory_bytes=_weight_bytes(a, key, batch * positive(verified, "verified")) / gpus
        + batch * kv.bytes_of(tokens) / key.shape.pipeline_parallel,
        flops=batch * verified * (2 * a.active_parameters + attention_flops) / gpus,
    )


def _weight_bytes(a: Architecture, key: ProfileKey, batch: float) -> float:
    """Of all GPUs: what a token is multiplied with, and the experts that the others ask for."""
    matrices = float(a.active_parameters)
    if a.is_moe:
        one = a.experts_per_token / a.experts
        layers = a.layers - a.dense_layers
        routed = layers * a.experts * _EXPERT_MATRICES * a.hidden_size * a.expert_intermediate_size
        matrices += routed * (1.0 - (1.0 - one) ** batch - one)
    head = a.vocabulary * a.hidden_size
    return (matrices - head) * BYTES_PER_PARAMETER[key.dtype] + head * BYTES_PER_PARAMETER[Dtype.BF16]
