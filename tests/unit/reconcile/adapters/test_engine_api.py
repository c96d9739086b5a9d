"""What is asked of an engine about its adapters, at a simulated vLLM, and what is kept of its words."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from argosy.addresses import written
from argosy.control.adapters.steps import Load
from argosy.engine import EngineLimits, StepCoefficients
from argosy.reconcile.adapters.engine_api import EngineApi, EngineRefused
from argosy_sim.livefleet.addresses import listen_on
from argosy_sim.livefleet.vllm.adapters import LoraAdapters, LoraLimits
from argosy_sim.livefleet.vllm.openai_api import ApiError
from argosy_sim.livefleet.vllm.server import RUNTIME_LORA, EngineProfile, VllmServer

STEPS = StepCoefficients(wn=1.0, f=0.0, q=4.0, c1=0, a0=0, a1=0, a2=0, b0=0, b1=0, b2=0)
LORAS = LoraLimits(max_loras=2, max_rank=16, max_cpu_loras=3)


@pytest.fixture
async def api() -> AsyncIterator[EngineApi]:
    found = EngineApi()
    yield found
    await found.close()


def engine(*, allows: bool = True) -> VllmServer:
    limits = EngineLimits(
        max_num_seqs=4, max_num_batched_tokens=512, kv_blocks=64, block_size=16, max_model_len=512
    )
    profile = EngineProfile("org/model", ("chat",), limits, STEPS, loras=LORAS)
    environment = {RUNTIME_LORA: "True"} if allows else {}
    server = VllmServer(profile, listen_on("127.0.0.1", 0), lambda line: None, environment)
    server.serve()
    return server


async def test_adapters_are_loaded_replaced_and_unloaded(api: EngineApi) -> None:
    server = engine()
    at = server.endpoint
    assert await api.held(at) == {}
    assert await api.load(at, Load("sql", "/sql")) is None
    assert await api.load(at, Load("sql", "/sql-2")) is None, "as after a leader that ended in between"
    assert await api.load(at, Load("sql", "/sql-3", in_place=True)) is None
    assert await api.held(at) == {"sql": "/sql-3"}
    words = {
        "/missing": "Loading lora law failed: No adapter found for /missing",
        "/law-r64": "LoRA rank 64 is greater than max_lora_rank 16.",
    }
    for source, said in words.items():
        assert await api.load(at, Load("law", source)) == EngineRefused(said)
    assert await api.unload(at, "sql") is None
    assert await api.unload(at, "sql") is None, "what is not there is unloaded"
    assert await api.held(at) == {}
    server.crash()
    gone = await api.held(at)
    assert isinstance(gone, EngineRefused)
    assert (gone.answered, gone.words.startswith("it cannot be reached")) == (False, True)


async def test_an_engine_without_the_api_is_told_apart_from_one_without_the_adapter(api: EngineApi) -> None:
    server = engine(allows=False)
    refused = await api.load(server.endpoint, Load("sql", "/sql"))
    server.crash()
    assert refused is not None
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" in refused.words


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, '{"error": "Unauthorized"}', 'status 401: {"error": "Unauthorized"}'),
        (502, "<html>", "status 502: <html>"),
        (200, "no JSON", "its list of models cannot be read"),
        (200, '{"data": 3}', "its list of models cannot be read"),
    ],
)
async def test_what_is_no_answer_of_vllms_is_shown_as_it_came(
    api: EngineApi, status: int, body: str, words: str
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text=body)

    app = web.Application()
    app.router.add_get("/v1/models", answer)
    async with TestServer(app) as server:
        assert server.port is not None
        assert await api.held(written("127.0.0.1", server.port)) == EngineRefused(words)


def test_the_simulated_engine_answers_as_vllm_and_keeps_the_last_used_in_memory() -> None:
    adapters = LoraAdapters(LORAS, ("chat",))
    for name, source, words in (
        ("", "/a", "Both 'lora_name'"),
        ("chat", "/a", "conflicts with a served base"),
    ):
        refused = adapters.load(name, source, in_place=False)
        assert isinstance(refused, ApiError)
        assert words in refused.message
    for name in "abcd":
        assert adapters.load(name, f"/{name}", in_place=False) == (
            f"Success: LoRA adapter '{name}' added successfully."
        )
    assert (list(adapters.on_gpu), list(adapters.in_memory)) == (["c", "d"], ["b", "c", "d"])
    assert adapters.use("b") == 0.0
    assert adapters.use("a") > 0.0
    assert list(adapters.on_gpu) == ["b", "a"]
    again = adapters.load("a", "/a", in_place=False)
    assert isinstance(again, ApiError)
    assert "has already been loaded" in again.message
    gone = adapters.unload("x")
    assert isinstance(gone, ApiError)
    assert (gone.status, gone.message) == (404, "The lora adapter 'x' cannot be found.")
