"""Tables of the largest throughput per pair of lengths: Mélange's and AIBrix's.

Owns their JSON. Both hold requests/s that one GPU sustained within some SLO, a matrix
over prompt and output lengths; a cell of zero means that nothing did, and is left out.

Mélange (its solver's configuration): `gpu_info` names several GPUs, each with `tputs`, a row
per prompt size and a column per output size. The sizes themselves are nowhere in that file:
`prompt_tokens` and `output_tokens`, two lists beside `gpu_info`, have to be added.
AIBrix (`aibrix_gen_profile`): `indexes` holds output and prompt lengths, `tputs` a row per
output length, and `e2e` and `ttft` the mean latencies (seconds) at that throughput.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from argosy.perf.measurements.reports.document import Document, ParsedReport
from argosy.perf.measurements.reports.fields import not_negative, positive
from argosy.perf.measurements.rows import (
    Latency,
    Measurement,
    OpenLoopLoad,
    RefusedError,
    SaturatingLoad,
    TokenLengths,
    UnreadableReason,
)

_MS_PER_S = 1e3
_NO_LATENCIES = (
    "the table has throughputs only: they are taken as the most that the engine does, "
    "although an SLO may have kept them lower"
)


def recognise_melange(document: Document) -> bool:
    """Whether it is a configuration of Mélange's solver."""
    return any("tputs" in gpu for _, gpu in _gpus(document.only))


def read_melange(document: Document) -> ParsedReport:
    """One row per GPU and cell, for runs that kept the engine full. Raises RefusedError for broken cells."""
    table = document.only
    missing = [name for name in ("prompt_tokens", "output_tokens") if name not in table]
    if missing:
        message = (
            "Mélange's table does not say which lengths its rows and columns stand for: add "
            '"prompt_tokens": [...] (one per row) and "output_tokens": [...] (one per column) '
            f"beside gpu_info; missing: {', '.join(missing)}"
        )
        raise RefusedError(UnreadableReason.INCOMPLETE, message)
    prompts, outputs = (_axis(table[name], name) for name in ("prompt_tokens", "output_tokens"))
    rows: list[Measurement] = []
    notes: list[str] = []
    for gpu, entry in _gpus(table):
        name = f"gpu_info {gpu}, tputs"
        grid = _grid(entry.get("tputs"), name, (len(prompts), len(outputs)))
        for i, prompt in enumerate(prompts):
            for j, output in enumerate(outputs):
                where = f"{name}[{i}][{j}]"
                rate = not_negative(grid[i][j], where, "throughput")
                if rate == 0:
                    notes.append(f"{where}: no throughput, left out")
                else:
                    rows.append(replace(_row(where, (prompt, output), rate, {}), gpu=gpu))
    return ParsedReport(_some(rows), notes=(_NO_LATENCIES, *notes))


def recognise_aibrix(document: Document) -> bool:
    """Whether it is a profile of AIBrix's GPU optimizer."""
    return {"gpu", "tputs", "indexes"} <= document.only.keys()


def read_aibrix(document: Document) -> ParsedReport:
    """One row per cell: the rate that was kept, and the latencies at it. Raises RefusedError for broken
    cells.
    """
    profile = document.only
    axes = profile["indexes"]
    if not isinstance(axes, list) or len(axes) != 2:
        raise RefusedError(UnreadableReason.BROKEN, "indexes must hold two lists: output and prompt tokens")
    outputs, prompts = (_axis(axis, f"indexes[{i}]") for i, axis in enumerate(axes))
    shape = (len(outputs), len(prompts))
    grid = _grid(profile["tputs"], "tputs", shape)
    latencies = {
        name: _grid(profile[name], name, shape) for name in ("e2e", "ttft") if profile.get(name) is not None
    }
    rows: list[Measurement] = []
    notes: list[str] = []
    for i, output in enumerate(outputs):
        for j, prompt in enumerate(prompts):
            where = f"tputs[{i}][{j}]"
            rate = not_negative(grid[i][j], where, "throughput")
            if rate == 0:
                notes.append(f"{where}: no throughput within the profile's SLO, left out")
                continue
            means = {name: _mean(values[i][j], f"{name}[{i}][{j}]") for name, values in latencies.items()}
            rows.append(_row(where, (prompt, output), rate, means))
    gpu = profile["gpu"]
    if not latencies:
        notes.insert(0, _NO_LATENCIES)
    return ParsedReport(_some(rows), gpu=gpu if isinstance(gpu, str) else None, notes=tuple(notes))


def _gpus(table: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """`gpu_info` as an object by name, or as a list of objects that say their name."""
    info = table.get("gpu_info")
    if isinstance(info, Mapping):
        pairs = [(str(name), entry) for name, entry in info.items()]
    elif isinstance(info, list):
        pairs = [(str(entry.get("name")), entry) for entry in info if isinstance(entry, Mapping)]
    else:
        pairs = []
    return [(name, entry) for name, entry in pairs if isinstance(entry, Mapping)]


def _axis(values: Any, name: str) -> list[float]:
    if not isinstance(values, list) or not values:
        raise RefusedError(UnreadableReason.BROKEN, f"{name} must be a list of lengths")
    return [positive(value, name, f"[{i}]") for i, value in enumerate(values)]


def _grid(values: Any, name: str, shape: tuple[int, int]) -> list[list[Any]]:
    rows = values if isinstance(values, list) else []
    if len(rows) != shape[0] or not all(isinstance(row, list) and len(row) == shape[1] for row in rows):
        message = f"{name} must have {shape[0]} rows of {shape[1]} numbers, as its lengths say"
        raise RefusedError(UnreadableReason.BROKEN, message)
    return rows


def _mean(seconds: Any, where: str) -> Latency:
    return Latency(mean_ms=positive(seconds, where, "mean") * _MS_PER_S)


def _row(
    where: str, tokens: tuple[float, float], requests_per_s: float, means: Mapping[str, Latency]
) -> Measurement:
    """Both profilers send requests of one length: the spread is zero.

    Without a latency the throughput is usable only as the highest that the engine reaches.
    """
    return Measurement(
        where=where,
        prompt=TokenLengths(tokens[0], 0.0),
        output=TokenLengths(tokens[1], 0.0),
        load=OpenLoopLoad(requests_per_s) if means else SaturatingLoad(),
        ttft=means.get("ttft"),
        e2e=means.get("e2e"),
        output_tokens_per_s=requests_per_s * tokens[1],
        requests_per_s=requests_per_s,
    )


def _some(rows: list[Measurement]) -> tuple[Measurement, ...]:
    if not rows:
        raise RefusedError(UnreadableReason.NOTHING_MEASURED, "every throughput in the table is zero")
    return tuple(rows)
