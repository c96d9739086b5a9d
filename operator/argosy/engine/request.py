"""What goes into an engine: its limits, a request, and whether it is admitted.

Owns the nouns of the scheduler's interface.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from argosy.engine.prefixes import PromptPrefix
from argosy.refusals import Refused


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What bounds one engine (vLLM's flags of the same names).

    max_num_seqs:           running sequences
    max_num_batched_tokens: tokens computed in one iteration
    kv_blocks:              KV blocks in all, each of `block_size` tokens
    max_model_len:          prompt and output together, tokens
    batches_in_flight:      1: a batch is decided when the one before it has ended; 2: when the one
                            before it begins (`--async-scheduling`; `in_flight` has the rules)
    prefix_caching:         whether blocks are shared between prompts and found again (`prefix_cache`)

    Raises ValueError for a limit below 1, for a token budget that a full batch exceeds, and for more
    batches in flight than 2.
    """

    max_num_seqs: int
    max_num_batched_tokens: int
    kv_blocks: int
    block_size: int
    max_model_len: int
    batches_in_flight: int = 1
    prefix_caching: bool = False

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if name != "prefix_caching" and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.max_num_batched_tokens < self.max_num_seqs:
            # vLLM refuses it too: a full batch could not decode in one iteration.
            raise ValueError(
                f"max_num_batched_tokens ({self.max_num_batched_tokens}) must be at least "
                f"max_num_seqs ({self.max_num_seqs})"
            )
        if self.batches_in_flight > 2:
            raise ValueError(
                f"batches_in_flight ({self.batches_in_flight}) must be 1 or 2: the batches that fill a "
                "pipeline are part of its step times (`in_flight.InFlight.of_engine`)"
            )

    @property
    def kv_tokens(self) -> int:
        """Tokens that the KV cache holds."""
        return self.kv_blocks * self.block_size

    @property
    def longest_request(self) -> int:
        """Prompt and output tokens together that an empty engine takes."""
        return min(self.max_model_len, self.kv_tokens)


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One request. In a simulation it is known how many tokens it will generate.

    `prefix` is what other prompts begin with, too: an engine with `prefix_caching` finds and shares its
    blocks. Where it is not known, `cached_tokens` of the prompt are taken to be found and not computed, in
    blocks of the sequence's own; the last prompt token always is computed (vLLM needs its logits), so
    fewer than `prompt_tokens` count.

    Raises ValueError for lengths that no client sends, and for a hit stated beside a prefix.
    """

    id: int
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    prefix: PromptPrefix | None = None

    def __post_init__(self) -> None:
        if self.prompt_tokens < 1 or self.output_tokens < 1:
            raise ValueError(f"a request has at least one token each way, got {self}")
        if not 0 <= self.cached_tokens <= self.prompt_tokens:
            raise ValueError(f"cached tokens are part of the prompt, got {self}")
        if self.prefix is not None and (self.cached_tokens or self.prefix.tokens > self.prompt_tokens):
            raise ValueError(f"a prefix is part of the prompt, and says what is cached, got {self}")


class RejectionReason(StrEnum):
    """Why an engine rejects a request, however long it waits."""

    LONGER_THAN_CONTEXT = "LongerThanContext"
    LONGER_THAN_KV_CACHE = "LongerThanKvCache"


@dataclass(frozen=True, slots=True)
class Admitted:
    """The request is in the queue."""


@dataclass(frozen=True, slots=True)
class RejectedRequest(Refused[RejectionReason]):
    """The request was not taken: why, and with which figures."""


def admit(request: EngineRequest, limits: EngineLimits) -> Admitted | RejectedRequest:
    """Whether an empty engine with these limits could ever complete the request."""
    total = request.prompt_tokens + request.output_tokens
    lengths = f"{request.prompt_tokens} prompt and {request.output_tokens} output tokens"
    if total > limits.max_model_len:
        return RejectedRequest(
            RejectionReason.LONGER_THAN_CONTEXT,
            f"{lengths} exceed the context limit of {limits.max_model_len} tokens; "
            "shorten the request or raise max_model_len",
        )
    if total > limits.kv_tokens:
        return RejectedRequest(
            RejectionReason.LONGER_THAN_KV_CACHE,
            f"{lengths} exceed the KV cache of {limits.kv_tokens} tokens; "
            "shorten the request or give the engine more GPU memory",
        )
    return ADMITTED


ADMITTED = Admitted()
