"""The story on a cluster in which Argosy is installed: its acts in their order, and its evidence.

Owns the order of events. Observing is `watch`, changing the cluster `cluster`, judging the demo's judgement.
Whatever ends the run, what was made is removed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from argosy.files.capacities import read_capacities
from argosy.files.surfaces import cache_folder
from argosy_sim.controlplane.errors import StartError
from argosy_sim.demo.collect import RunFacts, collect
from argosy_sim.demo.drive import LoadChoice, class_loads
from argosy_sim.demo.evidence import Evidence
from argosy_sim.demo.peak import static_peak
from argosy_sim.demo.pods import lives, objects
from argosy_sim.demo.pods.cluster import PodsCluster
from argosy_sim.demo.pods.load import LoadLog, packed, read_log
from argosy_sim.demo.pods.survey import Survey
from argosy_sim.demo.pods.watch import PodsWatcher
from argosy_sim.demo.spare_node import NO_NODE_TO_SPARE, spare_node
from argosy_sim.demo.story import DRAIN_S, Act, Shock, Story
from argosy_sim.livefleet.event_log import EventLog
from argosy_sim.measures.cost import PriceStep
from argosy_sim.replay.load import plan_load
from argosy_sim.stage import Patch, StagePlan

Say = Callable[[str], None]

FIRST_PLAN_S = 420.0
LOAD_STARTS_S = 180.0
LOAD_ENDS_S = 60.0
CLOCKS_APART_S = 30.0
_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class PodsRun:
    """The story and its place. plan: the examples and the folder for files; not_told: see `pods_story`."""

    story: Story
    not_told: Sequence[str]
    choice: LoadChoice
    plan: StagePlan
    trace: str
    load_delay_s: float
    survey: Survey
    cluster: PodsCluster

    def objects(self) -> list[dict[str, object]]:
        """The fleet's objects: the examples, declared at the first act's rates."""
        first = self.story.acts[0].rate_per_s
        rates = tuple(
            Patch("WorkloadClass", name, {"traffic": {"requestsPerSecond": rate}})
            for name, rate in first.items()
        )
        examples = replace(self.plan, patches=(*self.plan.patches, *rates)).objects()
        per_node = {product: min(gpus) for product, gpus in self.survey.allocatable_by_product().items()}
        return objects.fleet_objects(examples, self.survey.image, per_node)


@dataclass(slots=True)
class _Changes:
    """What the run did. origin_s: start of act 1 (Unix seconds)."""

    origin_s: float = 0.0
    prices: list[PriceStep] = field(default_factory=list)
    removal: lives.Removal | None = None
    remarks: list[str] = field(default_factory=list)


async def tell(run: PodsRun, say: Say) -> Evidence:
    """Tell the story; raises StartError where something does not start, after what was made is removed."""
    load = packed(plan_load(class_loads(run.story, run.choice)))
    say(f"namespace {objects.NAMESPACE}, engines and load run {run.survey.image}")
    say("planning the fleet that the peak would take, to compare with")
    made = run.objects()
    cache = read_capacities(cache_folder() / "capacities.json")
    rates = {each.name: run.story.peak_rate_per_s(each.name) for each in run.story.classes}
    peak = await asyncio.to_thread(static_peak, made, run.survey.nodes, rates, cache)
    watcher = PodsWatcher(run.cluster.command, run.survey)
    changes = _Changes(prices=_prices(made))
    try:
        await asyncio.to_thread(run.cluster.begin)
        await watcher.start()
        await asyncio.to_thread(run.cluster.create, [*objects.rights(), *made])
        load_delay_s = max(run.load_delay_s, await _first_plan_ready(watcher, say))
        log = await _acts(run, watcher, changes, load, say)
    finally:
        await watcher.stop()
        say("removing what the demo made")
        left = await asyncio.to_thread(run.cluster.remove_all, run.survey.plans, say)
    say("everything is removed" if not left else f"left in the cluster: {', '.join(left)}")
    facts = RunFacts(
        story=run.story,
        origin_s=changes.origin_s,
        records=_written(run.plan.directory / "requests.jsonl", log),
        events=_events(run.plan.directory / "events.jsonl", watcher, changes.removal),
        prices=tuple(changes.prices),
        static_peak=peak,
        load_delay_s=load_delay_s,
        trace=run.trace,
        dead_node=changes.removal.node if changes.removal else None,
        left_running=left,
        not_judged=(*run.not_told, *changes.remarks),
    )
    return collect(facts, watcher.observed)


def _prices(made: Sequence[dict[str, object]]) -> list[PriceStep]:
    pools = [each for each in made if each["kind"] == "GPUPool"]
    return [
        PriceStep(each["metadata"]["name"], float("-inf"), each["spec"]["priceUsdPerHour"])  # type: ignore[index]
        for each in pools
    ]


def _written(path: Path, log: LoadLog) -> Path:
    path.write_text("".join(log.records), encoding="utf-8")
    return path


def _events(path: Path, watcher: PodsWatcher, removal: lives.Removal | None) -> Path:
    """As an attached fleet leaves them."""
    log = EventLog(path)
    for event in lives.events(watcher.pods, removal):
        log.write(**event)
    log.close()
    return path


async def _first_plan_ready(watcher: PodsWatcher, say: Say) -> float:
    """Wait until every replica is Ready and healthy to every Envoy; the longest time that one loaded (s)."""
    until_s = time.monotonic() + FIRST_PLAN_S
    announced, state = False, "no plan was applied"
    while time.monotonic() < until_s:
        watcher.require_running()
        revision = watcher.observed.applied_revision()
        if revision is not None:
            wanted = watcher.observed.plan_counts()[revision]
            ready = [lives.address_of(pod) for pod in lives.current(watcher.pods) if lives.is_ready(pod)]
            healthy = [address for address in ready if address in watcher.observed.healthy_s]
            state = f"{len(ready)} of {wanted} replicas are Ready, {len(healthy)} healthy to every Envoy"
            if not announced:
                announced = True
                say(f"plan {revision} applied: {wanted} replicas to load")
            if len(healthy) >= wanted > 0:
                load_s = lives.load_delay_s(watcher.pods)
                say(f"{state}; the slowest loaded for {load_s:.1f} s")
                return load_s
        await asyncio.sleep(_POLL_S)
    raise StartError(
        f"the first plan is not served after {FIRST_PLAN_S:g} s: {state}; `kubectl get pods,wclass -n"
        f" {objects.NAMESPACE} -o wide` while the demo runs shows why"
    )


async def _acts(run: PodsRun, watcher: PodsWatcher, changes: _Changes, load: bytes, say: Say) -> LoadLog:
    """Start the load and make what each act needs; what the load recorded."""
    deadline_s = LOAD_STARTS_S + run.story.duration_s + DRAIN_S + LOAD_ENDS_S
    job = objects.load_objects(run.survey.image, run.survey.gateway_url, load, deadline_s)
    await asyncio.to_thread(run.cluster.create, job)
    changes.origin_s = await _origin_s(run.cluster, watcher)
    for act in run.story.acts:
        await _until(changes.origin_s + act.start_s, watcher)
        rates = ", ".join(f"{name} {rate:g}/s" for name, rate in act.rate_per_s.items())
        say(f"act '{act.name}': {rates}")
        await asyncio.to_thread(_apply_shock, act, run, watcher, changes)
        if act.shock is Shock.NODE_REMOVAL:
            say(f"node {changes.removal.node} is taken away" if changes.removal else NO_NODE_TO_SPARE)
    end_s = changes.origin_s + run.story.duration_s
    await _until(end_s, watcher)
    say("the last requests finish")
    while time.time() < end_s + DRAIN_S + LOAD_ENDS_S:
        log = read_log(await asyncio.to_thread(run.cluster.log_of_load))
        if log.num_sent is not None:
            return _complete(log)
        await _until(time.time() + 2.0, watcher)
    raise StartError(f"the load did not end {DRAIN_S + LOAD_ENDS_S:g} s after the last act")


def _complete(log: LoadLog) -> LoadLog:
    if not log.is_complete:
        raise StartError(
            f"the load sent {log.num_sent} requests and its log has {len(log.records)}: the rest was rotated"
            " away; choose a smaller --rate"
        )
    return log


async def _origin_s(cluster: PodsCluster, watcher: PodsWatcher) -> float:
    """When act 1 begins, as the load's pod has decided once it could send."""
    until_s = time.monotonic() + LOAD_STARTS_S
    while time.monotonic() < until_s:
        watcher.require_running()
        origin_s = read_log(await asyncio.to_thread(cluster.log_of_load)).origin_s
        if origin_s is not None:
            apart_s = abs(origin_s - time.time())
            if apart_s > CLOCKS_APART_S:
                raise StartError(
                    f"the clocks of this host and of the load's node are {apart_s:.0f} s apart,"
                    f" {CLOCKS_APART_S:g} s at most can be judged: set them by NTP"
                )
            return origin_s
        if await asyncio.to_thread(cluster.has_load_failed):
            raise StartError(f"the load has ended early: {await asyncio.to_thread(cluster.log_of_load)}")
        await asyncio.sleep(_POLL_S)
    raise StartError(f"the load's pod has not started within {LOAD_STARTS_S:g} s")


async def _until(at_s: float, watcher: PodsWatcher) -> None:
    """Wait until `at_s` (Unix seconds); raises StartError as soon as an observation has ended."""
    while (left_s := at_s - time.time()) > 0:
        watcher.require_running()
        await asyncio.sleep(min(left_s, 1.0))


def _apply_shock(act: Act, run: PodsRun, watcher: PodsWatcher, changes: _Changes) -> None:
    """Change the cluster as the act needs it; the burst is in the load itself."""
    if act.shock is Shock.NODE_REMOVAL:
        engines = lives.current(watcher.pods)
        node = spare_node(engines)
        if node is None:
            changes.remarks.append(NO_NODE_TO_SPARE)
            return
        on_it = [each["metadata"]["name"] for each in engines if each["spec"].get("nodeName") == node]
        changes.removal = lives.Removal(node, run.cluster.take_node_away(node, on_it))
    elif act.shock is Shock.PRICE_CHANGE:
        pool, price = run.story.price_change
        run.cluster.change_price(pool, price)
        changes.prices.append(PriceStep(pool, time.time() - changes.origin_s, price))
