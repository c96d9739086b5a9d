"""Processes that end or stand still: operators, the API server, all engines, telemetry, permissions."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterable

from argosy.client.records import Outcome as Ending
from argosy_sim.controlplane.host.processes import send
from argosy_sim.faults import verdicts
from argosy_sim.faults.case import Before, Case
from argosy_sim.faults.outcome import Judgement, Outcome
from argosy_sim.faults.world import LEADER, SECOND, NotAtRestError, World, bind_operator

OPERATOR_BINDINGS = ("clusterrolebinding/argosy-operator",)
KUBELET_BINDING = "argosy-virtual-kubelet"
NUM_BEGUN = 13
"""Streams under way on all engines at the load of a case."""
BLIND_S = 75.0
"""Argosy calls telemetry lost after a minute."""
NO_SERVER = "http://127.0.0.1:9"
"""The discard port: nothing answers there."""


async def _kill_operator(world: World) -> None:
    await world.kill_operator()
    await asyncio.sleep(12.0)
    await world.start_operator()


def _judge_unchanged(outcome: Outcome) -> Iterable[Judgement]:
    yield verdicts.loses_at_most(outcome, 0)
    yield verdicts.keeps_pods(outcome)
    yield verdicts.revises_at_most(outcome, 0)


async def _stop_api_server(world: World) -> None:
    world.signal_api_server(signal.SIGSTOP)
    try:
        await asyncio.sleep(30.0)
    finally:
        world.signal_api_server(signal.SIGCONT)


async def _cut_kubelets(world: World) -> None:
    """Nodes become NotReady when their heartbeats are refused, while their engines go on."""
    await world.kubectl("delete", "clusterrolebinding", KUBELET_BINDING)
    await world.kubectl("delete", "rolebinding", KUBELET_BINDING, "-n", "kube-node-lease")
    try:
        await asyncio.sleep(70.0)
    finally:
        await asyncio.to_thread(world.stage.install)


def _judge_b6(outcome: Outcome) -> Iterable[Judgement]:
    yield from _judge_unchanged(outcome)
    yield verdicts.never_says(outcome, "no usable node carries")
    yield verdicts.says(outcome, "NotReady|not Ready|NodesNotReady|none is Ready")


async def _standby(world: World) -> None:
    """A second operator, and the first one leads."""
    await world.start_operator(SECOND)


async def _after_leader(world: World) -> None:
    for _ in range(60):
        if await world.leader() == SECOND:
            return
        await asyncio.sleep(0.5)
    raise NotAtRestError("the standby did not lead within 30 s")


async def _kill_leader(world: World) -> None:
    await world.kill_operator(LEADER)
    await _after_leader(world)
    await world.patch("wclass", "chat", {"minReplicas": 4})
    await world.wait(lambda picture: len(picture.pods_of("chat")) == 4, "the standby's action")


def _judge_p3(outcome: Outcome) -> Iterable[Judgement]:
    yield verdicts.loses_at_most(outcome, 0)
    yield verdicts.revises_at_most(outcome, 1)


async def _stop_leader(world: World) -> None:
    leader = world.operator(LEADER)
    send(leader, signal.SIGSTOP)
    try:
        await _after_leader(world)
        await asyncio.sleep(20.0)
    finally:
        send(leader, signal.SIGCONT)
    await asyncio.sleep(5.0)
    world.recorder.kept["leader"] = await world.leader()


def _judge_p4(outcome: Outcome) -> Iterable[Judgement]:
    yield from _judge_unchanged(outcome)
    yield verdicts.kept_text(outcome, "leader", SECOND, "the former leader does not take the Lease back")


async def _refuse_writes(world: World) -> None:
    await world.kubectl("delete", *OPERATOR_BINDINGS)
    try:
        await asyncio.sleep(35.0)
        world.recorder.kept["readyz"] = await world.readyz()
    finally:
        await bind_operator(world)


def _judge_p12(outcome: Outcome) -> Iterable[Judgement]:
    yield from _judge_unchanged(outcome)
    yield verdicts.kept_text(outcome, "readyz", "permission", "readyz names the permission that is missing")


async def _lose_telemetry(world: World) -> None:
    await world.end_operator(LEADER)
    await world.start_operator(LEADER, "--prometheus", NO_SERVER)
    await asyncio.sleep(BLIND_S)
    world.recorder.kept["readyz"] = await world.readyz()
    await world.end_operator(LEADER)
    await world.start_operator(LEADER)


def _judge_b18(outcome: Outcome) -> Iterable[Judgement]:
    yield from _judge_unchanged(outcome)
    for kind in ("Fleet", "WorkloadClass"):
        yield verdicts.says(outcome, "True ObservationStale", kind, within_s=BLIND_S + 15.0)
    yield verdicts.tells(outcome, "TelemetryLost")
    yield verdicts.kept_text(outcome, "readyz", "telemetry", "readyz says that telemetry is lost")


async def _freeze_engines(world: World) -> None:
    world.signal_fleet(signal.SIGSTOP)
    try:
        await asyncio.sleep(20.0)
    finally:
        world.signal_fleet(signal.SIGCONT)


def _judge_b26(outcome: Outcome) -> Iterable[Judgement]:
    yield verdicts.revises_at_most(outcome, 0)
    yield verdicts.keeps_pods(outcome)
    why = "streams that had begun, as many as the review counted; the others wait"
    yield verdicts.loses_at_most(outcome, NUM_BEGUN, why)
    waiting = [r for r in outcome.lost if r.outcome is not Ending.BROKEN]
    found = f"{len(waiting)} of {len(outcome.lost)} that were lost had no answer yet"
    yield Judgement(
        "a request that waits for its answer while all engines stand still gets it", not waiting, found
    )
    yield verdicts.tells(outcome, "SilenceInDoubt")


CASES = (
    Case(
        "P1",
        "operator killed -9, started again after 12 s",
        Before(0, 245, "0.1 s", 0),
        _kill_operator,
        _judge_unchanged,
    ),
    Case(
        "P2", "API server stopped for 30 s", Before(0, 408, "6 s", None), _stop_api_server, _judge_unchanged
    ),
    Case(
        "B6",
        "all nodes NotReady for 70 s while engines answer",
        Before(0, 582, "-", 2),
        _cut_kubelets,
        _judge_b6,
        bound_s=90.0,
    ),
    Case(
        "P3",
        "two operators, the leader killed -9, then an edit",
        Before(0, 319, "8.5 s", 1),
        _kill_leader,
        _judge_p3,
        prepare=_standby,
    ),
    Case(
        "P4",
        "two operators, the leader stopped for some 30 s",
        Before(0, 318, "8 s", None),
        _stop_leader,
        _judge_p4,
        prepare=_standby,
    ),
    Case(
        "P12",
        "writes refused: the operator's binding removed for 35 s",
        Before(0, 434, "1.3 s", None),
        _refuse_writes,
        _judge_p12,
    ),
    Case(
        "B18",
        f"telemetry lost wholly for {BLIND_S:g} s",
        Before(0, 318, "never said", None),
        _lose_telemetry,
        _judge_b18,
    ),
    Case(
        "B26",
        "all engines and kubelets stopped for 20 s",
        Before(13, 318, "-", 5),
        _freeze_engines,
        _judge_b26,
        bound_s=90.0,
    ),
)
