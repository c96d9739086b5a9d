"""What recalibration remembers, and how that survives a restart.

Owns `CalibrationMemory`, its bound and its JSON form. What is damaged, or of another format, is
discarded with a reason: a calibration is learnt again in minutes, a wrong one misleads every plan
until then.

Lags of single replicas are not written: they are known again after three windows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple, dataclass, field
from enum import StrEnum
from typing import Any

from argosy.perf.profile import HOST_OVERHEAD, Calibration, ProfileKey, Shape
from argosy.perf.recalibration.features import Row
from argosy.perf.recalibration.fit import HIGHEST, LOWEST, Evidence
from argosy.perf.recalibration.health import Lag, ResidualStatistics
from argosy.perf.recalibration.window import CalibrationKey
from argosy.refusals import Refused
from argosy.snapshot.architecture import Dtype

FORMAT_VERSION = 1

MAX_KEYS = 128
"""Of more, those updated last are kept; one takes 0.7 KB of JSON."""

MAX_REPLICAS = 512
"""Lags per key."""

MAX_ROWS = 16


@dataclass(frozen=True, slots=True)
class CalibrationState:
    """One calibration.

    prior_digest: of the silicon times it corrects; for others it means nothing
    prior:        where it started
    evidence, health: what was learnt, and how well it fits
    published:    what planners use; it moves only when that changes a step time noticeably
    rows:         the last rows learnt from, newest last: between which loads it is known
    updated_at_s: end of the newest window learnt from
    lags:         by replica
    """

    prior_digest: str
    prior: Calibration = HOST_OVERHEAD
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


class DiscardReason(StrEnum):
    """Why something remembered is not used."""

    OTHER_FORMAT = "OtherFormat"
    BAD_VALUE = "BadValue"
    PROFILE_CHANGED = "ProfileChanged"
    """It corrected a profile that has other step times now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Discarded(Refused[DiscardReason]):
    """Something remembered is not used any more, and why. `what`: one calibration, or all of them."""

    what: str


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
    if not isinstance(document, Mapping):
        return CalibrationMemory(), (_all_discarded("not a JSON object"),)
    version = document.get("version")
    if version != FORMAT_VERSION or isinstance(version, bool):
        message = f"format version {version!r}, this program writes {FORMAT_VERSION}"
        return CalibrationMemory(), (_all_discarded(message),)
    entries = document.get("calibrations")
    if not isinstance(entries, list):
        return CalibrationMemory(), (_all_discarded("no list of calibrations"),)
    states: dict[CalibrationKey, CalibrationState] = {}
    discarded: list[Discarded] = []
    for place, entry in enumerate(entries):
        try:
            states[_key_from_json(entry["key"])] = _state_from_json(entry)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            message = f"{type(error).__name__}: {error}"
            discarded.append(Discarded(DiscardReason.BAD_VALUE, message, what=f"calibration {place}"))
    return bounded(states), tuple(discarded)


def _all_discarded(message: str) -> Discarded:
    return Discarded(DiscardReason.OTHER_FORMAT, message, what="all calibrations")


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


def _key_from_json(found: Mapping[str, Any]) -> CalibrationKey:
    shape = Shape(_count(found["tensorParallel"]), _count(found["pipelineParallel"]))
    if min(shape.tensor_parallel, shape.pipeline_parallel) < 1:
        raise ValueError(f"a shape of no GPU: {shape}")
    profile = ProfileKey(_text(found["gpu"]), _text(found["model"]), Dtype(found["dtype"]), shape)
    return CalibrationKey(profile, _text(found["engineVersion"]))


def _state_to_json(state: CalibrationState) -> dict[str, Any]:
    return {
        "priorDigest": state.prior_digest,
        "prior": list(astuple(state.prior)),
        "information": list(state.evidence.information),
        "vector": list(state.evidence.vector),
        "health": asdict(state.health),
        "published": None if state.published is None else list(astuple(state.published)),
        "rows": [[row.silicon_ms, row.batch] for row in state.rows],
        "updatedAtSeconds": state.updated_at_s,
    }


def _state_from_json(found: Mapping[str, Any]) -> CalibrationState:
    evidence = Evidence(_numbers(found["information"]), _numbers(found["vector"]))
    if not evidence.is_sound():
        raise ValueError("the information is no positive matrix")
    published = found["published"]
    return CalibrationState(
        prior_digest=_text(found["priorDigest"]),
        prior=_calibration(found["prior"]),
        evidence=evidence,
        health=_health(found["health"]),
        published=None if published is None else _calibration(published),
        rows=tuple(_row(row) for row in found["rows"][-MAX_ROWS:]),
        updated_at_s=_number(found["updatedAtSeconds"]),
    )


def _calibration(found: object) -> Calibration:
    calibration = Calibration(*_numbers(found))
    inside = zip(astuple(LOWEST), astuple(calibration), astuple(HIGHEST), strict=True)
    if not all(low <= value <= high for low, value, high in inside):
        raise ValueError(f"{calibration} is out of bounds")
    return calibration


def _health(found: Mapping[str, Any]) -> ResidualStatistics:
    drifted_at_s = found["drifted_at_s"]
    health = ResidualStatistics(
        variance=_positive(found["variance"]),
        num_windows=_count(found["num_windows"]),
        above=_number(found["above"]),
        below=_number(found["below"]),
        drifted_at_s=None if drifted_at_s is None else _number(drifted_at_s),
    )
    if min(health.above, health.below, health.num_windows) < 0:
        raise ValueError("a negative sum or count")
    return health


def _row(found: object) -> Row:
    silicon_ms, batch = _numbers(found)
    return Row(_positive(silicon_ms), _positive(batch))


def _numbers(found: object) -> tuple[float, ...]:
    if not isinstance(found, Iterable) or isinstance(found, str | bytes | Mapping):
        raise TypeError(f"not a list of numbers: {found!r}")
    return tuple(_number(value) for value in found)


def _number(found: object) -> float:
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        raise ValueError(f"not a finite number: {found!r}")
    return float(found)


def _positive(found: object) -> float:
    number = _number(found)
    if number <= 0:
        raise ValueError(f"not positive: {number}")
    return number


def _count(found: object) -> int:
    if isinstance(found, bool) or not isinstance(found, int):
        raise TypeError(f"not a whole number: {found!r}")
    return found


def _text(found: object) -> str:
    if not isinstance(found, str) or not found:
        raise TypeError(f"not a name: {found!r}")
    return found
