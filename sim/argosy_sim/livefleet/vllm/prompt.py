"""Owns what a simulated vLLM reads of a prompt: its length, its content, and the KV blocks of that content.

A token is four bytes, so a block is that many bytes. As in vLLM (`v1/core/kv_cache_utils.py`) a block's hash
stands for its tokens and all those before, for the adapter with its source, and for the request's cache salt.
The hash itself is the block's id: nothing has to be remembered of prompts that are gone.

Input: texts, roles and other parts in their order, or token ids. Output: `Prompt`, and its `PromptPrefix`.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from argosy.engine import PromptPrefix

BYTES_PER_TOKEN = 4
_ID_BITS = 63


@dataclass(frozen=True, slots=True)
class Prompt:
    """What comes before the first token of an answer.

    content: all text in UTF-8, or four bytes per token id
    marks:   what stands between without a length of its own, with its place in `content` (bytes): the role
             of a message, an image, the tools of a chat. Rising places.
    digest:  of the text alone; an answer's natural length follows from it
    """

    content: bytes
    marks: tuple[tuple[int, str], ...]
    digest: int

    @property
    def num_tokens(self) -> int:
        """At least one: a chat template is never empty."""
        return max(1, -(-len(self.content) // BYTES_PER_TOKEN))

    @classmethod
    def of_ids(cls, token_ids: Sequence[int]) -> Prompt:
        """Token ids, which no text equals."""
        content = b"".join((each & 0xFFFF_FFFF).to_bytes(BYTES_PER_TOKEN, "little") for each in token_ids)
        return cls(content, ((0, "token ids"),), zlib.crc32(repr(list(token_ids)).encode()))

    @classmethod
    def of_parts(cls, parts: Iterable[tuple[str, str]]) -> Prompt:
        """(mark, text) each; one without text or without a mark has an empty one."""
        content, marks, digest = bytearray(), [], 0
        for mark, text in parts:
            if mark:
                marks.append((len(content), mark))
            # A lone surrogate is valid in JSON and has no UTF-8: it counts as one replaced character.
            encoded = text.encode("utf-8", "replace")
            content += encoded
            digest = zlib.crc32(encoded, digest)
        return cls(bytes(content), tuple(marks), digest)

    def prefix(self, block_size: int, owner: Sequence[str]) -> PromptPrefix | None:
        """Its full blocks of `block_size` tokens; None where there is none.

        owner: what only equal prompts of the same owner share: adapter, its source, cache salt
        """
        # The block with the last token is computed always.
        count = (self.num_tokens - 1) // block_size
        if not count:
            return None
        width = block_size * BYTES_PER_TOKEN
        marks_by_block: dict[int, list[tuple[int, str]]] = {}
        for place, mark in self.marks:
            marks_by_block.setdefault(place // width, []).append((place % width, mark))
        parent, ids = json.dumps(owner).encode(), []
        for block in range(count):
            extra = json.dumps(marks_by_block[block]).encode() if block in marks_by_block else b""
            tokens = self.content[block * width : (block + 1) * width]
            parent = blake2b(tokens + parent + extra, digest_size=16).digest()
            ids.append(int.from_bytes(parent[:8], "little") >> (64 - _ID_BITS))
        return PromptPrefix(tuple(ids), count * block_size, block_size)
