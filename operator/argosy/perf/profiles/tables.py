"""The step-time tables that ship with the package: two files, read, checked and looked up.

Owns the format of `profiles.json` (the manifest: what there is, where it is from, how true it is)
and `profiles.npz` (the arrays: knots once, values stacked by profile), and finding a profile. Bytes
come in; `engine.step_times` interpolates. For a shape that is not tabulated the answer names the
nearest that are.

A table that is not what the export wrote is not used: a wrong hash, a cut file, a value that
is no number or negative, and one that says more work takes less time are named. The export,
its decomposition and its smoothing are in hack/export_profiles.py.
"""

from __future__ import annotations

import difflib
import hashlib
import io
import json
import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from argosy.arrays import Floats, Singles
from argosy.engine.step_times import StepTable
from argosy.errors import SpecError
from argosy.perf.profile import Origin, Profile, ProfileKey, Shape, ValidRange
from argosy.perf.protocol import OutOfRange, OutOfRangeReason
from argosy.snapshot.architecture import Dtype

MANIFEST_FILE = "profiles.json"
ARRAYS_FILE = "profiles.npz"
FORMAT = 1
NUM_NEAREST = 6

_REMEDY = "install Argosy's package again, or export the tables anew (hack/export_profiles.py)"
# A chunk's values are stored per token and rounded to float32; more than that is a decrease.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class TableProvenance:
    """Where one profile is from, and what was done to it.

    checkpoint, kv_dtype: which weights and which KV cache the kernels were measured for
    engine, tool:         the versions that were measured, and of the tool that holds the figures
    exported:             the date, YYYY-MM-DD
    moved:                by part, the largest and mean change of a step by smoothing (0-1)
    errors:               by kind of step, median and 99th percentile of the relative error
                          against the source between the knots; None where it cannot be had
    """

    checkpoint: str
    kv_dtype: Dtype
    engine: str
    tool: str
    exported: str
    moved: Mapping[str, tuple[float, float]]
    errors: Mapping[str, tuple[float, float] | None]

    @property
    def sentence(self) -> str:
        """For people."""
        return (
            f"kernels of {self.engine} measured by NVIDIA ({self.tool}, exported {self.exported}), "
            f"{self.checkpoint} with {self.kv_dtype} KV, without host overhead"
        )


@dataclass(frozen=True, slots=True)
class _Entry:
    """One line of the manifest; `row` is its place in the arrays."""

    row: int
    uncertainty: float
    provenance: TableProvenance


@dataclass(frozen=True, slots=True)
class _Arrays:
    """The archive: knots as float64, values as stored (float32), first axis by profile."""

    token_knots: Floats
    batch_knots: Floats
    context_knots: Floats
    chunk_knots: Floats
    prefix_knots: Floats
    matrix_ms: Singles
    decode_ms: Singles
    chunk_ms: Singles
    chunk_ms_per_token: Singles


_KNOTS = ("token_knots", "batch_knots", "context_knots", "chunk_knots", "prefix_knots")
_VALUES: Mapping[str, tuple[str, ...]] = {
    "matrix_ms": ("token_knots",),
    "decode_ms": ("batch_knots", "context_knots"),
    "chunk_ms": (),
    "chunk_ms_per_token": ("chunk_knots", "prefix_knots"),
}


class ProfileTables:
    """All shipped tables. A profile's arrays are made when it is asked for."""

    def __init__(
        self, entries: Mapping[ProfileKey, _Entry], absent: Mapping[str, str], arrays: _Arrays
    ) -> None:
        self._entries = entries
        self._absent = absent
        self._arrays = arrays

    def keys(self) -> tuple[ProfileKey, ...]:
        """What there are tables of, in the order of the file."""
        return tuple(self._entries)

    def __contains__(self, key: ProfileKey) -> bool:
        """Whether there is a table: quick, where `profile` looks for the nearest."""
        return key in self._entries

    def profile(self, key: ProfileKey) -> Profile | OutOfRange:
        """The profile, or why there is none and which are near: of the same model first."""
        entry = self._entries.get(key)
        if entry is None:
            return self._none_for(key)
        arrays = self._arrays
        return Profile(
            key=key,
            origin=Origin.TABLE,
            step_times=_step_table(arrays, entry.row),
            valid=ValidRange(
                max_tokens=int(arrays.token_knots[-1]),
                max_batch=int(arrays.batch_knots[-1]),
                max_context=int(arrays.context_knots[-1]),
            ),
            uncertainty=entry.uncertainty,
            source=entry.provenance.sentence,
        )

    def provenance(self, key: ProfileKey) -> TableProvenance | OutOfRange:
        """Where a profile is from and how true it is."""
        entry = self._entries.get(key)
        return self._none_for(key) if entry is None else entry.provenance

    def _none_for(self, key: ProfileKey) -> OutOfRange:
        nearest = self._nearest(key)
        why = self._absent.get(key.path, "")
        message = f"no measured table of {key}{f' ({why})' if why else ''}; there are {', '.join(nearest)}"
        return OutOfRange(OutOfRangeReason.NO_PROFILE, message, nearest)

    def _nearest(self, key: ProfileKey) -> tuple[str, ...]:
        """The same model on the same GPU, then elsewhere; then models with similar names."""
        names = {other.model for other in self._entries}
        likeness = {name: difflib.SequenceMatcher(None, key.model, name).ratio() for name in names}

        def distance(other: ProfileKey) -> tuple[float, bool, bool, float]:
            ratio = other.shape.gpus / key.shape.gpus
            return (
                -likeness[other.model],
                other.gpu != key.gpu,
                other.dtype != key.dtype,
                abs(math.log2(ratio)),
            )

        return tuple(str(other) for other in sorted(self._entries, key=distance)[:NUM_NEAREST])


def parse_profiles(manifest: bytes, arrays: bytes) -> ProfileTables:
    """The tables in these two files. Raises SpecError that names the file, the fault and the remedy."""
    document = _document(manifest)
    try:
        expected = document["arrays"]["sha256"]
        entries = {_key(line): _entry(row, line, document) for row, line in enumerate(document["profiles"])}
        absent = {path: why for why, paths in document["without"].items() for path in paths}
        limits = document["range"]
        ends = (limits["maxTokens"], limits["maxBatch"], limits["maxContext"])
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise _refusal(MANIFEST_FILE, f"lacks or garbles {fault}") from fault
    if len(entries) != len(document["profiles"]) or not entries:
        raise _refusal(MANIFEST_FILE, "has a profile twice, or none at all")
    actual = hashlib.sha256(arrays).hexdigest()
    if actual != expected:
        raise _refusal(ARRAYS_FILE, f"is not what was exported: its hash is {actual}, not {expected}")
    stacked = _unpacked(arrays)
    _check(stacked, len(entries))
    last = (stacked.token_knots[-1], stacked.batch_knots[-1], stacked.context_knots[-1])
    if last != ends:
        raise _refusal(MANIFEST_FILE, f"says a range of {ends}, the arrays end at {last}")
    return ProfileTables(entries, absent, stacked)


def _document(manifest: bytes) -> dict[str, Any]:
    try:
        document = json.loads(manifest)
    except ValueError as fault:
        raise _refusal(MANIFEST_FILE, f"is not JSON ({fault})") from fault
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise _refusal(MANIFEST_FILE, f"is not a manifest of format {FORMAT}")
    return document


def _key(line: Mapping[str, Any]) -> ProfileKey:
    return ProfileKey(line["gpu"], line["model"], Dtype(line["dtype"]), Shape(line["tensorParallel"]))


def _entry(row: int, line: Mapping[str, Any], document: Mapping[str, Any]) -> _Entry:
    gpu = document["gpus"][line["gpu"]]
    checkpoint = document["checkpoints"][f"{line['model']} {line['dtype']}"]
    uncertainty = float(gpu["uncertainty"][checkpoint["kind"]])
    if not 0 < uncertainty < 1:
        raise ValueError(f"uncertainty {uncertainty} of {line['gpu']}")
    provenance = TableProvenance(
        checkpoint=checkpoint["name"],
        kv_dtype=Dtype(checkpoint["kvDtype"]),
        engine=gpu["engine"],
        tool=document["tool"],
        exported=document["exported"],
        moved={part: (most, mean) for part, (most, mean) in line["moved"].items()},
        errors={kind: None if pair is None else (pair[0], pair[1]) for kind, pair in line["errors"].items()},
    )
    return _Entry(row, uncertainty, provenance)


def _unpacked(arrays: bytes) -> _Arrays:
    try:
        with np.load(io.BytesIO(arrays), allow_pickle=False) as npz:
            members: dict[str, Any] = {name: npz[name].astype(np.float64) for name in _KNOTS}
            return _Arrays(**members, **{name: npz[name] for name in _VALUES})
    except (KeyError, ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as fault:
        raise _refusal(ARRAYS_FILE, f"cannot be read ({fault})") from fault


def _check(arrays: _Arrays, num_profiles: int) -> None:
    """Shapes, then values: finite, not negative, and more work never takes less time."""
    for name in _KNOTS:
        knots = getattr(arrays, name)
        if knots.ndim != 1 or len(knots) < 2 or not np.all(np.diff(knots) > 0):
            raise _refusal(ARRAYS_FILE, f"{name} do not ascend")
    for name, axes in _VALUES.items():
        values = getattr(arrays, name)
        shape = (num_profiles, *(len(getattr(arrays, axis)) for axis in axes))
        if values.shape != shape:
            raise _refusal(ARRAYS_FILE, f"{name} has shape {values.shape}; {MANIFEST_FILE} asks for {shape}")
        if not np.all(np.isfinite(values)) or np.any(values < 0):
            raise _refusal(ARRAYS_FILE, f"{name} has values that are negative or no numbers")
    attention = arrays.chunk_knots[:, None] * arrays.chunk_ms_per_token
    rising = {
        "matrix_ms": np.all(np.diff(arrays.matrix_ms, axis=1) >= 0) and np.all(arrays.matrix_ms > 0),
        "decode_ms": all(np.all(np.diff(arrays.decode_ms, axis=axis) >= 0) for axis in (1, 2)),
        "chunk_ms_per_token": np.all(np.diff(arrays.chunk_ms_per_token, axis=2) >= 0)
        and np.all(np.diff(attention, axis=1) >= -_ROUNDING * attention[:, 1:]),
    }
    for name, holds in rising.items():
        if not holds:
            raise _refusal(ARRAYS_FILE, f"{name} says that more work takes less time")


def _step_table(arrays: _Arrays, row: int) -> StepTable:
    return StepTable(
        token_knots=arrays.token_knots,
        matrix_ms=arrays.matrix_ms[row].astype(np.float64),
        batch_knots=arrays.batch_knots,
        context_knots=arrays.context_knots,
        decode_ms=arrays.decode_ms[row].astype(np.float64),
        chunk_knots=arrays.chunk_knots,
        prefix_knots=arrays.prefix_knots,
        chunk_ms_per_token=arrays.chunk_ms_per_token[row].astype(np.float64),
        chunk_ms=float(arrays.chunk_ms[row]),
    )


def _refusal(file: str, fault: str) -> SpecError:
    return SpecError(f"{fault}; {_REMEDY}", field=file)
