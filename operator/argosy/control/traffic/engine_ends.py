"""How engines end: by a crash, or at the end of a drain that was too short for their requests.

Owns which ends are reported, each once. Input: a snapshot whose telemetry was just read, and what is
remembered of each pod. Output: events on the ServedModel, the requests cut by model, the new memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from argosy.api import ServedModel
from argosy.control.decision import EventRecord
from argosy.control.memory import PodEnds
from argosy.keys import ModelKey
from argosy.snapshot.cluster import LABEL_MODEL, PodState, label_value
from argosy.snapshot.fleet import FleetSnapshot

LAST_SCRAPE_S = 6.0
"""Of a pod that reached its limit, the last scrape is at most three readings older."""

LIMIT_SLACK_S = 1.0
"""The API server gives the end of a grace period in whole seconds."""

GIVEN_UP_AFTER_S = 5.0
"""A pod that is still there so long after its limit has no kubelet that could end it."""


@dataclass(frozen=True, slots=True)
class EngineEnds:
    """What one reading shows. `memory`: by the pod's UID; `cut`: requests cut at a limit, by model."""

    memory: Mapping[str, PodEnds]
    events: tuple[EventRecord, ...] = ()
    cut: Mapping[ModelKey, int] = field(default_factory=dict)


def engine_ends(snapshot: FleetSnapshot, known: Mapping[str, PodEnds]) -> EngineEnds:
    """The ends that this snapshot shows for the first time. A pod never seen before has had none."""
    models = {(m.metadata.namespace, label_value(m.metadata.name)): m for m in snapshot.models.values()}
    memory: dict[str, PodEnds] = {}
    events: list[EventRecord] = []
    for pod in snapshot.engine_pods:
        model = models.get((pod.namespace, pod.labels.get(LABEL_MODEL, "")))
        if model is None:
            continue
        before = known.get(pod.uid) or PodEnds(pod.key, model.key, pod.exits)
        if pod.exits > before.exits and pod.is_active and not pod.deleting:
            events.append(_restarted(pod, model.key))
        memory[pod.uid] = _seen(before, pod, snapshot)
    followed = {**{uid: each for uid, each in known.items() if uid not in memory}, **memory}
    cut = [each for uid, each in followed.items() if _was_cut(each, uid in memory, snapshot.now_s)]
    settled = {uid: _settled(each, snapshot.now_s) for uid, each in memory.items()}
    return EngineEnds(settled, (*events, *map(_streams_cut, cut)), _by_model(cut))


def _seen(before: PodEnds, pod: PodState, snapshot: FleetSnapshot) -> PodEnds:
    exits = max(before.exits, pod.exits)
    found = replace(before, exits=exits, ends_s=pod.ends_s, grace_s=pod.grace_s)
    sample = snapshot.telemetry.engines.get(pod.address)
    if sample is None or sample.at_s <= before.seen_s:
        return found
    reading = sample.value
    return replace(found, unfinished=reading.num_running + reading.num_waiting, seen_s=sample.at_s)


def _was_cut(pod: PodEnds, is_there: bool, now_s: float) -> bool:
    """Whether a drain is over, at its limit, with requests that had not finished."""
    if pod.ends_s is None or pod.is_settled or now_s < pod.ends_s - LIMIT_SLACK_S:
        return False
    is_over = not is_there or now_s >= pod.ends_s + GIVEN_UP_AFTER_S
    return is_over and pod.unfinished > 0 and pod.seen_s >= pod.ends_s - LAST_SCRAPE_S


def _settled(pod: PodEnds, now_s: float) -> PodEnds:
    is_over = pod.ends_s is not None and now_s >= pod.ends_s + GIVEN_UP_AFTER_S
    return replace(pod, is_settled=True) if is_over and not pod.is_settled else pod


def _restarted(pod: PodState, model: ModelKey) -> EventRecord:
    how = pod.last_exit or "an exit code that the kubelet does not show"
    message = (
        f"{pod.key}: its engine ended with {how} and is started again by its kubelet; its streams were cut."
        f" Read why: kubectl logs -n {pod.namespace} {pod.name} --previous"
    )
    return EventRecord(ServedModel.KIND, model, "Warning", "EngineRestarted", message)


def _streams_cut(pod: PodEnds) -> EventRecord:
    requests = "request" if pod.unfinished == 1 else "requests"
    message = (
        f"{pod.key}: {pod.unfinished} {requests} still ran when its drain ended after {pod.grace_s} s, and"
        " did not finish; set spec.engine.drainSeconds above your longest answer."
    )
    return EventRecord(ServedModel.KIND, pod.model, "Warning", "StreamsCut", message)


def _by_model(cut: Iterable[PodEnds]) -> dict[ModelKey, int]:
    found: dict[ModelKey, int] = {}
    for pod in cut:
        found[pod.model] = found.get(pod.model, 0) + pod.unfinished
    return found
