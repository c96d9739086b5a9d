"""Engines that fall silent: why a decision is due, and what is reported of each.

Owns the triggers and the event of an engine that has newly fallen silent; `state.silence` has the
verdict, `status.verdict` the condition. Input: a snapshot whose telemetry was just read, and the pods that
were silent before. Output: triggers, and events on the ServedModel.
"""

from __future__ import annotations

from collections.abc import Iterable

from argosy.api import ServedModel
from argosy.api.fleet import Mode
from argosy.api.schema.timestamp import rfc3339
from argosy.control.decision import EventRecord
from argosy.control.state.owners import models_by_deployment
from argosy.control.state.silence import consequence, silent_since
from argosy.control.triggers import Trigger
from argosy.snapshot.cluster import PodState
from argosy.snapshot.fleet import FleetSnapshot

FELL_SILENT = "EngineFellSilent"


def silent_triggers(snapshot: FleetSnapshot, before: frozenset[str]) -> Iterable[Trigger]:
    """Capacity that was lost with this reading, and capacity that came back."""
    now = silent_since(snapshot).keys()
    for key in sorted(now - before):
        where = snapshot.pods[key].node
        yield Trigger(f"the engine of pod {key} on node {where} has fallen silent")
    for key in sorted(before - now):
        yield Trigger(f"the engine of pod {key} is no longer counted as silent", is_progress=True)


def silent_events(snapshot: FleetSnapshot, before: frozenset[str]) -> tuple[EventRecord, ...]:
    """One for each engine that has newly fallen silent, on the model that it serves."""
    models = models_by_deployment(snapshot)
    found = []
    for key, since_s in sorted(silent_since(snapshot).items()):
        pod = snapshot.pods[key]
        if key not in before and (model := models.get(pod.deployment)) is not None:
            message = _message(pod, since_s, snapshot.acting_mode)
            found.append(EventRecord(ServedModel.KIND, model, "Warning", FELL_SILENT, message))
    return tuple(found)


def _message(pod: PodState, since_s: float, mode: Mode) -> str:
    return (
        f"{pod.key}: its engine on node {pod.node} has answered no scrape, health check or request since"
        f" {rfc3339(since_s)}. Envoy sends silent engines no requests; {consequence(mode)}."
        f" Look at the node: kubectl describe node {pod.node}"
    )
