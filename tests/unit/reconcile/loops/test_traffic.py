"""The traffic loop in virtual time: when it measures, what it writes, and what an error leaves undone."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import a_class, a_fleet, a_model, a_pool
from calibrated_fleet import LLAMA, PERF, a_memory, subjects_of
from scraped_engine import STARTED_S, ScrapedEngine, Traffic
from virtual_clock import EPOCH_S, in_virtual_time
from virtual_shell import Call, VirtualShell, node_object

from argosy.control.candidates.variants import variants_of
from argosy.demand.forecast import DemandHistory
from argosy.files.calibrations import read_calibrations
from argosy.keys import CellName
from argosy.perf.footprint.memory import engine_limits
from argosy.perf.protocol import Fits
from argosy.perf.recalibration.health import Lag
from argosy.perf.recalibration.memory import CalibrationMemory
from argosy.reconcile.loops.traffic import CALIBRATIONS_FILE, LONGEST_ITERATION_S
from argosy.snapshot import EngineReading, RouteCounters, Sample, TelemetryReading
from argosy.telemetry.port import Targets

WEIGHTS = Call("patch", "fleetplans", sub="status")


def asked_s(shell: VirtualShell) -> list[float]:
    return [round(at_s, 3) for at_s, _ in shell.scraper.asked]


async def two_pools(directory: Path, mode: str = "Auto") -> VirtualShell:
    """Settled: the class `chat` is served by two replicas on L40S and one on H100."""
    shell = VirtualShell(directory)
    shell.server.put("nodes", node_object("l40s-0"))
    shell.server.put("nodes", node_object("h100-0", "h100", gpus=1))
    h100 = a_pool("h100", "H100", gpusPerNode=1, priceUsdPerHour=10.0)
    shell.apply(a_fleet(), a_pool(), h100, a_model(), a_class(rate_per_s=23.0))
    async with shell.running():
        await shell.clock.sleep(90.0)
    assert sorted(shell.cluster.serving().values()) == [1, 2]
    shell.apply(a_fleet(mode))
    shell.server.calls.clear()
    return shell


def fall_silent(shell: VirtualShell, pool: str) -> str:
    """The engines of a pool answer no more; returns their Deployment."""
    pods = shell.state.snapshot().engine_pods
    now_s = shell.clock.now_s()
    sample = Sample(EngineReading(1, 0, 0.1, 0, 0, 0), now_s)
    lost = [p for p in pods if p.labels["argosy.dev/pool"] == pool]
    reading = TelemetryReading(
        engines={p.address: sample for p in pods},
        unanswered_since_s={p.address: now_s - 60.0 for p in lost},
    )
    shell.scraper.answer = lambda targets, at_s: reading
    return lost[0].deployment


def weights_of(shell: VirtualShell) -> dict[str, float]:
    """Of the one cell, as they are written; empty where none are."""
    (plan,) = shell.server.of("fleetplans").values()
    rows = plan["status"].get("weights") or []
    return {each["deployment"]: each["weight"] for row in rows for each in row["weights"]}


# --- when it measures ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("takes_s", "expected_s"),
    [
        pytest.param(0.0, [0, 2, 4, 6, 8], id="at once"),
        pytest.param(0.7, [0, 2, 4, 6, 8], id="the time that a reading takes is no drift"),
        pytest.param(3.0, [0, 3, 6, 9], id="a reading that overruns the period is followed by the next"),
    ],
)
@in_virtual_time
async def test_it_measures_once_per_period(tmp_path: Path, takes_s: float, expected_s: list[float]) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet("Observe")
    shell.scraper.takes_s = takes_s
    async with shell.running(planning=False, traffic=True):
        await shell.clock.sleep(9.5)
    assert asked_s(shell) == expected_s


@in_virtual_time
async def test_after_an_overrun_it_makes_up_for_nothing(tmp_path: Path) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet("Observe")
    shell.scraper.takes_s = 7.0
    async with shell.running(planning=False, traffic=True):
        await shell.clock.sleep(1.0)
        shell.scraper.takes_s = 0.0
        await shell.clock.sleep(10.5)
    assert asked_s(shell) == [0, 7, 9, 11]


@in_virtual_time
async def test_a_reading_that_never_ends_makes_the_loop_late_and_a_slow_one_does_not(tmp_path: Path) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet("Observe")
    async with shell.running(planning=False, traffic=True):
        shell.scraper.takes_s = LONGEST_ITERATION_S - 1.0
        await shell.clock.sleep(3 * LONGEST_ITERATION_S)
        assert shell.state.heartbeats.late() == ()
        shell.scraper.takes_s = 1e6
        await shell.clock.sleep(2 * LONGEST_ITERATION_S + 1.0)
        (late,) = shell.state.heartbeats.late()
    assert late.startswith("the traffic loop has not come round for ")


@in_virtual_time
async def test_it_asks_every_engine_that_is_ready_and_every_envoy(tmp_path: Path) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    async with shell.running(traffic=True):
        await shell.clock.sleep(60.0)
    num_engines = [len(targets.engines) for _, targets in shell.scraper.asked]
    assert (num_engines[0], num_engines[-1], set(num_engines)) == (0, 2, {0, 2})
    assert {targets.envoys for _, targets in shell.scraper.asked} == {(("edge", "http://127.0.0.1:9901"),)}


@pytest.mark.parametrize("error", [OSError("no network"), ValueError("a bug")])
@in_virtual_time
async def test_a_failed_reading_is_followed_by_the_next(tmp_path: Path, error: Exception) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet("Observe")
    shell.scraper.error = error
    async with shell.running(planning=False, traffic=True):
        await shell.clock.sleep(5.0)
    assert asked_s(shell) == [0, 2, 4]


# --- what it writes -----------------------------------------------------------------------------


@in_virtual_time
async def test_weights_leave_engines_that_fell_silent(tmp_path: Path) -> None:
    shell = await two_pools(tmp_path)
    lost = fall_silent(shell, "h100")
    await shell.traffic.iterate(is_leader=True)
    weights = weights_of(shell)
    assert weights.pop(lost, 0.0) == 0.0
    assert list(weights.values()) == [1.0]


@pytest.mark.parametrize(("mode", "is_leader"), [("Auto", False), ("Recommend", True), ("Observe", True)])
@in_virtual_time
async def test_a_standby_and_a_fleet_that_is_not_in_auto_measure_and_write_no_weights(
    tmp_path: Path, mode: str, is_leader: bool
) -> None:
    shell = await two_pools(tmp_path, mode)
    fall_silent(shell, "h100")
    await shell.traffic.iterate(is_leader)
    assert len(shell.scraper.asked) == 1
    assert len(shell.state.memory.traffic.silent) == 1
    assert shell.state.metrics.registry.get_sample_value("argosy_silent_endpoints") == 1.0
    told = ["events"] if mode == "Recommend" else []
    assert [call.plural for call in shell.server.calls] == told, "that the engine fell silent"


@in_virtual_time
async def test_weights_that_were_refused_are_written_by_the_next_iteration(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shell = await two_pools(tmp_path)
    fall_silent(shell, "h100")
    shell.refuse(WEIGHTS)
    async with shell.running(planning=False, traffic=True):
        await shell.clock.sleep(3.0)
        assert weights_of(shell) == {}
        shell.refuse_nothing()
        await shell.clock.sleep(2.0)
    assert weights_of(shell) != {}
    assert any("the weights were not written" in message for message in caplog.messages)


def set_ready(shell: VirtualShell, pool: str, *, is_ready: bool) -> str:
    """The kubelet's word on the engine of a pool; returns its Deployment."""
    (pod,) = (p for p in shell.state.snapshot().engine_pods if p.labels["argosy.dev/pool"] == pool)
    item = deepcopy(shell.server.of("pods")[pod.key])
    (ready,) = (row for row in item["status"]["conditions"] if row["type"] == "Ready")
    ready["status"] = str(is_ready)
    shell.server.put("pods", item)
    return pod.deployment


@in_virtual_time
async def test_weights_follow_an_engine_that_comes_or_goes_before_the_next_reading(tmp_path: Path) -> None:
    shell = await two_pools(tmp_path)
    async with shell.running(planning=False, traffic=True):
        await shell.clock.sleep(0.5)
        h100 = set_ready(shell, "h100", is_ready=False)
        await shell.clock.sleep(0.2)
        assert weights_of(shell)[h100] == 0.0
        set_ready(shell, "h100", is_ready=True)
        await shell.clock.sleep(0.2)
        assert weights_of(shell)[h100] > 0.0
        assert len(asked_s(shell)) == 1, "nothing was read anew"


@in_virtual_time
async def test_engines_that_come_while_weights_are_refused_get_theirs_with_the_next_reading(
    tmp_path: Path,
) -> None:
    shell = await two_pools(tmp_path)
    async with shell.running(planning=False, traffic=True):
        await shell.clock.sleep(0.5)
        shell.refuse(WEIGHTS)
        h100 = set_ready(shell, "h100", is_ready=False)
        await shell.clock.sleep(0.2)
        assert weights_of(shell) == {}
        shell.refuse_nothing()
        await shell.clock.sleep(2.0)
    assert weights_of(shell)[h100] == 0.0


@in_virtual_time
async def test_a_standby_corrects_no_weights(tmp_path: Path) -> None:
    shell = await two_pools(tmp_path)
    shell.election.lose()
    async with shell.running(planning=False, traffic=True):
        set_ready(shell, "h100", is_ready=False)
        await shell.clock.sleep(1.0)
    assert weights_of(shell) == {}


async def a_straggler(directory: Path) -> VirtualShell:
    """Four replicas on L40S, one of them 1.6 times as slow, and one on an H100, which is silent."""
    shell = VirtualShell(directory)
    for number in range(2):
        shell.server.put("nodes", node_object(f"l40s-{number}"))
    shell.server.put("nodes", node_object("h100-0", "h100", gpus=1))
    h100 = a_pool("h100", "H100", gpusPerNode=1, priceUsdPerHour=10.0)
    shell.apply(a_fleet(), a_pool(), h100, a_model(model_id=LLAMA), a_class(rate_per_s=30.0))
    async with shell.running():
        await shell.clock.sleep(90.0)
    assert sorted(shell.cluster.serving().values()) == [1, 4]
    pods = [p for p in shell.state.snapshot().engine_pods if p.labels["argosy.dev/pool"] == "l40s"]
    (subject,) = [each for (_, name), each in subjects_of(shell.state.snapshot()).items() if "l40s" in name]
    lags = {p.address: Lag(0.5 if p is pods[0] else 0.0, 9, shell.clock.now_s()) for p in pods}
    ((key, known),) = a_memory(subject).states.items()
    remember(shell, CalibrationMemory({key: replace(known, lags=lags)}))
    fall_silent(shell, "h100")
    shell.server.calls.clear()
    return shell


def remember(shell: VirtualShell, calibration: CalibrationMemory) -> None:
    traffic = replace(shell.state.memory.traffic, calibration=calibration)
    shell.state.memory = shell.state.memory.with_traffic(traffic)


@pytest.mark.parametrize("are_weights_refused", [False, True])
@in_virtual_time
async def test_events_are_posted_also_where_weights_cannot_be_written(
    tmp_path: Path, are_weights_refused: bool
) -> None:
    shell = await a_straggler(tmp_path)
    if are_weights_refused:
        shell.refuse(WEIGHTS)
    async with shell.running(planning=False, traffic=True):
        await shell.clock.sleep(1.0)
    events = [item for item in shell.server.of("events").values() if item["reason"] == "Straggler"]
    assert len(events) == 1
    assert (shell.server.count("patch", "fleetplans", "status") > 0) is not are_weights_refused


def scrape_an_engine(shell: VirtualShell) -> None:
    """From now on, one of the engines on L40S is a simulated vLLM under traffic."""
    snapshot = shell.state.snapshot()
    (variant,) = [v for v in variants_of(snapshot, snapshot.models["default/llama"]) if v.pool == "l40s"]
    room = PERF.fits(variant)
    assert isinstance(room, Fits)
    (subject,) = [each for (_, name), each in subjects_of(snapshot).items() if name == variant.name]
    limits = engine_limits(variant.engine, room.kv_capacity_tokens)
    engine = ScrapedEngine(limits, subject.prior.step_times, np.random.default_rng(1))
    (address, *_) = [p.address for p in snapshot.engine_pods if p.labels["argosy.dev/pool"] == "l40s"]

    def answer(targets: Targets, now_s: float) -> TelemetryReading:
        engine.run(Traffic(1.5), now_s - STARTED_S)
        reading = EngineReading(1, 0, 0.1, 0, 0, 0, engine.reading())
        return TelemetryReading(engines={address: Sample(reading, now_s)})

    shell.scraper.answer = answer


@in_virtual_time
async def test_a_calibration_that_was_begun_is_written_to_the_state_directory(tmp_path: Path) -> None:
    shell, file = await a_straggler(tmp_path), tmp_path / CALIBRATIONS_FILE
    remember(shell, CalibrationMemory())
    scrape_an_engine(shell)
    shell.state.cluster.uid = "uid-here"
    async with shell.running(planning=False, traffic=True):
        await shell.clock.sleep(40.0)
    known = shell.state.memory.traffic.calibration
    assert len(known.states) == 1
    assert read_calibrations(file).states.keys() == known.states.keys()
    assert read_calibrations(file, "uid-there").states == {}


@in_virtual_time
async def test_a_state_directory_that_cannot_be_written_stops_no_measurement(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shell = await a_straggler(tmp_path)
    remember(shell, CalibrationMemory())
    scrape_an_engine(shell)
    (tmp_path / CALIBRATIONS_FILE).mkdir()
    async with shell.running(planning=False, traffic=True):
        await shell.clock.sleep(40.0)
    assert len(shell.state.memory.traffic.calibration.states) == 1
    assert any("the calibrations were not written" in message for message in caplog.messages)


# --- what both loops share --------------------------------------------------------------------


@in_virtual_time
async def test_a_silent_engine_wakes_the_planning_loop_at_once(tmp_path: Path) -> None:
    shell = await two_pools(tmp_path)
    async with shell.running(traffic=True):
        await shell.clock.sleep(12.0)
        fall_silent(shell, "h100")
        before = len(shell.decider.started_s)
        await shell.clock.sleep(3.0)
    assert "has fallen silent" in shell.decider.triggers[before]


@in_virtual_time
async def test_what_is_measured_during_a_long_decision_is_remembered_with_what_it_decided(
    tmp_path: Path,
) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    shell.decider.takes_s = 10.0

    def eight_per_second(targets: Targets, now_s: float) -> TelemetryReading:
        counters = RouteCounters(8.0 * (now_s - EPOCH_S), errors_5xx_total=0, retries_total=0)
        return TelemetryReading(routes={("edge", CellName("default/chat")): Sample(counters, now_s)})

    shell.scraper.answer = eight_per_second
    async with shell.running(traffic=True):
        await shell.clock.sleep(9.0)
        assert shell.state.memory.planning.forecasts == {}
        during = shell.state.memory.traffic
        await shell.clock.sleep(3.0)
    assert during.demand != DemandHistory()
    assert shell.state.memory.planning.forecasts.keys() == {"default/chat"}
    assert shell.state.memory.traffic.demand not in (DemandHistory(), during.demand)
