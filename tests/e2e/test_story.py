"""The whole loop on real components, shortened: a first plan, a burst, a node's death, and the end.

The demo's own stage, watcher and judgement, with loading in 3 s instead of 18 and short answers. The
planner assumes the Azure conversation's lengths (about 3.5 requests/s to an L40S), so that a few
requests/s fill several replicas; those that are sent are shorter, so that a busy machine keeps up.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from argosy.client.open_loop import RecordFile, ReplayTarget, replay
from argosy.client.planned import CHAT_PATH, PlannedRequest
from argosy_sim.controlplane.host.processes import Identity, is_running
from argosy_sim.demo.collect import RunFacts, collect
from argosy_sim.demo.evidence import Evidence, StaticPeak
from argosy_sim.demo.judgement.judge import Judgement, judge
from argosy_sim.demo.run import node_to_kill
from argosy_sim.demo.story import Act, Shock, Story, default_story
from argosy_sim.demo.watch import Watcher
from argosy_sim.livefleet.control import kill_node
from argosy_sim.livefleet.spec import LiveFleetSpec, NodeGroup
from argosy_sim.measures.cost import PriceStep
from argosy_sim.stage import Stage, StagePlan, on_stage

REPOSITORY = Path(__file__).parents[2]
LOAD_S = 3.0
ACTS = (
    Act("steady", 0.0, 8.0, {"chat": 3.0, "batch": 0.5}),
    Act("burst", 8.0, 30.0, {"chat": 8.0, "batch": 0.5}, Shock.BURST),
    Act("node dies", 30.0, 52.0, {"chat": 8.0, "batch": 0.5}, Shock.NODE_DEATH),
)
TOKENS = {"chat": (300, 40), "batch": (4000, 60)}
FLEET = LiveFleetSpec(
    nodes=(NodeGroup(name="l40s", gpu_product="NVIDIA-L40S", gpus=2, count=6),), load_seconds=LOAD_S
)
FIRST_PLAN_S = 120.0


def story() -> Story:
    """The demo's classes in shorter acts."""
    default = default_story()
    return Story(acts=ACTS, classes=default.classes, price_change=default.price_change)


def requests() -> Iterator[PlannedRequest]:
    """Evenly spaced within each act."""
    for each in story().classes:
        for act in ACTS:
            rate_per_s = act.rate_per_s[each.name]
            for number in range(round(rate_per_s * (act.end_s - act.start_s))):
                yield PlannedRequest(
                    f"{each.name}-{act.name}-{number}",
                    each.name,
                    act.start_s + number / rate_per_s,
                    *TOKENS[each.name],
                    CHAT_PATH,
                    each.headers,
                    each.model,
                )


def write_examples(directory: Path) -> Path:
    """The small examples for our rates, without the pool that the story does not need."""
    directory.mkdir(parents=True)
    for file in sorted((REPOSITORY / "examples" / "small").glob("*.yaml")):
        items = [item for item in yaml.safe_load_all(file.read_text()) if item["metadata"]["name"] != "h100"]
        for item in items:
            if item["kind"] == "WorkloadClass":
                rate_per_s = ACTS[0].rate_per_s[item["metadata"]["name"]]
                item["spec"]["traffic"]["requestsPerSecond"] = rate_per_s
        (directory / file.name).write_text(yaml.safe_dump_all(items))
    return directory


async def tell(directory: Path, left: list[str]) -> Evidence:
    """Run the story; what still runs or listens after its end is added to `left`."""
    plan = StagePlan(directory, REPOSITORY, examples=str(write_examples(directory / "examples")), fleet=FLEET)
    records = directory / "requests.jsonl"
    async with on_stage(plan, lambda line: None) as stage:
        watcher = Watcher(stage)
        await watcher.start()
        try:
            await first_plan_ready(watcher)
            origin_s = time.time() + 1.0
            with RecordFile(records) as sink:
                target = ReplayTarget(stage.gateway_url, drain_timeout_s=60.0)
                replaying = asyncio.create_task(replay(tuple(requests()), target, sink, origin_s))
                dead_node = await end_a_node(stage, origin_s)
                await replaying
        finally:
            await watcher.stop()
        identities, ports = processes_of(stage), ports_of(stage)
    left += [name for name, identity in identities.items() if is_running(identity)]
    left += [f"{host}:{port}" for host, port in ports if listens(host, port)]
    facts = RunFacts(
        story=story(),
        origin_s=origin_s,
        records=records,
        events=stage.fleet_dir / "events.jsonl",
        prices=(PriceStep("l40s", float("-inf"), 0.9),),
        static_peak=StaticPeak({}, "not compared"),
        load_delay_s=LOAD_S,
        trace="evenly spaced",
        dead_node=dead_node,
        left_running=tuple(left),
    )
    return collect(facts, watcher.observed)


async def first_plan_ready(watcher: Watcher) -> None:
    """Until Envoy counts every replica of the first plan healthy."""
    async with asyncio.timeout(FIRST_PLAN_S):
        while True:
            revision = watcher.observed.applied_revision()
            if revision and 0 < watcher.observed.plan_counts()[revision] <= len(watcher.observed.healthy_s):
                return
            await asyncio.sleep(0.1)


async def end_a_node(stage: Stage, origin_s: float) -> str:
    """Let a node with a chat replica fall silent when its act begins; returns its name."""
    (at_s,) = (act.start_s for act in ACTS if act.shock is Shock.NODE_DEATH)
    await asyncio.sleep(origin_s + at_s - time.time())
    node = await asyncio.to_thread(node_to_kill, stage)
    assert node is not None
    await asyncio.to_thread(kill_node, stage.fleet_dir, node)
    return node


def processes_of(stage: Stage) -> dict[str, Identity]:
    named = {name: process.identity for name, process in stage.processes.items()}
    named["envoy"] = stage.envoy.process.identity
    return named | {p.name: p.identity for p in stage.control_plane.state.processes}


def ports_of(stage: Stage) -> list[tuple[str, int]]:
    ports = stage.control_plane.state.ports
    return [
        stage.gateway,
        *stage.envoy.settings.ads_addresses,
        ("127.0.0.1", stage.envoy.prepared.admin_port),
        *(("127.0.0.1", port) for port in (ports.api_server, ports.etcd_client, ports.etcd_peer)),
    ]


def listens(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def figures(judgement: Judgement, evidence: Evidence) -> str:
    counts = judgement.counts
    routable = [new.routable.seconds for new in judgement.new_replicas if new.routable.happened]
    return json.dumps(
        {
            "offered": counts.offered,
            "lost": counts.lost,
            "lost_in_flight": counts.lost_in_flight,
            "retried": counts.retried,
            "decided_within_s": {d.shock.value: d.decided_within_s for d in judgement.decisions},
            "routable_within_s": max(routable, default=None),
            "memory_mib": {name: num >> 20 for name, num in sorted(evidence.memory_bytes.items())},
        }
    )


def chat_replicas(evidence: Evidence, until_s: float) -> int:
    """Chat replicas of the last plan before a moment of the story."""
    plan = [plan for plan in evidence.plans if plan.at_s < until_s][-1]
    return sum(plan.replicas[variant] for variant in plan.shares["chat"])


@pytest.mark.e2e
async def test_the_story_loses_no_request_and_leaves_nothing_behind(
    tmp_path: Path, pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    left: list[str] = []
    evidence = await tell(tmp_path / "story", left)
    judgement = judge(evidence)
    reporter = pytestconfig.pluginmanager.get_plugin("terminalreporter")
    assert reporter is not None
    with capsys.disabled():
        reporter.write_line(f"\n  the story: {figures(judgement, evidence)}")

    counts = judgement.counts
    assert (counts.lost, counts.offered) == (0, len(list(requests())))
    assert {decision.shock for decision in judgement.decisions if decision.decided_within_s is not None} == {
        Shock.BURST,
        Shock.NODE_DEATH,
    }
    steady, burst, _ = ACTS
    assert chat_replicas(evidence, burst.end_s) > chat_replicas(evidence, steady.end_s)
    replacements = [r for r in evidence.replicas if r.bound_s > burst.end_s and r.ready_s is not None]
    assert replacements
    assert evidence.dead_node not in {replica.node for replica in replacements}
    kept = {promise.name: promise.kept for promise in judgement.promises}
    assert (kept["lost"], kept["checked"], kept["clean_exit"]) == (True, True, True)
    assert left == []
