"""What a prefix cache saves: a hit share becomes cached tokens.

Owns the rule by which a prompt that shares a prefix with an earlier one has tokens in the KV cache:
whole blocks only (a block's hash covers all its tokens), and never the last token of the prompt,
whose logits are the first output token. Eviction is not modelled: the share is measured (vLLM's
`prefix_cache_hits` over `prefix_cache_queries`) or declared.

Input: a `Mix` or prompts, and a `PrefixReuse`; output: the `Mix` with its cached tokens, or those
of the prompts. Blocks that requests share are counted for each of them, so the KV cache seems
fuller than it is: the answer is on the careful side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from argosy.arrays import Integers
from argosy.checks import share
from argosy.errors import SpecError
from argosy.snapshot import Mix


@dataclass(frozen=True, slots=True)
class PrefixReuse:
    """How much of prompts is found in the cache.

    prompt_share: of every prompt that is found, before rounding to blocks (0-1)
    block_size:   tokens of a KV block

    Raises SpecError for a share outside [0, 1] and for a block without tokens.
    """

    prompt_share: float
    block_size: int = 16

    def __post_init__(self) -> None:
        share(self.prompt_share, "reuse.prompt_share")
        if self.block_size < 1:
            raise SpecError(f"must be at least 1, got {self.block_size}", "reuse.block_size")


def cached_tokens(prompt_tokens: npt.ArrayLike, reuse: PrefixReuse) -> Integers:
    """Tokens of prompts that are in the cache, of the prompts' shape.

    In whole blocks, short of the last token.
    """
    prompts = np.asarray(prompt_tokens, dtype=np.int64)
    # A share such as 0.9 of 160 must give 144, whatever the last bit of the product.
    found = np.floor(reuse.prompt_share * prompts + 1e-9).astype(np.int64)
    blocks: Integers = np.minimum(found, prompts - 1) // reuse.block_size
    return blocks * reuse.block_size


def mix_with_reuse(mix: Mix, reuse: PrefixReuse) -> Mix:
    """The same slices in the same order, with what is cached of their prompts; never less than before."""
    found = ((piece, int(cached_tokens(piece.prompt_tokens, reuse))) for piece in mix.slices)
    return Mix(tuple(replace(piece, cached_tokens=max(piece.cached_tokens, n)) for piece, n in found))
