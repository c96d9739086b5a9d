"""Engines, gateway and counters on IPv6: routed by a real Envoy, and read by the scraper."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import aiohttp
from loopback import require_ipv6_loopback

from argosy.snapshot import EndpointHealth
from argosy.telemetry import DirectScraper, Targets

METRICS = """\
vllm:num_requests_running{engine="0",model_name="m"} 2.0
vllm:num_requests_waiting{engine="0",model_name="m"} 1.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.5
vllm:prompt_tokens_total{engine="0",model_name="m"} 10.0
vllm:generation_tokens_total{engine="0",model_name="m"} 20.0
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 3.0
"""


async def test_an_engine_on_ipv6_is_routed_and_read_and_the_gateway_takes_both_families(
    world: Any, build: Any
) -> None:
    require_ipv6_loopback()
    engine = await world.replica("six", "::1")
    engine.metrics = METRICS
    world.gateway = replace(world.gateway, address="::")
    await world.publish(world.table([build.route("chat", {"c": 1.0})], [build.cluster("c", engine)]))

    async def answers() -> bool:
        return bool((await world.ask(headers={"x-class": "chat"})).status == 200)

    await world.until_async(answers)  # over IPv4, although the gateway listens on ::
    url = f"http://[::1]:{world.gateway.port}/v1/completions"
    async with (
        aiohttp.ClientSession() as client,
        client.post(url, json={}, headers={"x-class": "chat"}) as answer,
    ):
        assert (answer.status, (await answer.json())["replica"]) == (200, "six")

    address = engine.endpoint().socket
    assert address == f"[::1]:{engine.port}"
    scraper = DirectScraper(lambda prefix: None)
    try:
        envoys = (("envoy-1", f"http://{world.envoy.admin_address}"),)
        found = await scraper.read(Targets((address,), envoys), time.time())
    finally:
        await scraper.close()
    assert found.engines[address].value.num_running == 2
    assert found.endpoints[address].value is EndpointHealth.HEALTHY
