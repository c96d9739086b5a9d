"""A trace's lengths as the table that a WorkloadClass declares.

Owns the cutting of a trace into rows. Input: a trace. Output: rows of the object's spec. The planner
needs the lengths that will be sent: a trace with prompts that fit no engine should be refused by the
plan, not by failed requests.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from argosy_sim.traffic import Trace, TraceRequest

NUM_PROMPT_CELLS = 6
NUM_OUTPUT_CELLS = 5
"""The planner cuts an archetype as finely; the table stays below the API's limit of 64 rows."""


def lengths_table(trace: Trace, num_requests: int) -> list[dict[str, Any]]:
    """Rows of `spec.traffic.lengths.table` for the first `num_requests` requests.

    Requests are sorted into cells of equal counts by prompt, then each by output; a row has its
    cell's mean lengths and its share of the requests. The longest 1 % of prompts have a row of their
    own, so that the plan notices a limit that they exceed.
    """
    requests = sorted(trace.requests[:num_requests], key=lambda r: (r.prompt_tokens, r.output_tokens))
    longest = requests[-max(1, len(requests) // 100) :]
    rows = [_row(longest, len(requests))]
    for cell in _cells(requests[: len(requests) - len(longest)], NUM_PROMPT_CELLS):
        by_output = sorted(cell, key=lambda r: r.output_tokens)
        rows += [_row(part, len(requests)) for part in _cells(by_output, NUM_OUTPUT_CELLS)]
    return rows


def _cells(requests: Sequence[TraceRequest], num: int) -> list[Sequence[TraceRequest]]:
    edges = [round(i * len(requests) / num) for i in range(num + 1)]
    cells = [requests[low:high] for low, high in pairwise(edges)]
    return [cell for cell in cells if cell]


def _row(requests: Sequence[TraceRequest], num_all: int) -> dict[str, Any]:
    return {
        "promptTokens": _mean(r.prompt_tokens for r in requests),
        "outputTokens": _mean(r.output_tokens for r in requests),
        "weight": len(requests) / num_all,
    }


def _mean(values: Iterable[int]) -> int:
    known = list(values)
    return max(1, round(math.fsum(known) / len(known)))
