"""Which models take the same time: those whose layers have the same dimensions, whatever they are called.

Owns the noun `Fingerprint` and the step times of one such model made from another's table. Input: an
`Architecture`, from the catalogue or as a user declares it. A fine-tune and its base have one
fingerprint, and so have Llama-2-70B and Llama-3.1-70B. Models of which one dimension differs, be it by one,
are different: kernels run in tiles, and a step is no smooth function of a width.

Not in it, since it moves a step by less than a table is off: norms of queries and keys, biases, the
positions' encoding, a table shared by embedding and head, what lies in front of the language model, the
length that it was trained for. Number types of weights are looked up beside it, and of KV corrected
(`kv_dtype`). The vocabulary is corrected here: the head is one matrix, read once per step.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from argosy.engine.step_times import StepTable
from argosy.perf.catalogue import Gpu, Model
from argosy.perf.profile import Profile
from argosy.perf.profiles.roofline import ACTIVATION_BYTES, Silicon, kernels_of
from argosy.snapshot.architecture import Architecture

LEAST_SHARE = 0.5
"""A step is never taken to be shorter than this share of the table's, however small the vocabulary."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The dimensions that decide a step's time, each as in `Architecture`.

    A window without a layer that has it is no window, and heads of layers without a window are those of
    all layers where nothing else is said. `head_dim` is 0 with latent attention: config.json keeps a
    leftover there.
    """

    layers: int
    hidden_size: int
    intermediate_size: int
    attention_heads: int
    kv_heads: int
    head_dim: int
    experts: int
    experts_per_token: int
    expert_intermediate_size: int
    dense_layers: int
    shared_expert_intermediate_size: int
    mla_kv_dim: int
    mla_rope_dim: int
    index_dim: int
    sliding_window: int
    sliding_layers: int
    full_kv_heads: int
    full_head_dim: int
    linear_layers: int
    state_bytes: int

    @classmethod
    def of(cls, architecture: Architecture) -> Fingerprint:
        """The fingerprint of a model."""
        a = architecture
        plain = cls(**{field.name: getattr(a, field.name) for field in fields(cls)})
        is_latent = a.mla_kv_dim > 0
        return replace(
            plain,
            head_dim=0 if is_latent else a.head_dim,
            sliding_window=a.sliding_window if a.sliding_layers else 0,
            full_kv_heads=a.full_layer_kv_heads,
            full_head_dim=0 if is_latent else a.full_layer_head_dim,
        )


def same_dimensions_profile(
    profile: Profile, model: Model, wanted: tuple[str, Architecture], gpu: Gpu, silicon: Silicon
) -> Profile:
    """The table of `model` on `gpu` as that of `wanted` (its name and dimensions), which has its fingerprint.

    Only the head differs, with the vocabulary: so much more or less is read in every step. What its
    products take beyond that is ignored. Of Llama-2-70B and Mistral-7B, made from Llama-3.1's tables on H100,
    B200 and A100, the source's own steps are met within 0.3 % at the median, 6.6 % at worst but for one
    bump of the source (15 %), and prefills of 512 tokens and more within 1.6 %.
    """
    name, architecture = wanted
    table = profile.step_times
    key = replace(profile.key, model=name)
    more = architecture.vocabulary - model.architecture.vocabulary
    source = profile.source if name == model.key else _source(profile, model, architecture)
    if not isinstance(table, StepTable) or not more:
        return replace(profile, key=key, source=source)
    factors, _ = silicon.of(kernels_of(gpu, architecture, key.dtype))
    read = factors.memory * gpu.memory_bytes_per_s / 1e3 * key.shape.tensor_parallel
    head_ms = more * architecture.hidden_size * ACTIVATION_BYTES / read
    matrix_ms = np.maximum(table.matrix_ms + head_ms, LEAST_SHARE * table.matrix_ms)
    return replace(profile, key=key, step_times=replace(table, matrix_ms=matrix_ms), source=source)


def _source(profile: Profile, model: Model, architecture: Architecture) -> str:
    differs = architecture.vocabulary != model.architecture.vocabulary
    corrected = f" but for a vocabulary of {architecture.vocabulary}, which is corrected" if differs else ""
    return f"table of {model.key}, whose dimensions are the same{corrected} ({profile.source})"
