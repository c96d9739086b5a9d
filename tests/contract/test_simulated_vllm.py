"""The simulated vLLM as its users see it: the openai SDK, Prometheus' parser, a plain socket."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace

import aiohttp
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from argosy.engine import EngineLimits, StepCoefficients
from argosy_sim.livefleet.addresses import AddressClaim, listen_on
from argosy_sim.livefleet.vllm.server import EngineProfile, VllmServer

# 20 ms a step whatever the batch: bounds below follow from it.
STEP_S = 0.020
STEPS = StepCoefficients(wn=20.0, f=0.0, q=4.0, c1=0, a0=0, a1=0, a2=0, b0=0, b1=0, b2=0)
LIMITS = EngineLimits(8, 512, 256, 16, 2048)
PROFILE = EngineProfile("meta-llama/Llama-3.1-8B-Instruct", ("chat", "chat-alias"), LIMITS, STEPS)

HISTOGRAM_SHAPES = {
    "vllm:time_to_first_token_seconds": ("0.001", "2560.0", 22),
    "vllm:inter_token_latency_seconds": ("0.01", "80.0", 19),
    "vllm:request_time_per_output_token_seconds": ("0.01", "80.0", 19),
    "vllm:e2e_request_latency_seconds": ("0.3", "7680.0", 21),
    "vllm:request_queue_time_seconds": ("0.3", "7680.0", 21),
    "vllm:request_inference_time_seconds": ("0.3", "7680.0", 21),
    "vllm:request_prefill_time_seconds": ("0.3", "7680.0", 21),
    "vllm:request_decode_time_seconds": ("0.3", "7680.0", 21),
    "vllm:iteration_tokens_total": ("1.0", "16384.0", 13),
    # 1-2-5 up to the context limit of 2,048.
    "vllm:request_prompt_tokens": ("1.0", "2000.0", 11),
    "vllm:request_generation_tokens": ("1.0", "2000.0", 11),
    "vllm:request_max_num_generation_tokens": ("1.0", "2000.0", 11),
    "vllm:request_params_max_tokens": ("1.0", "2000.0", 11),
    "vllm:request_params_n": ("1.0", "2000.0", 11),
    "vllm:request_prefill_kv_computed_tokens": ("1.0", "2000.0", 11),
}
COMMON = frozenset({"model_name", "engine"})
SAMPLE_LABELS = {
    "vllm:num_requests_running": COMMON,
    "vllm:num_requests_waiting": COMMON,
    "vllm:num_requests_waiting_by_reason": COMMON | {"reason"},
    "vllm:kv_cache_usage_perc": COMMON,
    "vllm:engine_sleep_state": COMMON | {"sleep_state"},
    "vllm:lora_requests_info": frozenset({"max_lora", "running_lora_adapters", "waiting_lora_adapters"}),
    "vllm:prompt_tokens_total": COMMON,
    "vllm:prompt_tokens_by_source_total": COMMON | {"source"},
    "vllm:prompt_tokens_cached_total": COMMON,
    "vllm:generation_tokens_total": COMMON,
    "vllm:prefix_cache_queries_total": COMMON,
    "vllm:prefix_cache_hits_total": COMMON,
    "vllm:external_prefix_cache_queries_total": COMMON,
    "vllm:external_prefix_cache_hits_total": COMMON,
    "vllm:num_preemptions_total": COMMON,
    "vllm:request_success_total": COMMON | {"finished_reason"},
    "vllm:corrupted_requests_total": COMMON,
    "vllm:admission_rejections_total": COMMON,
}


@pytest.fixture
async def server() -> AsyncIterator[VllmServer]:
    with AddressClaim.claim() as claim:
        server = VllmServer(PROFILE, listen_on(claim.next_address(), claim.engine_port), lambda line: None)
        server.serve()
        yield server
        server.crash()


@pytest.fixture
async def sdk(server: VllmServer) -> AsyncIterator[openai.AsyncOpenAI]:
    client = openai.AsyncOpenAI(base_url=f"http://{server.endpoint}/v1", api_key="none", max_retries=0)
    yield client
    await client.close()


@pytest.fixture
async def http(server: VllmServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://{server.endpoint}") as session:
        yield session


def chat(content: str = "Tell me of the sea.", **fields: object) -> dict[str, object]:
    return {"model": "chat", "messages": [{"role": "user", "content": content}], **fields}


async def sample(http: aiohttp.ClientSession, name: str, **labels: str) -> float:
    async with http.get("/metrics") as answer:
        text = await answer.text()
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            if each.name == name and labels.items() <= each.labels.items():
                return float(each.value)
    raise AssertionError(f"no sample {name} {labels}")


async def test_the_sdk_streams_a_chat_with_usage_at_the_engines_pace(sdk: openai.AsyncOpenAI) -> None:
    started = time.monotonic()
    stream = await sdk.chat.completions.create(
        model="chat",
        messages=[{"role": "user", "content": "x" * 400}],
        max_completion_tokens=10,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"ignore_eos": True},
    )
    chunks, arrivals = [], []
    async for chunk in stream:
        chunks.append(chunk)
        if chunk.choices and chunk.choices[0].delta.content:
            arrivals.append(time.monotonic())
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len(text) == 40, "ten tokens of four bytes"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"
    usage = chunks[-1].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (100, 10, 110)
    # One prefill step and nine of decoding, each of 20 ms; a busy machine may only be late.
    assert STEP_S * 0.9 <= arrivals[0] - started < STEP_S + 0.5
    assert 10 * STEP_S * 0.9 <= arrivals[-1] - started < 10 * STEP_S + 0.5


async def test_an_answer_without_streaming_is_whole_and_names_its_replica(
    server: VllmServer, sdk: openai.AsyncOpenAI
) -> None:
    raw = await sdk.completions.with_raw_response.create(
        model="chat-alias", prompt="x" * 10, max_tokens=5, extra_body={"ignore_eos": True}
    )
    answer = raw.parse()
    assert raw.headers["x-argosy-endpoint"] == server.endpoint
    assert answer.model == "chat-alias"
    assert len(answer.choices[0].text) == 20
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 3, "ten bytes are three tokens of at most four"


async def test_a_model_may_end_early_and_always_at_the_same_length(sdk: openai.AsyncOpenAI) -> None:
    async def ask(prompt: str) -> tuple[int, str]:
        answer = await sdk.completions.create(model="chat", prompt=prompt, max_tokens=600)
        assert answer.usage is not None
        return answer.usage.completion_tokens, answer.choices[0].finish_reason

    first, again, other = await asyncio.gather(ask("oak 6"), ask("oak 6"), ask("oak 2"))
    assert first == again
    assert other[0] == 5, "a change of the hash would change every replayed trace"
    assert first[1] == "stop"
    assert 1 <= first[0] <= 512


async def test_every_served_name_is_listed(sdk: openai.AsyncOpenAI) -> None:
    models = await sdk.models.list()
    assert [model.id for model in models.data] == ["chat", "chat-alias"]


async def test_an_unknown_model_is_the_sdks_not_found(sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="The model `gpt-5` does not exist"):
        await sdk.chat.completions.create(model="gpt-5", messages=[{"role": "user", "content": "hi"}])


async def test_a_prompt_beyond_the_context_is_the_sdks_bad_request(sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="maximum context length is 2048 tokens") as refusal:
        await sdk.chat.completions.create(**chat("x" * 4 * 2100), stream=True)  # type: ignore[call-overload]
    assert refusal.value.status_code == 400


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        pytest.param(b"{", 400, "JSON decode error", id="malformed JSON"),
        pytest.param(b"[]", 400, "must be a JSON object", id="JSON, but no object"),
        pytest.param(b'{"model":"chat"}', 400, "messages must be", id="no messages"),
        pytest.param(
            b'{"model":"chat","messages":[{"role":"user","content":"x"}],"max_tokens":0}',
            *(400, "max_tokens must be"),
            id="no token wanted",
        ),
        pytest.param(
            b'{"model":"chat","messages":[{"role":"user","content":"x"}],"n":2}',
            *(400, "n must be 1"),
            id="two choices",
        ),
    ],
)
async def test_a_bad_body_is_refused_in_words(
    http: aiohttp.ClientSession, body: bytes, status: int, words: str
) -> None:
    async with http.post("/v1/chat/completions", data=body) as answer:
        refusal = await answer.json()
    assert (answer.status, refusal["error"]["code"]) == (status, status)
    assert words in refusal["error"]["message"]


async def test_a_stream_shows_its_header_before_the_first_token(http: aiohttp.ClientSession) -> None:
    # 4,000 tokens of prompts before it at 512 a step: the last waits for its turn.
    ahead = [
        asyncio.create_task(
            http.post("/v1/chat/completions", json=chat("x" * 8000, max_tokens=2, stream=True))
        )
        for _ in range(6)
    ]
    await asyncio.sleep(0.01)
    started = time.monotonic()
    async with http.post("/v1/chat/completions", json=chat(max_tokens=2, stream=True)) as answer:
        header_s = time.monotonic() - started
        await answer.content.readany()
        first_token_s = time.monotonic() - started
    for task in ahead:
        (await task).close()
    assert answer.headers["x-argosy-endpoint"]
    assert header_s < 0.15
    assert first_token_s > 0.3, "about 24 steps of 512 tokens are before it"


async def test_a_client_that_goes_away_frees_the_engine(
    server: VllmServer, http: aiohttp.ClientSession
) -> None:
    body = chat("x" * 4000, max_tokens=900, ignore_eos=True, stream=True)
    answer = await http.post("/v1/chat/completions", json=body)
    await answer.content.readany()
    assert server.driver.load.num_running == 1
    assert server.driver.load.kv_usage > 0
    answer.close()
    await asyncio.sleep(0.1)
    assert server.driver.num_requests == 0
    assert server.driver.load.kv_usage == 0
    assert await sample(http, "vllm:request_success_total", finished_reason="abort") == 1


async def test_requests_beyond_the_slots_wait_and_are_counted(http: aiohttp.ClientSession) -> None:
    body = chat(max_tokens=50, ignore_eos=True, stream=True)
    answers = await asyncio.gather(*(http.post("/v1/chat/completions", json=body) for _ in range(10)))
    await asyncio.sleep(0.1)
    assert await sample(http, "vllm:num_requests_running") == 8
    assert await sample(http, "vllm:num_requests_waiting") == 2
    assert await sample(http, "vllm:num_requests_waiting_by_reason", reason="capacity") == 2
    for answer in answers:
        answer.close()


async def test_metrics_have_vllms_names_labels_and_buckets(
    sdk: openai.AsyncOpenAI, http: aiohttp.ClientSession
) -> None:
    await sdk.completions.create(model="chat", prompt="x" * 40, max_tokens=5, extra_body={"ignore_eos": True})
    async with http.get("/metrics") as answer:
        text = await answer.text()
    shapes: dict[str, list[str]] = {}
    labels: dict[str, frozenset[str]] = {}
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            if "le" in each.labels:
                assert each.labels.keys() == COMMON | {"le"}, each.name
                shapes.setdefault(family.name, []).append(each.labels["le"])
            elif family.type != "histogram":
                labels[each.name] = frozenset(each.labels)
    measured = {name: (edges[0], edges[-2], len(edges) - 1) for name, edges in shapes.items()}
    assert measured == HISTOGRAM_SHAPES
    config = labels.pop("vllm:cache_config_info")
    assert config >= {"engine", "block_size", "num_gpu_blocks"}
    assert "model_name" not in config
    assert labels == SAMPLE_LABELS


async def test_metrics_count_what_was_served(sdk: openai.AsyncOpenAI, http: aiohttp.ClientSession) -> None:
    for _ in range(2):
        await sdk.completions.create(
            model="chat-alias", prompt="x" * 40, max_tokens=5, extra_body={"ignore_eos": True}
        )
    expected = {
        "vllm:prompt_tokens_total": 20,
        "vllm:generation_tokens_total": 10,
        "vllm:time_to_first_token_seconds_count": 2,
        "vllm:inter_token_latency_seconds_count": 8,
        "vllm:iteration_tokens_total_count": 10,
        "vllm:iteration_tokens_total_sum": 30,
        "vllm:request_time_per_output_token_seconds_count": 2,
        "vllm:request_prompt_tokens_sum": 20,
        "vllm:request_generation_tokens_sum": 10,
        "vllm:num_requests_running": 0,
    }
    # The label is the first served name, whichever was asked for.
    measured = {name: await sample(http, name, model_name="chat") for name in expected}
    assert measured == expected
    assert await sample(http, "vllm:request_success_total", finished_reason="length") == 2
    itl_s = await sample(http, "vllm:inter_token_latency_seconds_sum")
    assert itl_s == pytest.approx(8 * STEP_S, rel=1e-6), "the engine's own clock, however busy the machine"


async def test_prompts_that_begin_alike_are_found_and_reported() -> None:
    """Through HTTP: `usage`, the metrics, and a client that goes away in the middle."""
    profile = replace(PROFILE, limits=replace(LIMITS, prefix_caching=True), prompt_tokens_details=True)
    text = "".join(f"clause {number}; " for number in range(200))[:1600]
    with AddressClaim.claim() as claim:
        server = VllmServer(profile, listen_on(claim.next_address(), claim.engine_port), lambda line: None)
        server.serve()
        url = f"http://{server.endpoint}"
        async with (
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as sdk,
            aiohttp.ClientSession(url) as http,
        ):

            async def found(content: str, **more: str) -> int | None:
                answer = await sdk.chat.completions.create(
                    model="chat",
                    messages=[{"role": "user", "content": content}],
                    max_completion_tokens=2,
                    extra_body={"ignore_eos": True, **more},
                )
                assert answer.usage is not None
                assert answer.usage.prompt_tokens_details is not None
                return answer.usage.prompt_tokens_details.cached_tokens

            gone = await http.post("/v1/chat/completions", json=chat(text, max_tokens=900, stream=True))
            await gone.content.readany()
            gone.close()
            # 400 tokens; the block with the last one is computed always.
            assert await found(text) == 384
            assert await found(text[:800] + "and then " + text[800:]) == 192
            assert await found(text, cache_salt="another tenant") == 0
            asked = 400 + 400 + 403 + 400
            assert await sample(http, "vllm:prefix_cache_queries_total") == asked
            assert await sample(http, "vllm:prefix_cache_hits_total") == 384 + 192
            assert await sample(http, "vllm:prompt_tokens_cached_total") == 384 + 192
            found_label = {"source": "local_cache_hit"}
            assert await sample(http, "vllm:prompt_tokens_by_source_total", **found_label) == 384 + 192
            assert await sample(http, "vllm:cache_config_info", enable_prefix_caching="True") == 1
        server.crash()


async def test_draining_finishes_what_runs_and_takes_nothing_new(
    server: VllmServer, http: aiohttp.ClientSession
) -> None:
    body = chat(max_tokens=40, ignore_eos=True, stream=True)
    idle = await http.get("/health")
    await idle.read()
    running = await http.post("/v1/chat/completions", json=body)
    await running.content.readany()
    draining = asyncio.create_task(server.drain(lambda: False))
    await asyncio.sleep(0.1)
    async with aiohttp.ClientSession() as newcomer:
        with pytest.raises(aiohttp.ClientConnectorError):
            await newcomer.get(f"http://{server.endpoint}/health")
    rest = await running.content.read()
    assert rest.rstrip().endswith(b"data: [DONE]")
    assert await draining == 0


async def test_draining_cuts_only_when_the_grace_is_over(
    server: VllmServer, http: aiohttp.ClientSession
) -> None:
    body = chat(max_tokens=1000, ignore_eos=True, stream=True)
    running = await http.post("/v1/chat/completions", json=body)
    until_s = time.monotonic() + 0.4
    assert await server.drain(lambda: time.monotonic() > until_s) == 1
    assert time.monotonic() >= until_s
    with pytest.raises(aiohttp.ClientError):
        await running.content.read()


async def test_a_silent_server_neither_answers_nor_closes(
    server: VllmServer, http: aiohttp.ClientSession
) -> None:
    async def ask(connection: Connection) -> bytes:
        connection[1].write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        return await connection[0].readuntil(b"\r\n\r\n")

    address, port = server.endpoint.split(":")
    running = await http.post(
        "/v1/chat/completions", json=chat(max_tokens=1000, stream=True, ignore_eos=True)
    )
    await running.content.readany()
    kept = await asyncio.open_connection(address, int(port))
    assert b"200 OK" in await ask(kept)
    server.silence()
    new = await asyncio.open_connection(address, int(port))
    with closing(kept[1]), closing(new[1]):
        for what in (ask(kept), ask(new), _drained(running)):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(what, 0.4)
    running.close()


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _drained(answer: aiohttp.ClientResponse) -> None:
    while await answer.content.readany():
        pass


async def test_a_crash_ends_every_connection_in_mid_stream(
    server: VllmServer, http: aiohttp.ClientSession
) -> None:
    running = await http.post(
        "/v1/chat/completions", json=chat(max_tokens=1000, stream=True, ignore_eos=True)
    )
    await running.content.readany()
    server.crash()
    with pytest.raises(aiohttp.ClientError):
        await _drained(running)
    assert server.driver.num_requests == 0


async def test_a_body_larger_than_aiohttps_default_is_read(http: aiohttp.ClientSession) -> None:
    body = json.dumps(chat("x" * 3_000_000)).encode()
    async with http.post("/v1/chat/completions", data=body) as answer:
        refusal = await answer.json()
    assert "maximum context length" in refusal["error"]["message"]
