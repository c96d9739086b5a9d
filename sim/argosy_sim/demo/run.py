"""The demo: starts every component, runs the story's acts, and reports the result.

Owns the order of events. Observing is `watch` and the replayer, judging `judgement`.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from argosy.api.conditions import Reason
from argosy.errors import SpecError
from argosy.files.capacities import read_capacities
from argosy.perf.catalogue import find_model
from argosy.perf.footprint.memory import load_delay_s
from argosy.perf.footprint.weights import weight_bytes
from argosy.perf.protocol import OutOfRange
from argosy.snapshot.cluster import LABEL_MANAGED_BY, MANAGED_BY
from argosy_sim.attached_stage import OthersCluster, on_attached_stage, pool_patches
from argosy_sim.controlplane.errors import StartError
from argosy_sim.controlplane.host.processes import Identity, is_running
from argosy_sim.demo.collect import RunFacts, collect
from argosy_sim.demo.drive import TRACED_CLASS, LoadChoice, read_trace
from argosy_sim.demo.evidence import Evidence, StaticPeak
from argosy_sim.demo.judgement.judge import judge
from argosy_sim.demo.lengths import lengths_table
from argosy_sim.demo.peak import fleet_nodes, static_peak
from argosy_sim.demo.pods.cluster import PodsCluster
from argosy_sim.demo.pods.run import PodsRun, tell
from argosy_sim.demo.pods.story import pods_story
from argosy_sim.demo.pods.survey import is_installed, survey
from argosy_sim.demo.pods.watch import kubectl_command
from argosy_sim.demo.presentation import page, summary, terminal
from argosy_sim.demo.spare_node import NO_NODE_TO_SPARE, spare_node
from argosy_sim.demo.story import Shock, Story, default_story
from argosy_sim.demo.watch import Watcher
from argosy_sim.livefleet.control import kill_node
from argosy_sim.measures.cost import PriceStep
from argosy_sim.stage import Patch, Stage, StagePlan, on_stage

FIRST_PLAN_TIMEOUT_S = 180.0
LEAD_S = 3.0
"""Between the first plan's readiness and act 1: time for the replayer to start and make its prompts."""
DRAIN_TIMEOUT_S = 150.0


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """Where the demo reads and writes its files, and which load it uses."""

    repository: Path
    output: Path
    choice: LoadChoice
    trace_name: str
    declares_trace: bool = False
    """True: the traced class declares the trace's lengths; False: its archetype's."""
    kubeconfig: Path | None = None
    """Of a cluster: with Argosy its pods are used, else nodes are attached; None: an embedded one."""
    simulator_image: str | None = None
    """On a cluster with Argosy, what engines and load run; None: the one on its nodes."""


@dataclass
class _Changes:
    """What the run changed in the cluster, and when act 1 began (Unix seconds)."""

    origin_s: float
    prices: list[PriceStep]
    dead_node: str | None = None


def run_demo(settings: DemoSettings, console: Console) -> bool:
    """Run the whole demo; True if every promise was kept and every shock decided on in time."""
    began_s = time.monotonic()

    def say(line: str) -> None:
        console.print(f"[dim]{time.monotonic() - began_s:6.1f} s[/dim]  {line}", highlight=False)

    read_trace(settings.choice)  # a broken trace is refused before anything is started
    evidence = asyncio.run(_with_signals(_run(settings, say)))
    judgement = judge(evidence)
    settings.output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(summary.report(judgement, evidence.not_judged), indent=2, allow_nan=False)
    (settings.output / "report.json").write_text(text, encoding="utf-8")
    (settings.output / "report.html").write_text(page.render(evidence, judgement), encoding="utf-8")
    terminal.show(evidence, judgement, console)
    console.print(f"report: {settings.output / 'report.html'}", highlight=False, soft_wrap=True)
    return judgement.is_kept


async def _with_signals(main: Coroutine[Any, Any, Evidence]) -> Evidence:
    """Let SIGTERM end the demo as Ctrl-C does: components stop in order."""
    task = asyncio.ensure_future(main)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


async def _run(settings: DemoSettings, say: Callable[[str], None]) -> Evidence:
    directory = settings.output / "state"
    shutil.rmtree(directory, ignore_errors=True)
    if settings.kubeconfig is not None:
        directory.mkdir(parents=True)
        if (pods := await asyncio.to_thread(_pods_run, settings, directory, say)) is not None:
            return await tell(pods, say)
    if settings.simulator_image is not None:
        raise SpecError("only on a cluster in which Argosy is installed (--kubeconfig)", "--simulator-image")
    return await _on_own_operator(settings, directory, say)


def _pods_run(settings: DemoSettings, directory: Path, say: Callable[[str], None]) -> PodsRun | None:
    """The story on a cluster's own pods, None without Argosy there. Raises SpecError where it is unfit."""
    assert settings.kubeconfig is not None
    others = OthersCluster(settings.kubeconfig.expanduser().resolve(), directory, say)
    cluster = PodsCluster(kubectl_command(others.kubectl, others.admin_kubeconfig))
    if not is_installed(cluster.read):
        return None
    found = survey(cluster.read, settings.simulator_image)
    story, not_told = pods_story(found.gpus_by_product(), settings.choice.rate)
    plan = StagePlan(directory, settings.repository, patches=_patches(story, settings))
    delay_s = _load_delay_s(plan)
    return PodsRun(story, not_told, settings.choice, plan, settings.trace_name, delay_s, found, cluster)


async def _on_own_operator(settings: DemoSettings, directory: Path, say: Callable[[str], None]) -> Evidence:
    """The story with operator and Envoy on this host."""
    story = default_story(settings.choice.rate)
    plan = _plan(story, settings, directory)
    identities: dict[str, Identity] = {}
    async with _on_stage(plan, settings, say) as stage:
        watcher = Watcher(stage)
        await watcher.start()
        try:
            await _first_plan_ready(stage, watcher, say)
            for line in await asyncio.to_thread(_unready_classes, stage):
                say(line)
            changes = await _run_acts(story, stage, settings, say)
        finally:
            await watcher.stop()
        identities = {name: p.identity for name, p in stage.processes.items()}
        identities["envoy"] = stage.envoy.process.identity
        identities |= {p.name: p.identity for p in stage.cluster.processes}
    say("everything is stopped")
    left = sorted(name for name, identity in identities.items() if is_running(identity))
    facts = RunFacts(
        story=story,
        origin_s=changes.origin_s,
        records=directory / "requests.jsonl",
        events=stage.fleet_dir / "events.jsonl",
        prices=tuple(changes.prices),
        static_peak=_peak(story, plan),
        load_delay_s=_load_delay_s(plan),
        trace=settings.trace_name,
        dead_node=changes.dead_node,
        left_running=(*left, *_leftovers(directory)),
    )
    return collect(facts, watcher.observed)


def _plan(story: Story, settings: DemoSettings, directory: Path) -> StagePlan:
    plan = StagePlan(directory, settings.repository, patches=_patches(story, settings))
    return (
        plan if settings.kubeconfig is None else replace(plan, patches=(*plan.patches, *pool_patches(plan)))
    )


def _on_stage(
    plan: StagePlan, settings: DemoSettings, say: Callable[[str], None]
) -> AbstractAsyncContextManager[Stage]:
    if settings.kubeconfig is None:
        return on_stage(plan, say)
    return on_attached_stage(plan, settings.kubeconfig.expanduser().resolve(), say)


async def _first_plan_ready(stage: Stage, watcher: Watcher, say: Callable[[str], None]) -> None:
    """Wait until every replica of the first plan is Ready and counted healthy by Envoy: then act 1 begins.

    Raises `StartError` where this takes too long.
    """
    until_s = time.monotonic() + FIRST_PLAN_TIMEOUT_S
    announced = False
    while time.monotonic() < until_s:
        revision = watcher.observed.applied_revision()
        if revision is not None:
            wanted = watcher.observed.plan_counts()[revision]
            if not announced:
                announced = True
                say(f"plan {revision} applied: {_replicas(wanted)} to load")
            if len(watcher.observed.healthy_s) >= wanted > 0:
                say(f"{_replicas(wanted)} Ready and in Envoy's rotation")
                return
        await _until(time.time() + 0.2, stage)
    raise StartError(f"the first plan's replicas were not Ready after {FIRST_PLAN_TIMEOUT_S:g} s")


def _replicas(number: int) -> str:
    return "1 replica" if number == 1 else f"{number} replicas"


def _unready_classes(stage: Stage) -> list[str]:
    """A sentence for each class that is not Ready for another reason than loading."""
    classes = json.loads(stage.kubectl("get", "wclass", "-o", "json"))["items"]
    return [
        f"class {item['metadata']['name']} is not Ready: {condition['message']}"
        for item in classes
        for condition in item.get("status", {}).get("conditions", ())
        if condition["type"] == "Ready"
        and condition["status"] == "False"
        and condition["reason"] != Reason.LOADING
    ]


async def _run_acts(
    story: Story, stage: Stage, settings: DemoSettings, say: Callable[[str], None]
) -> _Changes:
    prices = await asyncio.to_thread(_prices, stage)
    changes = _Changes(time.time() + LEAD_S, prices)
    out = stage.plan.directory / "requests.jsonl"
    command = [sys.executable, "-m", "argosy_sim.demo.drive", *settings.choice.arguments()]
    command += ["--url", stage.gateway_url, "--out", str(out), "--origin", repr(changes.origin_s)]
    replayer = stage.launch("replayer", command)
    for act in story.acts:
        await _until(changes.origin_s + act.start_s, stage)
        rates = ", ".join(f"{name} {rate:g}/s" for name, rate in act.rate_per_s.items())
        say(f"act '{act.name}': {rates}")
        await asyncio.to_thread(_apply_shock, act.shock, story, stage, changes)
        if act.shock is Shock.NODE_DEATH:
            say(f"node {changes.dead_node} falls silent" if changes.dead_node else NO_NODE_TO_SPARE)
    end_s = changes.origin_s + story.duration_s + DRAIN_TIMEOUT_S
    await _until(changes.origin_s + story.duration_s, stage)
    say("the last requests finish")
    while is_running(replayer.identity) and time.time() < end_s:  # noqa: ASYNC110  (a process has no event)
        await asyncio.sleep(0.2)
    return changes


async def _until(at_s: float, stage: Stage) -> None:
    """Wait until `at_s` (Unix seconds); raises `StartError` as soon as a component has ended."""
    while (left_s := at_s - time.time()) > 0:
        ended = [name for name, alive in stage.is_alive().items() if not alive]
        if ended:
            raise StartError(f"{ended[0]} has ended; see {stage.plan.directory / 'logs' / ended[0]}.log")
        await asyncio.sleep(min(left_s, 1.0))


def _patches(story: Story, settings: DemoSettings) -> tuple[Patch, ...]:
    """What to change in the examples so that the plan is made for the trace's lengths."""
    trace = read_trace(settings.choice) if settings.declares_trace else None
    if trace is None:
        return ()
    num = round(sum((a.end_s - a.start_s) * a.rate_per_s[TRACED_CLASS] for a in story.acts))
    lengths = {"archetype": None, "table": lengths_table(trace, num)}
    return (Patch("WorkloadClass", TRACED_CLASS, {"traffic": {"lengths": lengths}}),)


def _apply_shock(shock: Shock, story: Story, stage: Stage, changes: _Changes) -> None:
    """Change the cluster as the act needs it; the burst is in the load itself."""
    if shock is Shock.NODE_DEATH:
        changes.dead_node = node_to_kill(stage)
        if changes.dead_node is not None:
            kill_node(stage.fleet_dir, changes.dead_node)
    elif shock is Shock.PRICE_CHANGE:
        pool, price = story.price_change
        body = json.dumps({"spec": {"priceUsdPerHour": price}})
        stage.kubectl("patch", "gpupool", pool, "--type=merge", "-p", body)
        changes.prices.append(PriceStep(pool, time.time() - changes.origin_s, price))


def node_to_kill(stage: Stage) -> str | None:
    """A node that the story may end; None if there is none."""
    pods = json.loads(stage.kubectl("get", "pods", "-l", f"{LABEL_MANAGED_BY}={MANAGED_BY}", "-o", "json"))
    return spare_node(pods["items"])


def _prices(stage: Stage) -> list[PriceStep]:
    pools = json.loads(stage.kubectl("get", "gpupools", "-o", "json"))["items"]
    return [PriceStep(p["metadata"]["name"], float("-inf"), p["spec"]["priceUsdPerHour"]) for p in pools]


def _peak(story: Story, plan: StagePlan) -> StaticPeak:
    cache = read_capacities(plan.directory / "operator-0" / "capacities.json")
    rates = {c.name: story.peak_rate_per_s(c.name) for c in story.classes}
    return static_peak(plan.objects(), fleet_nodes(plan.fleet), rates, cache)


def _load_delay_s(plan: StagePlan) -> float:
    """The longest delay among the examples' models."""
    delays = []
    for item in plan.objects():
        if item["kind"] == "ServedModel":
            model = find_model(str(item["spec"]["modelId"]))
            if isinstance(model, OutOfRange):
                raise SpecError(model.message, "spec.modelId")
            delays.append(load_delay_s(round(weight_bytes(model.architecture))))
    return max(delays)


def _leftovers(directory: Path) -> list[str]:
    """Processes of any user that still name this run's directory in their command line."""
    leftovers = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(directory) in words:
                leftovers.append(f"pid {entry.name}: {words[:60]}")
    return leftovers
