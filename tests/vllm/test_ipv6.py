"""A real engine with `--host ::1`: asked by every part of Argosy that asks engines without an Envoy."""

from __future__ import annotations

import time

import pytest
from loopback import require_ipv6_loopback
from openai import AsyncOpenAI
from vllm_measuring import serving

from argosy.reconcile.adapters.engine_api import EngineApi
from argosy.telemetry import DirectScraper, Targets
from argosy_sim.controlplane.host.ports import free_ports
from argosy_sim.livefleet.runtime.installation import VllmInstallation

pytestmark = pytest.mark.timeout(600)
NUM_TOKENS = 16


async def test_an_engine_on_ipv6_answers_probes_clients_scraper_and_adapter_api(
    vllm: VllmInstallation,
) -> None:
    require_ipv6_loopback()
    (port,) = free_ports(1)
    async with serving(vllm, "::1", port) as engine:  # its probe has had an answer
        address = f"[::1]:{port}"
        assert engine.endpoint == address
        assert await finish(address) == "length"
        scraper, api = DirectScraper(lambda prefix: None), EngineApi()
        try:
            found = await scraper.read(Targets((address,)), time.time())
            assert await api.held(address) == {}
        finally:
            await scraper.close()
            await api.close()
        sample = found.engines[address].value
        assert (sample.num_running, sample.num_waiting) == (0, 0)
        assert sample.generation_tokens_total == NUM_TOKENS


async def finish(address: str) -> str:
    """Why a streamed completion ended."""
    async with AsyncOpenAI(base_url=f"http://{address}/v1", api_key="none", max_retries=0) as client:
        stream = await client.completions.create(
            model="tiny",
            prompt="The sea",
            max_tokens=NUM_TOKENS,
            extra_body={"ignore_eos": True},
            stream=True,
        )
        reasons = [each.choices[0].finish_reason async for each in stream if each.choices]
    return str(reasons[-1])
