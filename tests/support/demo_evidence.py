"""Evidence of a made-up run: the demo's default story, drawn from a seed.

Every promise is kept as it stands; a test breaks one with `dataclasses.replace` and the functions
below. Latencies are drawn, not simulated: only the judgement and the report are under test.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache

from argosy.client.records import Outcome, RequestRecord
from argosy_sim.demo.evidence import (
    Evidence,
    PlanSeen,
    ReplicaSeen,
    ShareSample,
    StaticPeak,
)
from argosy_sim.demo.story import default_story
from argosy_sim.measures.cost import PriceStep

L40S = "llama-8b-l40s-tp1-3fa91"
H100 = "llama-8b-h100-tp1-b07c2"
LOAD_DELAY_S = 18.0
DEAD_NODE = "l40s-3"
INFINITY = float("inf")


def replica(pod: str, node: str, bound_s: float, **life: float | None) -> ReplicaSeen:
    """One GPU on `node`; Ready one load delay after `bound_s` and healthy 0.3 s later by default."""
    pool = node.split("-")[0]
    ready_s = life.pop("ready_s", bound_s + LOAD_DELAY_S)
    healthy_s = life.pop("healthy_s", None if ready_s is None else ready_s + 0.3)
    return ReplicaSeen(
        pod=pod,
        variant=L40S if pool == "l40s" else H100,
        class_name=pod.split("-")[0],
        pool=pool,
        node=node,
        address=f"127.1.0.{sum(map(ord, pod)) % 199 + 1}",
        gpus=1,
        bound_s=bound_s,
        ready_s=ready_s,
        healthy_s=healthy_s,
        **life,
    )


REPLICAS = (
    replica("chat-l40s-a", "l40s-1", -22.0, unhealthy_s=205.0, gone_s=215.0),
    replica("chat-l40s-b", "l40s-2", -22.0, unhealthy_s=205.2, gone_s=213.0),
    replica("chat-l40s-c", "l40s-3", -21.8, unhealthy_s=122.4, silent_s=120.1),
    replica("batch-l40s-a", "l40s-4", -21.7),
    replica("chat-l40s-d", "l40s-5", 67.1, unhealthy_s=141.0, gone_s=149.0),
    replica("chat-l40s-e", "l40s-6", 67.1, unhealthy_s=205.1, gone_s=214.0),
    replica("chat-h100-a", "h100-1", 184.0),
)


def _shares(variant: str) -> dict[str, dict[str, float]]:
    return {"chat": {variant: 1.0}, "batch": {L40S: 1.0}}


PLANS = (
    PlanSeen(
        1, -24.0, "the first plan", 3.60, {L40S: 4}, _shares(L40S),
        ("chat: 8.0 requests/s need 2.6 replicas of l40s at headroom 0.9; three are the least",
         "batch: one l40s carries 0.5 requests/s, the rate is 0.3",
         "h100 instead of l40s would cost $8.40/h more",
         "one more l40s would change nothing"), True, True),
    PlanSeen(
        2, 66.8, "chat: the rate left its forecast band for 6 s", 5.40, {L40S: 6}, _shares(L40S),
        ("chat: 16.1 requests/s need 4.7 replicas of l40s",), True, True),
    PlanSeen(
        3, 121.4, "endpoint 127.1.0.9 fell silent", 4.50, {L40S: 5}, _shares(L40S),
        ("node l40s-3 is silent: its capacity counts as lost",), True, True),
    PlanSeen(
        4, 140.0, "the planning interval has passed", 3.60, {L40S: 4}, _shares(L40S),
        ("chat: the rate is 8.0 requests/s again",), True, True),
    PlanSeen(
        5, 183.2, "the price of pool h100 changed", 2.90, {L40S: 1, H100: 1}, _shares(H100),
        ("chat: one h100 at $2.00 costs less than three l40s at $0.90",), True, True),
)  # fmt: skip


@cache
def good_evidence(seed: int = 1) -> Evidence:
    """A run that kept every promise."""
    requests = _requests(random.Random(seed))
    return Evidence(
        story=default_story(),
        requests=requests,
        plans=PLANS,
        replicas=REPLICAS,
        prices=(
            PriceStep("l40s", -INFINITY, 0.90),
            PriceStep("h100", -INFINITY, 6.00),
            PriceStep("h100", 180.2, 2.00),
        ),
        shares=_share_samples(requests),
        static_peak=StaticPeak({"l40s": 6}, "6 × llama-8b-l40s-tp1 (5 chat, 1 batch) at $5.40/h"),
        load_delay_s=LOAD_DELAY_S,
        trace="azure-conversation",
        dead_node=DEAD_NODE,
        left_running=(),
        memory_bytes={"operator": 180 * 2**20, "fleet": 150 * 2**20, "envoy": 60 * 2**20},
    )


def answered(request_id: str, arrival_s: float, **changes: object) -> RequestRecord:
    """A complete answer: TTFT 300 ms, ITL 40 ms, 51 tokens."""
    record = RequestRecord(
        id=request_id,
        class_name=request_id.split("-")[0],
        outcome=Outcome.COMPLETED,
        arrival_s=arrival_s,
        prompt_tokens=900,
        expected_tokens=51,
        end_s=arrival_s + 2.301,
        sent_s=arrival_s + 0.001,
        header_s=arrival_s + 0.29,
        first_token_s=arrival_s + 0.301,
        last_token_s=arrival_s + 2.301,
        num_tokens=51,
        status=200,
        attempts=1,
    )
    return replace(record, **changes)  # type: ignore[arg-type]


def slow(record: RequestRecord, ttft_ms: float = 60_000.0) -> RequestRecord:
    """The same answer with another time to its first token."""
    assert record.sent_s is not None
    first_token_s = record.sent_s + ttft_ms / 1000
    return replace(
        record, first_token_s=first_token_s, last_token_s=first_token_s + 2, end_s=first_token_s + 2
    )


def broken(record: RequestRecord, end_s: float | None = None) -> RequestRecord:
    """The same request, its stream cut after the header."""
    return replace(
        record,
        outcome=Outcome.BROKEN,
        end_s=record.end_s if end_s is None else end_s,
        last_token_s=None,
        num_tokens=3,
        error="the stream ended before its end",
    )


def edited(evidence: Evidence, edit: Callable[[RequestRecord], RequestRecord]) -> Evidence:
    """The same run with every record passed through `edit`."""
    return replace(evidence, requests=tuple(map(edit, evidence.requests)))


def _requests(rng: random.Random) -> tuple[RequestRecord, ...]:
    records: list[RequestRecord] = []
    for act in default_story().acts:
        for name, rate_per_s in sorted(act.rate_per_s.items()):
            arrival_s = act.start_s + rng.expovariate(rate_per_s)
            while arrival_s < act.end_s:
                records.append(_request(rng, f"{name}-{len(records):06d}", arrival_s))
                arrival_s += rng.expovariate(rate_per_s)
    return tuple(sorted(records, key=lambda record: record.arrival_s))


def _request(rng: random.Random, request_id: str, arrival_s: float) -> RequestRecord:
    is_chat = request_id.startswith("chat")
    stress = 1.0 + 3.0 * max(0.0, 1 - abs(arrival_s - 75) / 15)  # until the burst's replicas are there
    ttft_s = rng.lognormvariate(-1.6, 0.35) * stress if is_chat else rng.lognormvariate(0.6, 0.4)
    itl_s = rng.gauss(0.038, 0.004) * (1 + 0.25 * (stress - 1))
    num_tokens = rng.randint(10, 120) if is_chat else rng.randint(100, 400)
    first_s = arrival_s + 0.001 + ttft_s
    last_s = first_s + itl_s * (num_tokens - 1)
    serving = _serving(rng, "chat" if is_chat else "batch", arrival_s)
    record = answered(
        request_id,
        arrival_s,
        prompt_tokens=900 if is_chat else 6000,
        expected_tokens=num_tokens,
        num_tokens=num_tokens,
        header_s=first_s - 0.01,
        first_token_s=first_s,
        last_token_s=last_s,
        end_s=last_s + 0.001,
        endpoint=f"{serving.address}:8000",
        max_gap_s=2 * itl_s,
    )
    return _after_the_death(record, serving)


def _serving(rng: random.Random, class_name: str, at_s: float) -> ReplicaSeen:
    return rng.choice(
        [
            r
            for r in REPLICAS
            if r.class_name == class_name
            and r.healthy_s is not None
            and r.healthy_s <= at_s < (r.unhealthy_s if r.unhealthy_s is not None else INFINITY)
        ]
    )


def _after_the_death(record: RequestRecord, serving: ReplicaSeen) -> RequestRecord:
    """What the dead node had: cut where the header was out, else answered elsewhere."""
    if serving.silent_s is None or record.end_s <= serving.silent_s:
        return record
    assert record.header_s is not None
    if record.header_s < serving.silent_s:
        return broken(record, end_s=serving.silent_s + 15)
    elsewhere = replace(slow(record, ttft_ms=3000), attempts=2, endpoint=f"{REPLICAS[0].address}:8000")
    return replace(elsewhere, header_s=(elsewhere.first_token_s or 0) - 0.01)


def _share_samples(requests: tuple[RequestRecord, ...]) -> tuple[ShareSample, ...]:
    variant_by_endpoint = {f"{r.address}:8000": r.variant for r in REPLICAS}
    sent: list[dict[str, dict[str, int]]] = [{"chat": {}, "batch": {}} for _ in range(120)]
    for record in requests:
        assert record.endpoint is not None
        variant = variant_by_endpoint[record.endpoint]
        of_class = sent[int(record.arrival_s // 2)][record.class_name]
        of_class[variant] = of_class.get(variant, 0) + 1
    return tuple(ShareSample(2.0 * number, by_class) for number, by_class in enumerate(sent, start=1))
