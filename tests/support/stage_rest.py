"""When the operator's stage is at rest, what is not as it should be, and what it was like when a test failed.

Owns these questions; `operator_stage` waits for rest. Input: the stage. Output: sentences, none at rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from operator_stage import OperatorStage

CHAT_REPLICAS = 2
CLASSES = {"default/chat", "default/scholar"}
REPLICAS = {"chat": (CHAT_REPLICAS, "l40s"), "scholar": (1, "h100")}
"""Replicas and pool of each class."""


def unrest(stage: OperatorStage) -> Iterator[str]:
    """What is not as at rest, cheapest question first."""
    pods = {name: stage.pods(name) for name in REPLICAS}
    for name, (count, pool) in REPLICAS.items():
        ready = [p for p in stage.ready_pods(name) if p["metadata"]["labels"]["argosy.dev/pool"] == pool]
        if not len(pods[name]) == len(ready) == count:
            yield f"{name} has {len(ready)} ready of {len(pods[name])} replicas, not {count} on {pool}"
    total, wanted = len(stage.engine_pods()), sum(count for count, _ in REPLICAS.values())
    if total != wanted:
        yield f"there are {total} engine pods, not {wanted}"
    if len(stage.deployments()) != len(REPLICAS):
        yield f"Deployments are {sorted(stage.deployments())}"
    if [stage.holder()] != list(stage.operators):
        yield f"{stage.holder()} leads, and {list(stage.operators)} run"
    yield from (f"{name} is not observed" for name in stage.unobserved())
    cells = {cell["workloadClass"] for cell in stage.applied().get("spec", {}).get("cells", ())}
    if cells != CLASSES:
        yield f"the applied plan serves {sorted(cells)}"
    endpoints, expected = (
        stage.envoy_endpoints(),
        {f"default/{_name(p)}" for own in pods.values() for p in own},
    )
    if endpoints != dict.fromkeys(expected, True):
        yield f"Envoy has {endpoints}, not {sorted(expected)}"
    for what, answer in (("chat", {}), ("scholar", {"model": "llama-70b", "headers": {}})):
        if error := stage.answer(**answer).error:
            yield f"{what} answers {error}"


def watched(stage: OperatorStage) -> tuple[Callable[[], bool], Callable[[], str]]:
    """Whether the stage is at rest, and what the first thing was that was not, when last asked."""
    last = ["nothing was asked"]

    def is_at_rest() -> bool:
        last[0] = next(unrest(stage), "")
        return not last[0]

    return is_at_rest, lambda: last[0]


def _name(pod: Mapping[str, Any]) -> str:
    return str(pod["metadata"]["name"])


LAST_LINES = 60
"""Of each operator's log, shown with a failed test."""


def last_words(stage: OperatorStage) -> Iterator[tuple[str, list[str]]]:
    """What the operators logged last and what the objects look like, by heading."""
    for name in sorted(stage.operators):
        yield f"the end of {name}'s log", stage.log(name).splitlines()[-LAST_LINES:]
    try:
        kinds = "fleets,workloadclasses,servedmodels,fleetplans,deployments,pods"
        yield "objects", stage.kubectl("get", kinds, "-A", "-o", "wide").splitlines()
    except Exception as error:
        yield "objects", [f"they could not be read: {error}"]
