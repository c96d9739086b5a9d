"""Engines whose metrics cannot be read: each with its cause, against small servers of every kind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from argosy.snapshot.telemetry import Unread, UnreadCause
from argosy.telemetry import DirectScraper, ScrapeLimits, Targets

METRICS = """\
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:prompt_tokens_total{engine="0",model_name="m"} 1000.0
vllm:generation_tokens_total{engine="0",model_name="m"} 500.0
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 4.0
"""
KV = 'vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25\n'
OLD_KV = KV.replace(":kv_", ":gpu_")
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def http(body: str, status: int = 200) -> Answer:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body.encode())

    return answer


async def tls_alert(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x15\x03\x03\x00\x02\x02\x46")


async def nothing(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    """The connection is closed."""


async def silence(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3)


@contextlib.asynccontextmanager
async def engine(answer: Answer) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await answer(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"{host}:{port}"
    finally:
        server.close()


async def read_twice(address: str, first_s: float = 100.0) -> tuple[Unread | None, bool]:
    """What the second of two readings has of an engine, 2 s later; and whether it counts as unanswered."""
    scraper = DirectScraper(lambda prefix: None, ScrapeLimits(patience_s=0.2))
    try:
        await scraper.read(Targets((address,)), first_s)
        found = await scraper.read(Targets((address,)), first_s + 2.0)
    finally:
        await scraper.close()
    return found.unread.get(address), address in found.unanswered_since_s


CASES = {
    "the name of vLLM before 0.9.2": (
        http(METRICS.replace(KV, OLD_KV)),
        UnreadCause.OLD_METRICS,
        "it shows vllm:gpu_cache_usage_perc and not vllm:kv_cache_usage_perc",
    ),
    "a NaN": (
        http(METRICS.replace("0.25", "NaN")),
        UnreadCause.BAD_METRICS,
        "not a number of zero or more: vllm:kv_cache_usage_perc",
    ),
    "a metric that is missing": (
        http(METRICS.replace(KV, "")),
        UnreadCause.BAD_METRICS,
        "no value of vllm:kv_cache_usage_perc",
    ),
    "an HTML page": (http("<html>hello</html>"), UnreadCause.NO_METRICS, "its /metrics is an HTML page"),
    "another process": (http("up 1\n"), UnreadCause.NO_METRICS, "its /metrics holds no metric of vLLM"),
    "credentials": (http("", 401), UnreadCause.STATUS, "its /metrics answers with status 401"),
    "no such path": (http("not found", 404), UnreadCause.STATUS, "its /metrics answers with status 404"),
    "an HTTPS port": (
        http("Client sent an HTTP request to an HTTPS server.", 400),
        UnreadCause.TLS,
        "it answers with status 400 that it wants HTTPS",
    ),
    "a TLS alert": (tls_alert, UnreadCause.TLS, "it answers plain HTTP with a TLS alert"),
    "a sidecar of a strict mesh": (
        nothing,
        UnreadCause.TLS,
        "it closes connections of plain HTTP without an answer, as mutual TLS does",
    ),
    "a NetworkPolicy": (
        silence,
        UnreadCause.UNREACHABLE,
        "it does not answer, as behind a NetworkPolicy",
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_the_cause_is_named_from_the_first_time_on(case: str) -> None:
    answer, cause, detail = CASES[case]
    async with engine(answer) as address:
        unread, is_unanswered = await read_twice(address)
    assert unread == Unread(cause, detail, since_s=100.0)
    # An answer, whatever it says, is none of a stopped engine.
    has_http = cause not in (UnreadCause.UNREACHABLE, UnreadCause.TLS) or "status" in detail
    assert is_unanswered is not has_http


async def test_an_engine_that_refuses_connections_is_named_so() -> None:
    async with engine(nothing) as address:
        pass
    assert await read_twice(address) == (
        Unread(UnreadCause.UNREACHABLE, "it refuses connections", 100.0),
        True,
    )


@pytest.mark.parametrize(
    "metrics",
    [
        pytest.param(METRICS + OLD_KV, id="both names, as vLLM 0.9.2 to 0.11 shows them"),
        pytest.param(METRICS + METRICS.replace('"0"', '"1"'), id="two engines of data parallelism"),
    ],
)
async def test_what_can_be_read_has_no_cause(metrics: str) -> None:
    async with engine(http(metrics)) as address:
        assert await read_twice(address) == (None, False)
