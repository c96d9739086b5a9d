"""Replicas' lives from a watch of their pods."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from argosy.snapshot.cluster import LABEL_MANAGED_BY, MANAGED_BY
from argosy_sim.demo.pods.lives import PodSeen, Removal, current, events, load_delay_s


def pod(
    name: str = "chat-7d9f-x2x", *, node: str = "", ready: bool = False, **metadata: Any
) -> dict[str, Any]:
    labels = {LABEL_MANAGED_BY: MANAGED_BY}
    conditions = [{"type": "Ready", "status": str(ready)}]
    limits = {"resources": {"limits": {"nvidia.com/gpu": "2"}}}
    spec = {"containers": [limits, {"name": "sidecar"}]} | ({"nodeName": node} if node else {})
    status = {"conditions": conditions} | ({"podIP": "10.244.1.7"} if node else {})
    return {
        "metadata": {"name": name, "namespace": "argosy-demo", "labels": labels, **metadata},
        "spec": spec,
        "status": status,
    }


WHOLE_LIFE = [
    PodSeen(1.0, "ADDED", pod()),
    PodSeen(2.0, "MODIFIED", pod(node="gpu-0")),
    PodSeen(30.0, "MODIFIED", pod(node="gpu-0", ready=True)),
    PodSeen(31.0, "MODIFIED", pod(node="gpu-0", ready=True)),
    PodSeen(90.0, "MODIFIED", pod(node="gpu-0", ready=True, deletionTimestamp="now")),
    PodSeen(95.0, "DELETED", pod(node="gpu-0", deletionTimestamp="now")),
]


def times(seen: list[PodSeen], removal: Removal | None = None) -> dict[str, float]:
    return {event["event"]: event["at"] for event in events(seen, removal)}


def test_a_life_is_dated_by_the_first_time_that_the_watch_showed_each_state() -> None:
    assert times(WHOLE_LIFE) == {"bound": 2.0, "ready": 30.0, "terminating": 90.0, "gone": 95.0}
    ready = next(event for event in events(WHOLE_LIFE, None) if event["event"] == "ready")
    assert (ready["pod"], ready["node"]) == ("argosy-demo/chat-7d9f-x2x", "gpu-0")
    assert (ready["address"], ready["gpus"]) == ("10.244.1.7:8000", 2)


def test_pods_that_are_no_replicas_have_no_life() -> None:
    load = pod("load-abc", node="gpu-0", ready=True, labels={"job-name": "load"})
    assert events([PodSeen(1.0, "ADDED", load)], None) == []
    assert current([PodSeen(1.0, "ADDED", load)]) == []


def test_replicas_on_a_node_that_is_taken_away_fall_silent_then_and_others_do_not() -> None:
    elsewhere = [PodSeen(2.0, "ADDED", pod("chat-1-b", node="gpu-1"))]
    earlier = [
        PodSeen(2.0, "ADDED", pod("chat-1-c", node="gpu-0")),
        PodSeen(40.0, "DELETED", pod("chat-1-c", node="gpu-0")),
    ]
    later = [PodSeen(120.0, "ADDED", pod("chat-1-d", node="gpu-0"))]
    removal = Removal("gpu-0", 89.5)
    found = events([*WHOLE_LIFE, *elsewhere, *earlier, *later], removal)
    silent = [(event["pod"], event["at"]) for event in found if event["event"] == "silent"]
    assert silent == [("argosy-demo/chat-7d9f-x2x", 89.5)]


def test_the_current_pods_are_those_that_were_not_deleted_as_last_seen() -> None:
    assert current(WHOLE_LIFE) == []
    [only] = current(WHOLE_LIFE[:3])
    assert only["status"]["conditions"] == [{"type": "Ready", "status": "True"}]


def test_loading_is_measured_from_the_nodes_gpus_to_ready_and_the_slowest_counts() -> None:
    other = [
        PodSeen(3.0, "ADDED", pod("chat-1-b", node="gpu-1")),
        PodSeen(53.0, "MODIFIED", pod("chat-1-b", node="gpu-1", ready=True)),
    ]
    assert load_delay_s([*WHOLE_LIFE, *other]) == 50.0
    assert load_delay_s(WHOLE_LIFE[:2]) == 0.0


@given(st.lists(st.sampled_from(WHOLE_LIFE), max_size=12))
def test_whatever_a_watch_repeats_each_event_of_a_pod_is_told_once(seen: list[PodSeen]) -> None:
    names = [event["event"] for event in events(seen, Removal("gpu-0", 50.0))]
    assert len(names) == len(set(names))
