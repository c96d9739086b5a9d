"""What aiconfigurator-core 0.12.0 holds back beside weights and KV, to compare weights and KV with it.

Owns its constants (`other_mem`, NCCL's buffers and `ACTIVATION_COEFFICIENTS` of its vLLM backend). Argosy's
own figures, from start-up logs of vLLM, are in `perf.footprint.working_memory`.
"""

from __future__ import annotations

from argosy.perf.footprint.memory import EXPERT_PARALLEL
from argosy.perf.footprint.weights import Ranks, rank_weight_bytes
from argosy.snapshot import EngineSettings
from argosy.snapshot.architecture import Architecture, Dtype, Family

_OTHER_BYTES = 3.5 * 2**30
_NCCL_BYTES = {1: 0, 2: 358_612_992, 4: 411_041_792}
_LEAST_BYTES = 70 * 2**20
# Widths of hidden states alive at the peak of an iteration, by tensor parallelism 1, 2, 4 and up.
_WIDTHS = {
    Family.DENSE: {1: 11.0, 2: 6.5, 4: 5.0},
    Family.HYBRID: {1: 10.0, 2: 6.0, 4: 5.0},
    Family.MOE: {1: 22.0, 2: 13.0, 4: 10.0},
    Family.MLA: {1: 22.0, 2: 13.0, 4: 10.0},
    Family.WINDOWED: {1: 22.0, 2: 13.0, 4: 10.0},
}
# Dispatching tokens to experts needs a float32 scale per 128 numbers, expert and token.
_DISPATCH_BYTES = 4 / 128


def weights_bytes(a: Architecture, quantization: Dtype | None, tensor_parallel: int) -> float:
    """On each GPU, with the tables as the reference counts them: an embedding that is the head, too, twice;
    whole on every rank of MLA and windowed models; no head of a plain mixture of experts."""
    ours = (1 if a.tied_embeddings else 2) * a.vocabulary * a.hidden_size / tensor_parallel
    layout = a.layout
    assert layout is not None
    theirs = layout.split_tables / tensor_parallel + layout.whole_tables
    return rank_weight_bytes(a, quantization, Ranks(tensor_parallel)) + 2 * (theirs - ours)


def reserve_bytes(a: Architecture, engine: EngineSettings, tensor_parallel: int) -> float:
    """On each GPU."""
    tokens, family, width = engine.max_num_batched_tokens, _family(a), a.attention_heads * a.head_dim
    peak = 2 * tokens * width * _by_ranks(_WIDTHS[family], tensor_parallel)
    if a.is_moe and family in (Family.MLA, Family.WINDOWED):
        dispatched = width if family is Family.MLA else a.hidden_size
        experts = a.experts / (tensor_parallel if EXPERT_PARALLEL in engine.args else 1)
        peak += tokens * dispatched * experts * a.experts_per_token * _DISPATCH_BYTES
    return max(peak, _LEAST_BYTES) + _OTHER_BYTES + _by_ranks(_NCCL_BYTES, tensor_parallel)


def _family(a: Architecture) -> Family:
    if a.family is not None:
        return a.family
    if a.mla_kv_dim:
        return Family.MLA
    if a.linear_layers:
        return Family.HYBRID
    return Family.MOE if a.is_moe else Family.DENSE


def _by_ranks(table: dict[int, float] | dict[int, int], tensor_parallel: int) -> float:
    return table[max(ranks for ranks in table if ranks <= tensor_parallel)]
