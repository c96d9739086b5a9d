"""What recalibration remembers, and how that survives a restart.

Owns `CalibrationMemory`, its bound and its JSON form. What is damaged, or of another format, is
discarded with a reason: a calibration is learnt again in minutes, a wrong one misleads every plan
until then.

Lags of single replicas are not written: they are known again after three windows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, field
from typing import Any

from argosy.documents import (
    Discarded,
    Salvage,
    array,
    member,
    name,
    number,
    numbers,
    optional,
    positive,
    text,
    version_fault,
    whole,
)
from argosy.perf.profile import Calibration, ProfileKey, Shape
from argosy.perf.recalibration.features import Row
from argosy.perf.recalibration.fit import HIGHEST, LOWEST, Evidence, Start
from argosy.perf.recalibration.health import Lag, ResidualStatistics
from argosy.perf.recalibration.window import CalibrationKey
from argosy.snapshot.architecture import Dtype

FORMAT_VERSION = 2

MAX_KEYS = 128
"""Of more, those updated last are kept; one takes 0.7 KB of JSON."""

MAX_REPLICAS = 512
"""Lags per key."""

MAX_ROWS = 16


@dataclass(frozen=True, slots=True)
class CalibrationState:
    """One calibration.

    prior_digest: of the silicon times it corrects; for others it means nothing
    start:        where it started
    evidence, health: what was learnt, and how well it fits
    published:    what planners use; it moves only when that changes a step time noticeably
    rows:         the last rows learnt from, newest last: between which loads it is known
    updated_at_s: end of the newest window learnt from
    lags:         by replica
    """

    prior_digest: str
    start: Start = field(default_factory=Start)
    evidence: Evidence = field(default_factory=Evidence)
    health: ResidualStatistics = field(default_factory=ResidualStatistics)
    published: Calibration | None = None
    rows: tuple[Row, ...] = ()
    updated_at_s: float = 0.0
    lags: Mapping[str, Lag] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CalibrationMemory:
    """All calibrations by key."""

    states: Mapping[CalibrationKey, CalibrationState] = field(default_factory=dict)


def bounded(states: Mapping[CalibrationKey, CalibrationState]) -> CalibrationMemory:
    """At most `MAX_KEYS` of the states, those updated last."""
    newest = sorted(states, key=lambda key: (-states[key].updated_at_s, str(key)))[:MAX_KEYS]
    return CalibrationMemory({key: states[key] for key in sorted(newest, key=str)})


def memory_to_json(memory: CalibrationMemory) -> dict[str, Any]:
    """What `json.dumps` takes."""
    return {
        "version": FORMAT_VERSION,
        "calibrations": [
            {"key": _key_to_json(key), **_state_to_json(state)} for key, state in memory.states.items()
        ],
    }


def memory_from_json(document: object) -> tuple[CalibrationMemory, tuple[Discarded, ...]]:
    """The memory that was written, and what of it could not be used."""
    if fault := version_fault(document, FORMAT_VERSION, "all calibrations"):
        return CalibrationMemory(), (fault,)
    salvage = Salvage()
    read = salvage.entries("calibration", lambda: member(document, "calibrations"), _entry)
    return bounded(dict(read)), tuple(salvage.discarded)


def _entry(found: object) -> tuple[CalibrationKey, CalibrationState]:
    return _key_from_json(member(found, "key")), _state_from_json(found)


def _key_to_json(key: CalibrationKey) -> dict[str, Any]:
    profile = key.profile
    return {
        "gpu": profile.gpu,
        "model": profile.model,
        "dtype": profile.dtype.value,
        "tensorParallel": profile.shape.tensor_parallel,
        "pipelineParallel": profile.shape.pipeline_parallel,
        "engineVersion": key.engine_version,
    }


def _key_from_json(found: object) -> CalibrationKey:
    shape = Shape(whole(member(found, "tensorParallel")), whole(member(found, "pipelineParallel")))
    if min(shape.tensor_parallel, shape.pipeline_parallel) < 1:
        raise ValueError(f"a shape of no GPU: {shape}")
    dtype = Dtype(text(member(found, "dtype")))
    profile = ProfileKey(name(member(found, "gpu")), name(member(found, "model")), dtype, shape)
    return CalibrationKey(profile, name(member(found, "engineVersion")))


def _state_to_json(state: CalibrationState) -> dict[str, Any]:
    return {
        "priorDigest": state.prior_digest,
        "prior": list(astuple(state.start.calibration)),
        "prefillSpread": state.start.prefill_spread,
        "isOverlapped": state.start.is_overlapped,
        "information": list(state.evidence.information),
        "vector": list(state.evidence.vector),
        "health": asdict(state.health),
        "published": None if state.published is None else list(astuple(state.published)),
        "rows": [[row.silicon_ms, row.batch, row.prefill_tokens] for row in state.rows],
        "updatedAtSeconds": state.updated_at_s,
    }


def _state_from_json(found: object) -> CalibrationState:
    evidence = Evidence(numbers(member(found, "information")), numbers(member(found, "vector")))
    if not evidence.is_sound():
        raise ValueError("the information is no positive matrix")
    return CalibrationState(
        prior_digest=name(member(found, "priorDigest")),
        start=_start(found),
        evidence=evidence,
        health=_health(member(found, "health")),
        published=optional(member(found, "published"), _calibration),
        rows=tuple(_row(row) for row in array(member(found, "rows"))[-MAX_ROWS:]),
        updated_at_s=number(member(found, "updatedAtSeconds")),
    )


def _start(found: object) -> Start:
    is_overlapped = member(found, "isOverlapped")
    if not isinstance(is_overlapped, bool):
        raise ValueError(f"isOverlapped is not true or false: {is_overlapped!r}")
    spread = number(member(found, "prefillSpread"), 0.0)
    return Start(_calibration(member(found, "prior")), spread, is_overlapped)


def _calibration(found: object) -> Calibration:
    calibration = Calibration(*(number(value) for value in array(found, 4)))
    inside = zip(astuple(LOWEST), astuple(calibration), astuple(HIGHEST), strict=True)
    if not all(low <= value <= high for low, value, high in inside):
        raise ValueError(f"{calibration} is out of bounds")
    return calibration


def _health(found: object) -> ResidualStatistics:
    health = ResidualStatistics(
        variance=positive(member(found, "variance")),
        num_windows=whole(member(found, "num_windows")),
        above=number(member(found, "above")),
        below=number(member(found, "below")),
        drifted_at_s=optional(member(found, "drifted_at_s"), number),
    )
    if min(health.above, health.below, health.num_windows) < 0:
        raise ValueError("a negative sum or count")
    return health


def _row(found: object) -> Row:
    silicon_ms, batch, prefill_tokens = array(found, 3)
    return Row(positive(silicon_ms), positive(batch), number(prefill_tokens, 0.0))
