"""How far a user's step times may be from what is known before somebody should look."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from profile_files import a_profile_file

from argosy.engine.step_times import StepTable
from argosy.perf.measurements import MOST_FACTOR, FarOff, ProfileFault, far_off, profile_from_bytes
from argosy.perf.measurements.plausibility import is_plausible
from argosy.perf.profile import Origin, Profile, ValidRange

EVERYTHING = ValidRange(max_tokens=8192, max_batch=256, max_context=16384)


def a_profile(slowness: float = 1.0, valid: ValidRange = EVERYTHING) -> Profile:
    found = profile_from_bytes(a_profile_file(slowness=slowness), "profile.json")
    assert not isinstance(found, ProfileFault)
    return replace(found.profile, valid=valid)


KNOWN = replace(a_profile(), origin=Origin.TABLE)


@pytest.mark.parametrize(
    ("factor", "plausible"), [(0.2, False), (0.25, False), (0.26, True), (1, True), (3.99, True), (4, False)]
)
def test_a_factor_of_four_is_too_much_either_way(factor: float, plausible: bool) -> None:
    assert is_plausible(factor) is plausible


@pytest.mark.parametrize(
    ("factor", "plausible"), [(0.09, False), (0.11, True), (6.0, True), (10, False), (1000.0, False)]
)
def test_of_what_was_computed_only_a_factor_of_ten_is_too_much(factor: float, plausible: bool) -> None:
    assert is_plausible(factor, Origin.ROOFLINE) is plausible


@pytest.mark.parametrize("slowness", [1 / 3.9, 1.0, 3.9])
def test_what_is_within_the_factor_is_near_enough(slowness: float) -> None:
    assert far_off(a_profile(slowness), KNOWN) is None


@pytest.mark.parametrize("slowness", [0.001, 1 / MOST_FACTOR / 1.01, MOST_FACTOR * 1.01, 1000.0])
def test_what_is_beyond_it_is_told_with_its_factor(slowness: float) -> None:
    found = far_off(a_profile(slowness), KNOWN)
    assert found is not None
    assert (found.decode, found.prefill) == pytest.approx((slowness, slowness))


def test_prefill_alone_in_the_wrong_unit_is_found() -> None:
    own = a_profile()
    table = own.step_times
    assert isinstance(table, StepTable)
    up_to_a_batch_ms = float(np.interp(256.0, table.token_knots, table.matrix_ms))
    slow = replace(
        table,
        token_knots=np.array([1.0, 256.0, 257.0, 8192.0]),
        matrix_ms=np.array([20.0, up_to_a_batch_ms, 45_000.0, 800_000.0]),
    )
    found = far_off(replace(own, step_times=slow), KNOWN)
    assert found is not None
    assert found.decode == pytest.approx(1.0)
    assert found.prefill is not None
    assert 500 < found.prefill < 1000


@pytest.mark.parametrize(
    ("valid", "has_decode", "has_prefill"),
    [
        pytest.param(EVERYTHING, True, True, id="all"),
        pytest.param(ValidRange(256, 256, 16384), True, False, id="no prefill so short"),
        pytest.param(ValidRange(8192, 1, 512), True, True, id="one context and one chunk"),
    ],
)
def test_only_what_both_answer_for_is_compared(
    valid: ValidRange, has_decode: bool, has_prefill: bool
) -> None:
    own = a_profile(100.0, valid)
    for found in (far_off(own, KNOWN), far_off(KNOWN, own)):
        assert found is not None
        assert (found.decode is not None, found.prefill is not None) == (has_decode, has_prefill)


@pytest.mark.parametrize(
    "is_own", [pytest.param(True, id="the profile"), pytest.param(False, id="the known one")]
)
def test_what_lies_above_the_largest_batch_of_either_is_not_judged(is_own: bool) -> None:
    """Right up to a batch of 8, where its range ends, and a thousand times too slow from 9 on."""
    table = KNOWN.step_times
    assert isinstance(table, StepTable)
    alone, full = table.decode_ms
    at_8 = alone + (full - alone) * 7 / 255
    steep = replace(
        table,
        batch_knots=np.array([1.0, 8.0, 9.0, 256.0]),
        decode_ms=np.array([alone, at_8, 1000 * at_8, 1000 * full]),
    )
    narrow = replace(KNOWN, step_times=steep, valid=replace(EVERYTHING, max_batch=8))
    assert (far_off(narrow, KNOWN) if is_own else far_off(KNOWN, narrow)) is None
    wide = replace(narrow, valid=EVERYTHING)
    found = far_off(wide, KNOWN) if is_own else far_off(KNOWN, wide)
    assert found is not None
    assert found.prefill == pytest.approx(1.0)


def test_where_nothing_can_be_compared_nothing_is_told() -> None:
    assert far_off(a_profile(100.0, ValidRange(8192, 256, 100)), KNOWN) is None


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            FarOff(1234.4, 99.6, Origin.TABLE),
            "decode iterations take 1,234 times and prefill iterations take 100 times as long as Argosy's own"
            " figures say (MeasuredTable)",
        ),
        (
            FarOff(0.0101, None, Origin.ROOFLINE),
            "decode iterations take 0.01 times as long as Argosy's own figures say (Roofline)",
        ),
    ],
)
def test_it_reads_well(found: FarOff, said: str) -> None:
    assert str(found) == said
