"""What a class says of the promises made to its requests: those refused in a burst, and an SLO out of reach."""

from __future__ import annotations

import asyncio
import time

import aiohttp
from background_load import Answer, exchange
from operator_stage import OperatorStage, Say, condition, names, until, until_equal

BURST = 80
SCHOLAR = {"model": "llama-70b", "headers": {}}


def burst(stage: OperatorStage, requests: int) -> list[Answer]:
    """So many requests of class scholar at the same moment."""

    async def all_of_them() -> list[Answer]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            asks = (exchange(session, stage.ask(**SCHOLAR)) for _ in range(requests))
            return await asyncio.gather(*asks)

    return asyncio.run(all_of_them())


def test_requests_refused_in_a_burst_are_counted_as_their_clients_count_them_and_ready_says_so(
    stage: OperatorStage, say: Say
) -> None:
    (former,) = names(stage.pods("scholar"))
    stage.patch("smodel", "llama-70b", engine={"maxNumSeqs": 2})
    try:
        until(lambda: former not in names(stage.items("/api/v1/namespaces/default/pods")), "the small engine")
        until_equal("Ready", lambda: ready(stage, "scholar")["reason"], "the class to be Ready")
        print([(d["name"], d.get("requestLimit")) for d in stage.applied()["spec"]["deployments"]])
        name = stage.leader.name
        stage.leader.kill()
        stage.end_operator(name)
        stage.start_operator(name)
        until(lambda: counts(stage, "requests"), "requests to be counted")
        t0 = time.time()
        answers = burst(stage, BURST)
        print(time.time() - t0, sum(a.status == 429 for a in answers), {a.error[:60] for a in answers})
        until_equal("SloMissed", lambda: ready(stage, "scholar")["reason"], "the class to say so")
        print(time.time() - t0, ready(stage, "scholar"), stage.class_of("scholar")["status"]["observed"])
        print([l for l in stage.leader.metrics() if l.startswith("argosy_class") and "scholar" in l])
    finally:
        stage.patch("smodel", "llama-70b", engine=None)


def test_an_slo_tightened_out_of_reach_takes_nothing_from_the_class_and_is_said(stage: OperatorStage) -> None:
    before = names(stage.pods("chat"))
    with stage.load() as load:
        stage.patch("wclass", "chat", slo={"ttft": {"p95Milliseconds": None, "p99Milliseconds": 1}})
        until_equal("SloUnreachable", lambda: ready(stage, "chat")["reason"], "the class to say so")
        d = stage.leader.num_decisions()
        until(lambda: stage.leader.num_decisions() >= d + 1, "another")
    print(
        ready(stage, "chat"),
        stage.class_of("chat")["status"],
        stage.applied()["spec"],
        stage.read("/apis/argosy.dev/v1alpha1/fleets/default")["status"],
    )
    assert load.lost == ()
    assert names(stage.pods("chat")) == before


def ready(stage: OperatorStage, name: str) -> dict[str, str]:
    return condition(stage.class_of(name), "Ready")


def counts(stage: OperatorStage, what: str) -> bool:
    return any(
        l.startswith(f'argosy_class_{what}_per_second{{workload_class="default/scholar"}}')
        for l in stage.leader.metrics()
    )
