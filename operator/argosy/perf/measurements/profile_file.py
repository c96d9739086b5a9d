"""A fitted profile as a file that people can read and a ConfigMap can hold.

Owns the format (JSON, `kind: ArgosyProfile`, version 1). Bytes in, bytes out. The content carries
its own SHA-256, over everything else in canonical form, so that a figure changed by hand or a file
cut off on its way is found and named. Numbers have seven digits, and read back they are the ones
that were written.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from argosy.checks import not_negative
from argosy.engine.step_times import StepTable, step_ms
from argosy.errors import InvariantError, SpecError
from argosy.perf.measurements.fitted import Covered, FitError, FitProvenance, FittedProfile
from argosy.perf.measurements.scaled import ScalingFactors
from argosy.perf.profile import Origin, Profile, ProfileKey, Shape, ValidRange
from argosy.perf.robust_fit import Move
from argosy.refusals import Refused
from argosy.snapshot.architecture import Dtype

KIND = "ArgosyProfile"
VERSION = 1
MAX_BYTES = 200 * 1024
"""Well below what an object in a cluster may have (1 MiB), with room for several profiles in one."""

_LARGEST_ENGINE = (131_072, 4096, 1_048_576)
"""Tokens and sequences of an iteration, and tokens of a request, that a ServedModel may ask for."""

_SCALARS = ("s", "c0", "cb", "chunk_ms")
_ARRAYS = tuple(field.name for field in fields(StepTable) if field.name not in _SCALARS)


class ProfileFaultReason(StrEnum):
    """Why bytes are no profile."""

    BROKEN = "Broken"
    OTHER_KIND = "OtherKind"
    UNKNOWN_VERSION = "UnknownVersion"
    TAMPERED = "Tampered"
    BAD_VALUE = "BadValue"


@dataclass(frozen=True, slots=True)
class ProfileFault(Refused[ProfileFaultReason]):
    """No profile, and why, in a sentence that names the file."""


def profile_to_bytes(fitted: FittedProfile) -> bytes:
    """The file's content. Raises InvariantError for a profile that no fit made or that is too large."""
    table = fitted.profile.step_times
    if not isinstance(table, StepTable):
        raise InvariantError("only a table of step times can be written")
    profile = fitted.profile
    document: dict[str, Any] = {
        "kind": KIND,
        "version": VERSION,
        "key": {
            "gpu": profile.key.gpu,
            "model": profile.key.model,
            "dtype": str(profile.key.dtype),
            "tensor_parallel": profile.key.shape.tensor_parallel,
            "pipeline_parallel": profile.key.shape.pipeline_parallel,
        },
        "origin": str(profile.origin),
        "uncertainty": profile.uncertainty,
        "source": profile.source,
        "valid": asdict(profile.valid),
        "provenance": {
            "date": fitted.on_date,
            "files": [asdict(one) for one in fitted.files],
            "covered": asdict(fitted.covered),
            "fitted": list(fitted.fitted),
            "factors": asdict(fitted.factors),
            "front_end_ms": fitted.front_end_ms,
            "error": asdict(fitted.error),
            "prior_error": asdict(fitted.prior_error),
            "prior_source": fitted.prior_source,
            "notes": list(fitted.notes),
            "moves": [asdict(move) for move in fitted.moves],
        },
        "step_table": {name: getattr(table, name) for name in _SCALARS}
        | {name: getattr(table, name).tolist() for name in _ARRAYS},
    }
    if profile.batches_in_flight != 1:
        document["batches_in_flight"] = profile.batches_in_flight
    document["sha256"] = _digest(document)
    content = (_readable(document) + "\n").encode()
    if len(content) > MAX_BYTES:
        raise InvariantError(f"a profile of {len(content)} bytes is larger than {MAX_BYTES}")
    return content


def profile_from_bytes(content: bytes, name: str) -> FittedProfile | ProfileFault:
    """The profile in a file's content; `name` is the file's, for the message."""
    try:
        return _opened(content, name)
    except RecursionError:
        # Not only parsing goes down into it: the checksum does, from a deeper call.
        return ProfileFault(ProfileFaultReason.BROKEN, f"{name}: nested too deeply for a profile")


def _opened(content: bytes, name: str) -> FittedProfile | ProfileFault:
    try:
        document = json.loads(content)
    except ValueError as fault:
        return ProfileFault(ProfileFaultReason.BROKEN, f"{name}: broken JSON: {fault}")
    if not isinstance(document, dict) or document.get("kind") != KIND:
        return ProfileFault(
            ProfileFaultReason.OTHER_KIND,
            f"{name}: no profile (its kind must be {KIND}); `argosy perf import` makes one",
        )
    if document.get("version") != VERSION:
        message = f"{name}: version {document.get('version')!r} of the format; this Argosy reads {VERSION}"
        return ProfileFault(ProfileFaultReason.UNKNOWN_VERSION, message)
    if document.get("sha256") != _digest(document):
        message = f"{name}: its content is not what was written (the checksum differs); import it again"
        return ProfileFault(ProfileFaultReason.TAMPERED, message)
    try:
        return _fitted(document)
    except (KeyError, TypeError, ValueError, OverflowError, ValidationError, SpecError) as fault:
        message = f"{name}: not a profile: {type(fault).__name__} {fault}"
        return ProfileFault(ProfileFaultReason.BAD_VALUE, message)


def _digest(document: Mapping[str, Any]) -> str:
    """Over everything but the checksum itself, whatever the order and the white space."""
    content = {name: value for name, value in document.items() if name != "sha256"}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _readable(document: Mapping[str, Any]) -> str:
    """Indented, but a row of numbers on one line (a string holds no raw line break)."""
    text = json.dumps(document, indent=1, ensure_ascii=False)
    return re.sub(r"\[\n[\s\d.,eE+-]+\]", lambda row: f"[{' '.join(row[0][1:-1].split())}]", text)


def _fitted(document: Mapping[str, Any]) -> FittedProfile:
    provenance = document["provenance"]
    return FittedProfile(
        profile=_profile(document),
        factors=_read(ScalingFactors, provenance["factors"]),
        fitted=tuple(provenance["fitted"]),
        front_end_ms=float(provenance["front_end_ms"]),
        error=_read(FitError, provenance["error"]),
        prior_error=_read(FitError, provenance["prior_error"]),
        prior_source=str(provenance["prior_source"]),
        covered=_read(Covered, provenance["covered"]),
        files=tuple(_read(FitProvenance, one) for one in provenance["files"]),
        on_date=str(provenance["date"]),
        notes=tuple(provenance["notes"]),
        moves=tuple(_read(Move, one) for one in provenance.get("moves", ())),
    )


def _profile(document: Mapping[str, Any]) -> Profile:
    key, table, uncertainty = document["key"], document["step_table"], document["uncertainty"]
    if not 0 < uncertainty < float("inf"):
        raise SpecError(f"must be a positive number, got {uncertainty}", "uncertainty")
    values: dict[str, Any] = {name: np.array(table[name], dtype=np.float64) for name in _ARRAYS}
    values |= {name: float(table[name]) for name in _SCALARS}
    shape = Shape(int(key["tensor_parallel"]), int(key["pipeline_parallel"]))
    step_times, valid = StepTable(**values), _read(ValidRange, document["valid"])
    _require_time(step_times, valid)
    return Profile(
        key=ProfileKey(str(key["gpu"]), str(key["model"]), Dtype(key["dtype"]), shape),
        origin=Origin(document["origin"]),
        step_times=step_times,
        valid=valid,
        uncertainty=float(uncertainty),
        source=str(document["source"]),
        front_end_ms=not_negative(float(document["provenance"]["front_end_ms"]), "provenance.front_end_ms"),
        batches_in_flight=_in_flight(document.get("batches_in_flight", 1)),
    )


def _in_flight(value: object) -> int:
    """Raises SpecError for what `EngineLimits` does not take."""
    if value not in (1, 2) or isinstance(value, bool | float):
        raise SpecError(f"must be 1 or 2, got {value!r}", "batches_in_flight")
    return int(str(value))


def _require_time(table: StepTable, valid: ValidRange) -> None:
    """Refuse what no engine could run on: nothing in range, an iteration without a beginning or an end.

    Negative overheads, lines that fall and huge factors pass each array's own check. Raises SpecError.
    """
    asked = (valid.max_tokens, valid.max_batch, valid.max_context)
    if min(asked) < 1:
        raise SpecError(f"must be at least 1 each, got {asked}", "valid")
    tokens, batch, context = (min(pair) for pair in zip(asked, _LARGEST_ENGINE, strict=True))
    batches, chunks = np.arange(1.0, batch + 1), np.unique(np.geomspace(1, tokens, 64).round())
    with np.errstate(over="ignore", invalid="ignore"):
        decodes = [step_ms(table, batches, batches * length) for length in (0, context)]
        prefills = [step_ms(table, 0, 0, [[(chunk, prefix)] for chunk in chunks]) for prefix in (0, context)]
    durations_ms = np.concatenate([*decodes, *prefills])
    for impossible_ms in durations_ms[~((durations_ms > 0) & np.isfinite(durations_ms))]:
        raise SpecError(f"an iteration in its range would take {impossible_ms:.3g} ms", "step_table")


def _read(kind: type[Any], values: Any) -> Any:
    """One of our frozen dataclasses from JSON, with its types checked."""
    return TypeAdapter(kind).validate_python(values)
