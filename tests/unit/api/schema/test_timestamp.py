"""Times as Kubernetes writes them."""

from __future__ import annotations

import pytest

from argosy.api.schema.timestamp import rfc3339, rfc3339_micro, seconds_of


def test_a_time_has_whole_seconds() -> None:
    assert rfc3339(1_700_000_000.987) == "2023-11-14T22:13:20Z"


def test_a_micro_time_has_microseconds() -> None:
    assert rfc3339_micro(1_700_000_000.25) == "2023-11-14T22:13:20.250000Z"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2023-11-14T22:13:20Z", 1_700_000_000.0),
        ("2023-11-14T22:13:20.250000Z", 1_700_000_000.25),
        ("2023-11-14T23:13:20+01:00", 1_700_000_000.0),
        (None, None),
        ("", None),
        ("yesterday", None),
        (17, None),
    ],
)
def test_both_spellings_are_read_and_what_is_no_time_is_none(text: object, seconds: float | None) -> None:
    assert seconds_of(text) == seconds
