"""Laws of silence: whatever answers, however late, is never lost."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from argosy.control.state.silence import Expected, Liveness, liveness
from argosy.snapshot import EndpointHealth, Sample, TelemetryReading
from argosy.snapshot.liveness import DOUBT_UNTIL_S, SILENT_AFTER_S

NOW_S = 10_000.0
NAMES = ("a", "b", "c", "d", "e", "f")
AGO_S = st.floats(0.0, 600.0)
LATELY_S = st.floats(0.0, SILENT_AFTER_S - 0.001)


@st.composite
def readings(draw: st.DrawFn) -> TelemetryReading:
    """Any of the engines quiet, refusing, judged by Envoy and answering requests, since any time."""
    quiet = draw(st.dictionaries(st.sampled_from(NAMES), AGO_S))
    refusing = draw(st.sets(st.sampled_from(sorted(quiet)))) if quiet else set()
    judged = st.tuples(st.sampled_from(EndpointHealth), st.floats(0.0, 60.0))
    envoy = draw(st.dictionaries(st.sampled_from(NAMES), judged))
    requests = draw(st.dictionaries(st.sampled_from(NAMES), AGO_S))
    return TelemetryReading(
        unanswered_since_s={name: NOW_S - ago for name, ago in quiet.items()},
        refused_since_s={name: NOW_S - quiet[name] for name in refusing},
        endpoints={name: Sample(health, NOW_S - ago) for name, (health, ago) in envoy.items()},
        answered_at_s={name: NOW_S - ago for name, ago in requests.items()},
    )


def found(reading: TelemetryReading, node: str = "") -> dict[str, Liveness]:
    return liveness(reading, NOW_S, {name: Expected(0.0, node or name) for name in NAMES})


@given(readings())
def test_only_what_has_answered_nothing_for_long_is_silent(reading: TelemetryReading) -> None:
    for name, state in found(reading).items():
        if state is Liveness.SILENT:
            assert NOW_S - reading.unanswered_since_s[name] >= SILENT_AFTER_S
            assert NOW_S - reading.answered_at_s.get(name, 0.0) >= SILENT_AFTER_S


@given(readings(), st.dictionaries(st.sampled_from(NAMES), LATELY_S, min_size=1), st.booleans())
def test_no_set_of_slow_answers_makes_a_lost_engine(
    reading: TelemetryReading, lately: dict[str, float], to_the_scrape: bool
) -> None:
    since = {name: NOW_S - ago for name, ago in lately.items()}
    answered = TelemetryReading(
        # To the scrape: the next request is open since the last answer.
        unanswered_since_s={**reading.unanswered_since_s, **(since if to_the_scrape else {})},
        endpoints=reading.endpoints,
        answered_at_s={**reading.answered_at_s, **({} if to_the_scrape else since)},
    )
    states = found(answered)
    assert all(states[name] is not Liveness.SILENT for name in lately)


@given(readings())
def test_doubt_ends(reading: TelemetryReading) -> None:
    for name, state in found(reading).items():
        if state is Liveness.DOUBTED:
            assert NOW_S - reading.unanswered_since_s[name] < DOUBT_UNTIL_S


@given(readings(), st.sets(st.sampled_from(NAMES), min_size=3), st.floats(SILENT_AFTER_S, 45.0))
def test_half_of_a_fleet_that_stops_at_one_moment_is_not_lost_within_a_minute(
    reading: TelemetryReading, stopped: set[str], ago_s: float
) -> None:
    assume(not any(reading.answered_at_s.get(n, 0.0) > NOW_S - ago_s for n in stopped))
    together = TelemetryReading(
        unanswered_since_s=reading.unanswered_since_s | dict.fromkeys(stopped, NOW_S - ago_s),
        endpoints={name: sample for name, sample in reading.endpoints.items() if name not in stopped},
        answered_at_s=reading.answered_at_s,
    )
    states = found(together)
    assert all(states[name] is not Liveness.SILENT for name in stopped)
    alone = found(together, node="one")
    assert all(state is not Liveness.DOUBTED for state in alone.values()), "one node that has failed"
