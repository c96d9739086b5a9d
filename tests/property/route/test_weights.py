"""What holds for the weights of every cell."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.route.weights import (
    CellWeights,
    ClusterLoad,
    CorrectionSettings,
    Queue,
    correct,
    shares_by_capacity,
)

queues = st.one_of(st.none(), st.builds(Queue, st.floats(0, 1e6), st.floats(0, 2)))
loads = st.builds(
    ClusterLoad,
    planned_share=st.one_of(st.just(0.0), st.floats(0, 1)),
    planned_replicas=st.integers(0, 20),
    usable_endpoints=st.integers(0, 20),
    capacity_per_replica=st.one_of(st.just(0.0), st.floats(1e-3, 1e3)),
    queue=queues,
)
cells = st.dictionaries(st.sampled_from("abcdef"), loads, min_size=1)
previous_weights = st.builds(
    CellWeights,
    weights=st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 1)),
    corrections=st.dictionaries(st.sampled_from("abcdef"), st.floats(-0.3, 0.3)),
)
SETTINGS = CorrectionSettings()


@settings(max_examples=400, deadline=None)
@given(cells, st.lists(cells, max_size=4))
def test_weights_sum_to_one_and_go_only_where_endpoints_are(
    clusters: dict[str, ClusterLoad], before: list[dict[str, ClusterLoad]]
) -> None:
    found: dict[str, CellWeights] = {}
    for picture in [*before, clusters]:
        found = correct({"cell": picture}, found, SETTINGS)
        weights = found["cell"].weights
        assert math.isclose(math.fsum(weights.values()), 1.0, abs_tol=1e-9)
        assert all(0 <= weight <= 1 + 1e-9 for weight in weights.values())
        if any(load.usable_endpoints for load in picture.values()):
            assert all(not weights[name] for name, load in picture.items() if not load.usable_endpoints)
        assert found["cell"].reasons.keys() == weights.keys() == picture.keys()


@settings(max_examples=400, deadline=None)
@given(cells, previous_weights)
def test_queues_move_at_most_three_tenths_of_a_clusters_weight(
    clusters: dict[str, ClusterLoad], previous: CellWeights
) -> None:
    found = correct({"cell": clusters}, {"cell": CellWeights(corrections=previous.corrections)}, SETTINGS)[
        "cell"
    ]
    base = shares_by_capacity(clusters)
    for name, share in (base or {}).items():
        assert abs(found.weights[name] - share) <= 0.3 * share + 1e-9


@settings(max_examples=200, deadline=None)
@given(cells, previous_weights)
def test_weights_that_are_kept_differ_by_less_than_a_point_from_those_that_would_be_made(
    clusters: dict[str, ClusterLoad], previous: CellWeights
) -> None:
    kept = correct({"cell": clusters}, {"cell": previous}, SETTINGS)["cell"].weights
    bare = CellWeights(corrections=previous.corrections)
    made = correct({"cell": clusters}, {"cell": bare}, SETTINGS)["cell"].weights
    assert kept == made or all(abs(kept[name] - made[name]) < SETTINGS.hysteresis for name in made)


@settings(max_examples=200, deadline=None)
@given(cells, previous_weights, st.randoms(use_true_random=False))
def test_the_order_of_clusters_does_not_matter(
    clusters: dict[str, ClusterLoad], previous: CellWeights, rng: object
) -> None:
    names = list(clusters)
    rng.shuffle(names)  # type: ignore[attr-defined]
    shuffled = {name: clusters[name] for name in names}
    assert correct({"cell": clusters}, {"cell": previous}) == correct({"cell": shuffled}, {"cell": previous})


@settings(max_examples=200, deadline=None)
@given(cells, previous_weights)
def test_the_same_snapshot_again_settles(clusters: dict[str, ClusterLoad], previous: CellWeights) -> None:
    found = {"cell": previous}
    for _ in range(40):
        found = correct({"cell": clusters}, found)
    again = correct({"cell": clusters}, found)
    assert again["cell"].weights == found["cell"].weights
