"""Why an engine's metrics cannot be read, by its answer or by what came in place of one.

Owns the causes' sentences. Input: the status and the body of an answer, or an exception of the HTTP client.
Output: a cause with its detail. Details do not change from one reading to the next: statuses hold them.
"""

from __future__ import annotations

import aiohttp

from argosy.snapshot.telemetry import UnreadCause
from argosy.telemetry.parse import KV_USAGE, UnreadableAnswer

Why = tuple[UnreadCause, str]

OLD_KV_USAGE = "vllm:gpu_cache_usage_perc"
"""The name before vLLM 0.9.2. From 0.9.2 on there is the new one beside it, and from 0.12 on alone."""

OLD: Why = (UnreadCause.OLD_METRICS, f"it shows {OLD_KV_USAGE} and not {KV_USAGE}")
NO_ANSWER: Why = (UnreadCause.UNREACHABLE, "it does not answer, as behind a NetworkPolicy")
NO_TARGET: Why = (UnreadCause.UNREACHABLE, "Prometheus has no target with its address")
FAILED_SCRAPE: Why = (UnreadCause.UNREACHABLE, "Prometheus cannot scrape it (up is 0)")

_OK = 200
_TLS_ALERT = "\\x15\\x03"
"""How a TLS server's answer to plain HTTP begins, as the client quotes it."""


def of_answer(status: int, body: bytes, parsed: UnreadableAnswer) -> Why:
    """Of an HTTP answer that holds no reading."""
    if status != _OK:
        if b"https" in body.lower():
            return UnreadCause.TLS, f"it answers with status {status} that it wants HTTPS"
        return UnreadCause.STATUS, f"its /metrics answers with status {status}"
    if OLD_KV_USAGE.encode() in body and KV_USAGE in parsed.message:
        return OLD
    if b"vllm:" in body:
        return UnreadCause.BAD_METRICS, parsed.message
    if body.lstrip()[:1] == b"<":
        return UnreadCause.NO_METRICS, "its /metrics is an HTML page"
    return UnreadCause.NO_METRICS, "its /metrics holds no metric of vLLM"


def of_error(error: Exception, *, refused: bool) -> Why:
    """Of a request without an answer."""
    if refused:
        return UnreadCause.UNREACHABLE, "it refuses connections"
    if isinstance(error, TimeoutError):
        return NO_ANSWER
    if isinstance(error, aiohttp.ClientPayloadError):
        return UnreadCause.BAD_METRICS, "its answer breaks off"
    if isinstance(error, aiohttp.ClientResponseError):
        if _TLS_ALERT in error.message:
            return UnreadCause.TLS, "it answers plain HTTP with a TLS alert"
        return UnreadCause.NO_METRICS, "what it answers is no HTTP"
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, aiohttp.ServerDisconnectedError | ConnectionResetError):
        return UnreadCause.TLS, "it closes connections of plain HTTP without an answer, as mutual TLS does"
    if isinstance(cause, OSError) and cause.strerror:
        return UnreadCause.UNREACHABLE, f"it cannot be reached: {cause.strerror}"
    return NO_ANSWER
