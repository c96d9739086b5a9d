"""What fits on a GPU, and how many KV tokens are left.

Owns the memory arithmetic of one engine. Input: a `Variant` (its architecture given, or its model
looked up); output: `Fits | TooLarge | OutOfRange`.

    KV bytes = u*memory - weights - adapters - working memory     on each GPU

with u the engine's `gpu_memory_utilization`, and memory and working memory as `working_memory` has them.
Weights are spread by their `WeightLayout`; KV heads are split over tensor-parallel ranks and repeat beyond
their number; MLA's compressed KV is on every rank. In a pipeline the fullest stage decides. A sliding window
is held once: the tokens are those of one long sequence, as in vLLM's start-up log; of linear layers one state
is held.

Weights and KV per token are checked against aiconfigurator-core 0.12.0: beside its own reserve every
configuration that both know is within 3 % of its `estimate_kv_cache`, but for the models that the test
names with what that estimate leaves out (tests/unit/perf/footprint/test_memory.py). Where its weights differ
from the checkpoint's is listed in `catalogue.layout`; of the models that people run, gpt-oss-120b is the one
to know: 3.5 GB more are needed than are counted.

A number type without hardware needs no other memory: vLLM then multiplies in 16 bits with the
weights stored small (FP8 and FP4 from compute capability 7.5 on, by Marlin).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from argosy.api.engine.arguments import switch
from argosy.engine.request import EngineLimits
from argosy.errors import SpecError
from argosy.perf.catalogue import Gpu, find_model, gpu_of
from argosy.perf.footprint.overrides import HF_OVERRIDES, context_with_overrides
from argosy.perf.footprint.weights import (
    BYTES_PER_PARAMETER,
    Ranks,
    adapter_bytes,
    rank_weight_bytes,
    weight_bytes,
)
from argosy.perf.footprint.working_memory import usable_bytes, working_memory
from argosy.perf.protocol import Fits, OutOfRange, OutOfRangeReason, TooLarge, TooLargeReason
from argosy.snapshot import EngineSettings, Variant
from argosy.snapshot.architecture import Architecture, Dtype

_WIDTHS = (1, 2, 4, 8, 16, 32, 64)
ALLOW_LONG = "VLLM_ALLOW_LONG_MAX_MODEL_LEN"
EXPERT_PARALLEL, _EXPERT_PARALLEL_SHORT = "--enable-expert-parallel", "-ep"


@dataclass(frozen=True, slots=True)
class KvGrowth:
    """How the KV of one sequence grows on one GPU.

    full_bytes:     per token, in layers that keep all; windowed_bytes: in those with a window
    window_tokens:  0: none; fixed_bytes: whatever the length (the state of linear layers)
    """

    full_bytes: float
    windowed_bytes: float = 0.0
    window_tokens: int = 0
    fixed_bytes: float = 0.0

    def times(self, share: float) -> KvGrowth:
        """That of a share of the layers."""
        return replace(
            self,
            full_bytes=self.full_bytes * share,
            windowed_bytes=self.windowed_bytes * share,
            fixed_bytes=self.fixed_bytes * share,
        )

    def within(self, longest: int) -> KvGrowth:
        """That of sequences of at most so many tokens: a window that holds them all keeps all of them."""
        if longest > self.window_tokens:
            return self
        return replace(
            self, full_bytes=self.full_bytes + self.windowed_bytes, windowed_bytes=0.0, window_tokens=0
        )

    def bytes_of(self, tokens: int) -> float:
        """KV bytes of one sequence of so many tokens."""
        windowed = min(tokens, self.window_tokens) * self.windowed_bytes
        return self.fixed_bytes + tokens * self.full_bytes + windowed

    def tokens_in(self, available_bytes: float) -> float:
        """Tokens of the longest sequence in so many bytes."""
        free = available_bytes - self.fixed_bytes
        rate = self.full_bytes + self.windowed_bytes
        if rate == 0:
            return math.inf if free >= 0 else 0.0
        short = free / rate
        if short < self.window_tokens:
            return max(0.0, short)
        if self.full_bytes == 0:
            return math.inf
        return (free - self.window_tokens * self.windowed_bytes) / self.full_bytes


SMALL_WEIGHTS_SINCE = 7.5
"""Compute capability from which vLLM multiplies quantised weights (Turing)."""
BF16_SINCE = 8.0
"""Compute capability from which a GPU has bfloat16 (Ampere)."""
_NO_FLOAT16 = re.compile(r"(gemma-?[23]|plamo-?2|glm-?4)(?![.\d])", re.IGNORECASE)
"""Names of models that vLLM does not run in float16; their forks under other names are not recognised."""

# --- the answer -------------------------------------------------------------------------------


def fits(variant: Variant) -> Fits | TooLarge | OutOfRange:
    """Whether weights and at least one sequence of full length fit.

    vLLM refuses to start an engine whose KV cache is shorter than `max_model_len`, so that is
    `TooLarge` here too. Raises SpecError for an engine setting that means nothing.
    """
    gpu, architecture = gpu_of(variant), find_architecture(variant)
    if isinstance(gpu, OutOfRange):
        return gpu
    if isinstance(architecture, OutOfRange):
        return architecture
    return fits_on(gpu, architecture, variant)


def find_architecture(variant: Variant) -> Architecture | OutOfRange:
    """What the user says of the model, or else the catalogue."""
    if variant.architecture is not None:
        return variant.architecture
    model = find_model(variant.model_id)
    return model if isinstance(model, OutOfRange) else model.architecture


def fits_on(gpu: Gpu, architecture: Architecture, variant: Variant) -> Fits | TooLarge | OutOfRange:
    """As `fits`, for a GPU and an architecture that need not be in the catalogue."""
    _check_settings(variant)
    refused = part_fault(gpu, variant) or shape_fault(architecture, variant)
    refused = (
        refused or number_type_fault(gpu, architecture, variant) or _context_fault(architecture, variant)
    )
    if refused is not None:
        return refused
    room, engine = _room(gpu, architecture, variant), variant.engine
    if not _holds_one(room, engine):
        return _too_large(gpu, architecture, variant, room)
    all_weights = weight_bytes(architecture, engine.quantization)
    kv_tokens = _kv_blocks(room, engine) * engine.block_size
    return Fits(round(room.weight_bytes), round(all_weights), kv_tokens)


def part_fault(gpu: Gpu, variant: Variant) -> OutOfRange | None:
    """Why a replica cannot run on parts of cards: they have no link, and may be parts of one card."""
    if not gpu.part_of or variant.gpus == 1:
        return None
    message = (
        f"{gpu.name} is a part of a card, and a replica cannot use {variant.gpus} of them together;"
        " use one, or whole cards"
    )
    return OutOfRange(OutOfRangeReason.IMPOSSIBLE_SHAPE, message, ("TP 1",))


def number_type_fault(gpu: Gpu, architecture: Architecture, variant: Variant) -> OutOfRange | None:
    """Why vLLM has no kernel for these weights on this GPU; None where it runs them, if only by a cast.

    A bfloat16 checkpoint is cast to float16 where the GPU has no bfloat16. Its kernels for small weights
    (Marlin) need compute capability 7.5; on AMD it multiplies FP8 only where the hardware does.
    """
    dtype = variant.engine.quantization or architecture.dtype
    capability = gpu.compute_capability
    if capability is not None and capability < BF16_SINCE and _NO_FLOAT16.search(variant.model_id):
        message = (
            f"vLLM does not run {variant.model_id} in float16, and {gpu.name} (compute capability"
            f" {capability}) has no bfloat16; use a GPU with compute capability {BF16_SINCE}"
        )
        return OutOfRange(OutOfRangeReason.NUMBER_TYPE, message)
    is_old = capability is not None and capability < SMALL_WEIGHTS_SINCE and dtype is not Dtype.BF16
    is_amd_fp8 = gpu.vendor == "amd" and dtype is Dtype.FP8 and Dtype.FP8 not in gpu.flops
    if not (is_old or is_amd_fp8):
        return None
    needs = "hardware for FP8" if is_amd_fp8 else f"compute capability {SMALL_WEIGHTS_SINCE}"
    has = "none" if is_amd_fp8 else str(capability)
    message = (
        f"vLLM runs {dtype} weights on GPUs with {needs}, and {gpu.name} has {has}; use a checkpoint in 16"
        " bits or another GPU"
    )
    return OutOfRange(OutOfRangeReason.NUMBER_TYPE, message)


def shape_fault(architecture: Architecture, variant: Variant) -> OutOfRange | None:
    """Why the model cannot be cut that way, whatever the memory; None where it can."""
    for fault in _shape_faults(architecture, variant):
        message = f"{variant.model_id}: {fault}"
        return OutOfRange(OutOfRangeReason.IMPOSSIBLE_SHAPE, message, _possible(architecture, variant))
    return None


def is_expert_parallel(variant: Variant) -> bool:
    """Whether its ranks hold whole experts, in place of a slice of every expert each."""
    args = variant.engine.args
    return bool(switch(args, EXPERT_PARALLEL)) or _EXPERT_PARALLEL_SHORT in args


def _possible(architecture: Architecture, variant: Variant) -> tuple[str, ...]:
    """The tensor parallelism that would do, the closest first; of too many pipeline stages, the most."""
    closest = sorted(_WIDTHS, key=lambda ranks: abs(ranks - variant.tensor_parallel))
    others = (replace(variant, tensor_parallel=ranks) for ranks in closest)
    possible = tuple(
        f"TP {other.tensor_parallel}" for other in others if not any(_shape_faults(architecture, other))
    )
    too_many_stages = variant.pipeline_parallel > architecture.layers
    return (f"PP {architecture.layers}",) if too_many_stages else possible


def _shape_faults(a: Architecture, variant: Variant) -> Iterator[str]:
    ranks, stages = variant.tensor_parallel, variant.pipeline_parallel
    if ranks < 1 or stages < 1:
        yield f"TP {ranks} and PP {stages} must both be at least 1"
        return
    into = f"do not divide into {ranks} tensor-parallel ranks"
    if a.attention_heads % ranks:
        yield f"{a.attention_heads} attention heads {into}"
    if not a.mla_kv_dim and a.kv_heads % ranks and ranks % a.kv_heads:
        yield f"{a.kv_heads} KV heads neither divide into {ranks} tensor-parallel ranks nor repeat evenly"
    has_mlp = not a.is_moe or a.dense_layers
    if has_mlp and a.intermediate_size % ranks:
        yield f"the {a.intermediate_size} columns of its MLP {into}"
    if a.is_moe and not is_expert_parallel(variant):
        share = a.expert_intermediate_size / ranks
        if share % max(1, a.weight_block):
            yield (
                f"an expert's {a.expert_intermediate_size} columns over {ranks} tensor-parallel ranks are "
                f"{share:g} each, not whole blocks of {max(1, a.weight_block)}; use fewer ranks or "
                f"{EXPERT_PARALLEL}"
            )
    if stages > a.layers:
        yield f"{a.layers} layers are fewer than {stages} pipeline stages"


def _context_fault(architecture: Architecture, variant: Variant) -> OutOfRange | None:
    wanted = variant.engine.max_model_len
    trained = context_with_overrides(architecture.max_context, variant.engine.args)
    if isinstance(trained, str):
        return OutOfRange(OutOfRangeReason.CONTEXT_TOO_LONG, f"{variant.model_id}: {trained}")
    if wanted <= trained or (ALLOW_LONG, "1") in variant.engine.env:
        return None
    return OutOfRange(
        OutOfRangeReason.CONTEXT_TOO_LONG,
        f"{variant.model_id} was trained for {trained} positions and vLLM refuses a maxModelLen of "
        f"{wanted}; lower it to {trained}, scale positions with {HF_OVERRIDES} in spec.engine.args, or set "
        f"{ALLOW_LONG}=1",
    )


def _check_settings(variant: Variant) -> None:
    engine = variant.engine
    for name in ("max_num_seqs", "max_num_batched_tokens", "max_model_len", "block_size", "max_lora_rank"):
        value = getattr(engine, name)
        if not (math.isfinite(value) and value >= 1):
            raise SpecError(f"must be at least 1, got {value}", f"engine.{name}")
    if not 0 < engine.gpu_memory_utilization <= 1:
        raise SpecError(
            f"must lie above 0 and not above 1, got {engine.gpu_memory_utilization}",
            "engine.gpu_memory_utilization",
        )
    if not (math.isfinite(engine.max_loras) and engine.max_loras >= 0):
        raise SpecError(f"must be zero or more, got {engine.max_loras}", "engine.max_loras")


def _too_large(gpu: Gpu, architecture: Architecture, variant: Variant, room: _Room) -> TooLarge:
    context = variant.engine.max_model_len
    needed = room.fixed_bytes + room.kv.bytes_of(context)
    what = _what_is_too_large(room, context)
    widths = _widths_that_fit(gpu, architecture, variant)
    shape = f"TP {variant.tensor_parallel}"
    if variant.pipeline_parallel > 1:
        shape += f" PP {variant.pipeline_parallel}"
    return TooLarge(
        TooLargeReason.TOO_LARGE,
        f"{variant.model_id} with {shape} needs {needed / 1e9:.1f} GB on each {gpu.name} "
        f"({what} do not fit); {room.available_bytes / 1e9:.1f} GB are available; "
        f"{_remedy(gpu, widths)}",
        tuple(f"TP {ranks}" for ranks in widths),
        needed_bytes_per_gpu=round(needed),
        available_bytes_per_gpu=round(room.available_bytes),
    )


def _what_is_too_large(room: _Room, context: int) -> str:
    if room.weight_bytes > room.available_bytes:
        return "weights alone"
    if room.kv_tokens <= 0:
        return "weights, and the buffers of the activations, adapters and links,"
    return f"weights and a context of {context} tokens"


def _widths_that_fit(gpu: Gpu, architecture: Architecture, variant: Variant) -> tuple[int, ...]:
    """The larger tensor parallelism that would do on this GPU, the smallest first; of parts, none would."""
    if gpu.part_of:
        return ()
    wider = (replace(variant, tensor_parallel=ranks) for ranks in _WIDTHS if ranks > variant.tensor_parallel)
    return tuple(
        other.tensor_parallel
        for other in wider
        if shape_fault(architecture, other) is None
        and _holds_one(_room(gpu, architecture, other), variant.engine)
    )


def _remedy(gpu: Gpu, widths: tuple[int, ...]) -> str:
    """The smallest of the tensor parallelism that would do on this GPU."""
    if gpu.part_of:
        return "parts of cards are not joined: use a larger part, or whole cards"
    if not widths:
        return f"no tensor parallelism fits on {gpu.name}"
    beyond = f" (more than the {gpu.gpus_per_node} GPUs of a node)" if widths[0] > gpu.gpus_per_node else ""
    return f"TP {widths[0]} would fit{beyond}"


# --- the arithmetic ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Room:
    """One GPU of the fullest pipeline stage."""

    available_bytes: float
    weight_bytes: float
    fixed_bytes: float
    kv: KvGrowth

    @property
    def free_bytes(self) -> float:
        return self.available_bytes - self.fixed_bytes

    @property
    def kv_tokens(self) -> float:
        return self.kv.tokens_in(self.free_bytes)


def _kv_blocks(room: _Room, engine: EngineSettings) -> int:
    tokens = room.kv_tokens
    if math.isinf(tokens):
        # Windows cap every layer: one sequence fits at any length, and many at a window each.
        free = room.free_bytes - room.kv.fixed_bytes
        one = math.ceil(engine.max_model_len / engine.block_size) * engine.block_size
        many = engine.max_num_seqs * engine.max_model_len
        tokens = max(one, free / room.kv.windowed_bytes if room.kv.windowed_bytes else many)
    return int(tokens) // engine.block_size


def _holds_one(room: _Room, engine: EngineSettings) -> bool:
    """Whether one sequence of full length finds its blocks."""
    return _kv_blocks(room, engine) * engine.block_size >= engine.max_model_len


def _room(gpu: Gpu, architecture: Architecture, variant: Variant) -> _Room:
    engine, ranks = variant.engine, variant.tensor_parallel
    reserved = working_memory(architecture, gpu, variant).total
    available = min(engine.gpu_memory_utilization, 1 / gpu.sharers) * usable_bytes(gpu)
    kv = kv_growth(architecture, ranks, engine.kv_cache_dtype or architecture.kv_dtype)
    kv = kv.within(engine.max_model_len)
    stages = []
    for stage in range(variant.pipeline_parallel):
        place = Ranks(ranks, variant.pipeline_parallel, stage)
        weights = rank_weight_bytes(architecture, engine.quantization, place)
        adapters = adapter_bytes(architecture, engine.max_loras, engine.max_lora_rank, place)
        share = place.layers_of(architecture.layers) / architecture.layers
        stages.append(_Room(available, weights, weights + adapters + reserved, kv.times(share)))
    # Where windows cap every layer all have endless tokens, and where weights alone do not fit none has any.
    return min(stages, key=lambda room: (room.kv_tokens, _kv_blocks(room, engine), room.free_bytes))


def kv_growth(architecture: Architecture, tensor_parallel: int, kv_dtype: Dtype) -> KvGrowth:
    """KV of one sequence on one GPU of an engine without pipeline stages."""
    a, number = architecture, BYTES_PER_PARAMETER[kv_dtype]
    state = a.state_bytes / tensor_parallel
    if a.mla_kv_dim:
        return KvGrowth(a.kv_layers * _mla_bytes(a, number), fixed_bytes=state)
    full = _head_bytes(a.full_layer_kv_heads, a.full_layer_head_dim, tensor_parallel)
    windowed = _head_bytes(a.kv_heads, a.head_dim, tensor_parallel)
    return KvGrowth(
        full_bytes=a.full_layers * full * number,
        windowed_bytes=a.sliding_layers * windowed * number,
        window_tokens=a.sliding_window,
        fixed_bytes=state,
    )


def _mla_bytes(a: Architecture, number: float) -> float:
    if not a.index_dim:
        return a.mla_kv_dim * number
    # Sparse attention: positions stay in 16 bits; the index is FP8 with a scale per 128 numbers.
    latent = (a.mla_kv_dim - a.mla_rope_dim) * number
    return latent + a.mla_rope_dim * 2 + a.index_dim + math.ceil(a.index_dim / 128) * 4


def _head_bytes(heads: int, head_dim: int, tensor_parallel: int) -> int:
    """Numbers of K and V of one token and layer on one rank; a rank holds whole heads."""
    return 2 * math.ceil(heads / tensor_parallel) * head_dim


# --- for the engine ---------------------------------------------------------------------------


def engine_limits(
    engine: EngineSettings, kv_capacity_tokens: int, batches_in_flight: int = 1
) -> EngineLimits:
    """The scheduler's limits of an engine whose KV cache holds that many tokens (in whole blocks).

    `batches_in_flight` is that of `EngineLimits`: `engine.in_flight` derives it from vLLM's version.
    """
    return EngineLimits(
        max_num_seqs=engine.max_num_seqs,
        max_num_batched_tokens=engine.max_num_batched_tokens,
        kv_blocks=kv_capacity_tokens // engine.block_size,
        block_size=engine.block_size,
        max_model_len=engine.max_model_len,
        batches_in_flight=batches_in_flight,
    )


_LOAD_BYTES_PER_S, _START_S = 2e9, 10.0
"""Assumed, not measured: weights from a node-local cache or a fast object store, and the start of the
process with its image and CUDA graphs."""


def load_delay_s(weight_bytes: int) -> float:
    """Seconds from a pod's start to its readiness: image pull and weights in one.

    Never under 15 s. The live fleet waits exactly this long.
    """
    return max(15.0, weight_bytes / _LOAD_BYTES_PER_S + _START_S)
