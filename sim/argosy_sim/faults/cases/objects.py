"""Users' objects that are deleted or made in the wrong order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from argosy_sim.faults import verdicts
from argosy_sim.faults.case import Before, Case
from argosy_sim.faults.outcome import Judgement, Outcome
from argosy_sim.faults.picture import Picture, condition
from argosy_sim.faults.world import LEADER, World, delete_all

NAMESPACES = ("fault-a", "fault-b")


async def _apply_again(world: World) -> None:
    await world.apply(*world.objects())


async def _delete_for(world: World, kind: str, name: str, seconds: float) -> None:
    world.recorder.kept["warning"] = await world.warned("delete", kind, name, "--wait=false")
    await asyncio.sleep(seconds)
    await _apply_again(world)


async def _delete_model(world: World) -> None:
    await _delete_for(world, "smodel", "llama-8b", 10.0)


def _judge_b9(outcome: Outcome) -> Iterable[Judgement]:
    yield verdicts.loses_at_most(outcome, 0)
    yield verdicts.keeps_pods(outcome)
    yield verdicts.kept_text(outcome, "warning", "Warning", "kubectl prints a warning of the API server")
    yield verdicts.says(outcome, "llama-8b was deleted", "FleetPlan")


async def _delete_pool(world: World) -> None:
    await _delete_for(world, "gpupool", "l40s", 27.0)


def _judge_p20(outcome: Outcome) -> Iterable[Judgement]:
    yield verdicts.loses_at_most(outcome, 0)
    yield verdicts.keeps_pods(outcome)
    yield verdicts.kept_text(
        outcome, "warning", "its replicas cost $", "kubectl's warning names what the pool's replicas cost"
    )


async def _delete_fleet(world: World) -> None:
    await world.kubectl("delete", "fleet", "default", "--wait=false")
    await asyncio.sleep(10.0)
    await world.patch("wclass", "chat", {"minReplicas": 4})
    await asyncio.sleep(15.0)
    picture = await world.wait(lambda _: True, "an answer")
    world.recorder.kept["replicas"] = f"{len(picture.pods_of('chat'))} chat replicas"
    await _apply_again(world)


def _judge_p8(outcome: Outcome) -> Iterable[Judgement]:
    yield verdicts.loses_at_most(outcome, 0)
    yield verdicts.says(outcome, "[Nn]o Fleet", "WorkloadClass")
    yield verdicts.tells(outcome, "[Nn]o Fleet")
    yield verdicts.kept_text(outcome, "replicas", "4 chat", "an edit is acted on without a Fleet object")


async def _delete_example(world: World) -> None:
    folder = world.stage.plan.repository / "examples" / world.stage.plan.examples
    await world.kubectl("delete", "-f", str(folder), "--wait=false")


def _judge_b25(outcome: Outcome) -> Iterable[Judgement]:
    left = [d["metadata"]["name"] for d in outcome.last.deployments]
    yield Judgement("no Deployment and no pod is left", outcome.last.is_empty(), ", ".join(left))
    yield verdicts.says(outcome, "was deleted", "FleetPlan")
    reasons = {condition(plan, "Applied").get("reason") for plan in outcome.last.plans}
    yield Judgement("plans are applied, not only recommended", "Recommended" not in reasons, f"{reasons}")


async def _make_namespaces(world: World) -> None:
    await world.apply(*(item for name in NAMESPACES for item in _tenant(world, name)))
    await world.wait(lambda p: len(p.classes) == 2 + len(NAMESPACES) and p.is_whole(), "the tenants", 120.0)


def _tenant(world: World, namespace: str) -> list[dict[str, Any]]:
    copies = [item for item in world.objects() if item["kind"] in ("ServedModel", "WorkloadClass")]
    kept = [item for item in copies if item["metadata"]["name"] != "chat"]
    for item in kept:
        item["metadata"]["namespace"] = namespace
        if item["kind"] == "WorkloadClass":
            item["metadata"]["name"] = namespace
            item["spec"]["match"]["headers"] = [{"name": "x-argosy-class", "value": namespace}]
    return [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}, *kept]


async def _delete_namespaces(world: World) -> None:
    for name in NAMESPACES:
        await world.kubectl("delete", "ns", name, "--wait=false")
    await world.wait(lambda p: len(p.classes) == 2, "the classes' end")


def _judge_p18(outcome: Outcome) -> Iterable[Judgement]:
    yield verdicts.loses_at_most(outcome, 0)
    began = {p["metadata"]["uid"] for p in outcome.first.pods_of("chat")}
    ended = {p["metadata"]["uid"] for p in outcome.last.pods_of("chat")}
    yield Judgement("the other classes' pods stay", began == ended, f"{len(began - ended)} went")
    yield verdicts.revises_at_most(outcome, 5)


async def _operator_first(world: World) -> None:
    """Envoy is there before the operator, the operator before any object; then the operator starts anew."""
    await world.end_operator(LEADER)
    await delete_all(world)
    await world.start_operator(LEADER)
    await asyncio.sleep(5.0)
    await _apply_again(world)
    await world.wait(Picture.is_whole, "the first plan", 120.0)
    await world.end_operator(LEADER)
    await world.start_operator(LEADER)


def _judge_p19(outcome: Outcome) -> Iterable[Judgement]:
    yield verdicts.numbers_go_on(outcome)
    yield Judgement("all is served at the end", outcome.last.is_whole())


CASES = (
    Case(
        "B9",
        "a ServedModel in use deleted, applied again after 10 s",
        Before(140, 140, "19 s", None),
        _delete_model,
        _judge_b9,
    ),
    Case(
        "P20",
        "a GPUPool in use deleted, applied again after 27 s",
        Before(0, 320, "20 s", 2),
        _delete_pool,
        _judge_p20,
        bound_s=90.0,
    ),
    Case(
        "P8",
        "the Fleet deleted, a class edited, applied again after 25 s",
        Before(0, 320, "-", None),
        _delete_fleet,
        _judge_p8,
    ),
    Case(
        "P18",
        "namespaces with classes deleted",
        Before(None, None, "5 s", 5),
        _delete_namespaces,
        _judge_p18,
        prepare=_make_namespaces,
    ),
    Case(
        "B25",
        "kubectl delete -f of the whole example",
        Before(None, None, "never", None),
        _delete_example,
        _judge_b25,
        recovered=Picture.is_empty,
        rates={},
        bound_s=120.0,
    ),
    Case(
        "P19",
        "operator before any object, Envoy before the operator",
        Before(None, None, "-", None),
        _operator_first,
        _judge_p19,
        rates={},
        bound_s=90.0,
    ),
)
