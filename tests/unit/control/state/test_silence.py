"""Which engines have fallen silent, and which only look like it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from argosy.control.state.silence import silent_endpoints
from argosy.snapshot import EndpointHealth, EngineReading, Sample, TelemetryReading

NOW_S = 1000.0
ENGINE = EngineReading(1, 0, 0.1, 0.0, 0.0, 0.0)
ALWAYS = {"a": 0.0, "b": 0.0, "c": 0.0}


def reading(
    answered: Mapping[str, float] | None = None,
    unanswered: Mapping[str, float] | None = None,
    envoy: Mapping[str, tuple[EndpointHealth, float]] | None = None,
) -> TelemetryReading:
    """All times are seconds ago."""
    return TelemetryReading(
        engines={name: Sample(ENGINE, NOW_S - ago) for name, ago in (answered or {}).items()},
        unanswered_since_s={name: NOW_S - ago for name, ago in (unanswered or {}).items()},
        endpoints={name: Sample(health, NOW_S - ago) for name, (health, ago) in (envoy or {}).items()},
    )


UNHEALTHY, HEALTHY, PENDING = EndpointHealth.UNHEALTHY, EndpointHealth.HEALTHY, EndpointHealth.PENDING


@pytest.mark.parametrize(
    ("seen", "silent"),
    [
        pytest.param(reading({"a": 0, "b": 0}), set(), id="all answer"),
        pytest.param(reading({"a": 5, "b": 0}, {"a": 4}), {"a"}, id="no answer for four seconds"),
        pytest.param(reading({"a": 3, "b": 0}, {"a": 2}), set(), id="one scrape missed: a busy engine"),
        pytest.param(
            reading({"a": 0, "b": 0}, envoy={"a": (UNHEALTHY, 1)}),
            {"a"},
            id="answers us, fails Envoy's checks",
        ),
        pytest.param(
            reading({"a": 0, "b": 0}, envoy={"a": (UNHEALTHY, 60)}),
            set(),
            id="Envoy's opinion is a minute old",
        ),
        pytest.param(
            reading({"a": 0, "b": 0}, envoy={"a": (PENDING, 1)}), set(), id="Envoy has not checked it yet"
        ),
        pytest.param(
            reading({"a": 5, "b": 5}, {"a": 4, "b": 4}), set(), id="nobody answers: our own network is down"
        ),
        pytest.param(
            reading({"a": 5, "b": 5}, {"a": 4, "b": 4}, {"a": (UNHEALTHY, 1), "b": (HEALTHY, 1)}),
            {"a"},
            id="nobody answers, and Envoy agrees on one",
        ),
        pytest.param(
            reading({"a": 5}, {"a": 4, "b": 4}, {"a": (UNHEALTHY, 60)}),
            set(),
            id="nobody answers, Envoy neither",
        ),
        pytest.param(
            reading({"a": 60}, {"a": 60}, {"a": (UNHEALTHY, 1)}), {"a"}, id="a fleet of one, dead, says Envoy"
        ),
        pytest.param(reading(), set(), id="nothing was ever measured"),
    ],
)
def test_silence_is_told_from_what_resembles_it(seen: TelemetryReading, silent: set[str]) -> None:
    assert silent_endpoints(seen, NOW_S, ALWAYS) == silent


@pytest.mark.parametrize(
    ("answered", "ready_for_s", "silent"),
    [
        pytest.param({"b": 0.0}, 9.0, set(), id="never answered, ready for nine seconds"),
        pytest.param({"b": 0.0}, 11.0, {"a"}, id="never answered, ready for eleven seconds"),
        pytest.param({"a": 60.0, "b": 0.0}, 1.0, set(), id="ready again for a second after a restart"),
        pytest.param({"a": 60.0, "b": 0.0}, 5.0, {"a"}, id="ready again, and silent still"),
    ],
)
def test_an_engine_has_time_to_answer_after_it_became_ready(
    answered: dict[str, float], ready_for_s: float, silent: set[str]
) -> None:
    seen = reading(answered, {"a": 50.0})
    assert silent_endpoints(seen, NOW_S, {"a": NOW_S - ready_for_s, "b": 0.0}) == silent


def test_an_engine_whose_pod_is_not_ready_is_not_counted_on_and_so_not_silent() -> None:
    seen = reading({"a": 60.0, "b": 0.0}, {"a": 50.0}, {"a": (UNHEALTHY, 1)})
    assert silent_endpoints(seen, NOW_S, {"b": 0.0}) == frozenset()
