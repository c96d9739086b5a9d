"""LoRA adapters of one simulated vLLM: which are registered, and which are in its memory.

Owns vLLM 0.32's answers to its API of adapters, word by word, and its two caches: `max_loras` slots on the
GPU, `max_cpu_loras` in CPU memory, both by least recent use. A request for an adapter that has left CPU
memory loads it again first. Pure: `server` waits.

No file is read. A source whose last part begins with `missing` is one that vLLM does not find; one that
ends in `-r64` has rank 64.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass, field
from http import HTTPStatus

from argosy_sim.livefleet.vllm.openai_api import ApiError

LOAD_S = 0.2
"""An adapter of 100 MB from a local disk."""
_RANK = re.compile(r"-r(\d+)$")


@dataclass(frozen=True, slots=True)
class LoraLimits:
    """What `--max-loras`, `--max-lora-rank` and `--max-cpu-loras` say."""

    max_loras: int
    max_rank: int
    max_cpu_loras: int


@dataclass(slots=True)
class LoraAdapters:
    """Registered adapters with their sources; the least recently used is the first."""

    limits: LoraLimits
    base_names: tuple[str, ...]
    sources: dict[str, str] = field(default_factory=dict)
    on_gpu: OrderedDict[str, None] = field(default_factory=OrderedDict)
    in_memory: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def load(self, name: str, source: str, *, in_place: bool) -> str | ApiError:
        """What `POST /v1/load_lora_adapter` answers."""
        if not name or not source:
            return _invalid("Both 'lora_name' and 'lora_path' must be provided.")
        if name in self.base_names:
            return _invalid(f"The lora adapter '{name}' conflicts with a served base model.")
        if name in self.sources and not in_place:
            return _invalid(
                f"The lora adapter '{name}' has already been loaded. If you want to load the adapter in"
                " place, set 'load_inplace' to True."
            )
        if source.rstrip("/").rpartition("/")[2].startswith("missing"):
            message = f"Loading lora {name} failed: No adapter found for {source}"
            return ApiError(HTTPStatus.NOT_FOUND, "NotFoundError", message)
        rank = int(found[1]) if (found := _RANK.search(source)) else 0
        if rank > self.limits.max_rank:
            message = f"LoRA rank {rank} is greater than max_lora_rank {self.limits.max_rank}."
            return ApiError(HTTPStatus.INTERNAL_SERVER_ERROR, "InternalServerError", message)
        self.sources[name] = source
        self.use(name)
        return f"Success: LoRA adapter '{name}' added successfully."

    def unload(self, name: str) -> str | ApiError:
        """What `POST /v1/unload_lora_adapter` answers; the caches forget it only when they need the room."""
        if not name:
            return _invalid("'lora_name' needs to be provided to unload a LoRA adapter.")
        if name not in self.sources:
            message = f"The lora adapter '{name}' cannot be found."
            return ApiError(HTTPStatus.NOT_FOUND, "NotFoundError", message)
        del self.sources[name]
        return f"Success: LoRA adapter '{name}' removed successfully."

    def use(self, name: str) -> float:
        """Bring an adapter into a slot for a request; the seconds that this takes."""
        was_in_memory = name in self.in_memory
        for cache, most in (
            (self.on_gpu, self.limits.max_loras),
            (self.in_memory, max(self.limits.max_loras, self.limits.max_cpu_loras)),
        ):
            cache[name] = None
            cache.move_to_end(name)
            while len(cache) > most:
                cache.popitem(last=False)
        return 0.0 if was_in_memory else LOAD_S


def _invalid(message: str) -> ApiError:
    return ApiError(HTTPStatus.BAD_REQUEST, "InvalidUserInput", message)
