"""The lives of replicas, from what the API server says of their pods.

Owns the translation of a watch of pods into the events that an attached fleet writes of its own: bound,
ready, silent, gone. A moment is that at which the watch showed it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from argosy.keys import NamespacedName
from argosy.snapshot.cluster import LABEL_MANAGED_BY, MANAGED_BY
from argosy_sim.demo.pods.survey import gpus_of

ENGINE_PORT = 8000


@dataclass(frozen=True, slots=True)
class PodSeen:
    """One event of a watch (Unix seconds): its type (ADDED, MODIFIED, DELETED), and the pod."""

    at_s: float
    kind: str
    pod: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Removal:
    """The node whose engines were taken away, and when."""

    node: str
    at_s: float


def is_engine(pod: Mapping[str, Any]) -> bool:
    """Whether a pod is a replica of Argosy's."""
    labels = pod["metadata"].get("labels") or {}
    return bool(labels.get(LABEL_MANAGED_BY) == MANAGED_BY)


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether the kubelet reports a pod Ready."""
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def address_of(pod: Mapping[str, Any]) -> str:
    """Where the engine answers; empty before the pod has an address."""
    address = pod.get("status", {}).get("podIP", "")
    return f"{address}:{ENGINE_PORT}" if address else ""


def current(seen: Iterable[PodSeen]) -> list[Mapping[str, Any]]:
    """The engines that are there, as they were last seen."""
    pods: dict[str, Mapping[str, Any]] = {}
    for each in seen:
        name = each.pod["metadata"]["name"]
        if each.kind == "DELETED":
            pods.pop(name, None)
        elif is_engine(each.pod):
            pods[name] = each.pod
    return list(pods.values())


def events(seen: Iterable[PodSeen], removal: Removal | None) -> list[dict[str, Any]]:
    """The events of all engines by time, each once for a pod."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for each in seen:
        if is_engine(each.pod):
            for name in _happened(each):
                event = _event(name, each.at_s, each.pod)
                found.setdefault((event["pod"], name), event)
    gone_s = {pod: event["at"] for (pod, name), event in found.items() if name == "gone"}
    if removal is not None:
        for (pod, name), event in list(found.items()):
            was_there = event["at"] <= removal.at_s < gone_s.get(pod, float("inf"))
            if name == "bound" and event["node"] == removal.node and was_there:
                found[pod, "silent"] = {**event, "event": "silent", "at": removal.at_s}
    return sorted(found.values(), key=lambda event: event["at"])


def _happened(seen: PodSeen) -> Iterator[str]:
    """What is true of the pod; the first time that it is, it has happened."""
    if seen.pod["spec"].get("nodeName"):
        yield "bound"
    if is_ready(seen.pod):
        yield "ready"
    if "deletionTimestamp" in seen.pod["metadata"]:
        yield "terminating"
    if seen.kind == "DELETED":
        yield "gone"


def _event(name: str, at_s: float, pod: Mapping[str, Any]) -> dict[str, Any]:
    metadata = pod["metadata"]
    return {
        "event": name,
        "at": at_s,
        "pod": NamespacedName.of(metadata["namespace"], metadata["name"]),
        "node": pod["spec"].get("nodeName", ""),
        "address": address_of(pod),
        "gpus": gpus_of(pod),
    }


def load_delay_s(seen: Iterable[PodSeen]) -> float:
    """The longest time from a node's GPUs to Ready of the engines seen so far; 0 where none is Ready."""
    bound_s: dict[str, float] = {}
    delays = [0.0]
    for event in events(seen, None):
        if event["event"] == "bound":
            bound_s[event["pod"]] = event["at"]
        if event["event"] == "ready" and event["pod"] in bound_s:
            delays.append(event["at"] - bound_s[event["pod"]])
    return max(delays)
