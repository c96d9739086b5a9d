"""`argosy perf links`: what a node's links take, as the block of a GPUPool.

Input: files with the output of all_reduce_perf. Output: the YAML of `spec.interconnect`, with the error of
each fit on standard error, or one document.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from argosy.api.gpuspec import MAX_ALL_REDUCES
from argosy.cli.output import Output
from argosy.errors import SpecError
from argosy.perf.measurements.collectives import CollectiveFault, MeasuredReduces, read_all_reduce
from argosy.snapshot.variant import Reduce


def show(files: Sequence[Path], num_gpus: int | None, output: Output) -> None:
    """Print the block, or refuse with file and line. Raises SpecError for a file that cannot be read."""
    found: dict[int, tuple[Path, MeasuredReduces]] = {}
    for file in files:
        measured = read_all_reduce(_text(file), num_gpus)
        if isinstance(measured, CollectiveFault):
            output.refused(measured, str(file))
        gpus = measured.reduce.gpus
        if gpus in found:
            raise SpecError(f"has {gpus} GPUs, as {found[gpus][0]} has; give one of them", str(file))
        found[gpus] = file, measured
    if len(found) > MAX_ALL_REDUCES:
        raise SpecError(f"a pool has figures of at most {MAX_ALL_REDUCES} numbers of GPUs", "FILES")
    each = [found[gpus][1] for gpus in sorted(found)]
    block = {"spec": {"interconnect": {"allReduce": [_figures(measured.reduce) for measured in each]}}}
    if output.as_json:
        fits = [_fit(measured) for measured in each]
        output.document({**block, "fits": fits})
        return
    import yaml

    output.console.out(yaml.safe_dump(block, sort_keys=False), end="", highlight=False)
    for measured in each:
        output.remark(
            f"{measured.reduce.gpus} GPUs: {len(measured.messages)} sizes fitted, median"
            f" {measured.median_error:.0%} and at most {measured.worst_error:.0%} off"
        )


def _figures(reduce: Reduce) -> dict[str, Any]:
    return {
        "gpus": reduce.gpus,
        "latencyMicroseconds": float(f"{1e3 * reduce.latency_ms:.3g}"),
        "busGbPerSecond": float(f"{reduce.bytes_per_s / 1e9:.3g}"),
    }


def _fit(measured: MeasuredReduces) -> dict[str, Any]:
    return {
        "gpus": measured.reduce.gpus,
        "sizes": len(measured.messages),
        "median_error": round(measured.median_error, 4),
        "worst_error": round(measured.worst_error, 4),
    }


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as fault:
        raise SpecError(f"cannot be read as text: {fault}", str(file)) from fault
