"""The matrices of a decoder, counted from its dimensions.

Owns how many parameters each matrix has, so that a checkpoint's total comes out to the last one (a
test compares with published totals), and which of them tensor parallelism splits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto


class Mixer(Enum):
    """What mixes a layer's tokens."""

    FULL = auto()
    SLIDING = auto()
    MLA = auto()
    LINEAR = auto()
    MAMBA = auto()
    """Mamba 2."""
    MAMBA_1 = auto()
    LIGHTNING = auto()
    """Linear attention with a state per head (MiniMax-Text-01)."""
    CONVOLUTION = auto()
    """A short gated convolution (LFM2)."""
    BOTH = auto()
    """Attention and Mamba 2 beside each other in one layer (Falcon-H1)."""
    NONE = auto()

    @property
    def keeps_kv(self) -> bool:
        """Whether a layer of this kind keeps KV of a sequence."""
        return self in (Mixer.FULL, Mixer.SLIDING, Mixer.MLA, Mixer.BOTH)


class Ffn(Enum):
    """What follows the mixer."""

    DENSE = auto()
    MOE = auto()
    NONE = auto()


class MatrixKind(Enum):
    """How an engine holds a matrix."""

    TABLE = auto()
    SPLIT = auto()
    """Divided over tensor-parallel ranks."""
    WHOLE = auto()
    """The same on each rank."""
    ROUTER = auto()
    EXPERTS = auto()
    SMALL = auto()
    """Norms, biases, convolutions: never quantised, and too small to matter."""


@dataclass(frozen=True, slots=True)
class Module:
    """One matrix, or a layer's experts together; `name` is the checkpoint's, below the prefix."""

    name: str
    parameters: int
    kind: MatrixKind


@dataclass(frozen=True, slots=True)
class Attention:
    """Attention per head. `full_*` are those of layers without a window, where they differ."""

    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    full_kv_heads: int = 0
    full_head_dim: int = 0
    qkv_bias: bool = False
    output_bias: bool = False
    norm_width: int = 0
    sinks: bool = False
    is_gated: bool = False
    shares_full_kv: bool = False


@dataclass(frozen=True, slots=True)
class Mla:
    """Multi-head latent attention, with the indexer of its sparse form (0: dense)."""

    heads: int
    query_rank: int
    kv_rank: int
    nope_dim: int
    rope_dim: int
    value_dim: int
    index_heads: int = 0
    index_dim: int = 0


@dataclass(frozen=True, slots=True)
class Linear:
    """Gated delta net."""

    key_heads: int
    key_dim: int
    value_heads: int
    value_dim: int
    kernel: int


@dataclass(frozen=True, slots=True)
class Mamba:
    """Mamba 2."""

    heads: int
    head_dim: int
    groups: int
    state: int
    kernel: int


@dataclass(frozen=True, slots=True)
class Mamba1:
    """Mamba 1: a state per channel."""

    inner: int
    state: int
    kernel: int
    rank: int


@dataclass(frozen=True, slots=True)
class Mlp:
    """The MLP of dense layers and the experts of the others.

    matrices: 3 with a gate, 2 without; expert_inputs: the width that experts work in; bias: of dense ones
    """

    dense_width: int = 0
    matrices: int = 3
    experts: int = 0
    expert_width: int = 0
    expert_inputs: int = 0
    shared_width: int = 0
    shared_is_gated: bool = False
    expert_bias: bool = False
    router_bias: bool = False
    beside_dense: bool = False
    bias: bool = False


@dataclass(frozen=True, slots=True)
class Names:
    """What a checkpoint calls the parts of a layer."""

    attention: str = "self_attn"
    linear: str = "linear_attn"
    dense: str = "mlp"
    experts: str = "mlp.experts"
    shared: str = "mlp.shared_experts"


@dataclass(frozen=True, slots=True)
class Decoder:
    """All of it. `plan` has one entry per layer.

    norm_width:   numbers of one norm relative to `hidden`: 2 with a bias, 0 without weights
    positions:    rows of a learned table of positions; convolution: kernel of `Mixer.CONVOLUTION`
    others:       numbers beside the layers: bias of the head, norm of the embedding
    """

    hidden: int
    vocabulary: int
    tied: bool
    plan: tuple[tuple[Mixer, Ffn], ...]
    norms_per_layer: int
    mlp: Mlp
    attention: Attention | None = None
    mla: Mla | None = None
    linear: Linear | None = None
    mamba: Mamba | None = None
    mamba_1: Mamba1 | None = None
    convolution: int = 0
    norm_width: int = 1
    positions: int = 0
    others: int = 0
    names: Names = Names()


def modules(decoder: Decoder) -> Iterator[Module]:
    """Every matrix of the checkpoint once (a tied output head has none of its own)."""
    table = decoder.vocabulary * decoder.hidden
    yield Module("embed_tokens", table, MatrixKind.TABLE)
    if not decoder.tied:
        yield Module("lm_head", table, MatrixKind.TABLE)
    norm = decoder.norm_width * decoder.hidden
    small = norm + decoder.positions * decoder.hidden + decoder.others
    yield Module("norm", small, MatrixKind.SMALL)
    for number, (mixer, ffn) in enumerate(decoder.plan):
        for module in (*_mixer(decoder, mixer), *_ffn(decoder, ffn)):
            yield Module(f"layers.{number}.{module.name}", module.parameters, module.kind)
        yield Module(f"layers.{number}.norms", decoder.norms_per_layer * norm, MatrixKind.SMALL)


def _mixer(decoder: Decoder, mixer: Mixer) -> Iterator[Module]:
    if mixer in (Mixer.FULL, Mixer.SLIDING) and decoder.attention is not None:
        yield from _attention(decoder, decoder.attention, mixer is Mixer.FULL)
    elif mixer is Mixer.MLA and decoder.mla is not None:
        yield from _mla(decoder, decoder.mla)
    elif mixer is Mixer.LINEAR and decoder.linear is not None:
        yield from _linear(decoder, decoder.linear)
    elif mixer is Mixer.MAMBA and decoder.mamba is not None:
        yield from _mamba(decoder, decoder.mamba)
    elif mixer is Mixer.MAMBA_1 and decoder.mamba_1 is not None:
        yield from _mamba_1(decoder, decoder.mamba_1)
    elif mixer is Mixer.LIGHTNING and decoder.attention is not None:
        yield from _lightning(decoder, decoder.attention)
    elif mixer is Mixer.CONVOLUTION:
        yield from _convolution(decoder)
    elif mixer is Mixer.BOTH and decoder.mamba is not None and decoder.attention is not None:
        yield from _attention(decoder, decoder.attention, is_full=True)
        yield from _mamba(decoder, decoder.mamba)


def _attention(decoder: Decoder, a: Attention, is_full: bool) -> Iterator[Module]:
    prefix, hidden = decoder.names.attention, decoder.hidden
    head_dim = (is_full and a.full_head_dim) or a.head_dim
    value_dim = head_dim if is_full and a.full_head_dim else a.value_dim
    kv_heads = (is_full and a.full_kv_heads) or a.kv_heads
    queries = a.heads * head_dim * (2 if a.is_gated else 1)
    shares = is_full and a.shares_full_kv
    yield Module(f"{prefix}.q_proj", hidden * queries, MatrixKind.SPLIT)
    yield Module(f"{prefix}.k_proj", hidden * kv_heads * head_dim, MatrixKind.SPLIT)
    yield Module(f"{prefix}.v_proj", 0 if shares else hidden * kv_heads * value_dim, MatrixKind.SPLIT)
    yield Module(f"{prefix}.o_proj", a.heads * value_dim * hidden, MatrixKind.SPLIT)
    small = a.norm_width + (a.heads if a.sinks else 0) + (hidden if a.output_bias else 0)
    if a.qkv_bias:
        small += queries + kv_heads * (head_dim + value_dim)
    yield Module(f"{prefix}.small", small, MatrixKind.SMALL)


def _mla(decoder: Decoder, m: Mla) -> Iterator[Module]:
    prefix, hidden = decoder.names.attention, decoder.hidden
    query = m.heads * (m.nope_dim + m.rope_dim)
    if m.query_rank:
        yield Module(f"{prefix}.q_a_proj", hidden * m.query_rank, MatrixKind.WHOLE)
    yield Module(f"{prefix}.q_b_proj", (m.query_rank or hidden) * query, MatrixKind.SPLIT)
    yield Module(f"{prefix}.kv_a_proj_with_mqa", hidden * (m.kv_rank + m.rope_dim), MatrixKind.WHOLE)
    yield Module(f"{prefix}.kv_b_proj", m.kv_rank * m.heads * (m.nope_dim + m.value_dim), MatrixKind.SPLIT)
    yield Module(f"{prefix}.o_proj", m.heads * m.value_dim * hidden, MatrixKind.SPLIT)
    yield Module(f"{prefix}.small", m.query_rank + m.kv_rank, MatrixKind.SMALL)
    if m.index_dim:
        width = m.index_heads * m.index_dim
        yield Module(f"{prefix}.indexer.wq_b", (m.query_rank or hidden) * width, MatrixKind.WHOLE)
        yield Module(f"{prefix}.indexer.wk", hidden * m.index_dim, MatrixKind.WHOLE)
        yield Module(f"{prefix}.indexer.weights_proj", hidden * m.index_heads, MatrixKind.WHOLE)
        yield Module(f"{prefix}.indexer.k_norm", 2 * m.index_dim, MatrixKind.SMALL)


def _linear(decoder: Decoder, n: Linear) -> Iterator[Module]:
    prefix, hidden = decoder.names.linear, decoder.hidden
    keys, values = n.key_heads * n.key_dim, n.value_heads * n.value_dim
    yield Module(f"{prefix}.in_proj_qkv", hidden * (2 * keys + values), MatrixKind.SPLIT)
    yield Module(f"{prefix}.in_proj_z", hidden * values, MatrixKind.SPLIT)
    yield Module(f"{prefix}.in_proj_ba", hidden * 2 * n.value_heads, MatrixKind.SPLIT)
    yield Module(f"{prefix}.out_proj", values * hidden, MatrixKind.SPLIT)
    small = (2 * keys + values) * n.kernel + 2 * n.value_heads + n.value_dim
    yield Module(f"{prefix}.conv1d", small, MatrixKind.SMALL)


def _mamba(decoder: Decoder, m: Mamba) -> Iterator[Module]:
    prefix, hidden = decoder.names.linear, decoder.hidden
    inner, shared = m.heads * m.head_dim, 2 * m.groups * m.state
    yield Module(f"{prefix}.in_proj", hidden * (2 * inner + shared + m.heads), MatrixKind.SPLIT)
    yield Module(f"{prefix}.out_proj", inner * hidden, MatrixKind.SPLIT)
    small = (inner + shared) * (m.kernel + 1) + 3 * m.heads + inner
    yield Module(f"{prefix}.conv1d", small, MatrixKind.SMALL)


def _mamba_1(decoder: Decoder, m: Mamba1) -> Iterator[Module]:
    prefix, hidden = decoder.names.linear, decoder.hidden
    yield Module(f"{prefix}.in_proj", hidden * 2 * m.inner, MatrixKind.SPLIT)
    yield Module(f"{prefix}.x_proj", m.inner * (m.rank + 2 * m.state), MatrixKind.SPLIT)
    yield Module(f"{prefix}.dt_proj", m.rank * m.inner, MatrixKind.SPLIT)
    yield Module(f"{prefix}.out_proj", m.inner * hidden, MatrixKind.SPLIT)
    small = m.inner * (m.kernel + m.state + 3) + m.rank + 2 * m.state
    yield Module(f"{prefix}.conv1d", small, MatrixKind.SMALL)


def _lightning(decoder: Decoder, a: Attention) -> Iterator[Module]:
    prefix, hidden, width = decoder.names.attention, decoder.hidden, a.heads * a.head_dim
    yield Module(f"{prefix}.qkv_proj", 3 * hidden * width, MatrixKind.SPLIT)
    yield Module(f"{prefix}.output_gate", hidden * width, MatrixKind.SPLIT)
    yield Module(f"{prefix}.out_proj", width * hidden, MatrixKind.SPLIT)
    yield Module(f"{prefix}.norm", width, MatrixKind.SMALL)


def _convolution(decoder: Decoder) -> Iterator[Module]:
    hidden = decoder.hidden
    yield Module("conv.in_proj", 3 * hidden * hidden, MatrixKind.SPLIT)
    yield Module("conv.out_proj", hidden * hidden, MatrixKind.SPLIT)
    yield Module("conv.conv", hidden * decoder.convolution, MatrixKind.SMALL)


def _ffn(decoder: Decoder, ffn: Ffn) -> Iterator[Module]:
    mlp, hidden, names = decoder.mlp, decoder.hidden, decoder.names
    if ffn is Ffn.DENSE or (ffn is Ffn.MOE and mlp.beside_dense):
        yield from _projections(names.dense, hidden, mlp.dense_width, mlp.matrices)
        bias = (mlp.matrices - 1) * mlp.dense_width + hidden if mlp.bias else 0
        yield Module(f"{names.dense}.bias", bias, MatrixKind.SMALL)
    if ffn is not Ffn.MOE:
        return
    inputs = mlp.expert_inputs or hidden
    per_expert = mlp.matrices * inputs * mlp.expert_width
    if mlp.expert_bias:
        per_expert += 2 * mlp.expert_width + hidden
    yield Module(names.experts, mlp.experts * per_expert, MatrixKind.EXPERTS)
    yield Module(f"{names.dense}.gate", hidden * mlp.experts, MatrixKind.ROUTER)
    yield Module(f"{names.dense}.gate.bias", mlp.experts if mlp.router_bias else 0, MatrixKind.SMALL)
    if inputs != hidden:
        yield Module(f"{names.dense}.fc1_latent_proj", hidden * inputs, MatrixKind.SPLIT)
        yield Module(f"{names.dense}.fc2_latent_proj", inputs * hidden, MatrixKind.SPLIT)
    if mlp.shared_width:
        yield from _projections(names.shared, hidden, mlp.shared_width, mlp.matrices)
        yield Module(
            f"{names.dense}.shared_expert_gate", hidden if mlp.shared_is_gated else 0, MatrixKind.SMALL
        )


def _projections(prefix: str, hidden: int, width: int, matrices: int) -> Iterator[Module]:
    names = ("gate_proj", "up_proj", "down_proj")[-matrices:]
    for name in names:
        yield Module(f"{prefix}.{name}", hidden * width, MatrixKind.SPLIT)
