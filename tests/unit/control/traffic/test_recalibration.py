"""Recalibration in the traffic loop: what real scrapes update, and what of it is written, shown and said."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web
from calibrated_fleet import LLAMA, PERF, a_memory, a_world, slower, subjects_of
from prometheus_client import generate_latest
from scraped_engine import STARTED_S, ScrapedEngine, Scraper, Traffic
from small_fleet import World, a_fleet, a_model

from argosy.control.candidates.calibration import CalibratedVariant
from argosy.control.candidates.running import RunningVariants
from argosy.control.candidates.variants import variants_of
from argosy.control.decision import EventRecord
from argosy.control.fast import EVENT_GAP_S, Measures, ReactSettings, react
from argosy.control.memory import ControlMemory, TrafficMemory
from argosy.control.traffic.recalibration import Recalibrated, recalibrated
from argosy.files.calibrations import read_calibrations, write_calibrations
from argosy.perf.footprint.memory import engine_limits
from argosy.perf.protocol import Fits
from argosy.perf.recalibration.health import Lag
from argosy.perf.recalibration.memory import CalibrationMemory
from argosy.reconcile.metrics import Metrics
from argosy.snapshot import CounterReading
from argosy.snapshot.fleet import FleetSnapshot
from argosy.telemetry import DirectScraper, Targets

NAMES = {
    "iterations": "vllm:iteration_tokens_total_count",
    "gaps": "vllm:inter_token_latency_seconds_count",
    "gap_s": "vllm:inter_token_latency_seconds_sum",
    "prompts": "vllm:time_to_first_token_seconds_count",
    "prompt_tokens": "vllm:prompt_tokens_total",
    "cached_prompt_tokens": "vllm:prompt_tokens_cached_total",
    "preemptions": "vllm:num_preemptions_total",
    "num_running": "vllm:num_requests_running",
    "kv_cache_usage": "vllm:kv_cache_usage_perc",
}


def metrics_text(reading: CounterReading) -> str:
    """As vLLM exposes it."""
    lines = [
        f'{name}{{engine="0",model_name="m"}} {getattr(reading, field)}' for field, name in NAMES.items()
    ]
    others = ("num_requests_waiting", "generation_tokens_total", "request_success_total")
    lines += [f'vllm:{name}{{engine="0",model_name="m"}} 0.0' for name in others]
    cache = f'block_size="{reading.block_size:.0f}",num_gpu_blocks="{reading.kv_blocks:.0f}"'
    lines += [f"vllm:cache_config_info{{{cache}}} 1.0", f"process_start_time_seconds {reading.start_time_s}"]
    return "\n".join([*lines, ""])


class Engines:
    """The far side: `/metrics` of engines, each on its own path of life, behind one server per port."""

    def __init__(self) -> None:
        self.texts: dict[int, str] = {}
        self._runners: list[web.AppRunner] = []

    async def listen(self) -> int:
        """The port of one more engine."""

        async def metrics(_: web.Request) -> web.Response:
            return web.Response(text=self.texts[port])

        app = web.Application()
        app.router.add_get("/metrics", metrics)
        runner = web.AppRunner(app)
        await runner.setup()
        self._runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port: int = runner.addresses[0][1]
        return port

    async def close(self) -> None:
        for runner in self._runners:
            await runner.cleanup()


@pytest.fixture
async def engines() -> AsyncIterator[Engines]:
    made = Engines()
    yield made
    await made.close()


class Rounds:
    """Recalibration round by round, shown and written as the traffic loop does."""

    def __init__(self, metrics: Metrics, file: Path) -> None:
        self._variants, self._metrics, self._file = RunningVariants(PERF), metrics, file

    def take(self, snapshot: FleetSnapshot, memory: TrafficMemory) -> Recalibrated:
        found = recalibrated(snapshot, memory, self._variants.of(snapshot))
        self._metrics.show_traffic(Measures(0, found.measures))
        if found.to_keep is not None:
            write_calibrations(found.to_keep, self._file)
        return found


@pytest.fixture
def gauges() -> Metrics:
    return Metrics()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state/calibrations.json"


@pytest.fixture
def calibrations(gauges: Metrics, file: Path) -> Rounds:
    return Rounds(gauges, file)


def the_subject(snapshot: FleetSnapshot) -> CalibratedVariant:
    ((_, each),) = subjects_of(snapshot).items()
    return each


def an_engine(snapshot: FleetSnapshot, factor: float, seed: int) -> ScrapedEngine:
    """An engine of the world's variant that takes `factor` times as long as its profile."""
    (variant,) = variants_of(snapshot, snapshot.models["default/llama"])
    each, room = the_subject(snapshot), PERF.fits(variant)
    assert isinstance(room, Fits)
    truth = slower(each, factor)
    times = replace(each.prior.step_times, s=truth.s, c0=truth.c0, cb=truth.cb)
    limits = engine_limits(variant.engine, room.kv_capacity_tokens)
    return ScrapedEngine(limits, times, np.random.default_rng(seed), noise=0.03)


async def run(
    world: World, calibrations: Rounds, engines: Engines, factors: list[float], seconds: float
) -> list[Recalibrated]:
    """The traffic loop's iterations over real HTTP and a virtual clock; one factor per replica."""
    snapshot = world.snapshot()
    for key in sorted(world.pods):
        world.pods[key] = replace(world.pods[key], ip="127.0.0.1", port=await engines.listen())
    pods = [world.pods[key] for key in sorted(world.pods)]
    simulated = [an_engine(snapshot, factor, seed) for seed, factor in enumerate(factors)]
    scraper = DirectScraper(lambda prefix: None)
    memory, rounds = world.memory.traffic, []
    for samples in zip(
        *(each.scrapes(Traffic(1.5), seconds, Scraper(jitter_s=0.0)) for each in simulated), strict=True
    ):
        for pod, sample in zip(pods, samples, strict=True):
            engines.texts[pod.port] = metrics_text(sample.value)
        now_s = STARTED_S + 100.0 + simulated[0].now_s
        reading = await scraper.read(Targets(tuple(p.address for p in pods)), now_s)
        found = calibrations.take(replace(world.snapshot(), telemetry=reading, now_s=now_s), memory)
        memory = found.memory
        rounds.append(found)
    await scraper.close()
    return rounds


async def test_engines_slower_than_their_profile_by_thirty_percent_are_found_out(
    engines: Engines, calibrations: Rounds, gauges: Metrics, file: Path
) -> None:
    world = a_world(2, recalibration="Apply")
    rounds = await run(world, calibrations, engines, [1.3, 1.3], seconds=240.0)
    variant = next(iter(subjects_of(world.snapshot())))[1]
    factor = gauges.registry.get_sample_value("argosy_calibration_factor", {"variant": variant})
    uncertainty = gauges.registry.get_sample_value("argosy_calibration_uncertainty", {"variant": variant})
    assert factor == pytest.approx(1.3, rel=0.03)
    assert uncertainty is not None
    assert 0.0 < uncertainty < 0.08
    assert sum(len(each.changed) for each in rounds) >= 1
    assert [each.events for each in rounds if each.events] == []
    published = {k: s.published for k, s in rounds[-1].memory.calibration.states.items()}
    assert {k: s.published for k, s in read_calibrations(file).states.items()} == published


async def test_a_slow_replica_among_four_is_a_straggler_and_teaches_nothing(
    engines: Engines, calibrations: Rounds, gauges: Metrics
) -> None:
    world = a_world(4)
    rounds = await run(world, calibrations, engines, [1.0, 1.0, 1.0, 1.6], seconds=240.0)
    slow = world.pods[max(world.pods)]
    said = distinct(e for each in rounds for e in each.events)
    assert [(e.kind, e.key, e.type, e.reason) for e in said] == [
        ("ServedModel", "default/llama", "Warning", "Straggler")
    ]
    assert said[0].message.startswith(f"{slow.key} on node {slow.node} takes 1.")
    ratio = gauges.registry.get_sample_value("argosy_straggler_ratio", {"endpoint": slow.address})
    assert ratio == pytest.approx(1.6, rel=0.1)
    skipped = gauges.registry.get_sample_value("argosy_calibration_skipped_total", {"reason": "Straggler"})
    assert skipped is not None
    assert skipped > 3
    assert any(state.published for state in rounds[-1].memory.calibration.states.values())
    assert [each.changed for each in rounds if each.changed] == [], "plans do not use what is only observed"


async def test_engines_that_became_slower_all_at_once_are_reported_as_drifted(
    engines: Engines, calibrations: Rounds, file: Path
) -> None:
    world = a_world(1)
    before = a_memory(the_subject(world.snapshot()), factor=0.7)
    world.memory = ControlMemory(TrafficMemory(calibration=before))
    rounds = await run(world, calibrations, engines, [1.0], seconds=150.0)
    said = distinct(e for each in rounds for e in each.events)
    assert [(e.kind, e.key, e.type, e.reason) for e in said] == [
        ("ServedModel", "default/llama", "Warning", "ModelDrifted")
    ]
    ((_, variant),) = subjects_of(world.snapshot())
    assert said[0].message.startswith(f"{variant} (llama-3.1-8b bf16 on L40S TP1, engine v0.24.0): steps are")
    (state,) = read_calibrations(file).states.values()
    assert state.health.drifted_at_s is not None


# --- one round ----------------------------------------------------------------------------------


def a_round(world: World, calibrations: Rounds, memory: CalibrationMemory) -> Recalibrated:
    return calibrations.take(world.snapshot(), TrafficMemory(calibration=memory))


def factors(gauges: Metrics) -> list[float]:
    (family,) = gauges.calibration_factor.collect()
    return [round(sample.value, 2) for sample in family.samples]


def test_what_is_remembered_from_before_a_restart_is_shown(calibrations: Rounds, gauges: Metrics) -> None:
    world = a_world(1)
    a_round(world, calibrations, a_memory(the_subject(world.snapshot())))
    assert factors(gauges) == [1.3]


def test_what_no_longer_runs_is_no_longer_shown(calibrations: Rounds, gauges: Metrics) -> None:
    world = a_world(1)
    memory = a_memory(the_subject(world.snapshot()))
    a_round(world, calibrations, memory)
    world.pods.clear()
    assert a_round(world, calibrations, memory).memory.calibration == memory
    assert factors(gauges) == []


def test_switched_off_nothing_is_shown_and_open_windows_are_given_up(
    calibrations: Rounds, gauges: Metrics
) -> None:
    world = a_world(1)
    memory = a_memory(the_subject(world.snapshot()))
    opened = a_round(world, calibrations, memory).memory
    assert opened.windows.tracks
    world.apply(a_fleet(recalibration="Disabled"))
    after = calibrations.take(world.snapshot(), opened).memory
    assert (after.windows.tracks, after.calibration, factors(gauges)) == ({}, memory, [])


def test_a_changed_engine_is_another_subject(calibrations: Rounds) -> None:
    world = a_world(1)
    a_round(world, calibrations, CalibrationMemory())
    world.apply(a_model(model_id=LLAMA, engine={"maxNumSeqs": 100}))
    assert a_round(world, calibrations, CalibrationMemory()).memory.windows.tracks == {}


def test_a_straggler_that_has_gone_is_not_talked_about(calibrations: Rounds) -> None:
    world = a_world(1)
    memory = a_memory(the_subject(world.snapshot()))
    ((key, state),) = memory.states.items()
    (address,) = (pod.address for pod in world.pods.values())
    lags = {name: Lag(0.0, 9, world.now_s) for name in ("10.9.0.1:1", "10.9.0.2:1", "10.9.0.3:1")}
    here = {**lags, address: Lag(0.5, 9, world.now_s)}
    gone = {**lags, "10.9.0.4:1": Lag(0.5, 9, world.now_s)}
    for slow, num in ((here, 1), (gone, 0)):
        found = a_round(world, calibrations, CalibrationMemory({key: replace(state, lags=slow)}))
        assert len(found.events) == num
        # As /metrics shows it: a series for each engine that runs, none for those that are gone.
        metrics = Metrics()
        metrics.show_traffic(Measures(calibration=found.measures))
        lines = generate_latest(metrics.registry).decode().splitlines()
        shown = [line.split(" ")[0] for line in lines if line.startswith("argosy_straggler_ratio{")]
        assert shown == [f'argosy_straggler_ratio{{endpoint="{address}"}}'] * num


# --- what is said -------------------------------------------------------------------------------


def distinct(events: Iterable[EventRecord]) -> list[EventRecord]:
    """Each reason and subject once, as it was said first."""
    first: dict[tuple[str, str], EventRecord] = {}
    for event in events:
        first.setdefault((event.reason, event.message.split()[0]), event)
    return list(first.values())


def a_fleet_with_stragglers(num: int) -> tuple[World, ControlMemory]:
    """Engines of which the last `num` take 1.6 times as long as the others."""
    world = a_world(3 + num)
    ((key, state),) = a_memory(the_subject(world.snapshot())).states.items()
    lags = {
        pod.address: Lag(0.5 if place >= 3 else 0.0, 9, world.now_s)
        for place, (_, pod) in enumerate(sorted(world.pods.items()))
    }
    return world, ControlMemory(
        TrafficMemory(calibration=CalibrationMemory({key: replace(state, lags=lags)}))
    )


def said_over_time(mode: str, is_leader: bool, num: int = 1) -> list[int]:
    """Events posted by an iteration at each of these seconds after the first."""
    world, memory = a_fleet_with_stragglers(num)
    world.apply(a_fleet(mode))
    variants, counts = RunningVariants(PERF), []
    for at_s in (0.0, 2.0, EVENT_GAP_S - 1.0, EVENT_GAP_S, EVENT_GAP_S + 2.0):
        snapshot = replace(world.snapshot(), now_s=world.now_s + at_s)
        reaction = react(snapshot, memory, ReactSettings(is_leader, variants.of(snapshot)))
        memory = memory.with_traffic(reaction.memory)
        counts.append(len(reaction.events))
    return counts


def test_the_same_thing_is_said_once_an_hour() -> None:
    assert said_over_time("Auto", is_leader=True) == [1, 0, 0, 1, 0]


@pytest.mark.parametrize(("mode", "is_leader"), [("Auto", False), ("Observe", True)])
def test_a_standby_and_a_fleet_that_is_only_observed_post_nothing(mode: str, is_leader: bool) -> None:
    assert said_over_time(mode, is_leader) == [0, 0, 0, 0, 0]


# --- the file -----------------------------------------------------------------------------------


def test_what_was_written_is_read(file: Path) -> None:
    memory = a_memory(the_subject(a_world(1).snapshot()))
    write_calibrations(memory, file)
    assert read_calibrations(file) == memory
    assert [each.name for each in file.parent.iterdir()] == ["calibrations.json"]


@pytest.mark.parametrize(
    ("stored", "present", "is_used"),
    [("here", "here", True), ("there", "here", False), ("", "here", True), ("there", "", True)],
)
def test_only_the_calibrations_of_another_cluster_are_not_used_and_the_log_names_both(
    file: Path, caplog: pytest.LogCaptureFixture, stored: str, present: str, is_used: bool
) -> None:
    memory = a_memory(the_subject(a_world(1).snapshot()))
    write_calibrations(memory, file, stored)
    assert read_calibrations(file, present) == (memory if is_used else CalibrationMemory())
    assert ["give the operator of each cluster" in message for message in caplog.messages] == (
        [] if is_used else [True]
    )


def test_where_there_is_no_file_nothing_is_known_and_nothing_is_said(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert read_calibrations(file) == CalibrationMemory()
    assert caplog.messages == []


@pytest.mark.parametrize(
    "damaged", ["", '{"version": 1, "calibr', "\udcff", "[" * 100_000, "[]", '{"version": 9}']
)
def test_a_damaged_file_is_discarded_with_a_line_in_the_log(
    file: Path, damaged: str, caplog: pytest.LogCaptureFixture
) -> None:
    file.parent.mkdir()
    file.write_bytes(damaged.encode("utf-8", "surrogateescape"))
    assert read_calibrations(file) == CalibrationMemory()
    assert len(caplog.messages) == 1
    assert str(file) in caplog.text


def test_of_a_file_with_one_bad_calibration_the_others_are_kept(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    memory = a_memory(the_subject(a_world(1).snapshot()))
    write_calibrations(memory, file)
    document = json.loads(file.read_text())
    document["calibrations"].append({**document["calibrations"][0], "information": [0.0] * 6})
    file.write_text(json.dumps(document))
    assert read_calibrations(file) == memory
    assert len(caplog.messages) == 1
