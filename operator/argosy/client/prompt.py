"""Prompts of an exact length.

Owns the filler text and the filler token ids. Four bytes are one token, here and in simulated servers; a real
tokenizer makes about as many of such words. The text has no meaning. Output: ASCII that needs no
escaping in JSON.
"""

from __future__ import annotations

import zlib
from functools import cache

import numpy as np

BYTES_PER_TOKEN = 4
TOKENS_PER_PREFIX_BLOCK = 512
"""Mooncake's block (its `hash_ids`)."""

_FIRST_ID, _NUM_IDS = 300, 700
"""Ids that are words or parts of words in every byte-pair vocabulary: special tokens and single bytes are
before them or at its end."""

_TEXT_BYTES = 1 << 20
_WORDS = (
    "the ship sails west with grain and salt while harbour lights fade behind a quiet hull and every "
    "sailor counts rope barrels maps stars tides winds ports letters coins days until land is near again "
    "because small repairs before storms cost less than great ones after them so check each mast twice"
)


@cache
def _text() -> str:
    """A megabyte of words in a random order, always the same."""
    words = np.random.default_rng(0).choice(np.array(_WORDS.split()), _TEXT_BYTES // 4)
    return " ".join(words.tolist())[:_TEXT_BYTES]


def prompt_text(key: str, num_tokens: int, prefix_blocks: tuple[int, ...] = ()) -> str:
    """Exactly `num_tokens` x 4 bytes, a function of the arguments.

    Prompts with different keys begin differently, so that no prefix cache finds them
    alike by accident; those that name the same `prefix_blocks` begin with the same text.
    """
    num_bytes = num_tokens * BYTES_PER_TOKEN
    block_bytes = TOKENS_PER_PREFIX_BLOCK * BYTES_PER_TOKEN
    shared = "".join(_slice(f"block {block}", block_bytes) for block in prefix_blocks)[:num_bytes]
    return shared + _slice(key, num_bytes - len(shared))


def _slice(key: str, num_bytes: int) -> str:
    text = _text()
    start = zlib.crc32(key.encode()) % len(text)
    if start + num_bytes > len(text):
        text *= (start + num_bytes) // len(text) + 1
    return text[start : start + num_bytes]


def prompt_token_ids(key: str, num_tokens: int, prefix_blocks: tuple[int, ...] = ()) -> list[int]:
    """Exactly `num_tokens` token ids, a function of the arguments; alike and unlike as in `prompt_text`."""
    shared = [
        token
        for block in prefix_blocks[: -(-num_tokens // TOKENS_PER_PREFIX_BLOCK)]
        for token in _ids(f"block {block}", TOKENS_PER_PREFIX_BLOCK)
    ][:num_tokens]
    return shared + _ids(key, num_tokens - len(shared))


def _ids(key: str, num_tokens: int) -> list[int]:
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    drawn: list[int] = rng.integers(_FIRST_ID, _FIRST_ID + _NUM_IDS, num_tokens).tolist()
    return drawn
