"""What a class says of its promises: requests that a burst has refused, and an SLO that is out of reach."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from background_load import Answer, exchange
from operator_stage import Object, OperatorStage, Say, condition, names, until, until_equal

BURST = 80
SCHOLAR = "default/scholar"
REQUEST = {"model": "llama-70b", "headers": {}}
SAID_WITHIN_S = 10.0


def burst(stage: OperatorStage) -> list[Answer]:
    """So many requests of class scholar at the same moment."""

    async def all_of_them() -> list[Answer]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            asks = (exchange(session, stage.ask(**REQUEST)) for _ in range(BURST))
            return await asyncio.gather(*asks)

    return asyncio.run(all_of_them())


def restarted(stage: OperatorStage) -> None:
    """So that it remembers no requests of other tests."""
    name = stage.leader.name
    stage.leader.kill()
    stage.end_operator(name)
    stage.start_operator(name)
    shown = f'argosy_class_requests_per_second{{workload_class="{SCHOLAR}"}} 0.0'
    until(lambda: shown in stage.leader.metrics(), "requests to be counted")


def test_requests_that_a_burst_has_refused_are_counted_as_clients_count_them_and_ready_says_so(
    stage: OperatorStage, say: Say
) -> None:
    (former,) = names(stage.pods("scholar"))
    stage.patch("smodel", "llama-70b", engine={"maxNumSeqs": 2})
    try:
        until(lambda: former not in names(stage.items(PODS)), "two requests at a time to be taken")
        until_equal("Ready", lambda: ready(stage, "scholar")["reason"], "the class to be Ready")
        restarted(stage)

        answers = burst(stage)
        ended_s = max(answer.end_s for answer in answers if answer.status == 429)
        assert {answer.status for answer in answers} == {200, 429}
        refused = sum(answer.status == 429 for answer in answers)

        until(lambda: ready(stage, "scholar")["reason"] == "SloMissed", "it to be said", SAID_WITHIN_S)
        say(f"{refused} of {BURST} were refused within {ended_s - answers[0].sent_s:.1f} s")
        stage.patch("fleet", "default", intervals={"mediumSeconds": 5})  # the figures follow with each look
        words = f"({refused / BURST:.0%} were refused with 429)"
        until(lambda: words in ready(stage, "scholar")["message"], "all of them to be counted")
        observed = stage.class_of("scholar")["status"]["observed"]
    finally:
        stage.patch("smodel", "llama-70b", engine=None)

    shares = observed["refusedPerSecond"] / observed["requestsPerSecond"]
    assert shares == pytest.approx(refused / BURST, rel=0.1), "both have two digits"
    assert observed["errorsPerSecond"] == 0
    assert shown(stage) == {
        "requests_per_second": observed["requestsPerSecond"],
        "refused_per_second": observed["refusedPerSecond"],
        "errors_per_second": 0,
        "attainment_ratio": observed["attainment"],
    }


def shown(stage: OperatorStage) -> dict[str, float]:
    """The same figures of the class in the operator's metrics."""
    names = ("requests_per_second", "refused_per_second", "errors_per_second", "attainment_ratio")
    labels = f'{{workload_class="{SCHOLAR}"}}'
    return {name: stage.leader.metric(f"argosy_class_{name}{labels}") for name in names}


def test_an_slo_out_of_reach_is_said_and_takes_no_replica_and_no_request_from_the_class(
    stage: OperatorStage,
) -> None:
    before = names(stage.pods("chat"))
    try:
        with stage.load() as load:
            stage.patch("wclass", "chat", slo={"ttft": {"p95Milliseconds": None, "p99Milliseconds": 1}})
            until(lambda: ready(stage, "chat")["reason"] == "SloUnreachable", "it to be said", SAID_WITHIN_S)
            decisions, seen = stage.leader.num_decisions(), len(load.answers)
            stage.patch("wclass", "scholar", minReplicas=2)
            until(lambda: len(stage.ready_pods("scholar")) == 2, "a later plan to be carried out")
            assert stage.leader.num_decisions() > decisions
            until(lambda: len(load.answers) >= seen + 20, "more answers")
            told = stage.class_of("chat")
    finally:
        stage.patch("wclass", "chat", slo={"ttft": {"p95Milliseconds": 2000, "p99Milliseconds": None}})
    assert load.lost == ()
    assert names(stage.pods("chat")) == before
    assert told["status"]["replicasReady"] == 2
    message = condition(told, "Ready")["message"]
    assert message.startswith("spec.slo: no allowed variant keeps TTFT p99 of 1 ms even for a single request")
    assert message.endswith(" Until then it keeps the 2 replicas that it has, and they serve.")
    assert condition(told, "Programmed")["status"] == "True"


PODS = "/api/v1/namespaces/default/pods"


def ready(stage: OperatorStage, name: str) -> Object:
    return condition(stage.class_of(name), "Ready")
