"""What is read from the engines' and Envoy's answers, and what must not be."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from argosy.snapshot import CounterReading, EndpointHealth, EngineReading, RouteCounters, Term
from argosy.snapshot.histogram import Histogram
from argosy.telemetry.parse import (
    ROUTE_STATS_FILTER,
    RawRouteCounters,
    UnreadableAnswer,
    UnreadableAnswerReason,
    parse_adapters,
    parse_answered,
    parse_arrivals,
    parse_clusters,
    parse_engine,
    parse_route_stats,
)

BODY = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 90.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:prompt_tokens_total{engine="0",model_name="m"} 1000.0
vllm:prompt_tokens_by_source_total{engine="0",model_name="m",source="local_compute"} 7.0
vllm:generation_tokens_total{engine="0",model_name="m"} 500.0
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 4.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 1.0
"""

READING = EngineReading(
    num_running=3,
    num_waiting=2,
    kv_cache_usage=0.25,
    prompt_tokens_total=1000.0,
    generation_tokens_total=500.0,
    requests_total=5.0,
)


def _is_unreadable(body: str) -> bool:
    return isinstance(parse_engine(body.encode()), UnreadableAnswer)


def test_the_six_metrics_are_read_and_finished_requests_add_up_over_their_reasons() -> None:
    assert parse_engine(BODY.encode()) == READING


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param('engine="0",model_name="m"', 'model_name="m",engine="0"', id="labels in another order"),
        pytest.param('model_name="m"', 'model_name="a} 9 b"', id="a brace and a number in a label"),
        pytest.param('{engine="0",model_name="m"} 2.0', " 2.0", id="no labels"),
        pytest.param("3.0\n", "3.0 1700000000000\n", id="a time stamp after the value"),
        pytest.param("1000.0", "1e+03", id="a value in scientific notation"),
    ],
)
def test_the_same_numbers_in_another_spelling_are_the_same_reading(before: str, after: str) -> None:
    assert before in BODY
    assert parse_engine(BODY.replace(before, after).encode()) == READING


def test_engines_behind_one_address_add_up_and_their_cache_usage_is_averaged() -> None:
    second = BODY.replace('engine="0"', 'engine="1"').replace(" 0.25\n", " 0.75\n")
    assert parse_engine((BODY + second).encode()) == EngineReading(6, 4, 0.5, 2000.0, 1000.0, 10.0)


TTFT = """\
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.1",model_name="m"} 4.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.5",model_name="m"} 9.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="m"} 10.0
vllm:time_to_first_token_seconds_count{engine="0",model_name="m"} 10.0
"""


def _latencies(body: str) -> Mapping[Term, Histogram]:
    reading = parse_engine(body.encode())
    assert isinstance(reading, EngineReading)
    return reading.latencies


def test_latencies_are_read_and_those_of_engines_behind_one_address_add_up() -> None:
    one = Histogram((0.1, 0.5), (4.0, 9.0), 10.0)
    assert _latencies(BODY + TTFT) == {Term.TTFT: one}
    assert _latencies(BODY + TTFT + TTFT.replace('engine="0"', 'engine="1"')) == {Term.TTFT: one.plus(one)}
    assert _latencies(BODY + TTFT.replace('engine="0"', 'role="prefill"')) == {Term.TTFT: one}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param('le="0.1"', 'le="little"', id="a bound that is no number"),
        pytest.param(" 4.0", " many", id="a count that is no number"),
        pytest.param(" 9.0", " 90.0", id="counts that fall"),
        pytest.param(TTFT.splitlines()[2] + "\n", "", id="no total"),
    ],
)
def test_a_histogram_that_cannot_be_read_leaves_the_rest_of_the_engine_readable(
    before: str, after: str
) -> None:
    assert before in TTFT
    assert _latencies(BODY + TTFT.replace(before, after)) == {}


COUNTERS = """\
vllm:iteration_tokens_total_bucket{engine="0",le="1.0",model_name="m"} 99.0
vllm:iteration_tokens_total_count{engine="0",model_name="m"} 800.0
vllm:iteration_tokens_total_sum{engine="0",model_name="m"} 9000.0
vllm:inter_token_latency_seconds_count{engine="0",model_name="m"} 16000.0
vllm:inter_token_latency_seconds_sum{engine="0",model_name="m"} 240.5
vllm:time_to_first_token_seconds_count{engine="0",model_name="m"} 70.0
vllm:prompt_tokens_cached_total{engine="0",model_name="m"} 12.0
vllm:num_preemptions_total{engine="0",model_name="m"} 0.0
vllm:cache_config_info{block_size="16",engine="0",num_gpu_blocks="27000",note="a \\"}\\" b"} 1.0
process_start_time_seconds 1.7e+09
"""

COUNTED = CounterReading(
    iterations=800.0,
    gaps=16_000.0,
    gap_s=240.5,
    prompts=70.0,
    prompt_tokens=1000.0,
    cached_prompt_tokens=12.0,
    preemptions=0.0,
    num_running=3.0,
    kv_cache_usage=0.25,
    kv_blocks=27_000.0,
    block_size=16.0,
    start_time_s=1.7e9,
)


def counters_of(body: str) -> CounterReading | None:
    found = parse_engine(body.encode())
    assert isinstance(found, EngineReading), found
    return found.counters


def test_what_recalibration_needs_is_read_beside_the_six() -> None:
    assert parse_engine((BODY + COUNTERS).encode()) == replace(READING, counters=COUNTED)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("vllm:iteration_tokens_total_count", ["iterations"]),
        ("vllm:inter_token_latency_seconds_count", ["gaps"]),
        ("vllm:inter_token_latency_seconds_sum", ["gap_s"]),
        ("vllm:time_to_first_token_seconds_count", ["prompts"]),
        ("vllm:prompt_tokens_cached_total", ["cached_prompt_tokens"]),
        ("vllm:num_preemptions_total", ["preemptions"]),
        ("vllm:cache_config_info", ["kv_blocks", "block_size"]),
        ("process_start_time_seconds", ["start_time_s"]),
    ],
)
def test_what_only_recalibration_needs_may_be_missing(name: str, fields: list[str]) -> None:
    kept = [line for line in COUNTERS.splitlines(keepends=True) if not line.startswith(name)]
    assert counters_of(BODY + "".join(kept)) == replace(COUNTED, **dict.fromkeys(fields))


def test_an_engine_that_shows_nothing_of_it_has_no_counters() -> None:
    assert counters_of(BODY) is None
    assert counters_of(BODY + "process_start_time_seconds 1.7e+09\n") is None


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        pytest.param(
            'num_gpu_blocks="27000"', 'num_gpu_blocks="None"', {"kv_blocks": None}, id="not known yet"
        ),
        pytest.param('block_size="16"', 'block_size=""', {"block_size": None}, id="an empty label"),
        pytest.param(" 70.0", " 71", {"prompts": 71.0}, id="a whole number"),
        pytest.param("1.7e+09", "17", {"start_time_s": 17.0}, id="a clock that was never set"),
    ],
)
def test_a_label_that_is_no_number_is_missing(before: str, after: str, changes: dict[str, float]) -> None:
    assert before in COUNTERS
    assert counters_of(BODY + COUNTERS.replace(before, after)) == replace(COUNTED, **changes)


@pytest.mark.parametrize("odd", ["NaN", "nothing", "-Inf"])
def test_a_counter_that_is_no_number_is_passed_on_as_such_and_spoils_nothing_else(odd: str) -> None:
    found = counters_of(BODY + COUNTERS.replace("800.0", odd))
    assert found is not None
    assert found.iterations is not None
    assert not math.isfinite(found.iterations)
    assert replace(found, iterations=800.0) == COUNTED


def test_the_counters_of_engines_behind_one_address_add_up() -> None:
    second = (BODY + COUNTERS).replace('engine="0"', 'engine="1"').replace(" 0.25\n", " 0.75\n")
    found = counters_of(BODY + COUNTERS + second)
    assert found is not None
    assert (found.iterations, found.kv_blocks, found.block_size) == (1600.0, 54_000.0, 16.0)
    assert (found.num_running, found.kv_cache_usage, found.start_time_s) == (6.0, 0.5, 1.7e9)


def test_caches_with_unlike_blocks_have_no_block_size() -> None:
    second = COUNTERS.replace('block_size="16"', 'block_size="32"')
    found = counters_of(BODY + COUNTERS + second)
    assert found is not None
    assert found.block_size is None


@pytest.mark.parametrize(
    "name",
    [
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
        "vllm:kv_cache_usage_perc",
        "vllm:prompt_tokens_total",
        "vllm:generation_tokens_total",
        "vllm:request_success_total",
    ],
)
def test_a_missing_metric_makes_the_answer_unreadable_and_is_named(name: str) -> None:
    kept = [line for line in BODY.splitlines(keepends=True) if not line.startswith(name + "{")]
    assert parse_engine("".join(kept).encode()) == UnreadableAnswer(
        UnreadableAnswerReason.MISSING_METRIC, f"no value of {name}"
    )


@pytest.mark.parametrize(
    ("current", "old"),
    [
        pytest.param(
            "vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", id="the old name of cache usage"
        ),
        pytest.param(
            "vllm:num_requests_waiting{", "vllm:num_requests_waiting_by_reason{", id="a longer name"
        ),
        pytest.param(
            "\nvllm:num_requests_running", "\nother_vllm:num_requests_running", id="a longer beginning"
        ),
    ],
)
def test_only_the_exact_name_counts(current: str, old: str) -> None:
    assert current in BODY
    assert _is_unreadable(BODY.replace(current, old))


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-1.0", "busy", ""])
def test_what_is_not_a_number_of_zero_or_more_is_never_read_as_one(value: str) -> None:
    assert _is_unreadable(BODY.replace('model_name="m"} 2.0', f'model_name="m"}} {value}'))


def test_a_body_cut_off_inside_its_last_number_is_unreadable() -> None:
    one_success = BODY.replace(
        'vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 1.0\n', ""
    )
    assert parse_engine(one_success.replace(" 4.0\n", " 42.0\n").encode()) != parse_engine(BODY.encode())
    assert _is_unreadable(one_success.replace(" 4.0\n", " 4"))


def test_an_empty_body_is_unreadable() -> None:
    assert _is_unreadable("")


def _stats(**counters: float) -> bytes:
    stats = [{"name": name, "value": value} for name, value in counters.items()]
    return json.dumps({"stats": [*stats, {"histograms": {}}]}).encode()


def test_route_counters_are_read_by_stat_prefix() -> None:
    start = "vhost.argosy.route.ns_chat.upstream_rq_"
    body = _stats(
        **{
            f"{start}total": 30,
            f"{start}retry": 20,
            f"{start}completed": 10,
            f"{start}5xx": 10,
            "argosy.refused_requests.argosy_cell.ns/chat": 4,
            "argosy.refused_requests.argosy_cell.ns/chat.v2": 3,
            "vhost.other.route.x.upstream_rq_total": 7,
        }
    )
    assert parse_route_stats(body) == {
        "ns_chat": RawRouteCounters(attempts=30, completed=10, retries=20, errors_5xx=10, refused=4)
    }


def test_a_refused_request_is_no_error() -> None:
    assert RawRouteCounters(6, 10, 0, 4, 3).counters() == RouteCounters(10.0, 1.0, 0.0, 3.0)
    assert RawRouteCounters(6, 10, 0, 3, 4).counters().errors_5xx_total == 0.0


@pytest.mark.parametrize(
    ("raw", "requests"),
    [
        pytest.param(RawRouteCounters(10, 10, 0, 0), 10, id="all answered"),
        pytest.param(RawRouteCounters(30, 10, 20, 10), 10, id="every request tried three times"),
        pytest.param(RawRouteCounters(0, 10, 0, 10), 10, id="no endpoint: all refused by Envoy"),
        pytest.param(RawRouteCounters(7, 10, 0, 3), 10, id="one of two clusters empty"),
        pytest.param(RawRouteCounters(6, 0, 0, 0), 6, id="all still wait for a header"),
    ],
)
def test_requests_are_those_sent_once_or_those_answered_whichever_are_more(
    raw: RawRouteCounters, requests: float
) -> None:
    assert raw.counters() == RouteCounters(requests, raw.errors_5xx, raw.retries)


def test_a_route_without_its_total_is_missing_and_not_idle() -> None:
    assert parse_route_stats(_stats(**{"vhost.argosy.route.ns_chat.upstream_rq_completed": 3})) == {}


@pytest.mark.parametrize("body", [b"", b"overloaded", b"[]", b'{"stats": '])
def test_an_answer_that_is_no_json_object_is_unreadable(body: bytes) -> None:
    assert isinstance(parse_route_stats(body), UnreadableAnswer)
    assert isinstance(parse_clusters(body), UnreadableAnswer)


def _cluster(flags: dict[str, object], port: int = 8000) -> dict[str, object]:
    address = {"socket_address": {"address": "10.0.0.1", "port_value": port}}
    return {"name": "c", "host_statuses": [{"address": address, "health_status": flags}]}


@pytest.mark.parametrize(
    ("flags", "health"),
    [
        pytest.param({}, EndpointHealth.HEALTHY, id="no flag"),
        pytest.param({"failed_active_health_check": True}, EndpointHealth.UNHEALTHY, id="failed its checks"),
        pytest.param(
            {"failed_active_health_check": True, "pending_active_hc": True},
            EndpointHealth.PENDING,
            id="new: has not passed its first check",
        ),
        pytest.param({"failed_outlier_check": True}, EndpointHealth.UNHEALTHY, id="ejected as an outlier"),
        pytest.param({"eds_health_status": "UNHEALTHY"}, EndpointHealth.UNHEALTHY, id="said to be by EDS"),
        pytest.param({"eds_health_status": "DRAINING"}, EndpointHealth.HEALTHY, id="draining at our word"),
    ],
)
def test_the_flags_of_a_host_say_its_health(flags: dict[str, object], health: EndpointHealth) -> None:
    body = json.dumps({"cluster_statuses": [{"name": "empty"}, _cluster(flags)]}).encode()
    assert parse_clusters(body) == {"10.0.0.1:8000": health}


def test_an_address_in_two_clusters_has_the_worse_health_of_both() -> None:
    bad, good = _cluster({"failed_active_health_check": True}), _cluster({})
    for clusters in ([bad, good], [good, bad]):
        body = json.dumps({"cluster_statuses": clusters}).encode()
        assert parse_clusters(body) == {"10.0.0.1:8000": EndpointHealth.UNHEALTHY}


def test_a_host_behind_the_hop_is_known_by_the_address_of_its_replica() -> None:
    hop = {"envoy_internal_address": {"server_listener_name": "argosy-hop", "endpoint_id": "10.0.0.1:8000"}}
    ejected = {"address": hop, "health_status": {"failed_outlier_check": True}}
    http = {"name": "c", "host_statuses": [ejected]}
    body = json.dumps({"cluster_statuses": [http, _cluster({})]}).encode()
    assert parse_clusters(body) == {"10.0.0.1:8000": EndpointHealth.UNHEALTHY}


def test_a_host_that_envoy_was_told_to_drop_is_no_endpoint() -> None:
    body = json.dumps({"cluster_statuses": [_cluster({"pending_dynamic_removal": True})]}).encode()
    assert parse_clusters(body) == {}


def a_host(address: str, *stats: tuple[str, object]) -> dict[str, object]:
    socket = {"address": address, "port_value": 8000}
    shown = [{"name": name, "value": value} for name, value in stats]
    return {"address": {"socket_address": socket}, "stats": shown}


def test_requests_answered_are_read_by_endpoint_and_added_up_over_clusters() -> None:
    hosts = [
        a_host("10.0.0.1", ("rq_success", "7"), ("rq_total", "9")),
        a_host("10.0.0.2", ("rq_error", "3")),
        a_host("10.0.0.3", ("rq_success", "?")),
    ]
    again = [a_host("10.0.0.1", ("rq_success", "5"))]
    body = json.dumps({"cluster_statuses": [{"host_statuses": hosts}, {"host_statuses": again}]}).encode()
    assert parse_answered(body) == {"10.0.0.1:8000": 12.0}
    assert parse_answered(b"no JSON") == {}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"stats": [{"name": "http.gateway.downstream_rq_total", "value": 12}]}', 12.0),
        (b'{"stats": [{"name": "http.admin.downstream_rq_total", "value": 12}]}', None),
        (b'{"stats": [{"name": "http.gateway.downstream_rq_total", "value": "many"}]}', None),
        (b'{"stats": [{"name": "http.gateway.downstream_rq_total", "value": NaN}]}', None),
        (b"no JSON", None),
    ],
)
def test_what_came_in_is_read_of_the_gateway_alone(body: bytes, expected: float | None) -> None:
    assert parse_arrivals(body) == expected


def test_requests_are_read_by_cell_and_adapter() -> None:
    start = "argosy.adapter_requests.argosy_cell."
    values = {
        f"{start}ns/chat.v2.argosy_adapter.org/sql:v1.2": 3,
        f"{start}ns/chat.v2.argosy_adapter.": 9,
        f"{start}ns/chat.argosy_adapter.law": "many",
        "argosy.refused_requests.argosy_cell.ns/chat": 1,
    }
    body = json.dumps({"stats": [{"name": name, "value": value} for name, value in values.items()]})
    assert parse_adapters(body.encode()) == {("ns/chat.v2", "org/sql:v1.2"): 3.0}
    assert parse_adapters(b"no JSON") == {}
    assert all(re.search(ROUTE_STATS_FILTER, name) for name in values)


def test_an_endpoint_where_requests_wait_is_no_replica() -> None:
    def host(endpoint: str) -> dict[str, Any]:
        address = {"envoy_internal_address": {"server_listener_name": "x", "endpoint_id": endpoint}}
        return {"address": address, "health_status": {"eds_health_status": "HEALTHY"}}

    hosts = [host("10.0.0.1:8000"), host("sql:80#waiting"), host("")]
    body = json.dumps({"cluster_statuses": [{"host_statuses": hosts}]}).encode()
    assert parse_clusters(body) == {"10.0.0.1:8000": EndpointHealth.HEALTHY}
