"""What can serve: GPU, parallel shape, engine settings, variant.

Owns the identity of a variant (model x pool x parallel shape x engine settings), and the way from a
ServedModel's `spec.engine` to settings. How fast a variant is, is `perf`'s answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from argosy.api.engine.pod import EnginePod, EnvVar
from argosy.api.servedmodel import Engine
from argosy.dtype import Dtype
from argosy.keys import ModelKey
from argosy.snapshot.architecture import Architecture

NAME_LIMIT = 63
"""A variant's name is a label value, while a model's and a pool's may have 253 characters each."""

_DEFAULTS = Engine()


def _unchanged(value: Any) -> Any:
    return value


def _dtype(name: str | None) -> Dtype | None:
    return None if name is None else Dtype(name)


def _pairs(env: tuple[EnvVar, ...]) -> tuple[tuple[str, str], ...]:
    """Those with a value of their own: what others hold is in objects that decisions do not read."""
    return tuple((variable.name, variable.value) for variable in env if variable.value_from is None)


_CONVERTERS: Mapping[str, Callable[[Any], Any]] = {
    "quantization": _dtype,
    "kv_cache_dtype": _dtype,
    "env": _pairs,
}
"""For the fields of `spec.engine` whose type differs here."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How one vLLM engine is started. Token counts are tokens, the utilisation is 0-1.

    quantization, kv_cache_dtype: number types of weights and KV; None: the checkpoint's own
    max_loras, max_lora_rank:     adapters resident at once (0: LoRA is off), and their rank at most
    drain_seconds: how long a replica that is removed may take to finish its requests
    pod: what its pods have beside it: labels, secrets, volumes, resources, security
    block_size: tokens of a KV block: vLLM's default, which no ServedModel changes

    All defaults but `block_size`'s are those of `spec.engine`, which owns them.
    """

    image: str = _DEFAULTS.image
    port: int = _DEFAULTS.port
    max_num_seqs: int = _DEFAULTS.max_num_seqs
    max_num_batched_tokens: int = _DEFAULTS.max_num_batched_tokens
    max_model_len: int = _DEFAULTS.max_model_len
    gpu_memory_utilization: float = _DEFAULTS.gpu_memory_utilization
    block_size: int = 16
    quantization: Dtype | None = None
    kv_cache_dtype: Dtype | None = None
    max_loras: int = _DEFAULTS.max_loras
    max_lora_rank: int = _DEFAULTS.max_lora_rank
    # Not part of a variant's name or identity: how an engine ends and who else knows it, not what it can do.
    drain_seconds: int = field(default=_DEFAULTS.drain_seconds, repr=False, compare=False)
    pod: EnginePod = field(default=_DEFAULTS, repr=False, compare=False)
    args: tuple[str, ...] = _DEFAULTS.args
    env: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, engine: Engine) -> EngineSettings:
        """The settings of a ServedModel's `spec.engine`: each field under its own name, or in `pod`."""
        names = [f.name for f in fields(cls) if f.name in Engine.model_fields]
        values = {name: _CONVERTERS.get(name, _unchanged)(getattr(engine, name)) for name in names}
        return cls(**values, pod=engine)


@dataclass(frozen=True, slots=True)
class Variant:
    """Model x pool x parallel shape x engine settings.

    `model_key` is the ServedModel; `model_id` is what the performance
    tables and the engine know; `gpu` is the catalogue's name. `architecture` is what the
    user declares of a model that the catalogue does not need to have.
    """

    model_key: ModelKey
    model_id: str
    served_names: tuple[str, ...]
    pool: str
    gpu: str
    tensor_parallel: int
    engine: EngineSettings
    pipeline_parallel: int = 1
    # Not part of the name: it decides what is expected of an engine, not how it is started.
    architecture: Architecture | None = field(default=None, repr=False)

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.tensor_parallel * self.pipeline_parallel

    @property
    def name(self) -> str:
        """Readable, unique and a valid label value: any other setting is another variant."""
        readable = f"{self.model_key.name}-{self.pool}-tp{self.tensor_parallel}"
        if self.pipeline_parallel > 1:
            readable += f"pp{self.pipeline_parallel}"
        digest = hashlib.sha256(repr(self).encode()).hexdigest()[:6]
        return f"{readable[: NAME_LIMIT - len(digest) - 1].rstrip('-.')}-{digest}"
