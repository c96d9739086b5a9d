"""Direct scraping against small servers that answer, stall, break off and refuse."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from argosy.snapshot import EndpointHealth, RouteCounters, Sample
from argosy.telemetry import DirectScraper, ScrapeLimits, Targets

BODY = """\
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:prompt_tokens_total{engine="0",model_name="m"} 1000.0
vllm:generation_tokens_total{engine="0",model_name="m"} 500.0
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 4.0
"""


class FarSide:
    """One server that is an engine and an Envoy's admin interface at once, with a mood."""

    def __init__(self) -> None:
        self.mood = "well"
        self.attempts = 10
        self.retries = 0
        self.failed_checks = False
        self.answered = 0
        self.arrived = 0
        self.num_asked = 0
        self.turn = asyncio.Event()
        self.address = ""

    @property
    def url(self) -> str:
        return f"http://{self.address}/"

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        if self.mood == "silent":
            await asyncio.sleep(30)
        if self.mood == "slow":
            self.num_asked += 1
            await self.turn.wait()
        if self.mood == "broken off":
            response = web.StreamResponse(headers={"Content-Length": "9999"})
            await response.prepare(request)
            await response.write(BODY.encode())
            assert request.transport is not None
            request.transport.abort()
            return response
        if self.mood == "failing":
            return web.Response(status=500, text="boom")
        return web.Response(text=BODY.replace("3.0", "NaN") if self.mood == "odd" else BODY)

    async def stats(self, request: web.Request) -> web.Response:
        if self.mood == "silent":
            await asyncio.sleep(30)
        assert request.query["format"] == "json"
        start = "vhost.argosy.route.ns_chat.upstream_rq_"
        values = {"total": self.attempts, "retry": self.retries, "completed": 0, "5xx": 1}
        stats = [{"name": start + k, "value": v} for k, v in values.items()]
        stats += [{"name": "http.gateway.downstream_rq_total", "value": self.arrived}]
        stats += [{"name": "argosy.adapter_requests.argosy_cell.ns/chat.argosy_adapter.sql", "value": 7}]
        return web.json_response({"stats": stats})

    async def clusters(self, request: web.Request) -> web.Response:
        address = {"socket_address": {"address": "10.0.0.1", "port_value": 8000}}
        host = {"address": address, "health_status": {"failed_active_health_check": self.failed_checks}}
        host["stats"] = [{"name": "rq_success", "value": str(self.answered)}]
        return web.Response(text=json.dumps({"cluster_statuses": [{"host_statuses": [host]}]}))


@contextlib.asynccontextmanager
async def far_side() -> AsyncIterator[FarSide]:
    side = FarSide()
    app = web.Application()
    app.router.add_get("/metrics", side.metrics)
    app.router.add_get("/stats", side.stats)
    app.router.add_get("/clusters", side.clusters)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    side.address = f"{host}:{port}"
    try:
        yield side
    finally:
        await runner.cleanup()


def _cell_of(prefix: str) -> str | None:
    return "ns/chat" if prefix == "ns_chat" else None


@pytest.fixture
async def scraper() -> AsyncIterator[DirectScraper]:
    source = DirectScraper(_cell_of, ScrapeLimits(patience_s=1.0))
    yield source
    await source.close()


async def test_an_engine_that_answers_has_a_sample_of_now(scraper: DirectScraper) -> None:
    async with far_side() as engine:
        reading = await scraper.read(Targets((engine.address,)), 100.0)
    sample = reading.engines[engine.address]
    assert (sample.at_s, sample.value.num_running, sample.value.num_waiting) == (100.0, 3, 2)
    assert reading.unanswered_since_s == {}


@pytest.mark.parametrize("mood", ["silent", "broken off"])
async def test_a_silent_engine_keeps_its_sample_and_is_dated_from_its_first_failure(
    scraper: DirectScraper, mood: str
) -> None:
    async with far_side() as engine:
        targets = Targets((engine.address,))
        await scraper.read(targets, 100.0)
        engine.mood = mood
        await scraper.read(targets, 102.0)
        reading = await scraper.read(targets, 104.0)
        assert reading.engines[engine.address].at_s == 100.0
        assert reading.unanswered_since_s == {engine.address: 102.0}
        engine.mood = "well"
        reading = await scraper.read(targets, 106.0)
        assert reading.engines[engine.address].at_s == 106.0
        assert reading.unanswered_since_s == {}


async def test_an_engine_that_is_not_there_is_unanswered_and_has_no_sample(scraper: DirectScraper) -> None:
    async with far_side() as engine:
        address = engine.address
    reading = await scraper.read(Targets((address, "not an address")), 100.0)
    assert reading.engines == {}
    assert reading.unanswered_since_s == {address: 100.0, "not an address": 100.0}
    assert reading.refused_since_s == {address: 100.0}


async def test_a_late_answer_counts_and_is_dated_when_it_came() -> None:
    async with far_side() as engine, far_side() as other:
        source = DirectScraper(_cell_of, ScrapeLimits(patience_s=0.2))
        engine.mood = "slow"
        targets = Targets((engine.address, other.address))
        for now_s in (100.0, 102.0, 104.0):
            reading = await source.read(targets, now_s)
            assert reading.unanswered_since_s == {engine.address: 100.0}
            assert reading.engines.keys() == {other.address}
        engine.turn.set()
        await asyncio.sleep(0.1)
        engine.turn.clear()
        reading = await source.read(targets, 106.0)
        await source.close()
    assert reading.unanswered_since_s == {engine.address: 106.0}, "what is open now was sent then"
    assert 100.6 < reading.engines[engine.address].at_s < 102.0, "of the first request, 0.6 s after it"


async def test_an_engine_that_answers_again_is_found_though_the_first_request_stays_open() -> None:
    async with far_side() as engine:
        source = DirectScraper(_cell_of, ScrapeLimits(patience_s=0.2))
        engine.mood, targets = "slow", Targets((engine.address,))
        await source.read(targets, 100.0)
        engine.mood = "well"
        reading = await source.read(targets, 102.0)
        await source.close()
    assert reading.unanswered_since_s == {}
    assert reading.engines[engine.address].at_s == 102.0


async def test_the_time_out_of_an_older_request_is_no_silence_of_an_engine_that_has_answered_since() -> None:
    async with far_side() as engine:
        source = DirectScraper(_cell_of, ScrapeLimits(patience_s=0.1, timeout_s=0.4))
        engine.mood, targets = "slow", Targets((engine.address,))
        await source.read(targets, 100.0)
        engine.mood = "well"
        await source.read(targets, 102.0)
        await asyncio.sleep(0.5)
        engine.mood = "slow"
        reading = await source.read(targets, 104.0)
        await source.close()
    assert reading.unanswered_since_s == {engine.address: 104.0}


async def test_an_engine_that_is_read_no_more_is_not_waited_for() -> None:
    async with far_side() as engine:
        source = DirectScraper(_cell_of, ScrapeLimits(patience_s=0.1))
        engine.mood = "slow"
        await source.read(Targets((engine.address,)), 100.0)
        await source.read(Targets(), 102.0)
        reading = await source.read(Targets((engine.address,)), 104.0)
        await source.close()
    assert reading.unanswered_since_s == {engine.address: 104.0}
    assert engine.num_asked == 2


async def test_a_request_that_is_answered_is_seen_when_envoys_total_has_risen(
    scraper: DirectScraper,
) -> None:
    replica = "10.0.0.1:8000"
    async with far_side() as envoy:
        targets = Targets((replica,), (("envoy-1", envoy.url),))
        for now_s, answered, expected in (
            (100.0, 7, {}),  # of these it is not known when
            (102.0, 7, {}),
            (104.0, 8, {replica: 104.0}),
            (106.0, 8, {replica: 104.0}),
            (108.0, 0, {replica: 104.0}),  # Envoy was started again
            (110.0, 1, {replica: 110.0}),
        ):
            envoy.answered = answered
            reading = await scraper.read(targets, now_s)
            assert reading.answered_at_s == expected


async def test_what_came_in_at_an_envoy_is_read_with_its_counters(scraper: DirectScraper) -> None:
    async with far_side() as envoy:
        envoy.arrived = 12
        reading = await scraper.read(Targets((), (("envoy-1", envoy.url),)), 100.0)
    assert reading.arrivals == {"envoy-1": Sample(12.0, 100.0)}
    assert reading.adapters == {"envoy-1": Sample({("ns/chat", "sql"): 7.0}, 100.0)}


@pytest.mark.parametrize("mood", ["failing", "odd"])
async def test_an_engine_whose_answer_cannot_be_read_is_not_silent_but_its_sample_ages(
    scraper: DirectScraper, mood: str
) -> None:
    async with far_side() as engine:
        targets = Targets((engine.address,))
        await scraper.read(targets, 100.0)
        engine.mood = mood
        reading = await scraper.read(targets, 102.0)
    assert reading.engines[engine.address].at_s == 100.0
    assert reading.unanswered_since_s == {}


async def test_targets_that_are_no_longer_asked_for_are_forgotten(scraper: DirectScraper) -> None:
    async with far_side() as engine:
        await scraper.read(Targets((engine.address, "127.0.0.1:1"), (("envoy-1", engine.url),)), 100.0)
        reading = await scraper.read(Targets(), 102.0)
    assert (reading.engines, reading.unanswered_since_s, reading.routes, reading.endpoints) == (
        {},
        {},
        {},
        {},
    )


async def test_silent_engines_cost_one_time_out_together_not_one_each() -> None:
    async with far_side() as silent, far_side() as engine:
        silent.mood = "silent"
        source = DirectScraper(_cell_of, ScrapeLimits(patience_s=1.0, num_at_once=8))
        # One server under two names: what counts is the number of requests that hang.
        hanging = (silent.address, silent.address.replace("127.0.0.1", "localhost"))
        began = time.monotonic()
        reading = await source.read(Targets((*hanging, engine.address)), 100.0)
        took_s = time.monotonic() - began
        await source.close()
    assert reading.unanswered_since_s.keys() == set(hanging)
    assert engine.address in reading.engines
    assert took_s < 1.9  # two time-outs in a row would be 2


async def test_waiting_for_a_slot_is_not_counted_as_the_engines_silence() -> None:
    async with far_side() as silent, far_side() as engine:
        silent.mood = "silent"
        source = DirectScraper(_cell_of, ScrapeLimits(patience_s=1.0, num_at_once=1))
        reading = await source.read(Targets((silent.address, engine.address)), 100.0)
        await source.close()
    assert reading.unanswered_since_s.keys() == {silent.address}


async def test_an_envoy_gives_counters_per_class_and_health_per_endpoint(scraper: DirectScraper) -> None:
    async with far_side() as envoy:
        reading = await scraper.read(Targets((), (("envoy-1", envoy.url),)), 100.0)
    assert reading.routes == {("envoy-1", "ns/chat"): Sample(RouteCounters(10.0, 1.0, 0.0), 100.0)}
    assert reading.endpoints == {"10.0.0.1:8000": Sample(EndpointHealth.HEALTHY, 100.0)}


async def test_a_silent_envoy_keeps_its_counters_and_no_longer_outvotes_the_others(
    scraper: DirectScraper,
) -> None:
    async with far_side() as first, far_side() as second:
        targets = Targets((), (("envoy-1", first.url), ("envoy-2", second.url)))
        first.failed_checks = True
        reading = await scraper.read(targets, 100.0)
        assert reading.endpoints == {"10.0.0.1:8000": Sample(EndpointHealth.UNHEALTHY, 100.0)}
        first.mood = "silent"
        reading = await scraper.read(targets, 102.0)
    assert reading.routes["envoy-1", "ns/chat"].at_s == 100.0
    assert reading.routes["envoy-2", "ns/chat"].at_s == 102.0
    assert reading.endpoints == {"10.0.0.1:8000": Sample(EndpointHealth.HEALTHY, 102.0)}


async def test_a_retry_that_is_counted_before_it_is_sent_does_not_make_the_total_fall(
    scraper: DirectScraper,
) -> None:
    async with far_side() as envoy:
        targets, key = Targets((), (("envoy-1", envoy.url),)), ("envoy-1", "ns/chat")
        await scraper.read(targets, 100.0)
        envoy.retries = 2
        reading = await scraper.read(targets, 102.0)
        assert reading.routes[key].value.requests_total == 10.0
        envoy.attempts, envoy.retries = 3, 0
        reading = await scraper.read(targets, 104.0)
        assert reading.routes[key].value.requests_total == 3.0, "a restarted Envoy counts from zero"


async def test_a_source_can_be_used_again_after_it_was_closed(scraper: DirectScraper) -> None:
    async with far_side() as engine:
        await scraper.read(Targets((engine.address,)), 100.0)
        await scraper.close()
        reading = await scraper.read(Targets((engine.address,)), 102.0)
    assert reading.engines[engine.address].at_s == 102.0
