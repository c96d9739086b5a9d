"""Telemetry from a server that answers as Prometheus's HTTP API does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from argosy.snapshot import RouteCounters, Sample, TelemetryReading, Term
from argosy.snapshot.histogram import Histogram
from argosy.snapshot.telemetry import UnreadCause
from argosy.telemetry import PrometheusSettings, PrometheusSource, Targets

ENGINE = "10.0.0.1:8000"
ENVOY = ("envoy-1", "http://10.0.0.9:9901/")
NOW_S = 1_700_000_000.0

VALUES = {
    "vllm:num_requests_running": "3",
    "vllm:num_requests_waiting": "2",
    "vllm:kv_cache_usage_perc": "0.25",
    "vllm:prompt_tokens_total": "1000",
    "vllm:generation_tokens_total": "500",
}


def series(name: str, instance: str, *samples: tuple[float, str], **labels: str) -> dict[str, Any]:
    """One element of a matrix, as `/api/v1/query` gives it; samples are (seconds before now, value)."""
    return {
        "metric": {"__name__": name, "instance": instance, "job": "x", **labels},
        "values": [[NOW_S - ago_s, value] for ago_s, value in samples],
    }


def engine(ago_s: float = 4.0, instance: str = ENGINE, **replaced: str) -> list[dict[str, Any]]:
    """All series of one engine, whose last scrapes were `ago_s` and 15 s more ago."""
    found = [
        series(name, instance, (ago_s + 15, "0"), (ago_s, replaced.get(name.removeprefix("vllm:"), value)))
        for name, value in VALUES.items()
    ]
    for reason, value in (("stop", "4"), ("length", "1")):
        found.append(series("vllm:request_success_total", instance, (ago_s, value), finished_reason=reason))
    return found


def route(counter: str, value: str, ago_s: float = 3.0, **labels: str) -> dict[str, Any]:
    name = f"envoy_vhost_route_upstream_rq_{counter}"
    where = {"envoy_virtual_host": "argosy", "envoy_route": "ns_chat"}
    return series(name, "10.0.0.9:9901", (ago_s, value), **{**where, **labels})


def refused(value: str) -> dict[str, Any]:
    return series("envoy_argosy_refused_requests", "10.0.0.9:9901", (3.0, value), argosy_cell="ns/chat")


class Prometheus:
    """The far side: gives `result`, or `status`, or waits."""

    def __init__(self) -> None:
        self.result: list[dict[str, Any]] = []
        self.body: dict[str, Any] | None = None
        self.status = 200
        self.delay_s = 0.0
        self.queries: list[str] = []
        self.url = ""

    async def query(self, request: web.Request) -> web.Response:
        self.queries.append(request.query["query"])
        await asyncio.sleep(self.delay_s)
        if self.status != 200:
            return web.Response(status=self.status, text="unavailable")
        answer = {"status": "success", "data": {"resultType": "matrix", "result": self.result}}
        return web.json_response(answer if self.body is None else self.body)


@contextlib.asynccontextmanager
async def serve() -> AsyncIterator[Prometheus]:
    server = Prometheus()
    app = web.Application()
    app.router.add_get("/api/v1/query", server.query)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://{host}:{port}"
    try:
        yield server
    finally:
        await runner.cleanup()


@pytest.fixture
async def prometheus() -> AsyncIterator[Prometheus]:
    async with serve() as server:
        yield server


@pytest.fixture
async def source(prometheus: Prometheus) -> AsyncIterator[PrometheusSource]:
    settings = PrometheusSettings(prometheus.url, timeout_s=1.5)
    made = PrometheusSource(settings, lambda prefix: {"ns_chat": "ns/chat"}.get(prefix))
    yield made
    await made.close()


TARGETS = Targets((ENGINE,), (ENVOY,))


async def test_an_engines_sample_is_dated_with_prometheus_own_scrape(
    prometheus: Prometheus, source: PrometheusSource
) -> None:
    prometheus.result = [*engine(ago_s=4.0), series("up", ENGINE, (19, "1"), (4, "1"))]
    reading = await source.read(TARGETS, NOW_S)
    sample = reading.engines[ENGINE]
    assert sample.age_s(NOW_S) == 4.0
    assert (sample.value.num_running, sample.value.num_waiting, sample.value.requests_total) == (3, 2, 5.0)
    assert reading.unanswered_since_s == {}
    assert prometheus.queries[0].endswith("[90s]"), "a plain selector is dated with the query's moment"


async def test_latencies_come_with_the_engines_sample(
    prometheus: Prometheus, source: PrometheusSource
) -> None:
    name = "vllm:time_to_first_token_seconds_bucket"
    buckets = [series(name, ENGINE, (4.0, n), le=le) for le, n in (("0.1", "4"), ("+Inf", "10"))]
    prometheus.result = [*engine(ago_s=4.0), *buckets]
    reading = await source.read(TARGETS, NOW_S)
    assert reading.engines[ENGINE].value.latencies == {Term.TTFT: Histogram((0.1,), (4.0,), 10.0)}
    assert name in prometheus.queries[0]


async def test_what_recalibration_needs_comes_with_it_and_its_labels(
    prometheus: Prometheus, source: PrometheusSource
) -> None:
    labels = {"block_size": "16", "num_gpu_blocks": "27000"}
    prometheus.result = [
        *engine(),
        series("vllm:iteration_tokens_total_count", ENGINE, (19, "700"), (4, "800")),
        series("vllm:cache_config_info", ENGINE, (4, "1"), **labels),
        series("process_start_time_seconds", ENGINE, (4, "1.7e+09")),
    ]
    counters = (await source.read(TARGETS, NOW_S)).engines[ENGINE].value.counters
    assert counters is not None
    assert (counters.iterations, counters.kv_blocks, counters.block_size) == (800.0, 27_000.0, 16.0)
    assert (counters.gaps, counters.start_time_s) == (None, 1.7e9)
    for name in ("iteration_tokens_total_count", "cache_config_info", "process_start_time_seconds"):
        assert name in prometheus.queries[0]


async def test_a_stale_sample_keeps_its_age(prometheus: Prometheus, source: PrometheusSource) -> None:
    prometheus.result = engine(ago_s=70.0)
    reading = await source.read(TARGETS, NOW_S)
    assert reading.engines[ENGINE].age_s(NOW_S) == 70.0


async def test_series_of_a_process_that_has_gone_are_not_added_to_its_successors(
    prometheus: Prometheus, source: PrometheusSource
) -> None:
    gone = [{**one, "metric": {**one["metric"], "pod": "old"}} for one in engine(ago_s=34.0)]
    prometheus.result = [*gone, *engine(ago_s=4.0)]
    reading = await source.read(TARGETS, NOW_S)
    assert reading.engines[ENGINE].value.num_running == 3


async def test_a_missing_series_leaves_the_engine_without_a_sample(
    prometheus: Prometheus, source: PrometheusSource
) -> None:
    prometheus.result = [one for one in engine() if "waiting" not in one["metric"]["__name__"]]
    assert (await source.read(TARGETS, NOW_S)).engines == {}


async def test_nan_is_a_missing_value(prometheus: Prometheus, source: PrometheusSource) -> None:
    prometheus.result = engine(num_requests_waiting="NaN")
    assert (await source.read(TARGETS, NOW_S)).engines == {}


async def test_why_an_engine_cannot_be_read_is_told(prometheus: Prometheus, source: PrometheusSource) -> None:
    async def why() -> tuple[UnreadCause, str] | None:
        found = (await source.read(TARGETS, NOW_S)).unread.get(ENGINE)
        return None if found is None else (found.cause, found.detail)

    assert await why() == (UnreadCause.UNREACHABLE, "Prometheus has no target with its address")
    up, down = series("up", ENGINE, (4.0, "1")), series("up", ENGINE, (4.0, "0"))
    without = [one for one in engine() if "kv_cache" not in one["metric"]["__name__"]]
    prometheus.result = [up, *without, series("vllm:gpu_cache_usage_perc", ENGINE, (4.0, "0.5"))]
    found = await why()
    assert found is not None
    assert found[0] is UnreadCause.OLD_METRICS
    prometheus.result = [up, *without]
    assert await why() == (
        UnreadCause.BAD_METRICS,
        "Prometheus has no number of vllm:kv_cache_usage_perc",
    )
    prometheus.result = [down]
    assert await why() == (UnreadCause.UNREACHABLE, "Prometheus cannot scrape it (up is 0)")
    prometheus.result = [up, *engine()]
    assert await why() is None


async def test_an_engine_is_unanswered_since_the_first_failed_scrape_in_a_row(
    prometheus: Prometheus, source: PrometheusSource
) -> None:
    ups = [(49.0, "1"), (34.0, "0"), (19.0, "0"), (4.0, "0")]
    prometheus.result = [*engine(ago_s=49.0), series("up", ENGINE, *ups)]
    reading = await source.read(TARGETS, NOW_S)
    assert reading.unanswered_since_s == {ENGINE: NOW_S - 34.0}
    assert reading.engines[ENGINE].age_s(NOW_S) == 49.0
    prometheus.result = [*engine(ago_s=4.0), series("up", ENGINE, *ups[:-1], (4.0, "1"))]
    assert (await source.read(TARGETS, NOW_S)).unanswered_since_s == {}


async def test_an_empty_result_is_neither_an_idle_nor_a_silent_engine(
    prometheus: Prometheus, source: PrometheusSource
) -> None:
    reading = await source.read(TARGETS, NOW_S)
    assert (reading.engines, reading.unanswered_since_s, reading.routes) == ({}, {}, {})


async def test_a_classs_counters_come_from_envoys_newest_scrape(
    prometheus: Prometheus, source: PrometheusSource
) -> None:
    prometheus.result = [
        route("total", "30"),
        route("retry", "20"),
        route("completed", "10"),
        route("xx", "4", envoy_response_code_class="5"),
        route("xx", "6", envoy_response_code_class="2"),
        refused("3"),
        route("total", "999", envoy_virtual_host="other"),
        route("total", "999", envoy_route="unknown"),
    ]
    reading = await source.read(TARGETS, NOW_S)
    assert reading.routes == {
        ("envoy-1", "ns/chat"): Sample(RouteCounters(10.0, 1.0, 20.0, 3.0), NOW_S - 3.0)
    }


async def test_arrivals_are_those_at_the_gateway_in_the_scrape_of_the_routes(
    prometheus: Prometheus, source: PrometheusSource
) -> None:
    def arrivals(prefix: str, value: str, ago_s: float = 3.0) -> dict[str, Any]:
        labels = {"envoy_http_conn_manager_prefix": prefix}
        return series("envoy_http_downstream_rq_total", "10.0.0.9:9901", (ago_s, value), **labels)

    others = [arrivals("admin", "999"), arrivals("gateway", "888", ago_s=33.0)]
    prometheus.result = [*others, route("total", "30"), arrivals("gateway", "40")]
    reading = await source.read(TARGETS, NOW_S)
    assert reading.arrivals == {"envoy-1": Sample(40.0, NOW_S - 3.0)}
    assert reading.envoys == {}, "Prometheus shows no health, which is not that of an Envoy without replicas"
    prometheus.result = [*others, route("total", "30")]
    assert (await source.read(TARGETS, NOW_S)).arrivals == {}


async def test_requests_for_adapters_are_those_of_the_scrape_of_the_routes(
    prometheus: Prometheus, source: PrometheusSource
) -> None:
    def adapter(name: str, value: str, ago_s: float = 3.0) -> dict[str, Any]:
        labels = {"argosy_cell": "ns/chat", "argosy_adapter": name}
        return series("envoy_argosy_adapter_requests", "10.0.0.9:9901", (ago_s, value), **labels)

    prometheus.result = [
        route("total", "30"),
        adapter("sql", "7"),
        adapter("", "9"),
        adapter("old", "1", 33.0),
    ]
    reading = await source.read(TARGETS, NOW_S)
    assert reading.adapters == {"envoy-1": Sample({("ns/chat", "sql"): 7.0}, NOW_S - 3.0)}


@pytest.mark.parametrize(
    "trouble",
    ["status 500", "error status", "no numbers", "time-out"],
)
async def test_when_prometheus_fails_all_samples_stay_and_age(
    prometheus: Prometheus, source: PrometheusSource, trouble: str
) -> None:
    prometheus.result = [*engine(ago_s=4.0), route("total", "30"), series("up", "10.0.0.2:8000", (4, "0"))]
    targets = Targets((ENGINE, "10.0.0.2:8000"), (ENVOY,))
    before = await source.read(targets, NOW_S)
    assert before.unanswered_since_s
    if trouble == "status 500":
        prometheus.status = 500
    elif trouble == "error status":
        prometheus.body = {"status": "error", "errorType": "bad_data", "error": "parse error"}
    elif trouble == "no numbers":
        prometheus.body = {"data": {"result": [{"metric": {}, "values": [["x", "y"]]}]}}
    else:
        prometheus.delay_s = 1.5
    assert await source.read(targets, NOW_S + 2) == before


async def test_a_prometheus_that_is_not_there_leaves_everything_unknown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serve() as gone:
        pass
    source = PrometheusSource(PrometheusSettings(gone.url, timeout_s=0.5), lambda prefix: prefix)
    assert await source.read(TARGETS, NOW_S) == TelemetryReading()
    await source.close()
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("argosy")]
    assert line == (
        f"telemetry: Prometheus at {gone.url}: it does not accept connections; check that it runs and that"
        " --prometheus names it; until then plans use declared rates"
    )


async def test_a_query_that_still_hangs_is_not_joined_by_another(
    prometheus: Prometheus, source: PrometheusSource
) -> None:
    prometheus.delay_s = 0.4
    first = asyncio.create_task(source.read(TARGETS, NOW_S))
    await asyncio.sleep(0.1)
    await source.read(TARGETS, NOW_S)
    await first
    assert len(prometheus.queries) == 1


async def test_targets_that_are_no_longer_asked_for_are_forgotten(
    prometheus: Prometheus, source: PrometheusSource
) -> None:
    prometheus.result = [*engine(), route("total", "30")]
    await source.read(TARGETS, NOW_S)
    reading = await source.read(Targets(), NOW_S)
    assert (reading.engines, reading.routes) == ({}, {})


async def test_samples_from_the_far_future_are_left_out(
    prometheus: Prometheus, source: PrometheusSource
) -> None:
    prometheus.result = engine(ago_s=-3600.0)
    reading = await source.read(TARGETS, NOW_S)
    assert all(sample.at_s <= NOW_S for sample in reading.engines.values())
