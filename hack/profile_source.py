"""Step times of one (checkpoint, GPU, TP) as aiconfigurator-core's step engine gives them.

Owns the dealings with that tool: compiling an engine, taking its answers apart into what
`argosy.engine.step_times` keeps apart, and saying why a shape has no profile.

With n tokens in an iteration, B sequences decoding at context `ctx`, a chunk of c tokens on a
prefix of p tokens, in milliseconds:

    matrix(n)      the part of a mixed step that is no attention; a function of n alone
    decode(B, ctx) a decode step less matrix(B)
    chunk(c, p)    a prefill less matrix(c)

Models with latent attention (MLA) are measured as one block of projections and attention. The
block of many prompts of 256 tokens stands for the projections, which costs next to no
attention; and where a decode step is shorter than the same number of prompt tokens (the
source overlaps experts only there) the matrix is as short, so that both come out exact.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hand_configs import tool_path

BACKEND = "vllm"
HOW_TO_GET_IT = "aiconfigurator-core is not installed: pip install 'argosy[profiles]'"
# Prompts of this length stand for an MLA block without attention (a 32nd of a per cent of it).
SHORT_PROMPT = 256
MAX_DECODES = 1024
# Less KV than one short conversation is a shape that is not served.
MIN_KV_TOKENS = 2048


@dataclass(frozen=True)
class Checkpoint:
    """One model in one type of weights, as the tool knows it.

    path:     a name among the tool's configs or in `hand_configs`
    quant:    its quantisation, where it differs from what the config says
    fallback: the same where a shape cannot have the first (a block that TP cuts)
    """

    model: str
    dtype: str
    path: str
    quant: Mapping[str, str] = field(default_factory=dict)
    fallback: Mapping[str, str] | None = None


@dataclass(frozen=True)
class NoProfile:
    """Why a shape has none."""

    reason: str


class Source:
    """The answers of one compiled engine."""

    def __init__(self, engine: Any, kv_tokens: int, quant: Mapping[str, str]) -> None:
        self._engine = engine
        self.kv_tokens = kv_tokens
        self.quant = dict(quant)
        self._base: dict[int, float] = {}

    def shared_ms(self, tokens: int, batch: int = 0, context: int = 1) -> float:
        """The part of the source's mixed step that it does not call attention."""
        prompt = tokens - batch
        return float(self._engine.mixed_step_breakdown(prompt, batch, max(prompt, context), 2)[1])

    def matrix_ms(self, tokens: int) -> float:
        """Everything but attention, for this many tokens."""
        shared = self.shared_ms(tokens)
        if self._latent_block is None:
            return shared
        shared += self._projections_ms(tokens) - self._block_ms(1, tokens)
        return min(shared, self.decode_step_ms(tokens, 1)) if tokens <= MAX_DECODES else shared

    def decode_step_ms(self, batch: int, context: int) -> float:
        """An iteration that only decodes."""
        return float(self._engine.decode_step_latency(batch, context, 2))

    def prefill_ms(self, tokens: int, prefix: int) -> float:
        """An iteration that only computes one chunk on a prefix."""
        return float(self._engine.predict_prefill_latency(1, tokens + prefix, prefix))

    def decode_attention_ms(self, batch: int, context: int) -> float:
        """What the source adds to a mixed step for its decoding sequences."""
        return float(self._engine.mixed_step_breakdown(0, batch, context, 2)[3])

    @property
    def is_separable(self) -> bool:
        """Whether the source's own mixed steps keep attention apart."""
        return self._latent_block is None

    @cached_property
    def _latent_block(self) -> int | None:
        """The index of the block that holds an MLA model's attention."""
        if self._engine.mixed_step_breakdown(128, 0, 128, 2)[2] > 0:
            return None
        for index in range(64):
            try:
                (name, *_), *_ = self._engine.evaluate_context_ops([index], batch_size=1, s=128)
            except (IndexError, ValueError):
                break
            if "mla" in name:
                return index
        raise ValueError("attention is neither apart nor in an MLA block")

    def _block_ms(self, prompts: int, tokens: int) -> float:
        block = [self._latent_block]
        return float(self._engine.evaluate_context_ops(block, batch_size=prompts, s=tokens)[0][1])

    def _projections_ms(self, tokens: int) -> float:
        """The MLA block of `tokens` tokens in short prompts, linear between whole prompts."""
        if tokens <= SHORT_PROMPT:
            return self._block_ms(1, tokens)
        prompts, rest = divmod(tokens, SHORT_PROMPT)
        low, high = self._short_prompts_ms(prompts), self._short_prompts_ms(prompts + 1)
        return low + rest / SHORT_PROMPT * (high - low)

    def _short_prompts_ms(self, prompts: int) -> float:
        if prompts not in self._base:
            self._base[prompts] = self._block_ms(prompts, SHORT_PROMPT)
        return self._base[prompts]


def tool_version() -> str:
    """The installed tool's version. Raises SystemExit where there is none."""
    try:
        from importlib.metadata import version

        return version("aiconfigurator-core")
    except ModuleNotFoundError as missing:
        raise SystemExit(HOW_TO_GET_IT) from missing


def engine_version(system: str) -> str:
    """The vLLM version whose kernels were measured on this system."""
    from aiconfigurator_core.sdk import perf_database

    return str(perf_database.resolve_query_version(system, BACKEND, "current"))


def open_source(checkpoint: Checkpoint, system: str, tensor_parallel: int) -> Source | NoProfile:
    """The engine for this shape, or why there is none."""
    first = _open(checkpoint, checkpoint.quant, system, tensor_parallel)
    if isinstance(first, NoProfile) and checkpoint.fallback is not None:
        second = _open(checkpoint, checkpoint.fallback, system, tensor_parallel)
        return second if isinstance(second, Source) else first
    return first


def _open(
    checkpoint: Checkpoint, quant: Mapping[str, str], system: str, tensor_parallel: int
) -> Source | NoProfile:
    try:
        from aiconfigurator_core.sdk import EngineHandle, estimate_kv_cache
    except ModuleNotFoundError as missing:
        raise SystemExit(HOW_TO_GET_IT) from missing
    # The tool says at length what it falls back to; the answers' provenance is in the manifest.
    logging.getLogger("aiconfigurator_core").setLevel(logging.CRITICAL)
    shape = {"tp_size": tensor_parallel, "moe_tp_size": tensor_parallel, **quant}
    path = tool_path(checkpoint.path)
    try:
        engine = EngineHandle.compile(path, system, BACKEND, **shape)
        kv_tokens = estimate_kv_cache(
            path,
            system,
            BACKEND,
            engine_version(system),
            max_num_tokens=8192,
            max_batch_size=256,
            memory_fraction_kind="of_total",
            memory_fraction_value=0.9,
            **shape,
        )["total_kv_size_tokens"]
    except Exception as refusal:  # the tool's own errors have no base class in common
        return NoProfile(_reason(refusal))
    if kv_tokens < MIN_KV_TOKENS:
        return NoProfile(f"does not fit: room for {max(0, kv_tokens)} tokens of KV beside the weights")
    source = Source(engine, int(kv_tokens), quant)
    try:
        for batch in (1, MAX_DECODES):
            source.decode_step_ms(batch, 1024)
        for tokens in (1, 1000, 16_384):
            source.matrix_ms(tokens)
            source.prefill_ms(tokens, 1024)
    except Exception as refusal:
        return NoProfile(_reason(refusal))
    return source


def _reason(refusal: Exception) -> str:
    """The tool's reason in our own sentence where it is a common one, else without its paths."""
    text = str(refusal)
    memory = re.search(r"non-KV memory \((\d+) bytes\).*capacity=(\d+) bytes", text)
    if memory:
        needed, has = (int(number) / 1e9 for number in memory.groups())
        return f"does not fit: {needed:.0f} GB per GPU beside the KV cache, over 90 % of its {has:.0f} GB"
    units = re.search(r"needs '(\w+)_tc_flops'", text)
    if units:
        return f"the GPU has no {units[1]} arithmetic"
    for sign, reason in _REASONS.items():
        if sign in text:
            return reason
    words = [word for word in text.split() if "/" not in word or word == "/"]
    return f"{type(refusal).__name__}: {' '.join(words)}"[:160]


_REASONS: Mapping[str, str] = {
    "MoE data missing": "the experts' kernel was not measured in this shape on this GPU",
    "generation attention data missing": "the attention kernel was not measured on this GPU",
    "Invalid quantized MoE configuration": "TP cuts the blocks of 128 by which an expert's weights are "
    "scaled",
}
