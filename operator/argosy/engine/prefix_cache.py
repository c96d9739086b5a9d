"""KV blocks that are shared and found again: which prompts begin alike, and which blocks are still there.

Owns the prefix cache of the readable engine, as vLLM's block pool does it (`v1/core/block_pool.py`,
`kv_cache_manager.py`; 0.32). Input: the blocks that a prompt may share (`prefixes`), and which
blocks a sequence takes and gives back. Output: how many leading blocks a prompt finds, and how many
blocks are free.

- Only full blocks are shared. The block with a prompt's last token is computed always, since its logits are
  needed: it belongs to its sequence.
- A block can be found from the decision on that computes it, so that of two requests that are admitted in one
  iteration the second finds the first one's.
- Blocks in use are counted, and counted once. A sequence that ends gives back its last block first; those
  that no other holds go to the end of the free queue and can be found there until they are taken, from the
  front. A prefix therefore always loses its last blocks first: what is left is a leading part.
- A block that is not full goes to the front of the free queue: nothing can find it, so it is taken first.
  With two batches in flight, one that a sequence filled just before its preemption or abort is not full yet.
- A block that is found in the free queue spares its computing, but not its room.
- A preempted sequence finds its own blocks again, as far as they were not taken meanwhile.

A block in a free queue is named by what it holds. Blocks that nothing will ask for again (of sequences that
ended, beyond what they share; never filled) have only a number, and neighbours are counted together.
"""

from __future__ import annotations

from collections import Counter, OrderedDict

from argosy.engine.prefixes import Key


class PrefixCache:
    """The blocks of one engine that are free, in the order in which they are taken, and those shared."""

    def __init__(self, num_blocks: int) -> None:
        self._uses: Counter[Key] = Counter()
        # How many blocks each key has: one, or for nameless ones, whose place is None, as many as follow.
        self._free: OrderedDict[tuple[int, int | None], int] = OrderedDict()
        self._number = 0
        self._add_nameless(num_blocks)

    def found(self, wanted: tuple[Key, ...]) -> tuple[int, int]:
        """Of a prompt's blocks, how many leading ones are there, and how many of these are in use."""
        num_found = num_used = 0
        for key in wanted:
            if self._uses[key]:
                num_used += 1
            elif key not in self._free:
                break
            num_found += 1
        return num_found, num_used

    def hold(self, keys: tuple[Key, ...]) -> int:
        """One more sequence uses these blocks, which it found or computes; how many left the free queue."""
        num_left = 0
        for key in keys:
            self._uses[key] += 1
            num_left += self._free.pop(key, 0)
        return num_left

    def take(self, num_blocks: int) -> None:
        """From the front of the free queue, which has as many: what they held is gone."""
        while num_blocks:
            key, there = next(iter(self._free.items()))
            taken = min(there, num_blocks)
            num_blocks -= taken
            if taken == there:
                del self._free[key]
            else:
                self._free[key] = there - taken

    def give_back(
        self, shared: tuple[Key, ...], own: tuple[Key, ...], num_nameless: int, num_partial: int
    ) -> int:
        """A sequence's blocks, the last one first: nameless, its own, shared ones. How many are free now.

        num_partial: blocks that are not full, 0 or 1
        """
        if num_partial:
            self._add_nameless(num_partial)
            self._free.move_to_end((self._number, None), last=False)
        self._add_nameless(num_nameless)
        num_free = num_partial + num_nameless
        for key in reversed(own):
            self._free[key] = 1
            num_free += 1
        for key in reversed(shared):
            self._uses[key] -= 1
            if not self._uses[key]:
                del self._uses[key]
                self._free[key] = 1
                num_free += 1
        return num_free

    def take_own(self, own: tuple[Key, ...]) -> int:
        """The leading ones of a sequence's own blocks that are still there leave the free queue."""
        num_found = 0
        for key in own:
            if self._free.pop(key, None) is None:
                break
            num_found += 1
        return num_found

    def _add_nameless(self, num_blocks: int) -> None:
        if num_blocks:
            self._number += 1
            self._free[self._number, None] = num_blocks
