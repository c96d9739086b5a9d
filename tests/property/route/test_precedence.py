"""Precedence, shares and counter names hold for whatever users write."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from argosy.api import InvalidObject, WorkloadClass
from argosy.route.counters import cell_of, stat_prefix_of
from argosy.route.precedence import conflicts, in_order, match_of
from argosy.route.shares import divide
from argosy.route.table import RequestMatch

paths = st.sampled_from(["/", "/v1", "/v1/", "/v1/chat", "/v1/chat/completions", "/v10"])
models = st.lists(st.sampled_from(["m", "n", "o"]), max_size=3, unique=True)
header_values = st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["1", "2"]), max_size=2)


@st.composite
def matches(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {
        "headers": [{"name": n, "value": v} for n, v in draw(header_values).items()],
        "models": draw(models),
    }
    if draw(st.booleans()) or not (found["headers"] or found["models"]):
        found["path"] = {"type": draw(st.sampled_from(["Exact", "Prefix"])), "value": draw(paths)}
    return found


@st.composite
def class_lists(draw: st.DrawFn) -> list[WorkloadClass]:
    found = []
    for number, match in enumerate(draw(st.lists(matches(), min_size=1, max_size=6))):
        created = draw(st.sampled_from(["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"]))
        read = WorkloadClass.from_object(
            {
                "metadata": {"name": f"c{number}", "namespace": "default", "creationTimestamp": created},
                "spec": {
                    "match": match,
                    "models": [{"name": "m"}],
                    "traffic": {"requestsPerSecond": 1, "lengths": {"archetype": "azure-conversation"}},
                    "slo": {"ttft": {"p95Milliseconds": 2000}},
                },
            }
        )
        assert not isinstance(read, InvalidObject)
        found.append(read)
    return found


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, dict[str, str], str]:
    path = draw(st.sampled_from(["/", "/v1", "/v1/chat", "/v1/chat/completions", "/v10", "/v1/x"]))
    return path, draw(header_values), draw(st.sampled_from(["m", "n", "o", "p"]))


def takes(match: RequestMatch, request: tuple[str, dict[str, str], str]) -> bool:
    """Gateway API's words, written again: the reference that the code is held against."""
    path, headers, model = request
    wanted = match.path
    if wanted is not None:
        elements = [part for part in wanted.value.split("/") if part]
        begins = [part for part in path.split("/") if part][: len(elements)] == elements
        if not (path == wanted.value if wanted.exact else begins):
            return False
    return all(headers.get(n) == v for n, v in match.headers) and (not match.models or model in match.models)


@given(class_lists(), st.randoms(use_true_random=False))
def test_the_order_is_the_same_however_classes_arrive(classes: list[WorkloadClass], rng: Any) -> None:
    shuffled = list(classes)
    rng.shuffle(shuffled)
    assert in_order(shuffled) == in_order(classes)


@given(class_lists(), st.lists(requests(), min_size=1, max_size=20))
def test_a_class_named_as_loser_gets_no_request(
    classes: list[WorkloadClass], asked: list[tuple[str, dict[str, str], str]]
) -> None:
    losers = {conflict.loser for conflict in conflicts(classes)}
    for request in asked:
        first = next((c for c in in_order(classes) if takes(match_of(c), request)), None)
        assert first is None or first.key not in losers


@given(class_lists())
def test_a_loser_names_a_class_that_comes_before_it(classes: list[WorkloadClass]) -> None:
    position = {workload.key: index for index, workload in enumerate(in_order(classes))}
    assert all(position[conflict.winner] < position[conflict.loser] for conflict in conflicts(classes))


clusters = st.sampled_from(["a", "b", "c", "d"])
shares = st.dictionaries(clusters, st.floats(min_value=0, max_value=1), max_size=4)


@given(shares, shares, st.dictionaries(clusters, st.integers(min_value=0, max_value=3), max_size=4))
def test_shares_sum_to_one_and_go_to_ready_clusters(
    published: dict[str, float], planned: dict[str, float], num_ready: dict[str, int]
) -> None:
    backends = divide(published, planned, num_ready)
    assert bool(backends) == any(num_ready.values())
    assert all(num_ready[backend.cluster] > 0 and backend.share > 0 for backend in backends)
    assert not backends or math.isclose(math.fsum(b.share for b in backends), 1.0)


label = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,5}[a-z0-9])?", fullmatch=True)


@given(label, st.lists(label, min_size=1, max_size=3))
def test_a_counters_name_leads_back_to_its_class(namespace: str, name: list[str]) -> None:
    key = f"{namespace}/{'.'.join(name)}"
    assert cell_of(stat_prefix_of(key)) == key
    assert "." not in stat_prefix_of(key)
