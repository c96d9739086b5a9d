#!/usr/bin/env python3
"""Fit the constants of `perf.footprint.working_memory` to start-up logs of vLLM, and judge them.

Input: tests/data/perf/kv_lines.csv; even lines teach, odd ones judge. Output: the constants, and the errors
of both halves. The module holds the constants rounded.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from kv_lines import CAPTURE_SIZES, KvLine, kv_lines, other_cards

GIB = 2**30


def main() -> None:
    """Print both."""
    even, odd = kv_lines()[::2], kv_lines()[1::2]
    whole = [line for line in even if line.variant.pipeline_parallel == 1 and not line.architecture.is_moe]
    columns = np.array(
        [
            [1.0, hidden_gib(line), line.variant.engine.max_num_seqs * line.architecture.vocabulary / GIB]
            for line in whole
            if line.samples_most
        ]
    )
    peaks = np.array([line.activation_gib for line in whole if line.samples_most])
    fixed, hidden, logit = np.linalg.lstsq(columns, peaks, rcond=None)[0]
    print(f"sampler: {fixed:.2f} GiB + {hidden:.2f} hidden states + {logit:.1f} bytes per logit")
    for ranks in (1, 2, 4):
        found = [
            line.non_torch_gib for line in even if line.variant.gpus == ranks == line.variant.tensor_parallel
        ]
        print(f"CUDA and NCCL, TP {ranks}: {statistics.median(found):.2f} GiB")
    graphs = [line.graph_estimate_gib / line.architecture.layers for line in whole]
    print(f"graphs: {statistics.median(graphs):.4f} GiB per layer for {CAPTURE_SIZES} sizes")
    for name, half in (("even", even), ("odd", odd)):
        errors = sorted(abs(line.error()) for line in half)
        print(f"{name}: KV tokens off by {statistics.median(errors):.1%} (median), {errors[-1]:.1%} (most)")
    for card in other_cards():
        print(f"{card.name}: GiB for KV off by {card.error():+.1%}")


def hidden_gib(line: KvLine) -> float:
    """A hidden state of a full budget of tokens."""
    return 2 * line.variant.engine.max_num_batched_tokens * line.architecture.hidden_size / GIB


if __name__ == "__main__":
    main()
