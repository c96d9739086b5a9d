"""The ADS server: Envoys connect here and receive the published snapshot.

Owns the gRPC streams. Which response goes next is `subscription`'s decision, which snapshot an
Envoy should have is `cache`'s. Input: snapshots to publish, streams of requests. Output: streams of
responses, and the state of each Envoy. Every replica of the operator runs one; leader or not, all
serve the same. Before the first snapshot is published streams stay open and nothing is sent, so
that an Envoy keeps what it has.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from envoy.service.discovery.v3 import discovery_pb2

from argosy.errors import SpecError
from argosy.snapshot.fleet import EnvoyState
from argosy.xds.cache import SHARED_AFTER_S, SnapshotCache
from argosy.xds.snapshot import Snapshot, TypeUrl
from argosy.xds.subscription import Subscription

_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"

_OPTIONS = (
    # Two servers on one port would each get some of the Envoys.
    ("grpc.so_reuseport", 0),
    # Envoy pings every second to notice a silent server; by default gRPC answers the third ping
    # without data with "too many pings" and closes.
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 500),
    # And the server pings to notice an Envoy whose machine vanished.
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
)


class AdsServer:
    """Serves the published snapshot to every Envoy that connects.

    `on_change` is called, on the event loop, whenever `envoys()` may have changed.
    """

    def __init__(self, on_change: Callable[[], None] | None = None) -> None:
        self._cache = SnapshotCache()
        self._on_change = on_change or (lambda: None)
        self._wakers: set[asyncio.Event] = set()
        self._server: grpc.aio.Server | None = None

    async def serve(self, address: str, port: int) -> int:
        """Listen, and return the port (a free one for 0); raises `SpecError` where it is taken."""
        self._server = grpc.aio.server(options=_OPTIONS)
        self._server.add_generic_rpc_handlers((_handler(self._stream),))
        try:
            bound = self._server.add_insecure_port(f"{address}:{port}")
        except RuntimeError as error:
            raise SpecError(
                f"cannot listen for Envoys on {address}:{port}: the port is taken or may not be used;"
                " free it or choose another",
                "--xds-address",
            ) from error
        await self._server.start()
        return int(bound)

    async def stop(self) -> None:
        """Close all streams; Envoys keep what they have and connect to another server."""
        if self._server is not None:
            await self._server.stop(grace=None)
            self._server = None

    def publish(self, snapshot: Snapshot) -> bool:
        """Send every Envoy what leads to `snapshot`; False where it is the current one already."""
        changed = self._cache.publish(snapshot)
        if changed:
            self._wake_all()
        return changed

    @property
    def current(self) -> Snapshot | None:
        """The snapshot published last."""
        return self._cache.current

    def envoys(self) -> tuple[EnvoyState, ...]:
        """The connected Envoys, each with what it acknowledged or refused."""
        return self._cache.envoys()

    def _wake_all(self) -> None:
        for waker in self._wakers:
            waker.set()

    async def _stream(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        """One Envoy's stream, from its first request to its end."""
        first = await anext(aiter(requests), None)
        if first is None:
            return
        node_id = first.node.id or context.peer()
        name = self._cache.connect(node_id)
        stream = _Stream(self._cache, name)
        self._wakers.add(stream.waker)
        # Only time tells two Envoys of one node id from one that connects anew.
        asyncio.get_running_loop().call_later(SHARED_AFTER_S + 0.1, self._on_change)
        reader = asyncio.create_task(self._read(stream, first, requests))
        try:
            while not reader.done():
                stream.waker.clear()
                for response in stream.responses():
                    yield response
                self._on_change()
                await stream.waker.wait()
        finally:
            reader.cancel()
            self._wakers.discard(stream.waker)
            self._cache.disconnect(name)
            self._on_change()

    async def _read(self, stream: _Stream, first: Any, requests: AsyncIterator[Any]) -> None:
        try:
            stream.receive(first)
            async for request in requests:
                stream.receive(request)
        finally:
            stream.waker.set()


class _Stream:
    """One Envoy's subscription, with what the cache should know of it."""

    def __init__(self, cache: SnapshotCache, node_id: str) -> None:
        self.waker = asyncio.Event()
        self._cache = cache
        self._node_id = node_id
        self._subscription = Subscription(cache)
        self._target: Snapshot | None = None
        # The target when a response was sent: a refusal concerns that one, not its successor.
        self._target_by_type: dict[str, Snapshot] = {}

    def receive(self, request: Any) -> None:
        """Take a request and wake the writer."""
        outcome = self._subscription.receive(request)
        if outcome is not None and outcome.refusal is not None:
            self._cache.refuse(self._node_id, outcome, self._target_by_type[request.type_url])
        self.waker.set()

    def responses(self) -> list[Any]:
        """All that may be sent now."""
        self._target = self._cache.snapshot_for(self._node_id)
        found = []
        if self._target is not None:
            while (response := self._subscription.next_response(self._target)) is not None:
                self._target_by_type[response.type_url] = self._target
                found.append(response)
            if self._subscription.has_arrived_at(self._target):
                self._cache.arrive(self._node_id, self._target)
        self._report()
        return found

    def _report(self) -> None:
        is_ahead = self._target is not None and self._subscription.is_ahead_of(self._target)
        for each in TypeUrl:
            self._cache.saw(self._node_id, each, self._subscription.accepted(each), is_ahead=is_ahead)


def _handler(stream: Callable[[AsyncIterator[Any], Any], AsyncIterator[Any]]) -> Any:
    method = grpc.stream_stream_rpc_method_handler(
        stream,
        request_deserializer=discovery_pb2.DiscoveryRequest.FromString,
        response_serializer=discovery_pb2.DiscoveryResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(_SERVICE, {"StreamAggregatedResources": method})
