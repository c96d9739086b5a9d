"""Owns one simulated vLLM server: a socket, its connections, and the requests on them.

When a token comes is `driver`'s, its text `openai_api`'s. aiohttp parses
requests and writes headers; the tokens of a stream go to the transport as prepared bytes,
because 4,000 a second through its response writer would take most of a core.

The listening socket is accepted from here, not by the event loop's server: otherwise a dead
node's server could not fall silent. Its kernel backlog then takes a few connections more, or ignores
them; nothing is read, answered or closed.

Life: `serve` -> `drain` | `crash` | `silence`; `delay` makes it slow meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest

from argosy.addresses import written
from argosy.engine import EngineLimits, RejectedRequest, Scheduler, StepTimeSource
from argosy.errors import InvariantError
from argosy_sim.livefleet.vllm.adapters import LOAD_S, LoraAdapters, LoraLimits
from argosy_sim.livefleet.vllm.driver import EngineDriver, TokenCallback
from argosy_sim.livefleet.vllm.metrics import CONTENT_TYPE, EngineIdentity, VllmMetrics
from argosy_sim.livefleet.vllm.openai_api import (
    Answer,
    ApiError,
    Endpoint,
    Generation,
    ServedEngine,
    bad_request,
    models_body,
    parse_generation,
)

RUNTIME_LORA = "VLLM_ALLOW_RUNTIME_LORA_UPDATING"
ENDPOINT_HEADER = "x-argosy-endpoint"
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104  (the kubelet and Envoy ask at the pod's address, its preStop hook at loopback)
# 131,072 tokens of four bytes are 512 KiB, but JSON may escape every character.
_MAX_BODY_BYTES = 16 * 1024 * 1024
_JSON = "application/json"
_STREAM_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8"}
_IDLE_POLL_S = 0.05
# Ten days, that is, never: a proxy's idle connection must not be closed just when it sends on it.
_KEEP_ALIVE_S = 864_000.0


@dataclass(frozen=True, slots=True)
class EngineProfile:
    """Which engine a server runs: names, bounds, speed, and the weights it loads first.

    loras: None where LoRA is off
    prompt_tokens_details: whether `usage` reports what of a prompt was found in the prefix cache
    """

    model: str
    served_names: tuple[str, ...]
    limits: EngineLimits
    step_times: StepTimeSource
    weight_bytes: int = 0
    gpu_memory_utilization: float = 0.9
    loras: LoraLimits | None = None
    prompt_tokens_details: bool = False


class VllmServer:
    """One replica's server on a listening socket; `log` takes lines for the container's log.

    environment: the container's; VLLM_ALLOW_RUNTIME_LORA_UPDATING switches on the API of adapters.

    Made inside a running event loop; serves from `serve` on.
    """

    def __init__(
        self,
        profile: EngineProfile,
        listener: socket.socket,
        log: Callable[[str], None],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._profile = profile
        limits = profile.loras or LoraLimits(0, 0, 0)
        self._adapters = LoraAdapters(limits, profile.served_names)
        allows = (environment or {}).get(RUNTIME_LORA, "").lower() in ("1", "true")
        self._takes_adapters = profile.loras is not None and allows
        self._running_adapters: Counter[str] = Counter()
        bounds = profile.limits
        self._engine = ServedEngine(
            profile.served_names,
            bounds.max_model_len,
            self._adapters.sources,
            bounds.block_size if bounds.prefix_caching else 0,
            profile.prompt_tokens_details,
        )
        self._listener: socket.socket | None = listener
        self._log = log
        self._metrics = VllmMetrics(_identity(profile))
        scheduler = Scheduler(profile.limits, profile.step_times)
        self.driver = EngineDriver(scheduler, self._metrics, log)
        address, port = listener.getsockname()[:2]
        self.endpoint = written(address, port)
        # One that listens on every address does not know which of them a client reached; Envoy then adds it.
        self._name = {} if address == EVERY_ADDRESS else {ENDPOINT_HEADER: self.endpoint}
        self._headers = {**self._name, "Content-Type": _JSON}
        self._started_s = int(time.time())
        self._loop = asyncio.get_running_loop()
        self._http = web.Server(
            self._handle,
            handler_cancellation=True,  # a client that goes away ends its request in the engine
            request_factory=self._make_request,
            access_log=None,
            keepalive_timeout=_KEEP_ALIVE_S,
        )
        self._accepting: set[asyncio.Task[object]] = set()
        self._busy: set[RequestHandler] = set()
        self._delays_s: dict[str, float] = {}
        self._is_silent = False
        self._is_draining = False

    @property
    def num_tokens(self) -> int:
        """Tokens generated since the start."""
        return int(self._metrics.generation_tokens.value)

    def serve(self) -> None:
        """Accept connections. Raises InvariantError once the server has ended."""
        if self._listener is None:
            raise InvariantError(f"the server on {self.endpoint} has ended and cannot serve again")
        self._loop.add_reader(self._listener.fileno(), self._accept)
        self._log(f"INFO Uvicorn running on http://{self.endpoint}")

    # Ends of life.

    async def drain(self, is_over: Callable[[], bool]) -> int:
        """Stop accepting, finish what runs unless `is_over` before; returns how many requests were cut."""
        self._stop_accepting()
        self._is_draining = True
        # Connections accepted in this instant have not shown their request yet.
        await asyncio.sleep(_IDLE_POLL_S)
        while self._busy and not is_over():
            self._close_idle_connections()
            await asyncio.sleep(_IDLE_POLL_S)
        num_cut = len(self._busy)
        if num_cut:
            self._log(f"WARNING the grace period is over: {num_cut} requests are cut")
        for connection in tuple(self._busy):
            _cut(connection)
        self._close_idle_connections()  # after the last byte of what they still have to send
        self.driver.halt()
        return num_cut

    def crash(self) -> None:
        """Die at once: every connection ends in the middle of what it carries, as a killed process's do."""
        self._stop_accepting()
        self.driver.halt()
        for task in tuple(self._accepting):
            task.cancel()
        for connection in self._http.connections:
            _cut(connection)

    def silence(self) -> None:
        """Be a dead machine: sockets stay open, and nothing is read, answered or closed any more."""
        self._is_silent = True
        self.driver.halt()
        if self._listener is not None:
            self._loop.remove_reader(self._listener.fileno())
        for connection in self._http.connections:
            if connection.transport is not None:
                with suppress(RuntimeError):  # flow control has paused it already
                    connection.transport.pause_reading()

    def delay(self, path: str, seconds: float) -> None:
        """Be late with every answer of this path from now on (a saturated engine is); 0: no more."""
        self._delays_s[path] = seconds

    def _stop_accepting(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None

    def _close_idle_connections(self) -> None:
        for connection in self._http.connections:
            if connection not in self._busy:
                connection.force_close()

    # Connections.

    def _accept(self) -> None:
        listener = self._listener
        while listener is not None:
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = self._loop.create_task(self._loop.connect_accepted_socket(self._http, connection))
            self._accepting.add(task)
            task.add_done_callback(self._accepting.discard)

    def _make_request(self, message: Any, payload: Any, *connection: Any) -> BaseRequest:
        # aiohttp's own limit is 1 MiB, and only a request's maker can raise it.
        protocol, writer, task = connection
        limit = _MAX_BODY_BYTES
        return BaseRequest(message, payload, protocol, writer, task, self._loop, client_max_size=limit)

    # Requests.

    async def _handle(self, request: BaseRequest) -> web.StreamResponse:
        if self._is_silent:  # its body was complete in the very moment of death
            await asyncio.Event().wait()
        response = await self._route(request)
        if self._is_draining and not response.prepared:
            response.force_close()  # tells the client not to send on this connection again
        return response

    async def _route(self, request: BaseRequest) -> web.StreamResponse:
        path = request.rel_url.path
        if delay_s := self._delays_s.get(path):
            await asyncio.sleep(delay_s)
        match (request.method, path):
            case ("POST", Endpoint.CHAT | Endpoint.TEXT):
                return await self._generate_on(request, Endpoint(path))
            case ("GET", "/health"):
                return web.Response(headers=self._name)
            case ("GET", "/metrics"):
                self._metrics.show_adapters(self._adapters.limits.max_loras, +self._running_adapters)
                body = self._metrics.render(self.driver.load)
                return web.Response(body=body, headers=self._headers | {"Content-Type": CONTENT_TYPE})
            case ("POST", "/v1/load_lora_adapter" | "/v1/unload_lora_adapter") if self._takes_adapters:
                return await self._change_adapters(request, path)
            case ("GET", "/v1/models"):
                return self._json(models_body(self._engine, self._profile.model, self._started_s))
            case (_, Endpoint.CHAT | Endpoint.TEXT | "/health" | "/metrics" | "/v1/models"):
                error = ApiError(HTTPStatus.METHOD_NOT_ALLOWED, "Method Not Allowed", "Method Not Allowed")
            case _:
                error = ApiError(HTTPStatus.NOT_FOUND, "Not Found", "Not Found")
        return self._refuse(error)

    async def _change_adapters(self, request: BaseRequest, path: str) -> web.Response:
        try:
            body = json.loads(await request.read())
            name, source = str(body.get("lora_name") or ""), str(body.get("lora_path") or "")
            in_place = bool(body.get("load_inplace"))
        except (ValueError, AttributeError) as error:
            return self._refuse(bad_request(str(error)))
        if path.endswith("/unload_lora_adapter"):
            answer = self._adapters.unload(name)
        else:
            await asyncio.sleep(LOAD_S)
            answer = self._adapters.load(name, source, in_place=in_place)
        if isinstance(answer, ApiError):
            return self._refuse(answer)
        self._log(f"INFO {answer}")
        return web.Response(text=answer, headers=self._name)

    def _json(self, body: bytes, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
        return web.Response(body=body, status=status, headers=self._headers)

    def _refuse(self, error: ApiError) -> web.Response:
        return self._json(error.to_json(), error.status)

    async def _generate_on(self, request: BaseRequest, endpoint: Endpoint) -> web.StreamResponse:
        connection = request.protocol
        self._busy.add(connection)
        try:
            try:
                body = await request.read()
            except web.HTTPRequestEntityTooLarge:
                return self._refuse(bad_request(f"the body is larger than {_MAX_BODY_BYTES} bytes"))
            generation = parse_generation(endpoint, body, self._engine)
            if isinstance(generation, ApiError):
                return self._refuse(generation)
            tag = "chatcmpl" if endpoint is Endpoint.CHAT else "cmpl"
            answer = Answer(f"{tag}-{uuid.uuid4().hex}", int(time.time()))
            with self._with_adapter(generation.model) as wait_s:
                await asyncio.sleep(wait_s)
                if generation.stream:
                    return await self._stream(request, generation, answer)
                return await self._answer_whole(generation, answer)
        finally:
            self._busy.discard(connection)

    @contextmanager
    def _with_adapter(self, name: str) -> Iterator[float]:
        """Seconds until a request's adapter is in memory, which it keeps running meanwhile."""
        if name in self._profile.served_names:
            yield 0.0
            return
        self._running_adapters[name] += 1
        try:
            yield self._adapters.use(name)
        finally:
            self._running_adapters[name] -= 1

    async def _answer_whole(self, generation: Generation, answer: Answer) -> web.Response:
        done: asyncio.Future[int] = self._loop.create_future()
        last = generation.output_tokens - 1

        def on_token(index: int, cached_tokens: int) -> None:
            if index == last and not done.done():
                done.set_result(cached_tokens)

        taken = self._submit(generation, on_token)
        if isinstance(taken, RejectedRequest):
            return self._refuse(bad_request(taken.message))
        try:
            cached_tokens = await done
        finally:
            self.driver.abort(taken)
        return self._json(answer.whole(generation, cached_tokens))

    async def _stream(
        self, request: BaseRequest, generation: Generation, answer: Answer
    ) -> web.StreamResponse:
        done = self._loop.create_future()
        frames = answer.frames(generation)
        last = generation.output_tokens - 1
        transport = request.transport

        def on_token(index: int, cached_tokens: int) -> None:
            if transport is None or transport.is_closing():
                return  # the handler is about to be cancelled, and will abort
            if index < last:
                transport.write(frames.token(index))
                return
            transport.write(frames.last(index, cached_tokens))
            if not done.done():
                done.set_result(None)

        taken = self._submit(generation, on_token)
        if isinstance(taken, RejectedRequest):
            return self._refuse(bad_request(taken.message))
        try:
            response = web.StreamResponse(headers=self._headers | _STREAM_HEADERS)
            response.enable_chunked_encoding()
            await response.prepare(request)  # the header goes out now, before any token
            await done
        finally:
            self.driver.abort(taken)
        return response

    def _submit(self, generation: Generation, on_token: TokenCallback) -> int | RejectedRequest:
        lengths = (generation.prompt_tokens, generation.output_tokens)
        return self.driver.submit(lengths, generation.max_tokens, on_token, generation.prefix)


def _identity(profile: EngineProfile) -> EngineIdentity:
    limits = profile.limits
    return EngineIdentity(
        profile.served_names[0],
        limits.max_model_len,
        limits.block_size,
        limits.kv_blocks,
        profile.gpu_memory_utilization,
        limits.prefix_caching,
    )


def _cut(connection: RequestHandler) -> None:
    if connection.transport is not None:
        connection.transport.abort()
