"""Changes of users, prices and load, and webhooks that change pods."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from argosy.client.open_loop import ReplayTarget, replay
from argosy.client.records import RequestRecord
from argosy_sim.faults import verdicts
from argosy_sim.faults.case import Before, Case
from argosy_sim.faults.cases.mutation import Mutation, mutated, mutating
from argosy_sim.faults.load import long_request
from argosy_sim.faults.outcome import Judgement, Outcome
from argosy_sim.faults.picture import Object, Picture, is_true
from argosy_sim.faults.world import World

SMALL, SMALL_RATE = 50, 0.1
STABILIZATION_S = 10.0
"""`spec.stabilizationSeconds` of the example's Fleet."""
FLIPS = 12
FLIP_S = 5.0
LONG_ANSWER_TOKENS = 3000
DRAIN_S = 10


def _copy(world: World, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """A class like chat, recognised by its own header."""
    chat = next(item for item in world.objects() if item["metadata"]["name"] == "chat")
    match = {"models": ["llama-8b"], "headers": [{"name": "x-argosy-class", "value": name}]}
    merged = {**chat["spec"], "match": match, **spec}
    return {**chat, "metadata": {"name": name, "namespace": "default"}, "spec": merged}


# --- webhooks ----------------------------------------------------------------------------------------


def _with_webhook(mutation: Mutation) -> Callable[[World], Any]:
    """Replace chat's pods while a webhook mutates what is created."""

    async def disturb(world: World) -> None:
        async with mutating(world, mutation):
            await world.patch("smodel", "llama-8b", {"engine": {"maxNumSeqs": 100}})
            await asyncio.sleep(45.0)
            picture = await world.wait(lambda _: True, "an answer")
            not_ready = [c["metadata"]["name"] for c in picture.classes if not is_true(c, "Ready")]
            world.recorder.kept["classes"] = f"not Ready: {', '.join(not_ready) or 'none'}"
            world.recorder.kept["engines"] = _served_by(mutated(picture.pods), world.load.records)
        await world.patch("smodel", "llama-8b", {"engine": {"maxNumSeqs": None}})

    return disturb


def _served_by(pods: Sequence[Object], records: Sequence[RequestRecord]) -> str:
    """How many engines were changed, and which of them answered nothing."""
    serving = Counter((r.endpoint or "").rpartition(":")[0].strip("[]") for r in records if not r.is_lost)
    idle = [pod["metadata"]["name"] for pod in pods if not serving[pod["status"].get("podIP", "")]]
    return f"{len(pods)} changed, without an answer: {', '.join(idle) or 'none'}"


def _judge_webhook(outcome: Outcome) -> Iterable[Judgement]:
    yield verdicts.loses_at_most(outcome, 0)
    yield verdicts.kept_text(
        outcome, "classes", "not Ready: none", "all classes are Ready on the changed engines"
    )
    wanted = f"{len(outcome.first.uids())} changed, without an answer: none"
    yield verdicts.kept_text(outcome, "engines", wanted, "every changed engine answers requests")


# --- many, infeasible, edited classes -----------------------------------------------------------------


def _small(world: World, name: str, rate: float) -> dict[str, Any]:
    traffic = {"requestsPerSecond": rate, "lengths": {"archetype": "azure-conversation"}}
    return _copy(world, name, {"traffic": traffic, "priority": 100})


async def _small_classes(world: World) -> None:
    """First one class with the rate of all, to see what it takes."""
    await world.apply(_small(world, "one", SMALL * SMALL_RATE))
    picture = await world.wait(lambda p: len(p.classes) == 3 and p.is_whole(), "the large class", 90.0)
    world.recorder.kept["one"] = str(picture.num_planned())
    await world.kubectl("delete", "wclass", "one")
    await world.wait(lambda p: len(p.classes) == 2 and p.is_at_rest(), "its end", 90.0)
    world.recorder.strike()
    await world.apply(*(_small(world, f"small-{number}", SMALL_RATE) for number in range(SMALL)))
    await world.wait(lambda p: len(p.classes) == SMALL + 2, "the classes")
    await asyncio.sleep(10.0)


def _judge_b4(outcome: Outcome) -> Iterable[Judgement]:
    yield verdicts.loses_at_most(outcome, 0)
    yield verdicts.keeps_capacity(outcome, "batch")
    one, many = int(outcome.kept["one"]), outcome.last.num_planned()
    sentence = "50 classes of 0.1/s need no more replicas than one of 5/s"
    yield Judgement(sentence, many <= one, f"{many} in all, {one} with the one class")
    yield verdicts.never_says(outcome, "^False CapacityShort")


async def _infeasible_class(world: World) -> None:
    await world.apply(_copy(world, "hopeless", {"slo": {"ttft": {"p99Milliseconds": 1}}}))
    await asyncio.sleep(12.0)
    await world.kubectl("delete", "wclass", "hopeless")


def _judge_p15(outcome: Outcome) -> Iterable[Judgement]:
    yield verdicts.loses_at_most(outcome, 0)
    yield verdicts.says(outcome, "TTFT p99", "WorkloadClass hopeless")
    began, ended = outcome.first.uids(), outcome.last.uids()
    yield Judgement("the other classes' pods stay", began <= ended, f"{len(began - ended)} went")


async def _tighten(world: World) -> None:
    await world.patch("wclass", "chat", {"slo": {"ttft": {"p95Milliseconds": None, "p99Milliseconds": 1}}})
    await asyncio.sleep(30.0)
    picture = await world.wait(lambda _: True, "an answer")
    plan_usd = float((picture.applied().get("spec") or {}).get("costUsdPerHour", 0.0))
    fleet_usd = float((picture.fleets[0].get("status") or {}).get("costUsdPerHour", 0.0))
    same = "the same" if abs(plan_usd - fleet_usd) < 0.01 else "not as much"
    world.recorder.kept["cost"] = f"{same}: plan ${plan_usd:.2f}, Fleet ${fleet_usd:.2f} per hour"
    bounds = {"p95Milliseconds": 2000, "p99Milliseconds": None}
    await world.patch("wclass", "chat", {"slo": {"ttft": bounds}})


def _judge_b15(outcome: Outcome) -> Iterable[Judgement]:
    yield verdicts.loses_at_most(outcome, 0)
    yield verdicts.keeps_pods(outcome)
    yield verdicts.says(outcome, "SloUnreachable|TTFT p99", "WorkloadClass chat")
    yield verdicts.kept_text(outcome, "cost", "the same", "plan and Fleet name the same cost")


async def _narrow_match(world: World) -> None:
    header = [{"name": "x-team", "value": "a"}]
    await world.patch("wclass", "chat", {"match": {"headers": header}})
    await asyncio.sleep(8.0)
    await world.patch("wclass", "chat", {"match": {"headers": None}})


def _judge_p10(outcome: Outcome) -> Iterable[Judgement]:
    other = [r for r in outcome.lost if r.status != 404 or r.class_name != "chat"]
    yield Judgement(
        "only chat's requests that match no more are refused, with 404", not other, f"{len(other)} others"
    )
    yield verdicts.keeps_pods(outcome)


async def _observe(world: World) -> None:
    await world.patch("fleet", "default", {"mode": "Observe"})
    await asyncio.sleep(2.0)
    await world.patch("wclass", "chat", {"minReplicas": 4})
    await asyncio.sleep(8.0)
    picture = await world.wait(lambda _: True, "an answer")
    world.recorder.kept["observed"] = f"{len(picture.pods_of('chat'))} chat replicas"
    world.recorder.strike()
    await world.patch("fleet", "default", {"mode": "Auto"})
    await world.wait(lambda p: len(p.pods_of("chat")) == 4, "the action of mode Auto", 10.0)


def _judge_p16(outcome: Outcome) -> Iterable[Judgement]:
    yield verdicts.loses_at_most(outcome, 0)
    yield verdicts.kept_text(outcome, "observed", "3 chat", "nothing changes in mode Observe")


# --- prices and load ----------------------------------------------------------------------------------


async def _flip_price(world: World) -> None:
    for flip in range(FLIPS):
        await world.patch("gpupool", "h100", {"priceUsdPerHour": 0.5 if flip % 2 == 0 else 6.0})
        await asyncio.sleep(FLIP_S)


def _judge_b5(outcome: Outcome) -> Iterable[Judgement]:
    yield verdicts.loses_at_most(outcome, 0)
    yield verdicts.revises_at_most(outcome, int(FLIPS * FLIP_S / STABILIZATION_S))
    yield verdicts.starts_nothing_for_nothing(outcome)


def _load_steps(*steps: tuple[float, float]) -> Callable[[World], Any]:
    """Rates of chat (requests/s), each for so many seconds, with the observed rate planned for."""

    async def disturb(world: World) -> None:
        for rate, seconds in steps:
            world.load.rates["chat"] = rate
            await asyncio.sleep(seconds)

    return disturb


async def _observed_traffic(world: World) -> None:
    await world.patch("wclass", "chat", {"traffic": {"source": "Observed"}})


def _judge_p13(outcome: Outcome) -> Iterable[Judgement]:
    yield verdicts.loses_at_most(outcome, 0)
    yield verdicts.revises_at_most(outcome, 5)


async def _long_answer(world: World) -> None:
    await world.patch("smodel", "llama-8b", {"engine": {"drainSeconds": DRAIN_S}})
    await asyncio.sleep(2.0)
    await world.wait(Picture.is_whole, "the shorter drain", 90.0)


async def _cut_stream(world: World) -> None:
    target = ReplayTarget(world.stage.gateway_url)
    requests = [long_request(LONG_ANSWER_TOKENS)]
    stream = asyncio.create_task(replay(requests, target, world.load, time.time()))
    await asyncio.sleep(2.0)
    await world.patch("smodel", "llama-8b", {"engine": {"maxNumSeqs": 100}})
    await stream


def _judge_b7(outcome: Outcome) -> Iterable[Judgement]:
    others = [r for r in outcome.lost if r.end_s - (r.sent_s or r.arrival_s) < DRAIN_S]
    yield Judgement(
        "only streams that lasted longer than the drain are cut", not others, f"{len(others)} others"
    )
    yield verdicts.tells(outcome, f"StreamsCut.*after {DRAIN_S} s")


CASES = (
    Case(
        "B3",
        "a webhook renames the engine's container",
        Before(None, None, "never", None),
        _with_webhook(Mutation.RENAME),
        _judge_webhook,
        bound_s=120.0,
    ),
    Case(
        "P17",
        "a webhook puts a sidecar before the engine",
        Before(None, None, "-", None),
        _with_webhook(Mutation.SIDECAR),
        _judge_webhook,
        bound_s=120.0,
    ),
    Case(
        "B4",
        "50 small classes of one model",
        Before(15, 16, "never", None),
        _small_classes,
        _judge_b4,
        bound_s=120.0,
    ),
    Case("P15", "an infeasible class is added", Before(None, None, "-", None), _infeasible_class, _judge_p15),
    Case("B15", "chat's SLO tightened to p99 TTFT 1 ms", Before(0, 318, "-", None), _tighten, _judge_b15),
    Case(
        "P10",
        "match narrowed and broadened while traffic flows",
        Before(37, None, "0 s", None),
        _narrow_match,
        _judge_p10,
        in_tests=True,
    ),
    Case(
        "P16",
        "mode Observe while a class is edited, then Auto",
        Before(0, None, "1 s", None),
        _observe,
        _judge_p16,
    ),
    Case("B5", "price of a pool flips every 5 s for 60 s", Before(0, None, "-", 12), _flip_price, _judge_b5),
    Case(
        "P13",
        "load doubles for 5 s every 20 s",
        Before(0, 789, "-", 5),
        _load_steps((10, 5), (5, 15), (10, 5), (5, 15), (10, 5), (5, 15)),
        _judge_p13,
        prepare=_observed_traffic,
    ),
    Case(
        "P14",
        "rates alternate every 15 s",
        Before(0, 1152, "-", 5),
        _load_steps((3, 15), (9, 15), (3, 15), (9, 15)),
        _judge_p13,
        prepare=_observed_traffic,
    ),
    Case(
        "B7",
        "a stream that is longer than the drain, on a replica that goes",
        Before(1, None, "301 s", None),
        _cut_stream,
        _judge_b7,
        prepare=_long_answer,
        bound_s=90.0,
    ),
)
