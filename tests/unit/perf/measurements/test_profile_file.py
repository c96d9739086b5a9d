"""Profile files: what is written comes back, and what was changed on the way is found."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from argosy.engine import EngineLimits, StepCoefficients
from argosy.perf.measurements import (
    FitQuestion,
    FittedProfile,
    Measurements,
    ProfileFault,
    ProfileFaultReason,
    fit_profile,
    profile_from_bytes,
    profile_to_bytes,
    read_measurements,
)
from argosy.perf.measurements.profile_file import MAX_BYTES, _digest
from argosy.perf.profile import Origin, Profile, ProfileKey, Shape, ValidRange
from argosy.snapshot.architecture import Dtype

REPORT = Path(__file__).parents[3] / "data" / "perf" / "csv" / "runs.csv"


@pytest.fixture(scope="module")
def fitted() -> FittedProfile:
    rows = read_measurements(REPORT.read_bytes(), "runs.csv")
    assert isinstance(rows, Measurements)
    key = ProfileKey("H100", "llama-3.1-8b", Dtype.FP8, Shape(2, 1))
    prior = StepCoefficients(
        6.3, 0.0107, 4.87, 0.0096, 0.099, 4.16e-5, 0.00253, 0.111, 5.33e-4, 7.85e-7, c0=1.0
    )
    profile = Profile(key, Origin.FORM, prior, ValidRange(8192, 256, 16384), 0.05, "the fitted form")
    limits = EngineLimits(256, 8192, 27023, 16, 16384)
    found = fit_profile([rows], FitQuestion(key, profile, limits, "2026-11-22"))
    assert isinstance(found, FittedProfile)
    return found


def changed(
    fitted: FittedProfile, change: Callable[[dict[str, Any]], object], *, seal: bool = False
) -> bytes:
    """The file with something changed; sealed again as somebody would who means it."""
    document = json.loads(profile_to_bytes(fitted))
    change(document)
    if seal:
        document["sha256"] = _digest(document)
    return json.dumps(document).encode()


def fault(content: bytes) -> ProfileFault:
    found = profile_from_bytes(content, "h100.json")
    assert isinstance(found, ProfileFault)
    assert found.message.startswith("h100.json: ")
    return found


def test_a_profile_comes_back_as_it_was(fitted: FittedProfile) -> None:
    back = profile_from_bytes(profile_to_bytes(fitted), "h100.json")
    assert isinstance(back, FittedProfile)
    assert back.profile.step_times.digest() == fitted.profile.step_times.digest()
    assert (back.profile.key, back.profile.origin) == (fitted.profile.key, Origin.USER)
    assert (back.profile.valid, back.profile.uncertainty) == (
        fitted.profile.valid,
        fitted.profile.uncertainty,
    )
    for name in ("factors", "fitted", "front_end_ms", "error", "prior_error", "covered", "files", "on_date"):
        assert getattr(back, name) == getattr(fitted, name)
    assert profile_to_bytes(back) == profile_to_bytes(fitted)


def test_the_file_has_how_far_the_fit_moved_and_older_files_are_read_without(fitted: FittedProfile) -> None:
    assert [move.name for move in fitted.moves] == list(fitted.fitted)
    back = profile_from_bytes(profile_to_bytes(fitted), "h100.json")
    assert isinstance(back, FittedProfile)
    assert back.moves == fitted.moves
    assert any(abs(move.spreads) > 0.1 for move in back.moves)
    older = changed(fitted, lambda document: document["provenance"].pop("moves"), seal=True)
    found = profile_from_bytes(older, "h100.json")
    assert isinstance(found, FittedProfile)
    assert found.moves == ()


def test_a_profile_is_small_and_readable(fitted: FittedProfile) -> None:
    content = profile_to_bytes(fitted)
    assert len(content) < MAX_BYTES / 10
    lines = content.decode().splitlines()
    assert lines[1:3] == [' "kind": "ArgosyProfile",', ' "version": 1,']
    assert max(map(len, lines)) < 2000
    assert any(line.startswith('  "matrix_ms": [') and line.endswith("],") for line in lines)


def test_white_space_and_order_do_not_matter(fitted: FittedProfile) -> None:
    document = json.loads(profile_to_bytes(fitted))
    shuffled = dict(sorted(document.items(), reverse=True))
    assert isinstance(profile_from_bytes(json.dumps(shuffled, indent=8).encode(), "x"), FittedProfile)


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], object], bool, ProfileFaultReason, str]] = {
    "a faster step": (
        lambda d: d["step_table"]["matrix_ms"].__setitem__(0, 1.0),
        False,
        ProfileFaultReason.TAMPERED,
        "the checksum differs",
    ),
    "another model": (
        lambda d: d["key"].update(model="llama-3.1-70b"),
        False,
        ProfileFaultReason.TAMPERED,
        "the checksum differs",
    ),
    "less doubt": (
        lambda d: d.update(uncertainty=0.001),
        False,
        ProfileFaultReason.TAMPERED,
        "import it again",
    ),
    "no checksum": (lambda d: d.pop("sha256"), False, ProfileFaultReason.TAMPERED, "the checksum differs"),
    "a newer format": (
        lambda d: d.update(version=2),
        True,
        ProfileFaultReason.UNKNOWN_VERSION,
        "version 2 of the format; this Argosy reads 1",
    ),
    "another kind": (
        lambda d: d.update(kind="ConfigMap"),
        True,
        ProfileFaultReason.OTHER_KIND,
        "`argosy perf import` makes one",
    ),
    "sealed, without a table": (
        lambda d: d.pop("step_table"),
        True,
        ProfileFaultReason.BAD_VALUE,
        "KeyError 'step_table'",
    ),
    "sealed, with a negative time": (
        lambda d: d["step_table"]["matrix_ms"].__setitem__(0, -1.0),
        True,
        ProfileFaultReason.BAD_VALUE,
        "matrix_ms",
    ),
    "sealed, with a NaN for its doubt": (
        lambda d: d.update(uncertainty=float("nan")),
        True,
        ProfileFaultReason.BAD_VALUE,
        "uncertainty",
    ),
    "sealed, with half a GPU": (
        lambda d: d["valid"].update(max_batch="many"),
        True,
        ProfileFaultReason.BAD_VALUE,
        "max_batch",
    ),
    "sealed, of a number type nobody has": (
        lambda d: d["key"].update(dtype="fp3"),
        True,
        ProfileFaultReason.BAD_VALUE,
        "fp3",
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_changed_file_is_found_and_named(fitted: FittedProfile, case: str) -> None:
    change, seal, reason, words = FAULTS[case]
    found = fault(changed(fitted, change, seal=seal))
    assert found.reason is reason
    assert words in found.message


def test_a_file_cut_off_is_broken(fitted: FittedProfile) -> None:
    assert fault(profile_to_bytes(fitted)[:500]).reason is ProfileFaultReason.BROKEN
    assert fault(b"[" * 100_000).reason is ProfileFaultReason.BROKEN
    assert fault(b"\xff\x00").reason is ProfileFaultReason.BROKEN
    assert fault(b"[]").reason is ProfileFaultReason.OTHER_KIND


def test_a_file_nested_as_deeply_as_can_just_be_parsed_is_no_profile_either() -> None:
    for depth in range(sys.getrecursionlimit() - 200, sys.getrecursionlimit()):
        nested = "[" * depth + "]" * depth
        found = fault(f'{{"kind": "ArgosyProfile", "version": 1, "notes": {nested}}}'.encode())
    assert found.reason is ProfileFaultReason.BROKEN
