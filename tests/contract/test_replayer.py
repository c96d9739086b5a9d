"""The replayer against a real HTTP server that behaves, and misbehaves, as engines and Envoy do."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import typer
from aiohttp import web
from typer.testing import CliRunner

from argosy.client.open_loop import RecordFile, ReplayResult, ReplayTarget, replay
from argosy.client.planned import PlannedRequest
from argosy.client.records import Outcome, RequestRecord, read_records
from argosy_sim.replay.command import register

GAP_S = 0.02
Answer = Callable[["FarSide", web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


@dataclass
class FarSide:
    """What arrived at the server, and when."""

    base_url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    arrived_s: list[float] = field(default_factory=list)


@dataclass
class Kept:
    """A sink in memory."""

    records: list[RequestRecord] = field(default_factory=list)
    num_flushes: int = 0

    def write(self, record: RequestRecord) -> None:
        self.records.append(record)

    def flush(self) -> None:
        self.num_flushes += 1


def event(payload: dict[str, Any] | str) -> bytes:
    return f"data: {payload if isinstance(payload, str) else json.dumps(payload)}\n\n".encode()


def text(is_chat: bool, content: str) -> bytes:
    choice = {"delta": {"content": content}} if is_chat else {"text": content}
    return event({"choices": [{"index": 0, **choice, "finish_reason": None}]})


async def begin(request: web.Request, **headers: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream", **headers})
    await response.prepare(request)
    return response


async def stream(response: web.StreamResponse, num_tokens: int, is_chat: bool = True) -> None:
    if is_chat:
        await response.write(event({"choices": [{"delta": {"role": "assistant", "content": ""}}]}))
    for _ in range(num_tokens):
        await asyncio.sleep(GAP_S)
        await response.write(text(is_chat, " word"))


async def finish(response: web.StreamResponse, num_tokens: int) -> web.StreamResponse:
    usage = {"prompt_tokens": 1, "completion_tokens": num_tokens}
    await response.write(event({"choices": [], "usage": usage}) + event("[DONE]"))
    return response


async def answer_well(_: FarSide, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    await asyncio.sleep(0.1)
    response = await begin(request, **{"x-envoy-attempt-count": "3", "x-argosy-endpoint": "127.1.0.3:8000"})
    await asyncio.sleep(0.1)
    await stream(response, body["max_tokens"], "messages" in body)
    return await finish(response, body["max_tokens"])


async def be_unavailable(_: FarSide, __: web.Request, ___: dict[str, Any]) -> web.StreamResponse:
    return web.Response(status=503, text="no healthy upstream")


async def cut_the_stream(_: FarSide, request: web.Request, __: dict[str, Any]) -> web.StreamResponse:
    response = await begin(request)
    await stream(response, 3)
    assert request.transport is not None
    request.transport.abort()
    return response


async def cut_before_the_header(_: FarSide, request: web.Request, __: dict[str, Any]) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def cut_after_the_end(_: FarSide, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    response = await begin(request)
    await stream(response, body["max_tokens"])
    await finish(response, body["max_tokens"])
    await asyncio.sleep(GAP_S)
    assert request.transport is not None
    request.transport.abort()
    return response


async def be_silent(_: FarSide, __: web.Request, ___: dict[str, Any]) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.Response()


async def fall_silent(_: FarSide, request: web.Request, __: dict[str, Any]) -> web.StreamResponse:
    response = await begin(request)
    await stream(response, 2)
    await asyncio.sleep(30)
    return response


async def stop_short(_: FarSide, request: web.Request, __: dict[str, Any]) -> web.StreamResponse:
    response = await begin(request)
    await stream(response, 2)
    return await finish(response, 2)


async def end_without_done(_: FarSide, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    response = await begin(request)
    await stream(response, body["max_tokens"])
    return response


async def fail_inside_the_stream(_: FarSide, request: web.Request, __: dict[str, Any]) -> web.StreamResponse:
    response = await begin(request)
    await stream(response, 1)
    await response.write(event({"error": {"message": "engine is dead"}}) + event("[DONE]"))
    return response


async def dribble(_: FarSide, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    response = await begin(request)
    usage = {"choices": [], "usage": {"completion_tokens": body["max_tokens"]}}
    whole = text(True, "word") * body["max_tokens"] + event(usage) + event("[DONE]")
    for start in range(0, len(whole), 11):
        await response.write(whole[start : start + 11])
        await asyncio.sleep(0)
    return response


async def pour(_: FarSide, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    response = await begin(request)
    await response.write(text(True, "word" * 50) * body["max_tokens"])
    return await finish(response, body["max_tokens"])


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Answer], Awaitable[FarSide]]]:
    """Start a server on a free port that answers every POST in one way."""
    runners: list[web.AppRunner] = []

    async def start(answer: Answer) -> FarSide:
        far_side = FarSide()

        async def handle(request: web.Request) -> web.StreamResponse:
            far_side.arrived_s.append(time.perf_counter())
            far_side.headers.append({name.lower(): value for name, value in request.headers.items()})
            far_side.bodies.append(await request.json())
            return await answer(far_side, request, far_side.bodies[-1])

        app = web.Application(client_max_size=1 << 24)
        app.router.add_post("/{path:.*}", handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        far_side.base_url = f"http://{host}:{port}"
        return far_side

    yield start
    for runner in runners:
        await runner.cleanup()


def planned(number: int = 0, arrival_s: float = 0.0, **more: Any) -> PlannedRequest:
    values: dict[str, Any] = {
        "id": f"chat-{number:06d}",
        "class_name": "chat",
        "arrival_s": arrival_s,
        "prompt_tokens": 50,
        "output_tokens": 5,
        "path": "/v1/chat/completions",
        "headers": (("x-class", "chat"),),
        "model": "llama-8b",
    }
    return PlannedRequest(**values | more)


async def run(target: ReplayTarget, *requests: PlannedRequest) -> tuple[list[RequestRecord], ReplayResult]:
    kept = Kept()
    result = await replay(requests, target, kept, time.time())
    assert kept.num_flushes >= 1
    assert len(kept.records) == result.num_requests == len(requests)
    return sorted(kept.records, key=lambda record: record.id), result


async def test_a_whole_answer_is_measured_from_its_stream(
    serve: Callable[[Answer], Awaitable[FarSide]],
) -> None:
    far_side = await serve(answer_well)
    ((record,), result) = await run(ReplayTarget(far_side.base_url), planned(arrival_s=0.2))

    assert (record.outcome, record.status, record.error) == (Outcome.COMPLETED, 200, "")
    assert (record.num_tokens, record.expected_tokens, record.attempts) == (5, 5, 3)
    assert record.endpoint == "127.1.0.3:8000"
    assert record.sent_s is not None
    assert record.header_s is not None
    assert record.sent_s >= 0.2
    assert record.first_token_s is not None
    assert record.dispatch_lag_s == record.sent_s - 0.2 == result.dispatch_lag_max_s
    # The role chunk comes with the header and is no token: the first comes 0.1 s and a gap later.
    # Upper bounds are wide: the machine that runs this may be busy.
    assert 0.1 <= record.header_s - record.sent_s < 5
    assert 0.1 <= record.first_token_s - record.header_s < 5
    assert len(record.gaps_ms) == 4
    assert record.itl_ms == pytest.approx(sum(record.gaps_ms) / 4)
    assert GAP_S * 1000 / 2 <= (record.itl_ms or 0) < 1000
    assert record.max_gap_s == pytest.approx(max(record.gaps_ms) / 1000)
    assert (record.e2e_ms or 0) >= (record.ttft_ms or 0) + sum(record.gaps_ms)


async def test_the_server_gets_an_openai_request_of_the_planned_size(
    serve: Callable[[Answer], Awaitable[FarSide]],
) -> None:
    far_side = await serve(pour)
    target = ReplayTarget(far_side.base_url + "/", headers=(("authorization", "Bearer x"),))
    await run(target, planned(0), planned(1, 0.05, path="/v1/completions", prompt_tokens=9000))

    chat, completion = far_side.bodies
    assert (len(chat["messages"][0]["content"]), len(completion["prompt"])) == (200, 36_000)
    for body in (chat, completion):
        assert (body["model"], body["stream"], body["max_tokens"]) == ("llama-8b", True, 5)
        assert (body["ignore_eos"], body["stream_options"]) == (True, {"include_usage": True})
    first = far_side.headers[0]
    assert (first["x-class"], first["authorization"]) == ("chat", "Bearer x")
    assert first["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("answer", "outcome", "has_header", "num_tokens", "error"),
    [
        pytest.param(be_unavailable, Outcome.HTTP_ERROR, True, 0, "status 503: no healthy up", id="http 503"),
        pytest.param(cut_the_stream, Outcome.BROKEN, True, 3, "ClientPayloadError", id="cut in mid-stream"),
        pytest.param(
            cut_before_the_header, Outcome.CONNECT_ERROR, False, 0, "Server", id="cut before header"
        ),
        pytest.param(cut_after_the_end, Outcome.COMPLETED, True, 5, "", id="cut after all was said"),
        pytest.param(
            be_silent, Outcome.TIMED_OUT, False, 0, "not finished within 0.5 s", id="never an answer"
        ),
        pytest.param(fall_silent, Outcome.TIMED_OUT, True, 2, "not finished within 0.5 s", id="falls silent"),
        pytest.param(stop_short, Outcome.BROKEN, True, 2, "2 tokens instead of 5", id="too few tokens"),
        pytest.param(
            end_without_done, Outcome.BROKEN, True, 5, "the stream ended without [DONE]", id="no end"
        ),
        pytest.param(
            fail_inside_the_stream, Outcome.BROKEN, True, 1, '{"message": "engine', id="error event"
        ),
        pytest.param(dribble, Outcome.COMPLETED, True, 5, "", id="events cut anywhere"),
    ],
)
async def test_an_answer_has_the_outcome_it_deserves(
    serve: Callable[[Answer], Awaitable[FarSide]],
    answer: Answer,
    outcome: Outcome,
    has_header: bool,
    num_tokens: int,
    error: str,
) -> None:
    far_side = await serve(answer)
    ((record,), result) = await run(ReplayTarget(far_side.base_url, request_timeout_s=0.5), planned())
    assert (record.outcome, record.header_s is not None, record.num_tokens) == (
        outcome,
        has_header,
        num_tokens,
    )
    assert record.error.startswith(error)
    assert bool(record.error) == record.is_lost
    assert result.num_by_outcome == {outcome: 1}


async def test_a_closed_port_is_a_connect_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refused, and nobody else gets it
        ((record,), _) = await run(ReplayTarget(f"http://127.0.0.1:{taken.getsockname()[1]}"), planned())
    assert (record.outcome, record.status) == (Outcome.CONNECT_ERROR, None)
    assert "Cannot connect" in record.error


async def test_a_large_answer_in_one_burst_is_counted_to_the_last_token(
    serve: Callable[[Answer], Awaitable[FarSide]],
) -> None:
    far_side = await serve(pour)
    ((record,), _) = await run(ReplayTarget(far_side.base_url), planned(output_tokens=20_000))
    assert (record.outcome, record.num_tokens, len(record.gaps_ms)) == (Outcome.COMPLETED, 20_000, 19_999)


async def test_slow_answers_do_not_delay_the_next_request(
    serve: Callable[[Answer], Awaitable[FarSide]],
) -> None:
    far_side = await serve(be_silent)
    target = ReplayTarget(far_side.base_url, request_timeout_s=1.0)
    records, _ = await run(target, *(planned(i, i * 0.1) for i in range(5)))
    assert [record.outcome for record in records] == [Outcome.TIMED_OUT] * 5
    assert 0.3 < far_side.arrived_s[-1] - far_side.arrived_s[0] < 0.95  # before the first had ended


async def test_what_exceeds_the_bound_is_recorded_as_refused(
    serve: Callable[[Answer], Awaitable[FarSide]],
) -> None:
    far_side = await serve(answer_well)
    records, result = await run(
        ReplayTarget(far_side.base_url, max_in_flight=2), *(planned(i) for i in range(5)), planned(5, 0.8)
    )
    refused = [record for record in records if record.outcome is Outcome.REFUSED]
    assert [record.id for record in refused] == ["chat-000002", "chat-000003", "chat-000004"]
    assert {(record.sent_s, record.error) for record in refused} == {(None, "2 requests were in flight")}
    assert result.num_by_outcome == {Outcome.COMPLETED: 3, Outcome.REFUSED: 3}
    assert len(far_side.bodies) == 3


async def test_the_drain_has_an_end(serve: Callable[[Answer], Awaitable[FarSide]]) -> None:
    far_side = await serve(fall_silent)
    began_s = time.perf_counter()
    (first, second), _ = await run(
        ReplayTarget(far_side.base_url, drain_timeout_s=0.5), planned(0), planned(1, 0.3)
    )
    assert 0.8 <= time.perf_counter() - began_s < 5
    assert (first.outcome, second.outcome) == (Outcome.TIMED_OUT, Outcome.TIMED_OUT)
    assert first.error == "not finished 0.5 s after the last request was due"


async def test_a_request_due_before_the_start_is_sent_late_and_says_so(
    serve: Callable[[Answer], Awaitable[FarSide]],
) -> None:
    far_side = await serve(pour)
    kept = Kept()
    requests = [planned(), planned(arrival_s=5.2)]
    result = await replay(requests, ReplayTarget(far_side.base_url), kept, time.time() - 5)
    assert [record.outcome for record in kept.records] == [Outcome.COMPLETED] * 2
    assert result.dispatch_lag_p99_s == result.dispatch_lag_max_s == pytest.approx(5, abs=0.5)


async def test_no_request_is_an_empty_replay() -> None:
    kept = Kept()
    assert (await replay([], ReplayTarget("http://127.0.0.1:1"), kept, time.time())).num_requests == 0


async def test_records_are_in_the_file_within_a_second_or_two_even_when_the_replay_is_stopped(
    serve: Callable[[Answer], Awaitable[FarSide]], tmp_path: Path
) -> None:
    far_side = await serve(pour)
    path = tmp_path / "records.jsonl"
    with RecordFile(path) as sink:
        work = asyncio.create_task(
            replay([planned(0), planned(1, 60.0)], ReplayTarget(far_side.base_url), sink, time.time())
        )
        await asyncio.sleep(1.5)
        (written,) = read_records(path.read_text().splitlines(keepends=True))  # as after a crash
        assert (written.id, written.outcome) == ("chat-000000", Outcome.COMPLETED)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
    assert len(path.read_text().splitlines()) == 1


AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


@dataclass
class Ran:
    """What a command printed, and how it ended."""

    exit_code: int
    output: str
    errors: str


async def command(*arguments: object) -> Ran:
    app = typer.Typer()
    register(app)
    result = await asyncio.to_thread(CliRunner().invoke, app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)


async def test_the_command_replays_a_trace_and_prints_a_table(
    serve: Callable[[Answer], Awaitable[FarSide]], tmp_path: Path
) -> None:
    far_side = await serve(pour)
    trace, out = tmp_path / "trace.csv", tmp_path / "out.jsonl"
    rows = [f"2023-11-16 18:00:{second:02d},{second + 1},3\n" for second in range(20)]
    trace.write_text(AZURE + "".join(rows) + "oops\n")
    aim = ("--target", far_side.base_url, "--model", "m", "--out", out, "--class", "chat")

    refused = await command(*aim, "--trace", trace)
    assert (refused.exit_code, out.exists()) == (2, False)
    assert refused.errors == (
        "--trace: trace.csv: 1 of 21 lines are malformed: line 22: 1 fields, 3 expected; "
        "--skip-bad-lines goes on without them\n"
    )

    ran = await command(
        *aim,
        "--trace",
        trace,
        "--skip-bad-lines",
        "--slice",
        "10:20",
        "--rate-scale",
        "20",
        "--header",
        "x-a: b",
    )
    assert ran.exit_code == 0, ran.errors
    assert ran.errors == "skipped 1 lines of trace.csv: line 22: 1 fields, 3 expected\n"
    assert "10 requests, 0 lost" in ran.output
    assert "ITL (mean gap)" in ran.output
    # Written as they end: on a busy machine two that began 50 ms apart may change places.
    assert sorted(record.prompt_tokens for record in read_records(out.open())) == list(range(11, 21))
    assert far_side.headers[0]["x-a"] == "b"


async def test_the_command_replays_an_archetype_and_fails_when_requests_are_lost(
    serve: Callable[[Answer], Awaitable[FarSide]], tmp_path: Path
) -> None:
    far_side = await serve(be_unavailable)
    ran = await command(
        *("--target", far_side.base_url, "--model", "m", "--out", tmp_path / "out.jsonl", "--seed", 1),
        *("--archetype", "batch-documents", "--rate", 20, "--duration", 0.5, "--path", "/v1/completions"),
    )
    assert ran.exit_code == 3
    assert f"HttpError {len(far_side.bodies)}" in ran.output
    assert all(4000 * 4 <= len(body["prompt"]) <= 8000 * 4 for body in far_side.bodies)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ((), "--trace: give either a trace or an archetype"),
        (("--archetype", "batch-documents", "--trace", "x"), "--trace: give either a trace or an archetype"),
        (("--trace", "/nowhere/x.csv"), "--trace: x.csv: cannot be read: No such file or directory"),
        (("--archetype", "lmsys", "--rate", "1"), "--archetype: no archetype is called 'lmsys', known are"),
        (("--archetype", "batch-documents"), "--rate: an archetype has no rate of its own"),
        (("--archetype", "batch-documents", "--rate", "nan"), "--rate: a positive number expected, got nan"),
        (("--archetype", "batch-documents", "--rate", "-1"), "--rate: a positive number expected, got -1.0"),
        (
            ("--archetype", "batch-documents", "--rate", "1", "--slice", "0:9"),
            "--slice: an archetype has no time to",
        ),
        (("--trace", "TRACE", "--slice", "9:3"), "--slice: START:END in seconds expected"),
        (("--trace", "TRACE", "--slice", "soon"), "--slice: START:END in seconds expected"),
        (("--trace", "TRACE", "--slice", "50:60"), "--slice: trace.csv has no request in 50:60, its last is"),
        (("--trace", "TRACE", "--path", "/v1/embeddings"), "--path: a path that ends in /completions"),
        (("--trace", "TRACE", "--header", "x-a"), "--header: NAME:VALUE expected, got 'x-a'"),
        (("--trace", "TRACE", "--header", "x-a: b\nx: c"), "--header: NAME:VALUE expected"),
        (("--trace", "TRACE", "--target", "localhost:80"), "--target: a URL as http://HOST:PORT expected"),
        (("--trace", "TRACE", "--target", "http://h:99999"), "--target: a URL as http://HOST:PORT expected"),
        (("--trace", "TRACE", "--out", "TRACE"), "--out: "),
        (("--trace", "TRACE", "--out", "/nowhere/x"), "--out: /nowhere is no directory"),
    ],
)
async def test_unusable_input_is_one_sentence_and_exit_2(
    tmp_path: Path, flags: tuple[str, ...], sentence: str
) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text(AZURE + "2023-11-16 18:00:00,5,3\n")
    given = [str(trace) if flag == "TRACE" else flag for flag in flags]
    ran = await command(
        *("--target", "http://127.0.0.1:1", "--model", "m", "--out", tmp_path / "out.jsonl"), *given
    )
    assert (ran.exit_code, ran.output) == (2, "")
    assert ran.errors.startswith(sentence)
    assert ran.errors.count("\n") == 1
