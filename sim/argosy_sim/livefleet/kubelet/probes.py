"""Owns a container's HTTP probes: when an engine is asked, and what its answers amount to.

Input: the probe as the manifest has it (period, time-out and thresholds; what it leaves out is Kubernetes'
default) and how the engine is asked. Output: whether it started, then each change of the verdict. What
follows from it is `pod_worker`'s business.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from argosy.addresses import host_and_port
from argosy_sim.livefleet.kubelet.kube_api import Object


@dataclass(frozen=True, slots=True)
class HttpProbe:
    """How often a path is asked, how long an answer may take, how many answers in a row decide."""

    path: str
    period_s: float = 10.0
    timeout_s: float = 1.0
    num_failures: int = 3
    num_successes: int = 1


def http_probe(container: Object, name: str) -> HttpProbe | None:
    """The container's probe of this name (`readinessProbe`); None where it has none, or none by HTTP."""
    probe = container.get(name) or {}
    if "httpGet" not in probe:
        return None
    return HttpProbe(
        path=probe["httpGet"].get("path", "/"),
        period_s=float(probe.get("periodSeconds", 10)),
        timeout_s=float(probe.get("timeoutSeconds", 1)),
        num_failures=int(probe.get("failureThreshold", 3)),
        num_successes=int(probe.get("successThreshold", 1)),
    )


Ask = Callable[[str], Awaitable[bool]]
"""One request of a path, True for an answer of success; raises OSError where there is none."""


async def has_started(probe: HttpProbe, ask: Ask) -> bool:
    """Ask at once and at every tick until an answer succeeds; False after as many failures as it allows."""
    loop = asyncio.get_running_loop()
    next_s = loop.time()
    for _ in range(probe.num_failures):
        await asyncio.sleep(max(0.0, next_s - loop.time()))
        next_s = max(next_s + probe.period_s, loop.time())
        if await succeeds(probe, ask):
            return True
    return False


async def verdicts(probe: HttpProbe, ask: Ask, *, is_well: bool = True) -> AsyncIterator[bool]:
    """False and True in turn, as often as the verdict changes. is_well: the first one.

    As a kubelet does, it asks at every tick of the period; a tick during a request counts at its end.
    """
    loop, num_contrary = asyncio.get_running_loop(), 0
    next_s = loop.time() + probe.period_s
    while True:
        await asyncio.sleep(max(0.0, next_s - loop.time()))
        next_s = max(next_s + probe.period_s, loop.time())
        num_contrary = num_contrary + 1 if await succeeds(probe, ask) is not is_well else 0
        if num_contrary >= (probe.num_failures if is_well else probe.num_successes):
            is_well, num_contrary = not is_well, 0
            yield is_well


async def succeeds(probe: HttpProbe, ask: Ask) -> bool:
    """One request; an answer that takes longer than the probe waits is none."""
    try:
        async with asyncio.timeout(probe.timeout_s):
            return await ask(probe.path)
    except OSError:  # TimeoutError is one
        return False


async def get(endpoint: str, path: str) -> bool:
    """Whether GET of this path at `address:port` is answered with 200; raises OSError without an answer."""
    address, port = host_and_port(endpoint, "endpoint")
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {endpoint}\r\nConnection: close\r\n\r\n".encode())
        return b" 200 " in await reader.readline()
    finally:
        writer.close()
