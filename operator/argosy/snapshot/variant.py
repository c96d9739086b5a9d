"""What can serve: GPU, parallel shape, engine settings, variant.

Owns the identity of a variant (model x pool x parallel shape x engine settings). Never knows
how fast one is (`perf`) nor how many are wanted (`plan`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from argosy.keys import ModelKey
from argosy.snapshot.architecture import Architecture, Dtype

NAME_LIMIT = 63
"""A variant's name is a label value, while a model's and a pool's may have 253 characters each."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How one vLLM engine is started. Token counts are tokens, the utilisation is 0-1.

    quantization, kv_cache_dtype: number types of weights and KV; None: the checkpoint's own
    max_loras, max_lora_rank:     adapters resident at once (0: LoRA is off), and their rank at most
    """

    image: str = "vllm/vllm-openai:v0.24.0"
    port: int = 8000
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    max_model_len: int = 16384
    gpu_memory_utilization: float = 0.9
    block_size: int = 16
    quantization: Dtype | None = None
    kv_cache_dtype: Dtype | None = None
    max_loras: int = 0
    max_lora_rank: int = 16
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Variant:
    """Model x pool x parallel shape x engine settings.

    `model_key` is the ServedModel; `model_id` is what the performance
    tables and the engine know; `gpu` is the catalogue's name. `architecture` is what the user
    says of a model that the catalogue need not know.
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
