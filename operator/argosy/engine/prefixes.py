"""What prompts begin with: which of them share KV blocks, and which blocks these are.

Owns the nouns `PromptPrefix`, of one request, and `Prefixes`, of many as arrays. `prefix_cache` has the rules
of sharing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from argosy.arrays import Booleans, Integers

Key = tuple[int, int]
"""A block by what it holds: an id of a prefix and the block's place in it; or, for the own blocks of a
preempted sequence, -1 less its request's id, and the place in the sequence."""


@dataclass(frozen=True, slots=True)
class PromptPrefix:
    """The beginning of a prompt, which other prompts may have too.

    ids:         one for all of it (a group: its members begin alike, each as far as it says); or a chain of
                 block hashes, each standing for its tokens and all those before (Mooncake's `hash_ids`)
    tokens:      how many tokens of the prompt it is
    tokens_each: of a chain, what each id but the last stands for; a multiple of the engine's block size

    Raises ValueError for ids that do not cover the tokens.
    """

    ids: tuple[int, ...]
    tokens: int
    tokens_each: int = 0

    def __post_init__(self) -> None:
        is_group = len(self.ids) == 1 and not self.tokens_each
        most = len(self.ids) * self.tokens_each
        if self.tokens < 1 or not (is_group or most - self.tokens_each < self.tokens <= most):
            raise ValueError(f"{len(self.ids)} ids of {self.tokens_each} tokens do not cover {self.tokens}")
        if min(self.ids) < 0:
            raise ValueError("ids of prefixes are not negative")

    def blocks(self, block_size: int, prompt_tokens: int) -> tuple[Key, ...]:
        """The full blocks of the prompt that it names, first one first.

        Raises ValueError where the ids of a chain end within blocks.
        """
        if self.tokens_each % block_size:
            raise ValueError(f"a chain of {self.tokens_each} tokens per id has no blocks of {block_size}")
        count = min(self.tokens, prompt_tokens - 1) // block_size
        width = self.tokens_each // block_size or max(count, 1)
        return tuple((self.ids[place // width], place % width) for place in range(count))


@dataclass(frozen=True, slots=True)
class Prefixes:
    """What N prompts begin with, as arrays.

    ids:         of all requests, one after the other
    ends:        where each request's ids end in them, shape (N,); a request without ids shares nothing
    tokens:      of the prompt that its ids stand for, shape (N,)
    tokens_each: as in `PromptPrefix`; 0: every request has at most one id

    Raises ValueError for ids that do not cover the tokens, and for one that follows different ids: a
    hash stands for all that comes before it.
    """

    ids: Integers
    ends: Integers
    tokens: Integers
    tokens_each: int = 0

    def __post_init__(self) -> None:
        counts = self.counts
        if len(self.tokens) != len(counts) or np.any(counts < 0) or counts.sum() != len(self.ids):
            raise ValueError("ends of ids must rise to their number, one for each request")
        if np.any(self.ids < 0):
            raise ValueError("ids of prefixes are not negative")
        if not self.tokens_each:
            bad = (counts > 1) | ((counts == 1) != (self.tokens > 0))
        else:
            most = counts * self.tokens_each
            bad = (self.tokens > most) | (self.tokens < np.maximum(most - self.tokens_each + (counts > 0), 0))
        if np.any(bad):
            raise ValueError(f"request {int(np.argmax(bad))}: its ids do not cover its tokens")
        if self.tokens_each:
            self._require_one_predecessor(counts)

    def _require_one_predecessor(self, counts: Integers) -> None:
        before = np.concatenate([[-1], self.ids[:-1]])
        before[(self.ends - counts)[counts > 0]] = -1
        pairs = np.unique(np.stack([self.ids, before]), axis=1)[0] if len(self.ids) else self.ids
        twice = pairs[1:][pairs[1:] == pairs[:-1]]
        if len(twice):
            raise ValueError(f"id {int(twice[0])} follows different ids: a hash stands for all before it")

    @classmethod
    def of_groups(cls, groups: Integers, tokens: Integers) -> Prefixes:
        """Members of a group begin alike, each with so many tokens; shape (N,) each. Group -1: none."""
        has_group = (groups >= 0) & (tokens > 0)
        return cls(groups[has_group], np.cumsum(has_group), np.where(has_group, tokens, 0))

    @property
    def counts(self) -> Integers:
        """How many ids each request has, shape (N,)."""
        return np.diff(self.ends, prepend=0)

    def of(self, number: int) -> PromptPrefix | None:
        """What one prompt begins with; None: nothing that others have."""
        end = int(self.ends[number])
        ids = self.ids[int(self.ends[number - 1]) if number else 0 : end]
        if not len(ids):
            return None
        return PromptPrefix(tuple(ids.tolist()), int(self.tokens[number]), self.tokens_each)

    def where(self, keep: Booleans) -> Prefixes:
        """Those of some requests, shape (N,)."""
        counts = self.counts
        return Prefixes(
            self.ids[np.repeat(keep, counts)], np.cumsum(counts[keep]), self.tokens[keep], self.tokens_each
        )
