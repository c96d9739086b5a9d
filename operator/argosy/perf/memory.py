"""What fits on a GPU, and how many KV tokens are left.

Owns the memory arithmetic of one engine. Never asks how fast it is. Input: a `Variant`, looked
up in the catalogue; output: `Fits | TooLarge | OutOfRange`.

    KV tokens = (u*memory - weights/TP - activations - 3.5 GB) / (2*layers*kv_heads*head_dim*bytes/TP)

with u the engine's `gpu_memory_utilization`. KV is sharded by TP like the weights. The
activations are the widest layer's (two of the hidden and two of the intermediate size per
batched token) and one row of float32 logits per sequence. Against the figures of
aiconfigurator-core 0.12.0 for Llama-3.1-8B, 8,192 batched tokens and 256 sequences: H100
432,992 (this formula: -0.1 %), L40S 174,857 (+1.1 %).
"""

from __future__ import annotations

from argosy.engine.request import EngineLimits
from argosy.perf.catalogue import Gpu, ModelFacts, find_gpu, find_model
from argosy.perf.protocol import Fits, OutOfRange, OutOfRangeReason, TooLarge
from argosy.snapshot import EngineSettings, Variant

# CUDA context, NCCL buffers, CUDA graphs and fragmentation: the reference's constant.
RESERVED_BYTES = 3.5e9
_LOGIT_BYTES = 4
_ACTIVATION_BYTES = 2


def fits(variant: Variant) -> Fits | TooLarge | OutOfRange:
    """Whether weights and at least one sequence of full length fit.

    vLLM refuses to start an engine whose KV cache is shorter than `max_model_len`, so that is
    `TooLarge` here too.
    """
    gpu, model = find_gpu(variant.gpu), find_model(variant.model_id)
    if isinstance(gpu, OutOfRange):
        return gpu
    if isinstance(model, OutOfRange):
        return model
    shape = shape_fault(model, variant)
    if shape is not None:
        return shape
    return _fits(gpu, model, variant)


def shape_fault(model: ModelFacts, variant: Variant) -> OutOfRange | None:
    """Whether the attention heads can be spread over the variant's GPUs at all."""
    if variant.tensor_parallel >= 1 and model.attention_heads % variant.tensor_parallel == 0:
        return None
    return OutOfRange(
        OutOfRangeReason.NO_PROFILE,
        f"{model.attention_heads} attention heads of {variant.model_id} do not divide into "
        f"{variant.tensor_parallel} tensor-parallel ranks",
    )


def _fits(gpu: Gpu, model: ModelFacts, variant: Variant) -> Fits | TooLarge:
    engine, ranks = variant.engine, variant.tensor_parallel
    weights = model.weight_bytes / ranks
    fixed = weights + activation_bytes(model, engine, ranks) + RESERVED_BYTES
    available = engine.gpu_memory_utilization * gpu.memory_bytes
    per_token = model.kv_bytes_per_token(ranks)
    kv_tokens = int(max(0.0, available - fixed) / per_token)
    if kv_tokens >= engine.max_model_len:
        return Fits(round(weights), model.weight_bytes, kv_tokens)
    needed = fixed + engine.max_model_len * per_token
    what = "weights alone" if kv_tokens == 0 else f"weights and a context of {engine.max_model_len} tokens"
    return TooLarge(
        round(needed),
        round(available),
        f"{variant.model_id} with TP {ranks} needs {needed / 1e9:.1f} GB on each {gpu.name} "
        f"({what} do not fit); {available / 1e9:.1f} GB are available",
    )


def activation_bytes(model: ModelFacts, engine: EngineSettings, tensor_parallel: int) -> float:
    """Peak bytes of activations and logits on one GPU in an iteration with a full budget."""
    widths = 2 * model.hidden_size + 2 * model.intermediate_size / tensor_parallel
    logits = engine.max_num_seqs * model.vocabulary * _LOGIT_BYTES
    return engine.max_num_batched_tokens * widths * _ACTIVATION_BYTES + logits


def engine_limits(engine: EngineSettings, kv_capacity_tokens: int) -> EngineLimits:
    """The scheduler's limits of an engine whose KV cache holds that many tokens (in whole blocks)."""
    return EngineLimits(
        max_num_seqs=engine.max_num_seqs,
        max_num_batched_tokens=engine.max_num_batched_tokens,
        kv_blocks=kv_capacity_tokens // engine.block_size,
        block_size=engine.block_size,
        max_model_len=engine.max_model_len,
    )


def load_delay_s(weight_bytes: int) -> float:
    """Seconds from a pod's start to its readiness: image pull and weights in one.

    2 GB/s (a node-local cache or a fast object store) and 10 s for the process, its CUDA graphs
    and the image; never under 15 s. The live fleet waits exactly this long.
    """
    return max(15.0, weight_bytes / 2e9 + 10.0)
