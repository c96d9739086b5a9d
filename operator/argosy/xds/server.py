"""The ADS server: Envoys connect here and receive the published snapshot.

Owns the gRPC streams. Which response goes next is `subscription`'s decision, which snapshot an
Envoy should have is `cache`'s. Input: snapshots to publish, streams of requests. Output: streams of
responses, and the state of each Envoy. Every replica of the operator runs one; leader or not, all
serve the same. Before the first snapshot is published streams stay open and nothing is sent, so
that an Envoy keeps what it has.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import unquote

import grpc
from envoy.service.discovery.v3 import discovery_pb2

from argosy.addresses import canonical, written
from argosy.errors import SpecError
from argosy.manifests.envoy_bootstrap import STATS_KEY, stats_url
from argosy.snapshot.fleet import EnvoyState
from argosy.xds.cache import SHARED_AFTER_S, SnapshotCache
from argosy.xds.hold import HOLD_S, Hold, Times
from argosy.xds.snapshot import Snapshot, TypeUrl
from argosy.xds.subscription import Subscription
from argosy.xds.tls.connections import Connections
from argosy.xds.tls.credentials import ServerTls

log = logging.getLogger(__name__)

FIRST_RETRY_S = 10.0
LONGEST_RETRY_S = 300.0
"""What an Envoy refuses is sent to it again after such pauses, each twice as long as the one before: a port
that was taken may be free by then."""

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


class _SystemTimes:
    def now_s(self) -> float:
        return time.time()

    def monotonic_s(self) -> float:
        return time.monotonic()


class AdsServer:
    """Serves the published snapshot to every Envoy that connects.

    `on_change` is called, on the event loop, whenever `envoys()` may have changed.
    """

    def __init__(self, on_change: Callable[[], None] | None = None, times: Times | None = None) -> None:
        self._times = times or _SystemTimes()
        self._cache = SnapshotCache(self._times)
        self._on_change = on_change or (lambda: None)
        self._wakers: set[asyncio.Event] = set()
        self._server: grpc.aio.Server | None = None
        self._connections = Connections()

    async def serve(self, address: str, port: int, tls: ServerTls | None = None) -> int:
        """Listen, and return the port (a free one for 0).

        With `tls` only Envoys with a certificate of its authority get a stream. Raises `SpecError` where
        the port is taken or the certificates were never usable.
        """
        self._server = grpc.aio.server(options=_OPTIONS)
        self._server.add_generic_rpc_handlers((_handler(self._stream),))
        where = written(address, port)
        try:
            if tls is None:
                bound = self._server.add_insecure_port(where)
            else:
                tls.on_connection(lambda: self._connections.began(self._times.monotonic_s()))
                bound = self._server.add_secure_port(where, tls.credentials())
        except RuntimeError as error:
            raise SpecError(
                f"cannot listen for Envoys on {where}: the port is taken or may not be used;"
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

    @property
    def num_refused(self) -> int:
        """TLS connections of the last half minute that brought no stream: a certificate was not accepted."""
        return self._connections.num_refused(self._times.monotonic_s())

    def publish(self, snapshot: Snapshot) -> bool:
        """Send every Envoy what leads to `snapshot`; False where it is the current one already."""
        changed = self._cache.publish(snapshot)
        if changed:
            self._wake_all()
        return changed

    def listed(self, began_s: float) -> None:
        """The process has compared its caches with a listing that began then (monotonic seconds).

        An Envoy that is still ahead may be led back: what it has is nowhere any more.
        """
        self._cache.listed(began_s)
        self._wake_all()

    @property
    def current(self) -> Snapshot | None:
        """The snapshot published last."""
        return self._cache.current

    @property
    def gone_at_s(self) -> Mapping[str, float]:
        """When the connections of Envoys ended that have not connected again, by node id (epoch seconds)."""
        return dict(self._cache.gone_at_s)

    @property
    def gone_endpoints(self) -> Mapping[str, frozenset[str]]:
        """Addresses that each of these Envoys may still send requests to, as far as that is known."""
        return dict(self._cache.gone_endpoints)

    def endpoints_by_version(self) -> Mapping[str, frozenset[str]]:
        """Addresses of the endpoints in what was published lately, by the endpoints' version."""
        return self._cache.endpoints_by_version()

    def envoys(self) -> tuple[EnvoyState, ...]:
        """The connected Envoys, each with what it acknowledged or refused."""
        return self._cache.envoys()

    def _wake_all(self) -> None:
        for waker in self._wakers:
            waker.set()

    async def _stream(self, requests: AsyncIterator[Any], context: Any) -> None:
        """One Envoy's stream, from its first request to its end.

        It writes, and is no generator: grpc.aio leaves one that an ended call has interrupted between two
        responses to the garbage collector, and its Envoy would count as connected until then.
        """
        self._connections.arrived(context.peer(), self._times.monotonic_s())
        first = await anext(aiter(requests), None)
        if first is None:
            return
        node_id = first.node.id or context.peer()
        name = self._cache.connect(node_id, announced_stats_url(first.node, context.peer()))
        stream = _Stream(self._cache, name, self._times)
        self._wakers.add(stream.waker)
        # Only time tells two Envoys of one node id from one that connects anew.
        asyncio.get_running_loop().call_later(SHARED_AFTER_S + 0.1, self._on_change)
        reader = asyncio.create_task(self._read(stream, first, requests))
        try:
            while not reader.done():
                stream.waker.clear()
                for response in stream.responses():
                    await context.write(response)
                self._on_change()
                await stream.wait()
        finally:
            reader.cancel()
            self._wakers.discard(stream.waker)
            self._cache.disconnect(name)
            self._connections.ended(context.peer())
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

    def __init__(self, cache: SnapshotCache, node_id: str, times: Times) -> None:
        self.waker = asyncio.Event()
        self._cache, self._node_id, self._times = cache, node_id, times
        self._hold: Hold | None = None
        self._subscription = Subscription(cache)
        self._target: Snapshot | None = None
        # The target when a response was sent: a refusal concerns that one, not its successor.
        self._target_by_type: dict[str, Snapshot] = {}
        self._retry_s: float | None = None
        self._pause_s = FIRST_RETRY_S

    def receive(self, request: Any) -> None:
        """Take a request and wake the writer."""
        outcome = self._subscription.receive(request)
        if outcome is not None and outcome.refusal is not None:
            self._cache.refuse(self._node_id, outcome, self._target_by_type[request.type_url])
        self.waker.set()

    def responses(self) -> list[Any]:
        """All that may be sent now."""
        self._retry_in_time()
        self._target = self._cache.snapshot_for(self._node_id)
        found = []
        if self._target is not None:
            self._lead_back_in_time(self._target)
            while (response := self._subscription.next_response(self._target)) is not None:
                self._target_by_type[response.type_url] = self._target
                found.append(response)
            if self._subscription.has_arrived_at(self._target):
                self._cache.arrive(self._node_id, self._target)
                if self._target is self._cache.current:
                    self._pause_s = FIRST_RETRY_S
        self._report()
        return found

    async def wait(self) -> None:
        """Return once something has happened, or the time of a hold or of a retry has come."""
        now_s = self._times.monotonic_s()
        left_s = self._hold.left_s(now_s) if self._hold is not None else 0.0
        if self._retry_s is not None:
            retry_s = max(0.01, self._retry_s - now_s)
            left_s = min(left_s, retry_s) if left_s else retry_s
        try:
            # After that a listing wakes the stream: there may be none for as long as the API server is away.
            await asyncio.wait_for(self.waker.wait(), left_s or None)
        except TimeoutError:
            return

    def _retry_in_time(self) -> None:
        """Send what was refused again, after pauses that grow while it is refused."""
        now_s = self._times.monotonic_s()
        if not self._cache.refuses(self._node_id):
            self._retry_s = None
        elif self._retry_s is None:
            self._retry_s = now_s + self._pause_s
            self._pause_s = min(2 * self._pause_s, LONGEST_RETRY_S)
        elif now_s >= self._retry_s:
            self._retry_s = None
            self._cache.retry(self._node_id)
            self._subscription.retry()

    def _lead_back_in_time(self, target: Snapshot) -> None:
        """Leave an Envoy that is ahead alone, until its hold is over."""
        revision = self._subscription.revision_ahead_of(target)
        if self._hold is not None and self._hold.revision != revision:
            self._cache.end_hold(self._node_id, self._hold)
            self._hold = None
        if not revision:
            return
        self._hold = self._hold or self._cache.hold(self._node_id, revision)
        if self._cache.end_if_over(self._node_id, self._hold):
            self._hold = None
            self._subscription.lead_back()
            log.warning(
                "Envoy %s was left alone for %g s or more, because it has routes of FleetPlan revision %d and"
                " the latest that the API server has is %d: it is served what the API server has now",
                self._node_id,
                HOLD_S,
                revision,
                target.revision,
            )

    def _report(self) -> None:
        versions = {each: self._subscription.accepted(each) for each in TypeUrl}
        self._cache.saw(self._node_id, versions, self._subscription.revision)


def announced_stats_url(node: Any, peer: str) -> str:
    """Where this Envoy's counters can be read, as its metadata says; empty where it does not.

    peer: of its connection, as gRPC writes it, such as `ipv4:10.0.0.7:51234` or `ipv6:%5B::1%5D:51234`
    """
    if STATS_KEY not in node.metadata.fields:
        return ""
    announced = node.metadata.fields[STATS_KEY].string_value
    peer_host = unquote(peer.partition(":")[2]).rpartition(":")[0].strip("[]")
    found = stats_url(announced, canonical(peer_host))
    if not found:
        log.warning(
            "the Envoy %s announces %r as the address of its counters (metadata %s), which is not"
            " host:port: they are not read, and its requests are missing from the demand",
            node.id, announced, STATS_KEY,
        )  # fmt: skip
    return found


def _handler(stream: Callable[[AsyncIterator[Any], Any], Awaitable[None]]) -> Any:
    method = grpc.stream_stream_rpc_method_handler(
        stream,
        request_deserializer=discovery_pb2.DiscoveryRequest.FromString,
        response_serializer=discovery_pb2.DiscoveryResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(_SERVICE, {"StreamAggregatedResources": method})
