"""A container's probes in virtual time: period, time-out and thresholds are the manifest's."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from virtual_clock import in_virtual_time

from argosy_sim.livefleet.kubelet.probes import HttpProbe, has_started, http_probe, verdicts


@pytest.mark.parametrize(
    ("probe", "expected"),
    [
        pytest.param(None, None, id="none"),
        pytest.param({"exec": {"command": ["true"]}}, None, id="a command, which no simulated pod runs"),
        pytest.param({"httpGet": {"path": "/health"}}, HttpProbe("/health", 10, 1, 3, 1), id="defaults"),
        pytest.param(
            {"httpGet": {"path": "/h"}, "periodSeconds": 2, "timeoutSeconds": 5, "failureThreshold": 4},
            HttpProbe("/h", 2, 5, 4, 1),
            id="as it is written",
        ),
    ],
)
def test_a_probe_is_read_as_kubernetes_reads_it(probe: object, expected: HttpProbe | None) -> None:
    assert http_probe({"readinessProbe": probe}, "readinessProbe") == expected


@in_virtual_time
async def test_failures_in_a_row_end_readiness_and_one_success_brings_it_back() -> None:
    # Three seconds of refusal at first: two failures only. Then a late answer and two refusals.
    late = 100.0
    answers: list[float | None] = [None, None, 0.0, late, None, None, 0.0]
    asked_s: list[float] = []
    loop = asyncio.get_running_loop()
    began_s = loop.time()

    async def ask(path: str) -> bool:
        asked_s.append(loop.time() - began_s)
        answer = answers.pop(0) if answers else 0.0
        if answer is None:
            raise ConnectionRefusedError
        await asyncio.sleep(answer)
        return path == "/health"

    found = []
    async with aclosing(verdicts(HttpProbe("/health", 2.0, 3.0, 3), ask)) as changes:
        async for is_well in changes:
            found.append((loop.time() - began_s, is_well))
            if len(found) == 2:
                break
    # The late answer holds the next request up until its time-out; the ticks stay where they were.
    assert asked_s == pytest.approx([2.0, 4.0, 6.0, 8.0, 11.0, 12.0, 14.0])
    assert found == [(pytest.approx(12.0), False), (pytest.approx(14.0), True)]


@pytest.mark.parametrize(
    ("opens_after_s", "expected"),
    [
        pytest.param(0.0, (True, 0.0), id="asked at once"),
        pytest.param(2.5, (True, 3.0), id="at the next tick"),
        pytest.param(4.0, (False, 3.0), id="given up after as many failures as the manifest allows"),
    ],
)
@in_virtual_time
async def test_an_engine_has_started_with_its_first_success_or_not_in_time(
    opens_after_s: float, expected: tuple[bool, float]
) -> None:
    loop = asyncio.get_running_loop()
    began_s = loop.time()

    async def ask(path: str) -> bool:
        if loop.time() - began_s < opens_after_s:
            raise ConnectionRefusedError
        return True

    started = await has_started(HttpProbe("/health", 1.0, 1.0, 4), ask)
    assert (started, loop.time() - began_s) == expected


@in_virtual_time
async def test_after_a_first_failure_one_success_makes_it_ready() -> None:
    async def ask(path: str) -> bool:
        return True

    async with aclosing(verdicts(HttpProbe("/health", 2.0), ask, is_well=False)) as changes:
        assert await anext(changes) is True
