"""How the traffic loop divides a cell's requests between clusters."""

from __future__ import annotations

import pytest

from argosy.route.weights import (
    CellWeights,
    ClusterLoad,
    CorrectionSettings,
    Queue,
    WeightReason,
    correct,
    queue_of,
    shares_by_capacity,
)
from argosy.snapshot import EngineReading, Sample, TelemetryReading

IDLE = Queue(waiting_per_endpoint=0.0, kv_cache_usage=0.2)
# Five waiting at five requests/s: a second of waiting.
BUSY = Queue(waiting_per_endpoint=5.0, kv_cache_usage=0.2)


def load(share: float, planned: int, usable: int, queue: Queue | None = IDLE) -> ClusterLoad:
    return ClusterLoad(share, planned, usable, 5.0, queue)


def weights(clusters: dict[str, ClusterLoad], previous: CellWeights | None = None) -> CellWeights:
    return correct({"cell": clusters}, {"cell": previous} if previous else {})["cell"]


@pytest.mark.parametrize(
    ("clusters", "expected"),
    [
        pytest.param({"a": load(1.0, 3, 3)}, {"a": 1.0}, id="one cluster takes all"),
        pytest.param(
            {"a": load(1.0, 3, 1)}, {"a": 1.0}, id="one cluster takes all, with one replica of three"
        ),
        pytest.param(
            {"a": load(0.4, 2, 2), "b": load(0.6, 3, 3)}, {"a": 0.4, "b": 0.6}, id="all ready: the plan"
        ),
        pytest.param(
            {"a": load(0.5, 2, 1), "b": load(0.5, 2, 2)}, {"a": 1 / 3, "b": 2 / 3}, id="half of a is missing"
        ),
        pytest.param(
            {"a": load(0.5, 2, 0), "b": load(0.5, 2, 2)}, {"a": 0.0, "b": 1.0}, id="all of a is missing"
        ),
        pytest.param(
            {"a": load(0.5, 2, 0), "b": load(0.5, 2, 0)}, {"a": 0.5, "b": 0.5}, id="nothing can be used"
        ),
        pytest.param(
            {"old": load(0.0, 0, 3), "new": load(1.0, 1, 0)},
            {"old": 1.0, "new": 0.0},
            id="the new plan's only replica still loads: the old ones serve",
        ),
        pytest.param(
            {"old": load(0.0, 0, 4), "new": load(1.0, 2, 1)},
            {"old": 0.5, "new": 0.5},
            id="half of the new plan is ready: the old ones cover the other half",
        ),
        pytest.param(
            {"old": load(0.0, 0, 1), "new": load(1.0, 4, 1)},
            {"old": 0.5, "new": 0.5},
            id="too little anywhere: each replica gets the same",
        ),
        pytest.param(
            {"old": load(0.0, 0, 4), "new": load(1.0, 2, 2)},
            {"old": 0.0, "new": 1.0},
            id="the new plan is ready: the old ones get nothing more",
        ),
        pytest.param(
            {"a": load(0.5, 1, 3), "b": load(0.5, 2, 2)},
            {"a": 0.5, "b": 0.5},
            id="replicas beyond the plan are on their way out, not capacity",
        ),
        pytest.param(
            {"a": load(0.45, 1, 1), "b": load(0.45, 1, 1)},
            {"a": 0.5, "b": 0.5},
            id="what the plan leaves unserved is no cluster's",
        ),
        pytest.param(
            {"a": ClusterLoad(0.0, 0, 1, 0.0), "b": ClusterLoad(0.0, 0, 3, 0.0)},
            {"a": 0.25, "b": 0.75},
            id="nothing planned and no capacity known: a replica is a replica",
        ),
    ],
)
def test_shares_follow_usable_capacity(clusters: dict[str, ClusterLoad], expected: dict[str, float]) -> None:
    assert weights(clusters).weights == pytest.approx(expected)


def test_a_cell_without_clusters_has_no_weights() -> None:
    assert correct({"cell": {}}, {}) == {}


def test_a_queue_moves_weight_away_in_proportion_to_its_waiting_time() -> None:
    found = weights({"a": load(0.5, 2, 2, BUSY), "b": load(0.5, 2, 2)})
    # One second against none is half a second from the mean: 15 %, of which half at once.
    assert found.weights == pytest.approx({"a": 0.5 * 0.925, "b": 0.5 * 1.075})
    assert found.reasons == {"a": WeightReason.QUEUE_LONGER, "b": WeightReason.QUEUE_SHORTER}


def test_however_long_the_queue_a_cluster_keeps_seven_tenths_of_its_weight() -> None:
    clusters = {"a": load(0.5, 2, 2, Queue(1e6, 1.0)), "b": load(0.5, 2, 2)}
    found = weights(clusters)
    for _ in range(20):
        found = weights(clusters, found)
    assert found.weights == pytest.approx({"a": 0.35, "b": 0.65}, abs=0.01)


def test_a_queue_everywhere_moves_nothing() -> None:
    assert weights({"a": load(0.5, 2, 2, BUSY), "b": load(0.5, 2, 2, BUSY)}).weights == {"a": 0.5, "b": 0.5}


def test_a_full_cache_is_felt_before_the_queue() -> None:
    found = weights({"a": load(0.5, 2, 2, Queue(0.0, 1.0)), "b": load(0.5, 2, 2)})
    assert found.weights["a"] == pytest.approx(0.5 * (1 - 0.3 * 0.25 / 2))


def test_weights_return_when_the_queue_is_gone() -> None:
    found = weights({"a": load(0.5, 2, 2, BUSY), "b": load(0.5, 2, 2)})
    for _ in range(20):
        found = weights({"a": load(0.5, 2, 2), "b": load(0.5, 2, 2)}, found)
    assert found.weights == pytest.approx({"a": 0.5, "b": 0.5}, abs=0.01)


@pytest.mark.parametrize(
    "unknown",
    [
        pytest.param(load(0.5, 2, 2, None), id="telemetry missing or stale"),
        pytest.param(ClusterLoad(0.5, 2, 2, 0.0, IDLE), id="capacity unknown"),
    ],
)
def test_what_is_not_known_is_neither_busy_nor_idle(unknown: ClusterLoad) -> None:
    assert weights({"a": unknown, "b": load(0.5, 2, 2, BUSY)}).weights == {"a": 0.5, "b": 0.5}
    found = weights({"a": unknown, "b": load(0.25, 1, 1, BUSY), "c": load(0.25, 1, 1)}).weights
    assert found["a"] == pytest.approx(0.5)
    assert found["b"] < 0.25 < found["c"]


def test_a_policy_may_switch_the_correction_off_but_not_the_capacity_rule() -> None:
    clusters = {"a": load(0.5, 2, 1, BUSY), "b": load(0.5, 2, 2)}
    found = correct({"cell": clusters}, {}, CorrectionSettings(enabled=False))["cell"]
    assert found.weights == pytest.approx({"a": 1 / 3, "b": 2 / 3})


def test_a_change_of_less_than_a_point_returns_the_weights_as_they_were() -> None:
    previous = CellWeights({"a": 0.505, "b": 0.495})
    found = weights({"a": load(0.5, 2, 2), "b": load(0.5, 2, 2)}, previous)
    assert found.weights == previous.weights
    assert weights({"a": load(0.52, 2, 2), "b": load(0.48, 2, 2)}, previous).weights["a"] == 0.52


def test_small_changes_that_go_on_add_up_until_they_are_published() -> None:
    clusters = {"a": load(0.5, 2, 2, Queue(1.0, 0.0)), "b": load(0.5, 2, 2)}
    first = weights(clusters, weights({"a": load(0.5, 2, 2), "b": load(0.5, 2, 2)}))
    assert first.weights == {"a": 0.5, "b": 0.5}
    assert weights(clusters, first).weights["a"] < 0.49


def test_the_last_and_the_first_request_of_a_cluster_are_never_too_small_a_change() -> None:
    previous = CellWeights({"a": 0.995, "b": 0.005})
    found = weights({"a": load(0.995, 9, 9), "b": load(0.005, 1, 0)}, previous)
    assert found.weights == {"a": 1.0, "b": 0.0}
    back = weights({"a": load(0.995, 9, 9), "b": load(0.005, 1, 1)}, found)
    assert back.weights["b"] == pytest.approx(0.005)


def test_every_weight_has_its_reason() -> None:
    found = weights({"a": load(0.4, 2, 1), "b": load(0.4, 2, 2), "c": load(0.2, 1, 0)})
    assert found.reasons == {
        "a": WeightReason.CAPACITY_MISSING,
        "b": WeightReason.COVERS_MISSING,
        "c": WeightReason.NO_USABLE_ENDPOINT,
    }
    assert weights({"a": load(1.0, 2, 2)}).reasons == {"a": WeightReason.PLANNED}
    assert weights({"a": load(1.0, 2, 0)}).reasons == {"a": WeightReason.NOTHING_USABLE}


def _reading(*, at_s: float, **waiting: int) -> TelemetryReading:
    return TelemetryReading(
        engines={name: Sample(EngineReading(1, num, 0.5, 0, 0, 0), at_s) for name, num in waiting.items()}
    )


def test_a_clusters_queue_is_the_mean_of_its_fresh_samples() -> None:
    assert queue_of(_reading(at_s=98.0, a=2, b=4, other=99), ("a", "b"), 100.0) == Queue(3.0, 0.5)


@pytest.mark.parametrize(
    ("addresses", "now_s"),
    [
        pytest.param(("a", "b"), 120.0, id="all samples are stale"),
        pytest.param(("a", "x", "y"), 100.0, id="most endpoints have no sample"),
        pytest.param((), 100.0, id="no endpoints"),
    ],
)
def test_too_few_fresh_samples_are_no_queue(addresses: tuple[str, ...], now_s: float) -> None:
    assert queue_of(_reading(at_s=98.0, a=2, b=4), addresses, now_s) is None


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.1])
def test_nonsense_is_refused_where_it_enters(bad: float) -> None:
    number = f"is a finite number of at least 0, got {bad}"
    with pytest.raises(ValueError, match=f"a cluster's planned_share {number}"):
        ClusterLoad(bad, 1, 1, 1.0)
    with pytest.raises(ValueError, match=f"a cluster's capacity_per_replica {number}"):
        ClusterLoad(0.5, 1, 1, bad)
    with pytest.raises(ValueError, match=f"a queue's waiting_per_endpoint {number}"):
        Queue(bad, 0.5)
    with pytest.raises(ValueError, match=f"a queue's kv_cache_usage {number}"):
        Queue(0.5, bad)


def test_a_negative_count_is_refused_where_it_enters() -> None:
    with pytest.raises(ValueError, match="planned_replicas is a whole number of at least 0, got -1"):
        ClusterLoad(0.5, -1, 1, 1.0)
    with pytest.raises(ValueError, match="usable_endpoints is a whole number of at least 0, got -1"):
        ClusterLoad(0.5, 1, -1, 1.0)


def test_no_endpoint_at_all_gives_no_shares_by_capacity() -> None:
    assert shares_by_capacity({"a": load(1.0, 2, 0)}) is None


def _differences_of_wait_s(gain_per_s: float, num_rounds: int) -> list[float]:
    """Two saturated clusters, one queue a second longer, corrected every 2 s: the difference by round."""
    settings = CorrectionSettings(gain_per_s=gain_per_s, hysteresis=0.0)
    waits_s, found, differences = {"long": 6.0, "short": 5.0}, CellWeights(), []
    for _ in range(num_rounds):
        clusters = {
            name: ClusterLoad(0.5, 1, 1, 4.0, Queue(4.0 * wait_s, 0.0)) for name, wait_s in waits_s.items()
        }
        found = correct({"cell": clusters}, {"cell": found}, settings)["cell"]
        waits_s = {name: wait_s + 2.0 * (2 * found.weights[name] - 1) for name, wait_s in waits_s.items()}
        differences.append(waits_s["long"] - waits_s["short"])
    return differences


def test_the_correction_removes_a_longer_queue_with_a_small_overshoot() -> None:
    differences = _differences_of_wait_s(CorrectionSettings().gain_per_s, 20)
    assert -0.16 < min(differences) < -0.14
    assert max(abs(difference) for difference in differences[8:]) < 0.03


@pytest.mark.parametrize(("gain_per_s", "settles"), [(2.9, True), (3.1, False)])
def test_the_correction_is_stable_up_to_ten_times_its_gain(gain_per_s: float, settles: bool) -> None:
    assert (abs(_differences_of_wait_s(gain_per_s, 60)[-1]) < 0.001) is settles
