"""Pods, engines, Deployments and nodes that go or are changed by hand."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable

from argosy.snapshot.liveness import READING_S, SILENT_AFTER_S
from argosy_sim.faults import verdicts
from argosy_sim.faults.case import Before, Case
from argosy_sim.faults.outcome import Judgement, Outcome
from argosy_sim.faults.picture import Picture
from argosy_sim.faults.world import NotAtRestError, World
from argosy_sim.livefleet.control import crash_pod, kill_node

IN_FLIGHT = 12
"""No more requests than this are under way on one chat replica at the load of a case."""
LOADING_REQUESTS = 130
"""Chat requests sent while engines load (18 s at 5/s), with those under way."""
NOTICE_S = 25.0
SILENT_S = SILENT_AFTER_S + 2 * READING_S + 2.0
"""The statuses tell of a silent engine after a reading and the decision that follows it."""
DRAIN = ("--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s")


async def _crash(world: World) -> None:
    pod = (await world.pods("chat"))[0]
    await asyncio.to_thread(crash_pod, world.stage.fleet_dir, f"default/{pod}")


def _judge_b23(outcome: Outcome) -> Iterable[Judgement]:
    yield verdicts.loses_at_most(outcome, IN_FLIGHT, "streams on the engine that died")
    yield verdicts.revises_at_most(outcome, 0)
    yield verdicts.tells(outcome, "EngineRestarted")
    took_s = _seconds_until(
        outcome, lambda p: (p.class_of("chat").get("status") or {}).get("replicasReady") == 2
    )
    yield Judgement("the class counts 2 of 3 within 10 s", took_s <= 10.0, f"{took_s:.1f} s")


def _seconds_until(outcome: Outcome, holds: object) -> float:
    assert callable(holds)
    times = [p.at_s - outcome.first.at_s for p in outcome.pictures if holds(p)]
    return min(times, default=float("inf"))


async def _delete_pod(world: World) -> None:
    await world.kubectl("delete", "pod", (await world.pods("chat"))[0], "--wait=false")


def _judge_p5(outcome: Outcome) -> Iterable[Judgement]:
    yield verdicts.loses_at_most(outcome, 0)
    yield verdicts.revises_at_most(outcome, 0)


async def _delete_all_pods(world: World) -> None:
    await world.kubectl("delete", "pod", *(await world.pods("chat")), "--wait=false")


def _judge_p6(outcome: Outcome) -> Iterable[Judgement]:
    yield verdicts.loses_at_most(outcome, LOADING_REQUESTS, "none serves while engines load")
    yield verdicts.revises_at_most(outcome, 0)


async def _scale_by_hand(world: World) -> None:
    picture = await world.wait(Picture.is_whole, "rest")
    name = next(d["metadata"]["name"] for d in picture.deployments if d["spec"]["replicas"] == 3)
    for count in ("5", "1"):
        await world.kubectl("scale", "deploy", name, f"--replicas={count}")
        await asyncio.sleep(5.0)


def _judge_p7(outcome: Outcome) -> Iterable[Judgement]:
    yield verdicts.loses_at_most(outcome, 0)
    yield verdicts.revises_at_most(outcome, 0)
    yield verdicts.tells(outcome, "kubectl")


async def _node_of(world: World, group: str, *, is_alone: bool) -> str:
    """A node with a replica of the group; `is_alone`: and of no other group. Raises `NotAtRestError`."""
    picture = await world.wait(Picture.is_whole, "rest")
    groups: dict[str, list[str]] = {}
    for pod in picture.pods:
        label = pod["metadata"]["labels"]["argosy.dev/sharing-group"]
        groups.setdefault(pod["spec"]["nodeName"], []).append(label)
    fitting = [n for n, g in groups.items() if group in g and (not is_alone or set(g) == {group})]
    if not fitting:
        raise NotAtRestError(f"no node carries {group} as the case needs it: {groups}")
    return min(fitting, key=lambda node: len(groups[node]))


async def _drain_batch(world: World) -> None:
    await world.kubectl("drain", await _node_of(world, "batch", is_alone=False), *DRAIN)


async def _drain_chat(world: World) -> None:
    await world.kubectl("drain", await _node_of(world, "chat", is_alone=True), *DRAIN)


def _judge_b19(outcome: Outcome) -> Iterable[Judgement]:
    yield verdicts.loses_at_most(outcome, 0)
    yield verdicts.keeps_capacity(outcome, "batch")


def _judge_p11(outcome: Outcome) -> Iterable[Judgement]:
    yield verdicts.loses_at_most(outcome, 0)
    yield verdicts.keeps_capacity(outcome, "chat")


async def _spot(world: World) -> None:
    node = await _node_of(world, "chat", is_alone=True)
    await world.kubectl("taint", "node", node, "karpenter.sh/disrupted:NoSchedule")
    await asyncio.sleep(NOTICE_S)
    await world.kubectl("delete", "node", node)


def _judge_b8(outcome: Outcome) -> Iterable[Judgement]:
    yield verdicts.loses_at_most(outcome, 0)
    yield verdicts.keeps_capacity(outcome, "chat")


async def _hang_node(world: World) -> None:
    """Until Envoy finds it out: before, everything looks as it was."""
    node = await _node_of(world, "chat", is_alone=True)
    gone = await asyncio.to_thread(kill_node, world.stage.fleet_dir, node)
    world.recorder.kept["node"] = node
    await world.wait(lambda picture: not any(map(picture.endpoints.get, gone)), "Envoy's verdict")


def _judge_p21(outcome: Outcome) -> Iterable[Judgement]:
    yield verdicts.loses_at_most(outcome, 2 * IN_FLIGHT, "streams on the node that hangs")
    yield verdicts.revises_at_most(outcome, 1)
    node = outcome.kept.get("node", "")
    told = rf"False EngineSilent .* on node {node}, .* since \S+Z"
    yield verdicts.says(outcome, told, "WorkloadClass", within_s=SILENT_S)
    yield verdicts.tells(outcome, f"EngineFellSilent .*on node {node}")


def _has_three(picture: Picture) -> bool:
    """Three chat replicas serve, whatever else is on its way out."""
    healthy = [name for name, is_healthy in picture.endpoints.items() if is_healthy]
    ready = {f"default/{p['metadata']['name']}" for p in picture.pods_of("chat")}
    return len(ready & set(healthy)) >= 3


async def _exchange(world: World) -> None:
    await world.patch("smodel", "llama-8b", {"engine": {"maxNumSeqs": 100}})
    await asyncio.sleep(2.0)


def _judge_p9(outcome: Outcome) -> Iterable[Judgement]:
    yield verdicts.loses_at_most(outcome, 0)
    yield verdicts.revises_at_most(outcome, 1)
    yield verdicts.keeps_capacity(outcome, "chat")
    yield verdicts.says(outcome, "Exchanging")


async def _full(world: World) -> None:
    """Five nodes of L40S, 10 GPUs, for ten replicas."""
    await world.patch("wclass", "chat", {"minReplicas": 9})
    picture = await world.wait(lambda p: p.num_planned() == 10 and p.is_whole(), "ten replicas", 90.0)
    used = Counter(pod["spec"]["nodeName"] for pod in picture.pods)
    names = (await world.kubectl("get", "nodes", "-o", "name")).split()
    nodes = sorted(
        (name.removeprefix("node/") for name in names), key=lambda name: ("l40s" not in name, -used[name])
    )
    await world.kubectl("cordon", *nodes[5:])
    await asyncio.sleep(3.0)
    await world.wait(Picture.is_whole, "the replicas on five nodes", 120.0)


def _judge_b16(outcome: Outcome) -> Iterable[Judgement]:
    yield verdicts.loses_at_most(outcome, 0)
    yield verdicts.revises_at_most(outcome, 1)
    yield verdicts.never_says(outcome, "^False Unplaceable")
    yield verdicts.says(outcome, r"[Ee]xchang\w+ \d+ of \d+", "FleetPlan")


CASES = (
    Case("B23", "an engine crashes", Before(2, None, "28 s", None), _crash, _judge_b23),
    Case("P5", "a chat pod deleted by hand", Before(0, 273, "20 s", None), _delete_pod, _judge_p5),
    Case(
        "P6",
        "all three chat pods deleted by hand",
        Before(94, 300, "17.4 s", None),
        _delete_all_pods,
        _judge_p6,
        # A quarter of the requests is lost while engines load: the class misses its promise for five minutes.
        recovered=Picture.is_whole_but_slo,
        leaves_rest=False,
    ),
    Case(
        "P7",
        "a Deployment scaled by hand to 5, then to 1",
        Before(0, 369, "1 s", None),
        _scale_by_hand,
        _judge_p7,
    ),
    Case(
        "P9",
        "engine arguments of a model in use changed",
        Before(0, 320, "19 s", 1),
        _exchange,
        _judge_p9,
        bound_s=90.0,
    ),
    Case(
        "B19",
        "the node of a class's only replica drained",
        Before(4, 16, "17.4 s", None),
        _drain_batch,
        _judge_b19,
    ),
    Case(
        "P11",
        "the node of one of three chat replicas drained",
        Before(0, 369, "19 s", None),
        _drain_chat,
        _judge_p11,
        in_tests=True,
    ),
    Case(
        "B16",
        "engine arguments changed on a full pool (10 replicas, 10 GPUs)",
        Before(0, 526, "210 s", 6),
        _exchange,
        _judge_b16,
        prepare=_full,
        bound_s=300.0,
    ),
    Case(
        "B8",
        "spot taint of Karpenter, the node deleted 25 s later",
        Before(None, None, "19 s", None),
        _spot,
        _judge_b8,
    ),
    Case(
        "P21",
        "a node hangs for ever",
        Before(3, 318, "25 s", None),
        _hang_node,
        _judge_p21,
        recovered=_has_three,
        leaves_rest=False,
    ),
)
