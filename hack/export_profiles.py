"""Export step-time tables from aiconfigurator-core and write operator/argosy/perf/data/profiles.*.

Run from the repository's root, in an environment with the extra `profiles`:

    PYTHONPATH=operator:hack python hack/export_profiles.py --date 2026-01-31

The same tool and date give the same bytes. `--only H100/llama-3.1-8b/bf16/1` computes what
matches and prints it without writing. What is measured and how it is taken apart:
`profile_source`; how bumps are smoothed away: `profile_smoothing`; how the files are read:
`argosy.perf.profiles.tables`.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from profile_smoothing import Moved, lower_envelope, monotone_grid
from profile_source import (
    Checkpoint,
    NoProfile,
    Source,
    engine_version,
    open_source,
    tool_version,
)
from profile_targets import (
    CHECKPOINTS,
    SYSTEMS,
    UNCERTAINTY,
    checkpoints_of,
    has_experts,
    refusal,
    tensor_parallel_sizes,
)

from argosy.arrays import Floats
from argosy.engine.step_lookup import StepLookup
from argosy.engine.step_times import StepTable

DATA = Path(__file__).parent.parent / "operator" / "argosy" / "perf" / "data"

# The source's own grids (a GEMM is measured at N and N + 1, where tiles break), and between.
_BREAKS = (16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512, *range(768, 4353, 256))
_BETWEEN = (*range(1, 16), 24, *range(40, 128, 16), 144, 176, 208, 240, 288, 320, 352, 384, 448, 576, 640)
_FAR = (704, 896, 1152, 1408, 1664, 1920, *range(5120, 8193, 1024), *range(10_240, 16_385, 2048))


def _knots(*sizes: int) -> npt.NDArray[np.int32]:
    return np.array(sorted(set(sizes)), dtype=np.int32)


def _octaves(first: int, last: int) -> list[int]:
    """Powers of two and halfway between them."""
    return sorted({*(2**i for i in range(first, last + 1)), *(3 * 2**i for i in range(first - 1, last - 1))})


TOKEN_KNOTS = _knots(*_BREAKS, *(n + 1 for n in _BREAKS), *_BETWEEN, *_FAR)
BATCH_KNOTS = _knots(1, 2, 4, 8, *_octaves(4, 10), 640)
CONTEXT_KNOTS = _knots(1, 32, 64, 128, *_octaves(8, 17))
CHUNK_KNOTS = _knots(1, 4, 16, 32, 64, *_octaves(7, 14))
PREFIX_KNOTS = _knots(0, *(2**i for i in range(6, 18)))
# Where the matrix is smoothed: every size up to here, then every 32nd.
DENSE_TOKENS = 2304
NUM_PROBES, PROBE_SEED = 200, 4
KV_DTYPES = {"fp8": "fp8", "bfloat16": "bf16"}


@dataclass(frozen=True)
class Tabulated:
    """One profile as it is stored (float32), and how true it is."""

    matrix_ms: Floats
    decode_ms: Floats
    chunk_ms: Floats
    chunk_ms_per_token: Floats
    moved: dict[str, Moved]

    def table(self) -> StepTable:
        """As the engine reads it."""
        knots = (TOKEN_KNOTS, BATCH_KNOTS, CONTEXT_KNOTS, CHUNK_KNOTS, PREFIX_KNOTS)
        tokens, batches, contexts, chunks, prefixes = (knot.astype(np.float64) for knot in knots)
        return StepTable(
            token_knots=tokens,
            matrix_ms=self.matrix_ms.astype(np.float64),
            batch_knots=batches,
            context_knots=contexts,
            decode_ms=self.decode_ms.astype(np.float64),
            chunk_knots=chunks,
            prefix_knots=prefixes,
            chunk_ms_per_token=self.chunk_ms_per_token.astype(np.float64),
            chunk_ms=float(self.chunk_ms),
        )


def tabulate(source: Source) -> Tabulated:
    """Sample the source, smooth what is not monotone, and round to what is stored."""
    sizes = np.union1d(np.arange(1, DENSE_TOKENS + 1), np.arange(DENSE_TOKENS, TOKEN_KNOTS[-1] + 1, 32))
    sizes = np.union1d(sizes, np.concatenate([TOKEN_KNOTS, BATCH_KNOTS, CHUNK_KNOTS]))
    measured = np.array([source.matrix_ms(int(n)) for n in sizes])
    smooth = lower_envelope(measured)

    def matrix(at: Any, of: Floats = measured) -> Floats:
        found: Floats = of[np.searchsorted(sizes, at)]
        return found

    beside = matrix(BATCH_KNOTS)[:, None]
    decode = np.array([[source.decode_step_ms(int(b), int(k)) for k in CONTEXT_KNOTS] for b in BATCH_KNOTS])
    decode = np.maximum(decode - beside, 0.0)
    smooth_decode = monotone_grid(decode, 1 / (beside + decode) ** 2)

    under = matrix(CHUNK_KNOTS)[:, None]
    chunk = np.array([[source.prefill_ms(int(c), int(p)) for p in PREFIX_KNOTS] for c in CHUNK_KNOTS])
    chunk = np.maximum(chunk - under, 0.0)
    smooth_chunk = monotone_grid(chunk, 1 / (under + chunk) ** 2)
    # Launching attention costs the same whatever the chunk: kept apart, the rest goes with c.
    launch = np.float32(smooth_chunk[0, 0])
    per_token = np.maximum(smooth_chunk - float(launch), 0.0) / CHUNK_KNOTS[:, None]
    return Tabulated(
        matrix_ms=matrix(TOKEN_KNOTS, smooth).astype(np.float32),
        decode_ms=smooth_decode.astype(np.float32),
        chunk_ms=np.array(launch, dtype=np.float32),
        chunk_ms_per_token=per_token.astype(np.float32),
        moved={
            "matrix": Moved.between(measured, smooth, measured),
            "decode": Moved.between(decode, smooth_decode, beside + decode),
            "prefill": Moved.between(chunk, smooth_chunk, under + chunk),
        },
    )


def errors(source: Source, table: StepTable) -> dict[str, list[float] | None]:
    """Median and 99th percentile of |table / source - 1| at random sizes between the knots.

    Sizes are log-uniform, decoding sequences together fit the KV cache, and half of the
    chunks have no prefix. Where the source's mixed steps do not keep attention apart, there
    is nothing to compare mixed steps with (null).
    """
    lookup = StepLookup(table.step_times(int(TOKEN_KNOTS[-1]), int(BATCH_KNOTS[-1])))
    decode, prefill, mixed = [], [], []
    for batch, context, tokens, prefix in _probes(source.kv_tokens):
        step = source.decode_step_ms(batch, context)
        decode.append(lookup.step_ms(batch, batch * context) / step - 1)
        step = source.prefill_ms(tokens, prefix)
        prefill.append(lookup.step_ms(0, 0, [(tokens, prefix)]) / step - 1)
        if source.is_separable and tokens + batch <= TOKEN_KNOTS[-1]:
            step += source.matrix_ms(tokens + batch) - source.matrix_ms(tokens)
            step += source.decode_attention_ms(batch, context)
            mixed.append(lookup.step_ms(batch, batch * context, [(tokens, prefix)]) / step - 1)
    kinds = {"decode": decode, "prefill": prefill, "mixed": mixed}
    return {kind: _summary(values) if values else None for kind, values in kinds.items()}


def _probes(kv_tokens: int) -> Iterator[tuple[int, int, int, int]]:
    chance = np.random.default_rng(PROBE_SEED)
    for _ in range(NUM_PROBES):
        batch = round(np.exp(chance.uniform(0, np.log(BATCH_KNOTS[-1]))))
        longest = min(CONTEXT_KNOTS[-1], max(64, kv_tokens // batch))
        context = round(np.exp(chance.uniform(np.log(32), np.log(longest))))
        tokens = round(np.exp(chance.uniform(np.log(16), np.log(CHUNK_KNOTS[-1]))))
        prefix = round(np.exp(chance.uniform(np.log(16), np.log(PREFIX_KNOTS[-1]))))
        yield batch, context, tokens, prefix * int(chance.integers(2))


def _summary(values: list[float]) -> list[float]:
    distances = np.abs(values)
    return [round(float(np.median(distances)), 4), round(float(np.quantile(distances, 0.99)), 4)]


@dataclass(frozen=True)
class Shape:
    """One candidate for a profile."""

    gpu: str
    checkpoint: Checkpoint
    tensor_parallel: int

    def __str__(self) -> str:
        checkpoint = self.checkpoint
        return f"{self.gpu}/{checkpoint.model}/{checkpoint.dtype}/{self.tensor_parallel}"


def shapes() -> Iterator[Shape]:
    """All candidates, in the order of the files."""
    for gpu in SYSTEMS:
        for checkpoint in checkpoints_of(gpu):
            for tensor_parallel in tensor_parallel_sizes(gpu):
                yield Shape(gpu, checkpoint, tensor_parallel)


def export_one(shape: Shape) -> tuple[dict[str, Any], Tabulated] | NoProfile:
    """The manifest's entry and the arrays of one shape."""
    refused = refusal(shape.gpu, shape.checkpoint)
    if refused:
        return NoProfile(refused)
    source = open_source(shape.checkpoint, SYSTEMS[shape.gpu], shape.tensor_parallel)
    if isinstance(source, NoProfile):
        return source
    tabulated = tabulate(source)
    moved = {kind: [round(v, 4) for v in asdict(m).values()] for kind, m in tabulated.moved.items()}
    entry = {
        "gpu": shape.gpu,
        "model": shape.checkpoint.model,
        "dtype": shape.checkpoint.dtype,
        "tensorParallel": shape.tensor_parallel,
        "moved": moved,
        "errors": errors(source, tabulated.table()),
    }
    if source.quant != shape.checkpoint.quant:
        entry["quantization"] = source.quant
    return entry, tabulated


def archive(profiles: list[Tabulated]) -> bytes:
    """All arrays as a compressed npz whose bytes depend on nothing but the values."""
    arrays = {
        "token_knots": TOKEN_KNOTS,
        "batch_knots": BATCH_KNOTS,
        "context_knots": CONTEXT_KNOTS,
        "chunk_knots": CHUNK_KNOTS,
        "prefix_knots": PREFIX_KNOTS,
    }
    for name in ("matrix_ms", "decode_ms", "chunk_ms", "chunk_ms_per_token"):
        arrays[name] = np.stack([getattr(profile, name) for profile in profiles])
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as npz:
        for name, values in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, values, allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            npz.writestr(entry, member.getvalue())
    return content.getvalue()


def manifest(entries: list[dict[str, Any]], without: dict[str, list[str]], date: str, npz: bytes) -> str:
    """profiles.json: provenance, one profile per line, and what there is no profile of."""
    head = {
        "format": 1,
        "provenance": "NVIDIA's silicon tables through its aiconfigurator-core (Apache-2.0), step engine, "
        "without host overhead; exported by hack/export_profiles.py",
        "tool": f"aiconfigurator-core {tool_version()}",
        "exported": date,
        "units": "milliseconds; ratios 0-1; moved: largest and mean change of a step by smoothing; "
        "errors: median and 99th percentile against the source, between the knots",
        "range": {
            "maxTokens": int(TOKEN_KNOTS[-1]),
            "maxBatch": int(BATCH_KNOTS[-1]),
            "maxContext": int(CONTEXT_KNOTS[-1]),
        },
        "gpus": {
            gpu: {
                "engine": f"vLLM {engine_version(system)}",
                "uncertainty": dict(zip(("dense", "experts"), UNCERTAINTY[gpu], strict=True)),
            }
            for gpu, system in SYSTEMS.items()
        },
        "checkpoints": {
            f"{checkpoint.model} {checkpoint.dtype}": {
                "name": checkpoint.path,
                "kvDtype": KV_DTYPES[checkpoint.quant["kvcache_quant_mode"]],
                "quantization": checkpoint.quant,
                "kind": "experts" if has_experts(checkpoint.model) else "dense",
            }
            for checkpoint in CHECKPOINTS
        },
        "arrays": {"file": "profiles.npz", "sha256": hashlib.sha256(npz).hexdigest()},
        "without": without,
    }
    lines = json.dumps(head, indent=1)[:-2] + ',\n "profiles": [\n'
    return (
        lines + ",\n".join(f"  {json.dumps(entry, separators=(',', ':'))}" for entry in entries) + "\n ]\n}\n"
    )


def main() -> None:
    """Compute and write everything, or print what `--only` asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--date", help="of the export, YYYY-MM-DD; default: the existing manifest's")
    parser.add_argument("--only", help="GPU/model/dtype/TP, or its beginning: print, do not write")
    arguments = parser.parse_args()
    date = arguments.date or json.loads((DATA / "profiles.json").read_bytes())["exported"]
    entries: list[dict[str, Any]] = []
    profiles: list[Tabulated] = []
    without: dict[str, list[str]] = {}
    for shape in shapes():
        if arguments.only and not str(shape).startswith(arguments.only):
            continue
        result = export_one(shape)
        if isinstance(result, NoProfile):
            without.setdefault(result.reason, []).append(str(shape))
            print(f"{shape}: none ({result.reason})", flush=True)
            continue
        entries.append(result[0])
        profiles.append(result[1])
        print(f"{shape}: moved {result[0]['moved']} errors {result[0]['errors']}", flush=True)
    if arguments.only or not profiles:
        return
    npz = archive(profiles)
    DATA.mkdir(exist_ok=True)
    (DATA / "profiles.npz").write_bytes(npz)
    (DATA / "profiles.json").write_text(manifest(entries, without, date, npz), encoding="utf-8")
    print_summary(entries, len(npz))


def print_summary(entries: list[dict[str, Any]], num_bytes: int) -> None:
    """Totals, and the spread of errors over profiles."""
    print(f"{len(entries)} profiles, {num_bytes} bytes")
    for kind in ("decode", "prefill", "mixed"):
        pairs = np.array([entry["errors"][kind] for entry in entries if entry["errors"][kind]])
        print(
            f"{kind}: median of medians {np.median(pairs[:, 0]):.2%}, of 99th percentiles "
            f"{np.median(pairs[:, 1]):.2%}; largest {pairs[:, 0].max():.2%} and {pairs[:, 1].max():.2%}"
        )


if __name__ == "__main__":
    main()
