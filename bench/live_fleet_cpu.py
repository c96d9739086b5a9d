"""How much of a core do 40 simulated replicas take that together serve 20 requests/s?

Serves them in this process, as the live fleet does, and sends from another process, because a
client costs more than a server. Prints the core's share, the cost of a token, and memory.
The bound is half a core at 4,000 streamed tokens/s (live_fleet_cpu.bounds.yaml).

    python bench/live_fleet_cpu.py [--replicas 40] [--rate 20] [--seconds 20]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import time
from dataclasses import dataclass

import aiohttp
import uvloop

from argosy.engine import EngineLimits, StepCoefficients
from argosy_sim.livefleet.addresses import AddressClaim, listen_on
from argosy_sim.livefleet.vllm.server import EngineProfile, VllmServer

OUTPUT_TOKENS = 200
PROMPT_BYTES = 4 * 1155  # Azure's conversation mean
# About an L40S with an 8B model: 22 ms at batch 1, 31 ms at 32.
L40S_8B = StepCoefficients(
    wn=20.0, f=0.07, q=4.0, c1=0.0, a0=0.5, a1=0.00004, a2=0.1, b0=0.1, b1=0.01, b2=0.0
)
LIMITS = EngineLimits(256, 8192, 10_900, 16, 16_384)
PROFILE = EngineProfile("meta-llama/Llama-3.1-8B-Instruct", ("chat",), LIMITS, L40S_8B)


@dataclass(frozen=True)
class Load:
    """What the client offers: requests/s over all endpoints, for so long; scrapes every 2 s."""

    endpoints: tuple[str, ...]
    rate: float
    seconds: float


async def _offer(load: Load) -> int:
    body = json.dumps(
        {
            "model": "chat",
            "messages": [{"role": "user", "content": "x" * PROMPT_BYTES}],
            "max_tokens": OUTPUT_TOKENS,
            "ignore_eos": True,
            "stream": True,
        }
    ).encode()
    tokens = 0

    async def send(session: aiohttp.ClientSession, endpoint: str) -> None:
        nonlocal tokens
        async with session.post(f"http://{endpoint}/v1/chat/completions", data=body) as answer:
            async for chunk in answer.content.iter_any():
                tokens += chunk.count(b'"content": " ')

    async def scrape(session: aiohttp.ClientSession) -> None:
        while True:
            for endpoint in load.endpoints:
                async with session.get(f"http://{endpoint}/metrics") as answer:
                    await answer.read()
            await asyncio.sleep(2.0)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        scraping = asyncio.create_task(scrape(session))
        started = asyncio.get_running_loop().time()
        requests = []
        for number in range(int(load.rate * load.seconds)):
            await asyncio.sleep(max(0.0, started + number / load.rate - asyncio.get_running_loop().time()))
            endpoint = load.endpoints[number % len(load.endpoints)]
            requests.append(asyncio.create_task(send(session, endpoint)))
        await asyncio.gather(*requests)
        scraping.cancel()
    return tokens


def _client(load: Load, result: multiprocessing.Queue[int]) -> None:
    result.put(uvloop.run(_offer(load)))


async def _measure(num_replicas: int, rate: float, seconds: float) -> None:
    with AddressClaim.claim() as claim:
        servers = []
        for _ in range(num_replicas):
            listener = listen_on(claim.next_address(), claim.engine_port)
            servers.append(VllmServer(PROFILE, listener, lambda line: None))
            servers[-1].serve()
        spawn = multiprocessing.get_context("spawn")
        result: multiprocessing.Queue[int] = spawn.Queue()
        load = Load(tuple(server.endpoint for server in servers), rate, seconds)
        client = spawn.Process(target=_client, args=(load, result))
        client.start()
        await asyncio.sleep(5.0)  # steady: requests of about 5 s overlap as they will
        cpu_s, wall_s, tokens = _cpu_s(), time.monotonic(), _tokens(servers)
        await asyncio.sleep(seconds - 6.0)
        cpu_s, wall_s, tokens = _cpu_s() - cpu_s, time.monotonic() - wall_s, _tokens(servers) - tokens
        await asyncio.to_thread(client.join)
        for server in servers:
            server.crash()
    rss_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{num_replicas} replicas, {rate:g} requests/s, {tokens / wall_s:.0f} tokens/s streamed")
    print(f"core share {cpu_s / wall_s:.2f}, {1e6 * cpu_s / tokens:.0f} us per token, {rss_mib:.0f} MiB")
    print(f"the client read {result.get()} tokens of {int(rate * seconds) * OUTPUT_TOKENS}")
    figures = {
        "core_share": cpu_s / wall_s,
        "us_per_token": 1e6 * cpu_s / tokens,
        "tokens_per_s": tokens / wall_s,
        "rss_mib": rss_mib,
    }
    print(json.dumps({"figures": figures}))


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _tokens(servers: list[VllmServer]) -> float:
    return sum(server.num_tokens for server in servers)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicas", type=int, default=40)
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, default=25.0)
    options = parser.parse_args()
    uvloop.run(_measure(options.replicas, options.rate, options.seconds))
