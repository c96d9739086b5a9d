"""Both loops in virtual time while engines are slow, stop together, or are really gone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from virtual_clock import in_virtual_time
from virtual_shell import VirtualShell

from argosy.snapshot import EndpointHealth, EngineReading, Sample, TelemetryReading
from argosy.snapshot.liveness import DOUBT_UNTIL_S, SILENT_AFTER_S
from argosy.telemetry.port import Targets

ENGINE = EngineReading(1, 0, 0.1, 0, 0, 0)


class Engines:
    """What the scraper finds: engines that are slow or have stopped; all others answer at once.

    slow_s:    by address, how long each answer takes
    stopped_s: by address, since when it answers nothing; Envoy finds out after six seconds
    """

    def __init__(self) -> None:
        self.slow_s: Mapping[str, float] = {}
        self.stopped_s: Mapping[str, float] = {}

    def __call__(self, targets: Targets, now_s: float) -> TelemetryReading:
        unanswered = {a: since_s for a, since_s in self.stopped_s.items() if a in targets.engines}
        answered = dict.fromkeys(targets.engines, now_s) | dict(self.stopped_s)
        for address, takes_s in self.slow_s.items():
            sent_s = now_s - now_s % takes_s
            answered[address] = sent_s
            if now_s > sent_s:
                unanswered[address] = sent_s
        late = {*self.slow_s, *(a for a, since_s in self.stopped_s.items() if now_s - since_s > 6.0)}
        return TelemetryReading(
            engines={a: Sample(ENGINE, at_s) for a, at_s in answered.items() if a in targets.engines},
            unanswered_since_s=unanswered,
            endpoints={
                a: Sample(EndpointHealth.UNHEALTHY if a in late else EndpointHealth.HEALTHY, now_s)
                for a in targets.engines
            },
        )


async def a_settled_shell(directory: Path) -> tuple[VirtualShell, Engines]:
    shell, engines = VirtualShell(directory), Engines()
    shell.a_small_fleet()
    shell.scraper.answer = engines
    async with shell.running(traffic=True):
        await shell.clock.sleep(60.0)
    assert len(addresses(shell)) == 2
    return shell, engines


def addresses(shell: VirtualShell) -> list[str]:
    return [pod.address for pod in shell.state.snapshot().engine_pods if pod.ready]


def pods(shell: VirtualShell) -> set[str]:
    return {pod.key for pod in shell.state.snapshot().engine_pods}


def ready(shell: VirtualShell) -> tuple[str, str]:
    return shell.condition("workloadclasses", "default/chat", "Ready")


@in_virtual_time
async def test_a_saturated_engine_that_takes_eight_seconds_to_answer_is_never_replaced(
    tmp_path: Path,
) -> None:
    shell, engines = await a_settled_shell(tmp_path)
    before = (pods(shell), shell.plan_triggers())
    engines.slow_s = {addresses(shell)[0]: 8.0}
    async with shell.running(traffic=True):
        await shell.clock.sleep(300.0)
    assert (pods(shell), shell.plan_triggers()) == before
    assert shell.state.metrics.registry.get_sample_value("argosy_silent_endpoints") == 0.0


@in_virtual_time
async def test_engines_that_stop_together_for_less_than_a_minute_change_nothing_but_are_told(
    tmp_path: Path,
) -> None:
    shell, engines = await a_settled_shell(tmp_path)
    before = (pods(shell), shell.plan_triggers())
    engines.stopped_s = dict.fromkeys(addresses(shell), shell.clock.now_s())
    async with shell.running(traffic=True):
        await shell.clock.sleep(SILENT_AFTER_S)
        assert ready(shell) == ("False", "SilenceInDoubt")
        await shell.clock.sleep(DOUBT_UNTIL_S - SILENT_AFTER_S - 5.0)
        assert (pods(shell), shell.plan_triggers()) == before
        engines.stopped_s = {}
        await shell.clock.sleep(5.0)
        assert ready(shell) == ("True", "Ready")
        await shell.clock.sleep(60.0)
    assert (pods(shell), shell.plan_triggers()) == before
    (event,) = [e for e in shell.server.of("events").values() if e["reason"] == "SilenceInDoubt"]
    assert event["involvedObject"]["kind"] == "Fleet"


@in_virtual_time
async def test_engines_that_stop_together_for_good_are_replaced_after_a_minute(tmp_path: Path) -> None:
    shell, engines = await a_settled_shell(tmp_path)
    before = pods(shell)
    engines.stopped_s = dict.fromkeys(addresses(shell), shell.clock.now_s())
    async with shell.running(traffic=True):
        await shell.clock.sleep(DOUBT_UNTIL_S + 60.0)
    assert len(pods(shell) - before) == 2


@in_virtual_time
async def test_one_engine_that_answers_nothing_is_replaced_and_out_of_the_count_before(
    tmp_path: Path,
) -> None:
    shell, engines = await a_settled_shell(tmp_path)
    before = pods(shell)
    engines.stopped_s = {addresses(shell)[0]: shell.clock.now_s()}
    async with shell.running(traffic=True):
        await shell.clock.sleep(SILENT_AFTER_S - 1.0)
        assert ready(shell) == ("False", "NotAnswering")
        assert pods(shell) == before
        await shell.clock.sleep(6.0)
        assert len(pods(shell) - before) == 1
