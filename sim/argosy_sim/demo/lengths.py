"""A trace's lengths as the table that a WorkloadClass declares.

Owns the cutting of a trace into rows. Never reads a file. The planner must reckon with what will be
sent: a trace whose prompts no engine takes has to be refused by the plan, not found out by users.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from argosy_sim.traffic import Trace, TraceRequest

NUM_PROMPT_CELLS = 6
NUM_OUTPUT_CELLS = 5
"""As fine as the planner cuts an archetype; rows times cells stay below the API's 64."""


def lengths_table(trace: Trace, num_requests: int) -> list[dict[str, Any]]:
    """Rows of `spec.traffic.lengths.table` for the first `num_requests` requests, over and over.

    Requests are sorted into cells of equal counts by prompt, then each by output; a row has its
    cell's mean lengths and its share of the requests. The longest prompts have a row of their own, so
    that a limit they exceed is noticed.
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
