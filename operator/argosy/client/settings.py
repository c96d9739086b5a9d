"""What an endpoint tells of its engine: served models, version, KV cache.

Owns the three requests and how their answers are read. Input: a base URL. Output: `perf.observed`'s
`Engine`; raises `SpecError` where the endpoint does not answer at all. A gateway passes only `/v1/models` on
and another engine has no `/version`: what is not told stays None.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from argosy.errors import SpecError
from argosy.perf.observed.run import Engine

_TIMEOUT_S = 10.0
_MAX_BODY_BYTES = 8 << 20
_CACHE = "vllm:cache_config_info"


async def engine_settings(base_url: str, headers: tuple[tuple[str, str], ...], model: str | None) -> Engine:
    """Of the engine behind the endpoint, which serves `model` (None: the first one that it lists).

    Raises SpecError where nothing answers, or the model is not served.
    """
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with aiohttp.ClientSession(headers=dict(headers), timeout=timeout) as session:
        root = base_url.rstrip("/")
        try:
            models = await _json(session, f"{root}/v1/models")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise SpecError(f"{base_url} does not answer: {type(error).__name__} {error}", "URL") from error
        version, metrics = await asyncio.gather(
            _or_none(_json(session, f"{root}/version")), _or_none(_text(session, f"{root}/metrics"))
        )
    served, longest = _served(models, model)
    cache = cache_settings(metrics or "")
    return Engine(
        model=served,
        version=version.get("version") if isinstance(version, dict) else None,
        max_model_len=longest,
        kv_blocks=cache.get("num_gpu_blocks"),
        block_size=cache.get("block_size"),
    )


def cache_settings(metrics: str) -> Mapping[str, int]:
    """The whole numbers of vLLM's cache configuration in a page of metrics; empty where it has none."""
    lines = "\n".join(line for line in metrics.splitlines() if line.startswith(_CACHE))
    try:
        samples = [one for family in text_string_to_metric_families(lines) for one in family.samples]
    except ValueError:
        return {}
    labels = samples[0].labels if samples else {}
    return {name: int(value) for name, value in labels.items() if value.isdecimal() and int(value) > 0}


def _served(models: object, wanted: str | None) -> tuple[str | None, int | None]:
    """The name to ask for and its longest context. Raises SpecError for one that is not listed."""
    entries = models.get("data") if isinstance(models, dict) else None
    listed = [one for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []
    names = [str(one.get("id")) for one in listed]
    if wanted is not None and names and wanted not in names:
        raise SpecError(f"{wanted!r} is not served there; served are {', '.join(names)}", "--model")
    if wanted is None and not names:
        raise SpecError("is needed: the endpoint lists no model (/v1/models)", "--model")
    one = listed[names.index(wanted) if wanted is not None and names else 0] if listed else {}
    longest = one.get("max_model_len")
    return wanted or names[0], longest if isinstance(longest, int) and longest > 0 else None


async def _json(session: aiohttp.ClientSession, url: str) -> Any:
    """The document at `url`; None for an error status and for what is no JSON."""
    async with session.get(url) as response:
        if response.status != 200:
            return None
        try:
            return await response.json(content_type=None)
        except ValueError:
            return None


async def _text(session: aiohttp.ClientSession, url: str) -> str | None:
    async with session.get(url) as response:
        if response.status != 200:
            return None
        return (await response.content.read(_MAX_BODY_BYTES)).decode(errors="replace")


async def _or_none(answer: Any) -> Any:
    try:
        return await answer
    except (aiohttp.ClientError, OSError, TimeoutError):
        return None
