"""Step times of hardware and models that were not measured: specification times silicon factors.

Owns the arithmetic from a GPU's data sheet and a model's dimensions to `StepCoefficients`, and the
factors that turn peaks into what silicon reaches. hack/fit_silicon.py fits the factors to the
measured tables and writes them with their held-out error. Input: `Gpu`, `Architecture`,
`ProfileKey`, `Silicon`. Output: a `Profile`, or `OutOfRange` where the model cannot be cut that
way.

What each coefficient is, per GPU of a tensor-parallel group of T (h hidden size, L layers):

    wn  dense weights read once, L launches, and the latency of 2L all-reduces
    we  all experts' weights, of which n tokens reach 1 - (1 - p_expert)^n
    f   2 FLOPs per weight that a token passes, at the rate of the weights' type
    c1  activations: reads and writes of h numbers, L times, and the all-reduces' bytes
    a0  L launches of decode attention      a1  KV bytes per token of context (MLA: or its FLOPs)
    a2  what a sequence costs whatever its context
    aw  KV bytes per token of context up to the window, in layers with one; bw: as b2, up to the window
    b0  L launches of prefill attention     b1  queries, keys and values written and read
    b2  4 FLOPs per query head, dimension and pair of tokens, in bfloat16

KV heads are divided by T down to one per GPU, then repeated; the compressed KV of MLA is
repeated on every GPU. Layers of linear attention or Mamba read and write their state and are
matrix products otherwise. Sparse attention counts as full: too long at long contexts.

A type of weights that the GPU does not compute in (fp8 on Ampere, fp4 before Blackwell, int4
mostly) is weight-only: quantised bytes, bfloat16 FLOPs.

Narrow experts are multiplied slowly: of width w per GPU they reach w / (w + expert_width) of what
wide ones do. Norms of queries and keys are launched beside the attention of a chunk; with decoding they are
part of a captured graph.

Factors differ from GPU to GPU: for dense models, those of a GPU that has tables are fitted to its own, held
near those of all (`Silicon.of`). For experts they are not: there are too few tables of a GPU, and what is
fitted to them is 14 % off other models' decode steps instead of 12 %. Every factor is fitted on NVIDIA
GPUs. For others times are taken 1.4 times as long and the uncertainty doubled: the customary distance of an
MI300X from its speed of light. No table of another vendor is at hand to do better.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product

from argosy.checks import positive, share
from argosy.engine.coefficients import StepCoefficients
from argosy.errors import SpecError
from argosy.perf.catalogue import Gpu
from argosy.perf.catalogue.links import Link, all_reduce_terms, gpu_links
from argosy.perf.footprint.weights import BYTES_PER_PARAMETER
from argosy.perf.profile import Origin, Profile, ProfileKey, ValidRange
from argosy.perf.protocol import OutOfRange, OutOfRangeReason
from argosy.snapshot.architecture import Architecture, Dtype

OTHER_VENDOR_SLOWDOWN, OTHER_VENDOR_UNCERTAINTY = 1.4, 2.0
VALID = ValidRange(max_tokens=16_384, max_batch=512, max_context=131_072)
"""Where the arithmetic holds; it was compared with tables up to 16,384 tokens of context."""
ACTIVATION_BYTES = 2


@dataclass(frozen=True, slots=True)
class SiliconFactors:
    """What silicon makes of peaks, for one type of weights.

    memory, expert_memory, kv_memory: share (0-1) of the peak bandwidth: weights, experts, KV
    flops, expert_flops:              share of the peak rate in dense products and in wide experts
    expert_width:                     width of an expert per GPU at which it reaches half of that
    attention_flops:                  share of the bfloat16 peak in prefill attention
    layer_ms:                         launches of one layer apart from attention
    decode_layer_ms, chunk_layer_ms:  launches of one layer's attention
    norm_layer_ms:                    launches of one layer's norms of queries and keys, with a chunk
    passes, chunk_passes:             h-wide reads and writes of a token in one layer, and those of
                                      queries, keys and values in prefill attention
    sequence_tokens:                  a sequence costs as if its context were so much longer
    spread:                           p_expert as a share of the experts that one token takes
    sharpness:                        q of the form

    Raises SpecError, with the factor, for values outside these ranges.
    """

    memory: float
    expert_memory: float
    kv_memory: float
    flops: float
    expert_flops: float
    expert_width: float
    attention_flops: float
    layer_ms: float
    decode_layer_ms: float
    chunk_layer_ms: float
    norm_layer_ms: float
    passes: float
    chunk_passes: float
    sequence_tokens: float
    spread: float
    sharpness: float

    def __post_init__(self) -> None:
        for name in self.__slots__:
            positive(getattr(self, name), f"silicon.{name}")


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Mean absolute relative errors (0-1) of a roofline on what its factors were not fitted to.

    Raises SpecError for an error outside [0, 1].
    """

    decode: float
    mixed: float
    prefill: float

    def __post_init__(self) -> None:
        for name in self.__slots__:
            share(getattr(self, name), f"held_out.{name}")

    @property
    def worst(self) -> float:
        """The largest of the three."""
        return max(self.decode, self.mixed, self.prefill)


@dataclass(frozen=True, slots=True)
class Kernels:
    """Which kernels run: how weights are stored and multiplied, whether attention is latent (MLA), whether
    there are experts, and on which GPU; "": on any.
    """

    stored: Dtype
    multiplied: Dtype
    is_latent: bool = False
    has_experts: bool = False
    gpu: str = ""

    def __str__(self) -> str:
        weights = self.stored if self.stored is self.multiplied else f"{self.stored} in {self.multiplied}"
        latent = ", latent attention" if self.is_latent else ""
        experts = ", experts" if self.has_experts else ""
        return f"{weights}{latent}{experts}{self.gpu and ' on '}{self.gpu}"


@dataclass(frozen=True, slots=True)
class Silicon:
    """Factors, each with its held-out error, and where they come from."""

    factors: Mapping[Kernels, tuple[SiliconFactors, HeldOut]]
    source: str

    def of(self, kernels: Kernels) -> tuple[SiliconFactors, HeldOut]:
        """The factors of these kernels, or of the nearest that have tables: on this GPU, else on any; with
        experts or without, else the other.

        INT8 computes as FP8 does; what is merely stored small computes as bfloat16 does. For
        latent attention any number type says more than other attention does.

        Raises SpecError where there are no factors at all, not even for bfloat16.
        """
        is_small = kernels.multiplied in (Dtype.INT8, Dtype.FP8)
        fp8, bf16 = Kernels(Dtype.FP8, Dtype.FP8), Kernels(Dtype.BF16, Dtype.BF16)
        candidates = [Kernels(kernels.stored, kernels.multiplied), fp8 if is_small else bf16, bf16]
        if kernels.is_latent:
            candidates = [*(replace(each, is_latent=True) for each in (*candidates, fp8)), *candidates]
        for candidate in candidates:
            for gpu, has_experts in product(
                (kernels.gpu, ""), (kernels.has_experts, not kernels.has_experts)
            ):
                found = replace(candidate, gpu=gpu, has_experts=has_experts)
                if found in self.factors:
                    return self.factors[found]
        raise SpecError("there are no silicon factors for bf16", "silicon.factors")


def kernels_of(gpu: Gpu, architecture: Architecture, dtype: Dtype) -> Kernels:
    """What runs for weights of this type: as they are, or in bfloat16 where the GPU has no more."""
    multiplied = dtype if dtype in gpu.flops else Dtype.BF16
    own_gpu = "" if architecture.is_moe else gpu.name
    return Kernels(dtype, multiplied, architecture.mla_kv_dim > 0, architecture.is_moe, own_gpu)


def roofline_profile(
    gpu: Gpu, architecture: Architecture, key: ProfileKey, silicon: Silicon
) -> Profile | OutOfRange:
    """The profile, without a pipeline, of a model that was not measured on this GPU.

    Raises SpecError for a shape with a pipeline.
    """
    if key.shape.pipeline_parallel != 1:
        raise SpecError(f"has no pipeline stages: make {key} from one stage", "key.shape")
    refused = impossible_shape(architecture, key.shape.tensor_parallel)
    if refused is not None:
        return refused
    factors, held_out = silicon.of(kernels_of(gpu, architecture, key.dtype))
    uncertainty, others = held_out.worst, ""
    if _is_other_vendor(gpu):
        uncertainty *= OTHER_VENDOR_UNCERTAINTY
        others = f"; factors are NVIDIA's, {gpu.vendor} taken {OTHER_VENDOR_SLOWDOWN} times as long"
    valid = replace(VALID, max_context=min(VALID.max_context, architecture.max_context))
    source = f"roofline of {gpu.name} times silicon factors ({silicon.source}){others}"
    coefficients = roofline(gpu, architecture, key, factors)
    return Profile(key, Origin.ROOFLINE, coefficients, valid, uncertainty, source)


def impossible_shape(architecture: Architecture, tensor_parallel: int) -> OutOfRange | None:
    """Why the model cannot be cut into so many parts; None where it can."""
    heads = architecture.attention_heads
    if tensor_parallel >= 1 and heads % tensor_parallel == 0:
        return None
    possible = tuple(f"TP {parts}" for parts in (1, 2, 4, 8, 16) if heads % parts == 0)
    message = (
        f"{heads} attention heads cannot be divided among {tensor_parallel} GPUs; {' or '.join(possible)} can"
    )
    return OutOfRange(OutOfRangeReason.IMPOSSIBLE_SHAPE, message, possible)


def roofline(
    gpu: Gpu, architecture: Architecture, key: ProfileKey, factors: SiliconFactors
) -> StepCoefficients:
    """The closed form by arithmetic; the shape must be possible."""
    slowdown = OTHER_VENDOR_SLOWDOWN if _is_other_vendor(gpu) else 1.0
    machine = Machine(
        bytes_per_ms=gpu.memory_bytes_per_s / 1e3 / slowdown,
        flops_per_ms=gpu.flops[kernels_of(gpu, architecture, key.dtype).multiplied] / 1e3 / slowdown,
        bf16_flops_per_ms=gpu.flops[Dtype.BF16] / 1e3 / slowdown,
        parallel=key.shape.tensor_parallel,
        link=gpu_links(gpu).of_group(key.shape.tensor_parallel),
    )
    matrix = _matrix(machine, architecture, key.dtype, factors)
    return StepCoefficients(**matrix, **_attention(machine, architecture, factors))


@dataclass(frozen=True, slots=True)
class Machine:
    """One GPU of a tensor-parallel group: peaks per millisecond, and what links the group."""

    bytes_per_ms: float
    flops_per_ms: float
    bf16_flops_per_ms: float
    parallel: int
    link: Link


@dataclass(frozen=True, slots=True)
class Weights:
    """Parameters by what happens to them in a step.

    table: looked up, one row per token; head: multiplied, never quantised; dense: multiplied;
    experts: of all routed experts, of which a token takes `share`
    """

    table: float
    head: float
    dense: float
    experts: float
    share: float


def weights_of(model: Architecture) -> Weights:
    """The split that the dimensions imply. `active_parameters` count all but `table` and idle experts."""
    head = float(model.vocabulary * model.hidden_size)
    table = 0.0 if model.tied_embeddings else head
    idle = model.experts - model.experts_per_token
    taken = model.experts_per_token / model.experts if model.experts else 0.0
    experts = 0.0
    if idle > 0:
        experts = max(model.parameters - model.active_parameters - table, 0.0) / idle * model.experts
    return Weights(table, head, max(model.parameters - table - head - experts, 0.0), experts, taken)


def _matrix(machine: Machine, model: Architecture, dtype: Dtype, factors: SiliconFactors) -> dict[str, float]:
    weights = weights_of(model)
    dense_bytes, dense_rate = weights.dense * BYTES_PER_PARAMETER[dtype], machine.flops_per_ms
    if model.layout and model.layout.stored_split_bytes and dtype is model.dtype:
        # A checkpoint of mixed types: what its experts do not take is all else, and where that
        # is more than a byte each, most of it is multiplied in 16 bits.
        stored = model.layout.stored_split_bytes + model.layout.stored_whole_bytes
        dense_bytes = max(stored - weights.experts * BYTES_PER_PARAMETER[dtype], dense_bytes)
        if dense_bytes > 1.25 * weights.dense:
            dense_rate = machine.bf16_flops_per_ms
    read = machine.bytes_per_ms * machine.parallel
    reduce_ms, reduce_ms_per_byte = all_reduce_terms(machine.parallel, machine.link)
    activation_bytes = ACTIVATION_BYTES * model.hidden_size * model.layers
    dense_ms = weights.dense / (factors.flops * dense_rate)
    width = model.expert_intermediate_size / machine.parallel
    expert_rate = factors.expert_flops * machine.flops_per_ms * _share_of_wide(width, factors.expert_width)
    experts_ms = weights.experts * weights.share / expert_rate
    return {
        "wn": (dense_bytes + weights.head * ACTIVATION_BYTES) / (factors.memory * read)
        + model.layers * (factors.layer_ms + 2 * reduce_ms),
        "we": weights.experts * BYTES_PER_PARAMETER[dtype] / (factors.expert_memory * read),
        "p_expert": min(factors.spread * weights.share, 0.9),
        "f": 2 * (dense_ms + experts_ms) / machine.parallel,
        "q": factors.sharpness,
        "c1": activation_bytes * (factors.passes / machine.bytes_per_ms + 2 * reduce_ms_per_byte),
    }


def _attention(machine: Machine, model: Architecture, factors: SiliconFactors) -> dict[str, float]:
    full = model.full_layer_kv_heads, model.full_layer_head_dim
    token_ms = _kv_token_ms(machine, model, full, factors)
    window_ms = _kv_token_ms(machine, model, (model.kv_heads, model.head_dim), factors)
    query_heads = model.attention_heads / machine.parallel
    pair_ms = 4 * query_heads / (factors.attention_flops * machine.bf16_flops_per_ms)
    kv_heads = max(model.kv_heads / machine.parallel, 1)
    width = 2 * (query_heads + kv_heads) * model.head_dim
    state_ms = 2 * model.state_bytes / machine.parallel / (factors.kv_memory * machine.bytes_per_ms)
    chunk_bytes = ACTIVATION_BYTES * width * model.kv_layers
    return {
        "a0": model.kv_layers * factors.decode_layer_ms,
        "a1": model.full_layers * token_ms,
        "a2": model.kv_layers * factors.sequence_tokens * token_ms + state_ms,
        "b0": model.kv_layers * (factors.chunk_layer_ms + model.query_key_norm * factors.norm_layer_ms),
        "b1": factors.chunk_passes * chunk_bytes / machine.bytes_per_ms,
        "b2": model.full_layers * full[1] * pair_ms,
        "aw": model.sliding_layers * window_ms,
        "bw": model.sliding_layers * model.head_dim * pair_ms,
        "window": float(model.sliding_window),
    }


def _kv_token_ms(
    machine: Machine, model: Architecture, heads_and_dim: tuple[int, int], factors: SiliconFactors
) -> float:
    """One layer's KV of one token of context, read once per step, on one GPU."""
    read = factors.kv_memory * machine.bytes_per_ms
    if model.mla_kv_dim:
        # All query heads use the one compressed entry: scores and values, a multiply-add each.
        flops = 4 * model.attention_heads / machine.parallel * model.mla_kv_dim
        compute = factors.attention_flops * machine.bf16_flops_per_ms
        return max(model.mla_kv_dim * BYTES_PER_PARAMETER[model.kv_dtype] / read, flops / compute)
    heads, dim = heads_and_dim
    return 2 * max(heads / machine.parallel, 1) * dim * BYTES_PER_PARAMETER[model.kv_dtype] / read


def _share_of_wide(width: float, half_width: float) -> float:
    """Of the rate of wide experts, what those of this width reach; 1 for a model without experts."""
    return width / (width + half_width) if width else 1.0


def _is_other_vendor(gpu: Gpu) -> bool:
    return gpu.vendor.lower() != "nvidia"
