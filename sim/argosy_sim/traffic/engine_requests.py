"""A trace as an engine of `argosy.engine` takes it.

Input: a `Trace`. Output: `Requests` with what prompts share, where the trace tells.
"""

from __future__ import annotations

import numpy as np

from argosy.engine import Prefixes, Requests
from argosy.traces.trace import Trace

HASH_TOKENS = 512
"""What one of Mooncake's hashes stands for."""


def engine_requests(trace: Trace) -> Requests:
    """Arrivals and lengths, and the hashes of prompts as far as these reach.

    Raises ValueError for a hash that follows different ones.
    """
    prompts = np.array([request.prompt_tokens for request in trace.requests], dtype=np.int64)
    outputs = np.array([request.output_tokens for request in trace.requests], dtype=np.int64)
    chains = [request.prefix_blocks[: -(-request.prompt_tokens // HASH_TOKENS)] for request in trace.requests]
    counts = np.array([len(chain) for chain in chains], dtype=np.int64)
    ids = np.array([each for chain in chains for each in chain], dtype=np.int64)
    prefixes = Prefixes(ids, np.cumsum(counts), np.minimum(prompts, HASH_TOKENS * counts), HASH_TOKENS)
    return Requests(np.array(trace.arrivals_s), prompts, outputs, prefixes=prefixes if len(ids) else None)
