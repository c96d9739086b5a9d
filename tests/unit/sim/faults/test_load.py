"""The load of a case: evenly spaced, endless, and every request has its record."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from aiohttp import web

from argosy_sim.faults.load import PIECE_S, Load


async def answer(request: web.Request) -> web.Response:
    return web.Response(status=503, text=request.headers["x-argosy-class"])


async def test_requests_are_evenly_spaced_across_pieces_and_none_is_without_a_record() -> None:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    (host, port) = runner.addresses[0]
    load = Load(f"http://{host}:{port}", {"chat": 4.0, "batch": 0.3})
    load.start()
    try:
        await asyncio.sleep(PIECE_S + 0.5)
        await load.stop()
    finally:
        await runner.cleanup()
    by_class = {name: [r for r in load.records if r.class_name == name] for name in ("chat", "batch")}
    assert len(by_class["chat"]) == 2 * PIECE_S * 4.0
    assert len(by_class["batch"]) == 2, "one at once and one 1/0.3 s later, in the second piece"
    assert all(record.is_lost and record.status == 503 for record in load.records)
    first = sorted(r.arrival_s for r in by_class["chat"])[::2]
    assert {round(b - a, 6) for a, b in pairwise(first)} == {0.25}


async def test_without_rates_nothing_is_sent() -> None:
    load = Load("http://127.0.0.1:9", {})
    load.start()
    await load.stop()
    assert load.records == []
