"""How long samples are kept, and what a later answer, or none, changes of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from argosy.telemetry.last_samples import EnvoyScrape, LastSamples
from argosy.telemetry.port import Targets

ADDRESS = "10.0.0.1:8000"


@pytest.mark.parametrize(
    ("then", "expected"),
    [
        pytest.param(
            lambda last: last.engine_unanswered(ADDRESS, 2.0, refused=True), 1.0, id="refuses again"
        ),
        pytest.param(lambda last: last.engine_unanswered(ADDRESS, 2.0), None, id="accepts and is silent"),
        pytest.param(lambda last: last.engine_answered(ADDRESS, None, 2.0), None, id="answers"),
        pytest.param(lambda last: last.forget_all_but(Targets()), None, id="is read no more"),
    ],
)
def test_an_engine_refuses_from_the_first_of_its_refusals_in_a_row(
    then: Callable[[LastSamples], None], expected: float | None
) -> None:
    last = LastSamples()
    last.engine_unanswered(ADDRESS, 1.0, refused=True)
    then(last)
    assert last.reading().refused_since_s.get(ADDRESS) == expected


def test_a_new_pod_with_the_address_of_one_that_is_read_no_more_has_answered_nothing() -> None:
    last, envoys = LastSamples(), (("edge", "http://127.0.0.1:9902"),)
    for at_s in (1.0, 2.0):
        last.envoy_answered("edge", EnvoyScrape(at_s, answered={ADDRESS: at_s}))
    assert last.reading().answered_at_s == {ADDRESS: 2.0}
    last.forget_all_but(Targets((), envoys))
    assert last.reading().answered_at_s == {}
