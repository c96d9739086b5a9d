"""Plans and definitions that go: deleted FleetPlans, deleted CRDs, a kind whose watch came late."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from argosy_sim.faults import verdicts
from argosy_sim.faults.case import Before, Case
from argosy_sim.faults.outcome import Judgement, Outcome
from argosy_sim.faults.picture import Picture, is_true
from argosy_sim.faults.world import World

LATE_EDIT_REPLICAS = 4


async def _delete_plans(world: World) -> None:
    await world.kubectl("delete", "fplan", "--all", "--wait=false")


async def _delete_plans_then_change(world: World) -> None:
    await _delete_plans(world)
    await asyncio.sleep(2.0)
    await world.patch("smodel", "llama-8b", {"engine": {"maxNumSeqs": 100}})
    await asyncio.sleep(1.0)


def _judge_b1(outcome: Outcome) -> Iterable[Judgement]:
    yield verdicts.loses_at_most(outcome, 0)
    yield verdicts.numbers_go_on(outcome)
    yield verdicts.never_says(outcome, "^False EnvoyPending.*000", "Fleet")


def _judge_b14(outcome: Outcome) -> Iterable[Judgement]:
    yield verdicts.loses_at_most(outcome, 0)
    yield verdicts.keeps_pods(outcome)
    yield verdicts.numbers_go_on(outcome)
    yield verdicts.never_says(outcome, "NoPlan")
    late = [picture for picture in outcome.pictures if picture.at_s > outcome.first.at_s + 6.0]
    gone = [picture for picture in late if not picture.applied()]
    yield Judgement("6 s later a FleetPlan is applied, and stays so", not gone, f"none in {len(gone)} looks")


def _crds(world: World) -> str:
    return str(world.stage.plan.repository / "crds")


async def _definitions_go(world: World) -> None:
    await world.kubectl("delete", "-f", _crds(world))
    await asyncio.sleep(5.0)
    world.recorder.kept["running"] = await world.readyz()
    await world.kill_operator()
    await world.start_operator(is_ready=False)
    await asyncio.sleep(6.0)
    world.recorder.kept["started"] = await world.readyz()
    await world.kubectl("apply", "--server-side", "-f", _crds(world))
    await asyncio.sleep(2.0)
    await world.apply(*world.objects())


def _judge_b17(outcome: Outcome) -> Iterable[Judgement]:
    yield verdicts.loses_at_most(outcome, 0)
    yield verdicts.keeps_pods(outcome)
    yield verdicts.always_planned(outcome)
    for moment in ("running", "started"):
        sentence = f"readyz of the {moment} operator names the remedy"
        yield verdicts.kept_text(outcome, moment, "kubectl apply --server-side -f crds/", sentence)


async def _late_kind(world: World) -> None:
    await world.kubectl("delete", "crd", "workloadclasses.argosy.dev")
    await asyncio.sleep(5.0)
    await world.kubectl("apply", "--server-side", "-f", _crds(world))
    await asyncio.sleep(1.0)
    await world.apply(*world.objects())
    await world.wait(Picture.is_whole, "the classes' return")
    world.recorder.strike()
    await world.patch("wclass", "chat", {"minReplicas": LATE_EDIT_REPLICAS})


def _judge_b24(outcome: Outcome) -> Iterable[Judgement]:
    yield verdicts.loses_at_most(outcome, 0)
    # The pods follow the edit: the first look that has another one shows when it was noticed.
    noticed = [p.at_s for p in outcome.pictures if len(p.pods_of("chat")) >= LATE_EDIT_REPLICAS]
    took_s = noticed[0] - outcome.first.at_s if noticed else float("inf")
    yield Judgement(
        "an edit of the kind that came late is noticed within 5 s", took_s <= 5.0, f"{took_s:.1f} s"
    )


def is_applied(picture: Picture) -> bool:
    """A plan is applied, and the Fleet is programmed with it."""
    return bool(picture.applied()) and all(is_true(fleet, "Programmed") for fleet in picture.fleets)


CASES = (
    Case(
        "B1",
        "all FleetPlans deleted, then the engine changed",
        Before(None, None, "never", None),
        _delete_plans_then_change,
        _judge_b1,
        bound_s=90.0,
    ),
    Case(
        "B14",
        "all FleetPlans deleted, nothing else",
        Before(None, None, "22 s", None),
        _delete_plans,
        _judge_b14,
        recovered=is_applied,
    ),
    Case(
        "B17",
        "CRDs deleted, operator started without them, all applied again",
        Before(384, 427, "never", None),
        _definitions_go,
        _judge_b17,
    ),
    Case(
        "B24",
        "one CRD deleted and applied again, then a class edited",
        Before(None, None, "21.6-29.5 s", None),
        _late_kind,
        _judge_b24,
    ),
)
