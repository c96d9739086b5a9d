"""A profile answers within its range only, and names the quantity that is beyond it."""

from __future__ import annotations

import pytest

from argosy.perf.profile import ValidRange
from argosy.perf.profiles.iterations import within
from argosy.perf.protocol import OutOfRangeReason

VALID = ValidRange(max_tokens=8192, max_batch=256, max_context=16_384)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        pytest.param((8193, 1, 1), ("tokens in an iteration", "8193", "8192"), id="a budget too large"),
        pytest.param((1, 257, 1), ("sequences in an iteration", "257", "256"), id="too many sequences"),
        pytest.param((1, 1, 20_000), ("tokens of context", "20000", "16384"), id="a context too long"),
        pytest.param((float("nan"), 1, 1), ("tokens in an iteration", "nan"), id="no number at all"),
    ],
)
def test_outside_the_range_the_quantity_and_the_limit_are_named(
    asked: tuple[float, float, float], words: tuple[str, ...]
) -> None:
    refused = within(VALID, *asked)

    assert refused is not None
    assert refused.reason is OutOfRangeReason.BEYOND_PROFILE
    assert [word for word in words if word not in refused.message] == []


def test_at_the_limits_the_form_still_answers() -> None:
    assert within(VALID, 8192, 256, 16_384) is None
